"""Chart: some metrics over the steps, and how their values are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from curvewatch.terminal.chart import Frame, Line, StepAxis
from curvewatch.terminal.state import State


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
        level: Another line, of what is not surprisal, with its words.
    """

    title: str
    curves: tuple[Curve, ...]
    shown: Callable[[float], str]
    times: float = 1.0
    has_chance: bool = False
    level: tuple[float, str] | None = None

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
        level = (state.chance, f"chance {state.chance:.1f}") if self.has_chance else self.level
        axis = StepAxis(steps_T, state.max_steps, logarithmic)
        return Frame(lines, steps_T, axis, width, height, level)


def bits(value: float) -> str:
    """Bits as text."""
    return f"{value:.2f}"
