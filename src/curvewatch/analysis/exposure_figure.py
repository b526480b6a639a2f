"""What exposures do, as a figure: gains around them, and what is left of them behind the last.

Suffixes: E exposures of probes, S steps since, K times since the last gain.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.figures import WIDTH, drawn
from curvewatch.analysis.style import CHANCE, run_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from curvewatch.analysis.exposures import Retained

BEFORE = 5
"""Steps before an exposure that are drawn."""


def gains_around(
    bits_TU: NDArray[np.float64], steps_T: NDArray[np.int64], exposed: list[tuple[int, int]], window: int
) -> NDArray[np.float64]:
    """Bits that probes have gained since the row before an exposure, by steps since it; NaN where there is no row.

    Args:
        bits_TU: Surprisal of the probes.
        steps_T: Scored steps, ascending.
        exposed: Unit and step of each exposure.
        window: Steps behind an exposure.

    Returns:
        Shape [E, BEFORE + window]; the column `BEFORE` is the first row after the exposure.
    """
    row_of = {step: t for t, step in enumerate(steps_T.tolist())}
    gained_ES = np.full((len(exposed), BEFORE + window), np.nan)
    for e, (unit, step) in enumerate(exposed):
        before = row_of.get(step - 1)
        if before is None:
            continue
        rows = [(s, row_of[step - BEFORE + s]) for s in range(BEFORE + window) if step - BEFORE + s in row_of]
        at, t = np.array(rows).T
        gained_ES[e, at] = bits_TU[before, unit] - bits_TU[t, unit]
    return gained_ES


def exposure_figure(gained_ES: NDArray[np.float64], retained: Retained) -> Figure:
    """Both parts side by side.

    Args:
        gained_ES: As `gains_around` has it.
        retained: What is left behind the last exposures.

    Raises:
        ImportError: Without matplotlib.
    """

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        since_S = np.arange(gained_ES.shape[1]) - BEFORE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a step that no exposure has a row of
            low_S, high_S = np.nanpercentile(gained_ES, [25, 75], axis=0)
            mean_S = np.nanmean(gained_ES, axis=0)
        left.axhline(0, color=CHANCE, lw=0.6)
        left.axvline(-0.5, color=CHANCE, lw=0.8, ls=(0, (4, 3)))
        left.fill_between(since_S, low_S, high_S, color=run_colour(0), alpha=0.2, lw=0, label="middle half")
        left.plot(since_S, mean_S, color=run_colour(0), label="mean")
        left.set(xlabel="steps since the exposure", ylabel="gained (bits)")
        left.legend()
        right.axhline(0, color=CHANCE, lw=0.6)
        line, common = retained.decay, retained.common_K
        for chosen, alpha in ((common, 1.0), (~common, 0.25)):
            right.plot(
                retained.since_K[chosen], retained.share_K[chosen], ".", ms=2.5, color=run_colour(0), alpha=alpha
            )
        if np.isfinite(line.constant):
            ends = retained.since_K[common][[0, -1]]
            right.plot(
                ends, line.intercept - line.constant * np.log(ends), color=run_colour(1),
                label=f"decay constant {line.constant:.2f}",
            )  # fmt: skip
            right.legend()
        right.set_xscale("log")
        right.set(xlabel="steps since the last gain", ylabel="share of the gain left")

    return drawn(draw, (2 * WIDTH, 2.2))
