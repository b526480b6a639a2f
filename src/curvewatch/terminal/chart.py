"""A line chart in characters: braille dots with an axis of steps, and each line's name and last value at its end.

plotille turns points into dots, a canvas for each line; here they are laid over one another and given colours.
Suffixes: T observations, R x C characters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotille import Canvas
from rich.text import Text

from curvewatch.analysis.characters import number

BLANK = 0x2800
FAINT = "#6b7280"
MIN_COLUMNS, MIN_ROWS = 24, 5
ZERO_WIDTH = 0.4
"""Decades between step 0 and the first step after it, on an axis of log10 step."""
COLUMNS_PER_DECADE = 12
"""From this width on 2 and 5 are named, too."""
AHEAD = 0.35
"""Decades of the axis at most that are still to come."""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Shown at its end.
        values_T: Over the steps; NaN leaves a gap.
        colour: As `rich` takes it.
        shown: The last value as text; "" for none.
        thick: Drawn two dots high.
    """

    name: str
    values_T: NDArray[np.float64]
    colour: str
    shown: str = ""
    thick: bool = False


class StepAxis:
    """Where steps stand across: log10 step, step 0 a little to the left of the first; or evenly.

    Args:
        steps_T: Scored steps, ascending; at least one.
        max_steps: Planned last step, or None.
        logarithmic: Whether on log10.
    """

    def __init__(self, steps_T: NDArray[np.int64], max_steps: int | None, logarithmic: bool = True) -> None:
        self.logarithmic = logarithmic
        positive_t = steps_T[steps_T > 0]
        self._first = math.log10(positive_t[0]) if len(positive_t) else 0.0
        last = float(steps_T[-1])
        if logarithmic:
            self.left = float(self.at(steps_T[:1])[0])
            data_end = float(self.at(steps_T[-1:])[0])
            planned_end = math.log10(max_steps) if max_steps else data_end
            self.right = max(data_end, min(planned_end, data_end + AHEAD))
        else:
            self.left, self.right = float(steps_T[0]), max(last, float(max_steps or 0))
        if self.right - self.left < 1e-9:
            self.right = self.left + 1.0

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Positions between `left` and `right`."""
        x = np.asarray(steps, np.float64)
        if not self.logarithmic:
            return x
        return np.where(x > 0, np.log10(np.maximum(x, 1)), self._first - ZERO_WIDTH)

    def ticks(self, columns: int) -> list[tuple[float, str]]:
        """Positions and names for an axis of so many columns, from left to right."""
        if not self.logarithmic:
            by = _nice((self.right - self.left) / max(1, min(8, columns // 10)))
            first = math.ceil(self.left / by - 1e-9)
            return [(x, _short(x)) for x in by * np.arange(first, self.right / by + 1e-9)]
        found = [(self.left, "0")] if self.left < self._first - ZERO_WIDTH / 2 else []
        wide = columns / (self.right - self.left) >= COLUMNS_PER_DECADE
        for decade in range(math.floor(self._first), math.floor(self.right + 1e-9) + 1):
            for times in (1, 2, 5) if wide else (1,):
                x = decade + math.log10(times)
                if self._first - 1e-9 <= x <= self.right + 1e-9:
                    found.append((x, _short(times * 10.0**decade)))
        return found


class Frame:
    """A chart of `width` x `height` characters, from 0 up; what lies below is drawn at 0.

    Args:
        lines: The later ones lie over the earlier ones.
        steps_T: Scored steps.
        axis: Made for them.
        width: Columns, at least MIN_COLUMNS.
        height: Lines, at least MIN_ROWS.
        level: A horizontal dotted line, and its name.

    Attributes:
        columns_T: The column of each observation.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        steps_T: NDArray[np.int64],
        axis: StepAxis,
        width: int,
        height: int,
        level: tuple[float, str] | None = None,
    ) -> None:
        width, height = max(width, MIN_COLUMNS), max(height, MIN_ROWS)
        self._lines, self._axis, self._level = lines, axis, level
        highest = [float(np.max(one.values_T[np.isfinite(one.values_T)], initial=-math.inf)) for one in lines]
        self._top = max([*highest, level[0] if level else -math.inf])
        if not 0 < self._top < math.inf:
            self._top = 1.0
        self._ticks = _value_ticks(self._top, height - 1)
        self._margin = max(len(name) for _, name in self._ticks) + 1
        names = [one.name + (f" {one.shown}" if one.shown else "") for one in lines] + ([level[1]] if level else [])
        self._gutter = min(max((len(name) for name in names), default=0) + 1, width // 2)
        self._rows, self._columns = height - 2, width - self._margin - 1 - self._gutter
        self._names = names
        # The upper edge is outside of the canvas: half a dot of room, so that the highest value is inside.
        self._top_of_canvas = self._top * 4 * self._rows / (4 * self._rows - 1)
        # The right edge itself is outside of the canvas.
        share_T = (axis.at(steps_T) - axis.left) / (axis.right - axis.left)
        self._x_T = axis.left + (axis.right - axis.left) * np.minimum(share_T, 1 - 0.25 / self._columns)
        self.columns_T = self._margin + 1 + share_T * (self._columns - 1)

    def text(self, cursor: int | None = None) -> Text:
        """The chart; `cursor` is the index of an observation to mark by an upright line."""
        layers = []
        if cursor is not None:
            canvas, x = self._canvas(), float(self._x_T[cursor])
            canvas.line(x, 0.0, x, self._top)
            layers.append((canvas, FAINT))
        if self._level is not None:
            canvas = self._canvas()
            for x in np.linspace(self._axis.left, self._axis.right, max(2, self._columns // 2), endpoint=False):
                canvas.point(float(x), self._level[0])
            layers.append((canvas, FAINT))
        layers += [(self._curve(one), one.colour) for one in self._lines]
        codes_RC, colours_RC = self._laid(layers)
        labels = self._labels()
        numbers = {self._row(value): name for value, name in self._ticks}
        text = Text(no_wrap=True, end="")
        for r in range(self._rows):
            text.append(f"{numbers.get(r, ''):>{self._margin - 1}} {'┤' if r in numbers else '│'}", FAINT)
            _append_row(text, codes_RC[r], colours_RC[r])
            if r in labels:
                name, colour = labels[r]
                # A number that is cut would be another number.
                text.append(f" {name}" if len(name) < self._gutter else f" {name.split()[0]}"[: self._gutter], colour)
            text.append("\n")
        below, along = _step_ticks(self._axis, self._columns)
        text.append(f"{'':>{self._margin}}└{below}\n{'':>{self._margin + 1}}", FAINT)
        text.append(along + " step"[: max(0, self._columns + self._gutter - len(along))], FAINT)
        return text

    def _canvas(self) -> Canvas:
        return Canvas(self._columns, self._rows, self._axis.left, 0.0, self._axis.right, self._top_of_canvas)

    def _curve(self, one: Line) -> Canvas:
        canvas, shown_T = self._canvas(), np.isfinite(one.values_T)
        dot = (canvas.ymax - canvas.ymin) / (4 * self._rows)
        for lower in (0.0, dot) if one.thick else (0.0,):
            x_t, y_t = self._thinned(self._x_T[shown_T], np.maximum(one.values_T[shown_T] - lower, 0.0))
            points = list(zip(x_t.tolist(), y_t.tolist(), strict=True))
            for (x0, y0), (x1, y1) in itertools.pairwise(points):
                canvas.line(x0, y0, x1, y1)
            if len(points) == 1:
                canvas.point(*points[0])
        return canvas

    def _thinned(self, x_t: NDArray[np.float64], y_t: NDArray[np.float64]) -> tuple[Any, Any]:
        """The same line with at most four points for each column of dots: its first, lowest, highest and last one."""
        if len(x_t) <= 8 * self._columns:
            return x_t, y_t
        column_t = np.rint((x_t - self._axis.left) / (self._axis.right - self._axis.left) * 2 * self._columns)
        starts = np.flatnonzero(np.diff(column_t, prepend=-1))
        lasts = np.append(starts[1:], len(x_t)) - 1
        lowest, highest = np.minimum.reduceat(y_t, starts), np.maximum.reduceat(y_t, starts)
        return np.repeat(x_t[starts], 4), np.stack([y_t[starts], lowest, highest, y_t[lasts]], axis=1).ravel()

    def _laid(self, layers: Sequence[tuple[Canvas, str]]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
        """Canvases over one another: all their dots, each character in the colour of the last that is in it."""
        codes_RC = np.full((self._rows, self._columns), BLANK)
        colours_RC = np.full((self._rows, self._columns), "", object)
        for canvas, colour in layers:
            layer_RC = np.array([[ord(char) for char in row] for row in canvas.plot("\n").split("\n")])
            codes_RC |= np.where(layer_RC > BLANK, layer_RC, BLANK)
            colours_RC[layer_RC > BLANK] = colour
        return codes_RC, colours_RC

    def _labels(self) -> dict[int, tuple[str, str]]:
        ends = [
            (self._row(last), name, one.colour)
            for one, name in zip(self._lines, self._names, strict=False)
            if math.isfinite(last := _last(one.values_T))
        ]
        if self._level is not None:
            ends.append((self._row(self._level[0]), self._names[-1], FAINT))
        return _apart(ends, self._rows)

    def _row(self, value: float) -> int:
        """The row in which a value's dot lies."""
        dot = round(value / self._top_of_canvas * 4 * self._rows)
        return self._rows - 1 - min(max(dot // 4, 0), self._rows - 1)


def _append_row(text: Text, codes_C: NDArray[np.int64], colours_C: NDArray[np.object_]) -> None:
    """Characters of one colour in one piece."""
    starts = np.flatnonzero(np.concatenate([[True], colours_C[1:] != colours_C[:-1]]))
    for start, stop in zip(starts, [*starts[1:], len(codes_C)], strict=True):
        piece = "".join(" " if code == BLANK else chr(code) for code in codes_C[start:stop])
        text.append(piece, colours_C[start] or None)


def _last(values_T: NDArray[np.float64]) -> float:
    finite_t = values_T[np.isfinite(values_T)]
    return float(finite_t[-1]) if finite_t.size else math.nan


def _apart(ends: Sequence[tuple[int, str, str]], rows: int) -> dict[int, tuple[str, str]]:
    """Names by row, moved so that no two share one; those that find no room are left out."""
    placed: dict[int, tuple[str, str]] = {}
    wanted = sorted(ends, key=lambda end: end[0])[:rows]
    row = -1
    rows_of = []
    for at, _, _ in wanted:
        row = max(row + 1, at)
        rows_of.append(row)
    limit = rows - 1
    for k in range(len(rows_of) - 1, -1, -1):
        rows_of[k] = min(rows_of[k], limit)
        limit = rows_of[k] - 1
    for at, (_, name, colour) in zip(rows_of, wanted, strict=True):
        placed[at] = (name, colour)
    return placed


def _value_ticks(top: float, height: int) -> list[tuple[float, str]]:
    by = _nice(top / max(1, min(6, height // 3)))
    values = np.arange(0.0, top + by * 1e-6, by)
    decimals = max(0, -math.floor(math.log10(by) + 1e-9))
    return [(float(v), _short(v) if by >= 1 else f"{v:.{decimals}f}") for v in values]


def _step_ticks(axis: StepAxis, columns: int) -> tuple[str, str]:
    below, along = ["─"] * columns, [" "] * columns
    taken = -1
    for x, name in axis.ticks(columns):
        at = min(columns - 1, round((x - axis.left) / (axis.right - axis.left) * (columns - 1)))
        start = max(0, min(at - (len(name) - 1) // 2, columns - len(name)))
        below[at] = "┬"
        if start > taken:
            along[start : start + len(name)] = name
            taken = start + len(name)
    return "".join(below), "".join(along).rstrip()


def _nice(by: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(by, 1e-12)))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= by * (1 - 1e-9))


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return number(float(value))
