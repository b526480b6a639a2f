"""What users call things, as names that can stand in a key or in a file's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

TEXT_WIDTH = 40


def unique_names(texts: Sequence[str]) -> list[str]:
    """Texts as they can stand in a key, each another: some trackers take few signs there, and read "/" as a section."""
    found: dict[str, None] = {}
    for k, text in enumerate(texts):
        name = re.sub(r"[^A-Za-z0-9_.\- ]", "_", text).strip()[:TEXT_WIDTH].strip()
        if not name.strip("_") or name in found:
            name = f"{name} {k}".strip()
        found[name] = None
    return list(found)
