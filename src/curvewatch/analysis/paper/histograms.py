"""The paper's two-dimensional histograms, and what else it draws of many tokens at once.

As in the released code values beyond 5 SD are left out of the picture, and colours are log counts in 100 x 100 cells.
Suffixes: N tokens, V types, S steps, P pairs of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.compare import Comparison
from curvewatch.analysis.figures import WIDTH, drawn
from curvewatch.analysis.frames import need
from curvewatch.analysis.predict.across import NgramHump
from curvewatch.analysis.predict.drawing import BAND_SD
from curvewatch.analysis.style import run_colour, steps_axis
from curvewatch.corpus.types_seen import ContextualDiversity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS, CLIP_SD = 100, 5.0
Panel = tuple[NDArray[Any], NDArray[Any], str, str]


def histograms(panels: Sequence[Panel], *, line: bool = False) -> Figure:
    """Side by side, each x against y.

    Args:
        panels: x, y (shape [N] each, tokens without a value are left out), and what they are called.
        line: Draw the least-squares line, and say r.
    """
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)

    def draw(figure: Any) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _histogram(axes, panel, line)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()

    return drawn(draw, (0.62 * WIDTH * columns, 0.62 * WIDTH * rows))


def _histogram(axes: Any, panel: Panel, line: bool) -> None:
    x_N, y_N, x_name, y_name = panel
    known_N = np.isfinite(x_N) & np.isfinite(y_N)
    x, y = np.asarray(x_N, np.float64)[known_N], np.asarray(y_N, np.float64)[known_N]
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        axes.text(0.5, 0.5, "too few values", ha="center", va="center", transform=axes.transAxes)
        return
    near = (np.abs(x - x.mean()) <= CLIP_SD * x.std()) & (np.abs(y - y.mean()) <= CLIP_SD * y.std())
    log = need("matplotlib.colors", "figures").LogNorm(clip=True, vmin=1, vmax=max(10, len(x) / 100))
    axes.hist2d(x[near], y[near], bins=[CELLS, CELLS], norm=log, cmap="Purples", rasterized=True)
    if line:
        slope, start = np.polyfit(x, y, 1)
        ends = np.array([x[near].min(), x[near].max()])
        axes.plot(ends, start + slope * ends, color="black", lw=1)
        axes.set_title(f"r = {np.corrcoef(x, y)[0, 1]:.2f}", fontsize=7)


def lowest_surprisal(lowest_RN: Sequence[NDArray[Any]], chance: float) -> Figure:
    """How many tokens reach how low a surprisal: of the smoothed curves of all runs together."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        every = np.concatenate([one[np.isfinite(one)] for one in lowest_RN])
        if every.size:
            axes.hist(every, bins=CELLS, color=run_colour(0))
        axes.axvline(chance, color="0.5", ls="--", lw=0.8)
        axes.set_xlabel("lowest surprisal of the smoothed curve (bits)")
        axes.set_ylabel("tokens")

    return drawn(draw, (WIDTH, 2.2))


def diversity_figure(diversity: ContextualDiversity) -> Figure:
    """Raw contextual diversity against log frequency, a point a type, with the smooth it is adjusted by."""
    order, x_T, smooth_T = diversity.smooth()

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot(x_T, diversity.raw_V[order], ".", ms=1.5, alpha=0.3, color=run_colour(0), rasterized=True)
        axes.plot(x_T, smooth_T, color="black")
        axes.set_xlabel("log10 relative frequency")
        axes.set_ylabel("raw contextual diversity (types)")

    return drawn(draw, (WIDTH, 2.4))


def agreement_figure(comparison: Comparison, hump: NgramHump | None) -> Figure:
    """Correlation of surprisal between runs, step by step, with the steps at which it is most like n-gram models'."""
    cross = comparison.cross
    upper = np.triu_indices(len(comparison.names), 1)
    r_SP = cross.step_correlation_SRR[:, upper[0], upper[1]]
    after = (cross.steps_S > 0) & np.isfinite(r_SP).all(axis=1)
    steps, mean, spread = cross.steps_S[after], r_SP[after].mean(axis=1), BAND_SD * r_SP[after].std(axis=1)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.fill_between(steps, mean - spread, mean + spread, color=run_colour(0), alpha=0.25, lw=0)
        axes.plot(steps, mean, color=run_colour(0))
        for n, peak in enumerate(hump.peak_n.tolist() if hump is not None else []):
            if peak > 0:
                axes.axvline(peak, color="0.5", ls="--", lw=0.7)
                place = (peak, 0.95 - 0.09 * n)
                axes.annotate(f"{n + 1}-gram", place, xycoords=("data", "axes fraction"), fontsize=6.5, va="top")
        axes.set_ylabel("correlation between runs")
        steps_axis(axes)

    return drawn(draw, (WIDTH * 1.3, 2.4))
