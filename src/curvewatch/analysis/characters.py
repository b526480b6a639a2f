"""A token's curve drawn in characters: braille dots, two columns and four rows of them in each character.

Drawn here and not by a plotting package: it is one canvas and two axes, and terminal plotters change their interface
from release to release.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a curve draws itself with what is here
    from curvewatch.analysis.curve import TokenCurve


BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
MARGIN = 6  # columns of the axis' labels
# Token texts come from anywhere: control characters are shown, not sent to the terminal, and none turns the line about.
VISIBLE: dict[int, int | str | None] = {code: 0x2400 + code for code in range(32)}
VISIBLE |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}
VISIBLE |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


class Drawing(str):
    """Text that shows itself as it is, also where a session prints the value of an expression."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def visible(text: str) -> str:
    """The text with every control character shown as a picture of it."""
    return text.translate(VISIBLE)


def drawn(curve: TokenCurve, width: int = 88, height: int = 16, context_lines: int = 3) -> Drawing:
    """Context, target, curve and measures of a token as lines of text.

    Args:
        curve: The token.
        width: Columns, at least 40.
        height: Lines of the drawing, at least 4.
        context_lines: Lines of context before the target.
    """
    width, height = max(40, width), max(4, height)
    lines = [*_context(curve, width, context_lines), ""]
    lines += _plot(curve, width, height)
    return Drawing("\n".join([*lines, "", *_facts(curve, width)]))


def number(value: Any, digits: int = 3) -> str:
    """A value as a person reads it; a dash where there is none."""
    if isinstance(value, str):
        return value.replace("_", " ")
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.{digits}g}"


def acquired(measures: dict[str, Any]) -> str:
    """The age of acquisition in words."""
    status, age = measures["acquisition_status"], measures["age_of_acquisition"]
    if status == "learned":
        return f"step {number(10**age)} (log10 {age:.2f})"
    if status == "left_censored":
        return f"at or before step {number(10**age)}"
    return "never: not below chance" if status == "never" else "no fit"


def _context(curve: TokenCurve, width: int, n_lines: int) -> list[str]:
    view = curve.token
    text = visible(" ".join(view.context.split()))
    target = f"⟦{visible(view.target)}⟧"
    shown = textwrap.wrap(f"{text}{' ' if view.context[-1:].isspace() else ''}\x00", width - len(target))
    if len(shown) > n_lines:
        shown = shown[-n_lines:]
        shown[0] = "…" + shown[0][1:]
    head = f"token {view.index} · sequence {view.sequence_index}, position {view.position} · id {curve.target}"
    return [f"{head} · {visible(curve.source)}"[:width], *(line.replace("\x00", target) for line in shown)]


def _plot(curve: TokenCurve, width: int, height: int) -> list[str]:
    usable_T = (curve.steps_T > 0) & np.isfinite(curve.surprisal_T)
    if not usable_T.any():
        n = len(curve.steps_T)
        return [f"  no curve to draw: {n} observation{'s' * (n != 1)}, none after step 0 with a finite surprisal"]
    x_t = np.log10(curve.steps_T[usable_T])
    y_t = curve.surprisal_T[usable_T].astype(float)
    low, high = 0.0, max(float(y_t.max()), curve.chance) * 1.04
    left, right = float(x_t[0]), float(max(x_t[-1], x_t[0] + 1e-9))
    columns = width - MARGIN - 1
    canvas = _Canvas(columns, height)

    def place(x: Any, y: Any) -> tuple[Any, Any]:
        across = (np.asarray(x) - left) / (right - left) if right > left + 1e-8 else np.full(np.shape(x), 0.5)
        return across * (canvas.width - 1), (high - np.asarray(y)) / (high - low) * (canvas.height - 1)

    canvas.dots(*place(np.linspace(left, right, columns), np.full(columns, curve.chance)))
    canvas.dots(*place(x_t, y_t))
    if curve.fit.fitted_N[0]:
        x_g = np.linspace(np.log10(curve.fit.steps_T[0]), np.log10(curve.fit.steps_T[-1]), canvas.width * 2)
        steps_g = np.clip(10**x_g, curve.fit.steps_T[0], curve.fit.steps_T[-1])
        canvas.line(*place(x_g, np.clip(curve.fit.at(steps_g)[:, 0], low, high)))
    labels = {round((high - value) / (high - low) * (height - 1)): number(value, 3) for value in _ticks(low, high)}
    labels[round((high - curve.chance) / (high - low) * (height - 1))] = f"{curve.chance:.4g}"
    rows = [f"{labels.get(r, ''):>{MARGIN - 1}} ┤{line}" for r, line in enumerate(canvas.lines())]
    axis, names = _step_axis(left, right, columns)
    legend = f"{'bits':>{MARGIN - 1}}   · raw   ─ smoothed   top line: chance {curve.chance:.2f} bits"
    return [legend, *rows, f"{'':>{MARGIN}}└{axis}", f"{'step':>{MARGIN}} {names}"]


def _ticks(low: float, high: float) -> list[float]:
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if (high - low) / s <= 6 or s == 1000)
    return list(np.arange(low, high, step))


def _step_axis(left: float, right: float, columns: int) -> tuple[str, str]:
    axis, names = ["─"] * columns, [" "] * columns
    for decade in range(math.ceil(left - 1e-9), math.floor(right + 1e-9) + 1):
        at = round((decade - left) / max(right - left, 1e-9) * (columns - 1))
        axis[at] = "┬"
        label = f"{10**decade:,}" if decade < 5 else f"1e{decade}"
        at = min(at, columns - len(label))
        names[at : at + len(label)] = label
    return "".join(axis), "".join(names).rstrip()


def _facts(curve: TokenCurve, width: int) -> list[str]:
    m = curve.measures
    facts = [
        f"acquired: {acquired(m)}",
        f"final {number(m['final_surprisal'])} bits ± {number(m['within_run_variability'])}",
        f"forgettability {number(m['forgettability'])} bits",
        f"forgetting events: top-1 {number(m['forgetting_events_top1'])}, "
        f"threshold {number(m['forgetting_events_threshold'])}",
        f"first correct: step {number(m['first_learned_step'])}",
    ]
    return textwrap.wrap(" · ".join(facts), width)


class _Canvas:
    """Dots, `width` x `height` of them, counted from the upper left."""

    def __init__(self, columns: int, rows: int) -> None:
        self.width, self.height = 2 * columns, 4 * rows
        self._on = np.zeros((self.height, self.width), bool)

    def dots(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        across = np.clip(np.rint(x), 0, self.width - 1).astype(int)
        down = np.clip(np.rint(y), 0, self.height - 1).astype(int)
        self._on[down, across] = True

    def line(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        fine = np.linspace(0, len(x) - 1, 8 * len(x))
        along = np.arange(len(x))
        self.dots(np.interp(fine, along, x), np.interp(fine, along, y))

    def lines(self) -> list[str]:
        cells = self._on.reshape(self.height // 4, 4, self.width // 2, 2)
        codes = np.einsum("rdcs,ds->rc", cells.astype(int), BRAILLE)
        return ["".join(chr(0x2800 + code) for code in row).rstrip("\u2800") for row in codes]
