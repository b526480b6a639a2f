"""What an earlier call wrote into a folder of results, by its own record there."""

from __future__ import annotations

import json
from pathlib import Path


def earlier_names(record: Path, key: str) -> set[str]:
    """Names that a record lists; none if it is not there, or is no such record.

    Args:
        record: A JSON file that an earlier call wrote.
        key: Where in it the names stand, as a list or as the keys of an object.
    """
    try:
        names = set(json.loads(record.read_text("utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    # What names another folder is none of ours, whoever wrote it.
    return {name for name in names if isinstance(name, str) and name == Path(name).name}
