"""What is drawn: the charts that a state's metrics make, those of groups of tokens as soon as they are there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from curvewatch.analysis.characters import visible
from curvewatch.analysis.style import RUN_COLOURS
from curvewatch.live import METRICS
from curvewatch.measures.frequency import THIRDS
from curvewatch.terminal.chart import Frame, Line, StepAxis
from curvewatch.terminal.state import State

BLUE, ORANGE, GREEN, PINK, VIOLET = RUN_COLOURS[:5]
PALE = "#8fb4dc"
_NGRAM = re.compile(r"ngram/(\d+)gram_correlation")
_GROUPED = re.compile(r"([^/]+)/([^/]+)/([^/]+)")


@dataclass(frozen=True)
class Curve:
    """One metric in a chart.

    Attributes:
        key: Of the metric.
        name: Shown.
        colour: As `rich` takes it.
        thick: Drawn as the main one.
    """

    key: str
    name: str
    colour: str
    thick: bool = False


@dataclass(frozen=True)
class Chart:
    """Some metrics over the steps.

    Attributes:
        title: With the unit.
        curves: The later ones lie on top.
        shown: How a value is written.
        times: What values are multiplied by (100 for per cent).
        has_chance: Whether chance is drawn as a line.
    """

    title: str
    curves: tuple[Curve, ...]
    shown: Callable[[float], str]
    times: float = 1.0
    has_chance: bool = False

    def text(self, state: State, width: int, height: int, logarithmic: bool, cursor: int | None = None) -> Text:
        """The chart, drawn; at its lines' ends stand the last values, or those at `cursor`."""
        return self._frame(state, width, height, logarithmic, cursor).text(cursor)

    def columns(self, state: State, width: int, height: int, logarithmic: bool) -> NDArray[np.float64]:
        """The column of each observation in `text`, shape [T]."""
        return self._frame(state, width, height, logarithmic, None).columns_T

    def _frame(self, state: State, width: int, height: int, logarithmic: bool, cursor: int | None) -> Frame:
        steps_T = state.steps_T
        at = len(steps_T) - 1 if cursor is None else cursor
        lines = []
        for curve in self.curves:
            values_T: NDArray[np.float64] = state.scalars[curve.key] * self.times
            value = float(values_T[at])
            shown = self.shown(value) if math.isfinite(value) else "-"
            lines.append(Line(curve.name, values_T, curve.colour, shown, curve.thick))
        level = (state.chance, f"chance {state.chance:.1f}") if self.has_chance else None
        axis = StepAxis(steps_T, state.max_steps, logarithmic)
        return Frame(lines, steps_T, axis, width, height, level)


def charts_of(state: State) -> list[Chart]:
    """The charts that this state's metrics make; empty before the first observation."""
    if not len(state.steps_T):
        return []
    fixed = [
        Chart(
            "Surprisal · bits",
            (Curve("surprisal_p90", "p90", PALE), Curve("surprisal_p10", "p10", PALE),
             Curve("surprisal_mean", "mean", BLUE, thick=True)),
            bits, has_chance=True,
        ),
        Chart(
            "Learned · % of tokens",
            (Curve("acquired_share", "ever", GREEN), Curve("known_share", "known", BLUE),
             Curve("accuracy_top1", "top-1", ORANGE)),
            "{:.1f}".format, times=100,
        ),
        Chart(
            "Forgotten · tokens",
            (Curve("threshold_forgetting_events", "threshold", BLUE), Curve("forgetting_events", "top-1", ORANGE)),
            "{:,.0f}".format,
        ),
    ]  # fmt: skip
    orders = sorted(int(match[1]) for key in state.scalars if (match := _NGRAM.fullmatch(key)))
    ngrams = Chart(
        "Resembles n-grams · correlation",
        tuple(Curve(f"ngram/{n}gram_correlation", f"{n}-gram", RUN_COLOURS[n % len(RUN_COLOURS)]) for n in orders),
        "{:.2f}".format,
    )
    there = [
        Chart(chart.title, present, chart.shown, chart.times, chart.has_chance)
        for chart in fixed
        if (present := tuple(curve for curve in chart.curves if curve.key in state.scalars))
    ]
    return [*there, *_of_groups(state), *([ngrams] if orders else [])]


def _of_groups(state: State) -> list[Chart]:
    """A chart for each metric that is there by group of tokens: `frequency/<band>/surprisal_mean`."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in state.scalars:
        match = _GROUPED.fullmatch(key)
        if match:
            group, name, metric = match.groups()
            found.setdefault((metric, group), []).append(name)
    return [_of_group(metric, group, names) for (metric, group), names in found.items()]


def _of_group(metric: str, group: str, names: list[str]) -> Chart:
    # A band without tokens at first is seen later than others; the order is that of frequency all the same.
    names = sorted(names, key=lambda name: (THIRDS.index(name) if name in THIRDS else len(THIRDS), name))
    curves = tuple(
        Curve(f"{group}/{name}/{metric}", visible(name)[:16], RUN_COLOURS[k % len(RUN_COLOURS)])
        for k, name in enumerate(names)
    )
    title = visible(f"{metric.removesuffix('_mean')} by {group}".replace("_", " ").capitalize())
    unit = METRICS.get(metric, ("", ""))[0]
    if unit == "share":
        return Chart(f"{title} · %", curves, "{:.1f}".format, times=100)
    if unit == "bit":
        return Chart(f"{title} · bits", curves, bits)
    return Chart(f"{title} · {unit}" if unit else title, curves, "{:,.4g}".format)


def bits(value: float) -> str:
    """Bits as text."""
    return f"{value:.2f}"
