"""What is drawn and listed of what tokens mean: bits per byte, labels, spans, pairs and questions."""

from __future__ import annotations

import math
import re

from rich.text import Text

from curvewatch.analysis.characters import visible
from curvewatch.analysis.style import RUN_COLOURS
from curvewatch.terminal.charting import Chart, Curve, bits
from curvewatch.terminal.state import State

PREFIXES = ("label", "span", "item")
MOST_CURVES = 5
NAME_COLUMNS = 16
_LABEL = re.compile(r"label/([^/]+)/([^/]+)/surprisal_mean")
_SPAN = re.compile(r"span/([^/]+)/surprisal_mean")
_ITEM = re.compile(r"item/([^/]+)/accuracy")
_ITEM_GROUP = re.compile(r"item/([^/]+)/([^/]+)/accuracy")
_COLUMNS = (
    ("surprisal_mean", "bits", 1.0, "{:.2f}"),
    ("accuracy_top1", "top-1 %", 100.0, "{:.1f}"),
    ("known_share", "known %", 100.0, "{:.1f}"),
    ("forgotten_share", "forgotten %", 100.0, "{:.1f}"),
)


def charts_of_meaning(state: State) -> list[Chart]:
    """The charts that there are of it: pairs first, then labels, spans, bits per byte."""
    keys = list(state.scalars)
    found = []
    for key in keys:
        if match := _ITEM.fullmatch(key):
            found.append(_of_items(state, match[1]))
    for name, values in labels_of(state).items():
        curves = [
            Curve(f"label/{name}/{value}/surprisal_mean", visible(value)[:NAME_COLUMNS], RUN_COLOURS[k])
            for k, value in enumerate(values[:MOST_CURVES])
        ]
        found.append(Chart(f"Surprisal by {visible(name)} · bits", tuple(curves), bits))
    for key in keys:
        if match := _SPAN.fullmatch(key):
            kind = match[1]
            shares = (("acquired_share", "ever", 2), ("known_share", "known", 0), ("accuracy_top1", "right", 1))
            curves = [
                Curve(f"span/{kind}/{metric}", name, RUN_COLOURS[hue])
                for metric, name, hue in shares
                if f"span/{kind}/{metric}" in state.scalars
            ]
            found.append(Chart(f"Learned · % of spans: {visible(kind)}", tuple(curves), "{:.1f}".format, times=100))
    if "bits_per_byte" in state.scalars:
        curve = Curve("bits_per_byte", "bits/byte", RUN_COLOURS[0], thick=True)
        found.append(Chart("Bits per byte", (curve,), "{:.3f}".format))
    return found


def labels_of(state: State) -> dict[str, list[str]]:
    """The values of each label, those with most tokens first."""
    found: dict[str, list[str]] = {}
    for key in state.scalars:
        if match := _LABEL.fullmatch(key):
            found.setdefault(match[1], []).append(match[2])
    for name, values in found.items():
        values.sort(key=lambda value: -_now(state, f"label/{name}/{value}/n_tokens"))
    return found


def label_lines(state: State, width: int, height: int) -> list[Text]:
    """A table of the labels' values now, label by label.

    Args:
        state: The run.
        width: Columns.
        height: Lines; what does not fit is told in the last one.
    """
    rows: list[tuple[str, str, list[str]]] = []
    for name, values in labels_of(state).items():
        for value in values:
            prefix = f"label/{name}/{value}"
            cells = [f"{_now(state, f'{prefix}/n_tokens'):,.0f}"]
            for metric, _, times, form in _COLUMNS:
                number = _now(state, f"{prefix}/{metric}") * times
                cells.append(form.format(number) if math.isfinite(number) else "-")
            rows.append((name, value, cells))
    if not rows:
        return []
    heads = ["tokens", *(title for _, title, _, _ in _COLUMNS)]
    wide = [max(len(head), *(len(cells[k]) for _, _, cells in rows)) for k, head in enumerate(heads)]
    names = [f"{visible(name)}: {visible(value)}" for name, value, _ in rows]
    room = max(8, min(max(map(len, names)), width - sum(wide) - 2 * len(wide)))
    lines = [Text(" " * room + "".join(f"  {head:>{w}}" for head, w in zip(heads, wide, strict=True)), "dim")]
    for name, (_, _, cells) in zip(names, rows, strict=True):
        shown = name if len(name) <= room else name[: room - 1] + "…"
        lines.append(Text(f"{shown:<{room}}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, wide, strict=True))))
    if len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], Text(f"{left:,} more in the file: curvewatch table --by LABEL", "dim")]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _of_items(state: State, kind: str) -> Chart:
    groups = [match[2] for key in state.scalars if (match := _ITEM_GROUP.fullmatch(key)) and match[1] == kind]
    groups.sort(key=lambda group: -_now(state, f"item/{kind}/{group}/n_items"))
    curves = [Curve(f"item/{kind}/accuracy", "all", RUN_COLOURS[0], thick=True)]
    if len(groups) > 1:
        curves += [
            Curve(f"item/{kind}/{group}/accuracy", visible(group)[:NAME_COLUMNS], RUN_COLOURS[1 + k])
            for k, group in enumerate(groups[: MOST_CURVES - 1])
        ]
    chance = 100 * _now(state, f"item/{kind}/chance")
    level = (chance, f"chance {chance:.0f}") if math.isfinite(chance) else None
    title = f"Right · % of items: {visible(kind)}"
    return Chart(title, tuple(curves), "{:.1f}".format, times=100, level=level)


def _now(state: State, key: str) -> float:
    values = state.scalars.get(key)
    return float(values[-1]) if values is not None and len(values) else math.nan
