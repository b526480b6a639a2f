"""The paper's short names of the measures, which tables of predictions use and figures understand."""

from __future__ import annotations

SHORT_NAMES = {
    "surprisal": "final_surprisal",
    "var_steps": "within_run_variability",
    "aoa": "age_of_acquisition",
    "forgettability": "forgettability",
}
"""Short name, and that of the measure's column."""


def long_name(name: str) -> str:
    """The column of a measure by its short name; any other name as it is."""
    return SHORT_NAMES.get(name, name)


def short_name(name: str) -> str:
    """The short name of a measure's column; any other name as it is."""
    return next((short for short, long in SHORT_NAMES.items() if long == name), name)
