"""The three trends of Xia et al.: tokens whose perplexity still falls, stagnates, or rises, from some checkpoint on.

Source: Xia et al. (2023), "Training Trajectories of Language Models Across Scales". From checkpoint j on, PPL_i / PPL_j
is regressed on i - j. Upward: the slope is above 0 with p < 0.05 (two-sided t test); downward: below 0 with p < 0.05;
stagnated: neither, and both PPL_j and PPL_n lie within 5 % of the geometric mean from j on. The rest is unclassified.
Suffixes: T rows from the first on, N tokens, n of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.kinds.axis import axis_of

TRENDS = ("upward", "downward", "stagnated", "unclassified", "unknown")
SIGNIFICANT = 0.05
WITHIN = 0.05
UNKNOWN = TRENDS.index("unknown")


@dataclass(frozen=True)
class TrendClasses:
    """The trend of each token.

    Attributes:
        codes_N: Index into `TRENDS`, int8.
        slope_N: Of the line, in PPL_i / PPL_j for each unit of the axis; NaN where unknown.
        p_N: Two-sided p of the slope.
        axis: What the line was fitted over.
        from_step: The step of checkpoint j.
    """

    codes_N: NDArray[np.int8]
    slope_N: NDArray[np.float64]
    p_N: NDArray[np.float64]
    axis: str
    from_step: float

    @property
    def names(self) -> NDArray[Any]:
        """The trends as texts, shape [N]."""
        return np.array(TRENDS, object)[self.codes_N]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the tokens with each trend."""
        counts = np.bincount(self.codes_N, minlength=len(TRENDS))
        return {name: float(count) / max(1, len(self.codes_N)) for name, count in zip(TRENDS, counts, strict=True)}


def trend_classes(
    surprisal_TN: CurvesLike | ArrayLike, steps: ArrayLike, *, from_step: float = 0, axis: str = "row"
) -> TrendClasses:
    """Sorts tokens by the trend of their perplexity.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token].
        steps: Training steps of the rows, increasing.
        from_step: Checkpoint j is the first row at or after this step.
        axis: What the line is fitted over; one of `AXES`.

    Raises:
        ValueError: If fewer than three rows are left, shapes don't fit, or there is no such axis.
        ImportError: Without scipy (`curvewatch[analysis]`).
    """
    check_scipy()
    curves_TN = blocks.as_curves(surprisal_TN)
    steps_T = blocks.check_curves(curves_TN, steps)
    start = int(np.searchsorted(steps_T, from_step, side="left"))
    x_T, rows = axis_of(steps_T[start:], axis)
    t = len(x_T)
    if t < 3:
        raise ValueError(
            f"from_step={from_step}: {t} rows are left on the axis {axis!r}; a trend takes at least three."
        )
    n_tokens = curves_TN.shape[1]
    slope_N, p_N = np.full(n_tokens, np.nan), np.full(n_tokens, np.nan)
    codes_N = np.full(n_tokens, UNKNOWN, np.int8)
    u_T = x_T - x_T.mean()
    spread = u_T @ u_T
    for tokens in blocks.token_blocks(curves_TN, None):
        bits_Tn = np.asarray(curves_TN[:, tokens], np.float64)[start:][rows]
        # Ratios of perplexities are powers of differences, which do not overflow where perplexities would.
        with np.errstate(all="ignore"):
            ratio_Tn = np.exp2(bits_Tn - bits_Tn[0])
            slope_n = u_T @ ratio_Tn / spread
            residual_Tn = ratio_Tn - ratio_Tn.mean(axis=0) - u_T[:, None] * slope_n
            error_n = np.sqrt(np.square(residual_Tn).sum(axis=0) / (t - 2) / spread)
        known_n = np.isfinite(bits_Tn).all(axis=0) & np.isfinite(slope_n)
        code_n, p_n = sorted_by(slope_n, error_n, t, bits_Tn[0], bits_Tn[-1], bits_Tn.mean(axis=0))
        codes_N[tokens] = np.where(known_n, code_n, UNKNOWN)
        slope_N[tokens], p_N[tokens] = np.where(known_n, slope_n, np.nan), np.where(known_n, p_n, np.nan)
    return TrendClasses(codes_N, slope_N, p_N, axis, float(steps_T[start:][rows][0]))


def sorted_by(
    slope_n: NDArray[np.float64],
    error_n: NDArray[np.float64],
    n_rows: int,
    first_n: NDArray[np.floating],
    last_n: NDArray[np.floating],
    mean_n: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The trend of each token whose rows are all finite, as an index into `TRENDS`, and the slope's p.

    Args:
        slope_n: Of the line through PPL_i / PPL_j.
        error_n: Standard error of the slope.
        n_rows: Rows that the line goes through, at least three.
        first_n: Surprisal at checkpoint j, bits.
        last_n: At the last row.
        mean_n: Over the rows.
    """
    from scipy.stats import t as student

    with np.errstate(all="ignore"):
        p_n = 2 * student.sf(np.abs(slope_n) / error_n, n_rows - 2)
        # A perfect line has no error: it is significant, unless it is flat.
        p_n = np.where(error_n == 0, np.where(slope_n == 0, 1.0, 0.0), p_n)
        near_n = np.ones(len(slope_n), bool)
        for end_n in (first_n, last_n):
            near_n &= np.abs(np.exp2(end_n - mean_n) - 1) <= WITHIN
    code_n = np.where(near_n, TRENDS.index("stagnated"), TRENDS.index("unclassified"))
    sure_n = p_n < SIGNIFICANT
    code_n[sure_n & (slope_n > 0)] = TRENDS.index("upward")
    code_n[sure_n & (slope_n < 0)] = TRENDS.index("downward")
    return code_n, p_n


def check_scipy() -> None:
    """Refuses to go on without what the p of a slope takes.

    Raises:
        ImportError: Without scipy (`curvewatch[analysis]`).
    """
    if find_spec("scipy") is None:
        raise ImportError("trends need scipy: pip install 'curvewatch[analysis]'.")
