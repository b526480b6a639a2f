"""`paper.md`: all figures and tables in order, as Markdown that any viewer shows, and that a repository can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from curvewatch.analysis.paper.items import Item

DIGITS = 4
ROUNDING = 1e-12
"""What is nearer to 0 is the rounding of a correlation that is 0."""


def document(items: Sequence[Item], settings: Mapping[str, str], missing: Mapping[str, str], words: str) -> str:
    """The text.

    Args:
        items: What was made.
        settings: What it was made from.
        missing: What could not be made, and why.
        words: What predicts learning, in words; may be empty.
    """
    lines = [
        "# Characterizing learning curves: the figures and tables",
        "",
        'After Chang, Tu & Bergen, "Characterizing Learning Curves During Language Model Pre-Training", TACL 2024. '
        "Each figure or table has its name in the released code; the numbers in front are those of this page.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in settings.items()]
    if words:
        lines += ["", *(f"> {line}  " for line in words.split("\n"))]
    for k, item in enumerate(items, 1):
        lines += ["", f"## {k}. {item.title}", "", f"Released code: {item.released}. {item.caption}"]
        if item.ours:
            lines += ["", f"Not in the paper: {item.ours}."]
        if item.figure is not None:
            lines += ["", f"![{item.title}]({item.name}.png)"]
        for title, table in item.tables.items():
            lines += ["", f"**{title}**" if title else "", "", *markdown(table)]
    if missing:
        lines += ["", "## Not made", ""]
        lines += [f"- {name}: {why}" for name, why in missing.items()]
    return "\n".join(lines) + "\n"


def markdown(table: Any) -> list[str]:
    """A pandas table, its index first, as the lines of a Markdown table."""
    flat = table.reset_index()
    head = [str(name) for name in flat.columns]
    body = [[_cell(value) for value in row] for row in flat.itertuples(index=False)]
    return ["| " + " | ".join(_escaped(name) for name in head) + " |", "|" + " --- |" * len(head)] + [
        "| " + " | ".join(row) + " |" for row in body
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "-"
        if abs(value) < ROUNDING:
            return "0"
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.{DIGITS}g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Text that stays in its cell, and says what it says: `---` is a direction, no line."""
    shown = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return f"`{shown}`" if shown and not shown.strip("+-") else shown
