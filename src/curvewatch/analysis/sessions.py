"""What a run file says of a session of training: anything that JSON can hold, so no part of it is sure to be there."""

from __future__ import annotations

from typing import Any


def part(session: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a session ("host", "model", "versions"); an empty one where there is none, or something else."""
    found = session.get(name)
    return found if isinstance(found, dict) else {}


def count(about: dict[str, Any], name: str) -> int | None:
    """A whole number in a session or a part of it; None where there is none, or something else."""
    found = about.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
