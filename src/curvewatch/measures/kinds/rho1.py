"""The four classes of Rho-1: tokens whose loss falls, rises, stays low, or stays high.

Source: Lin et al. (2024), "Rho-1: Not All Tokens Are What You Need", appendix D.1. A straight line is fitted to the
token's loss (in nats) over checkpoints by least squares; dL is its change from the first to the last. dL < -0.2: H->L;
dL > 0.2: L->H; else L->L where the last loss is at most the mean of all tokens at the last checkpoint, and H->H where
it is above. Suffixes: T rows, N tokens, n of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.kinds.axis import axis_of

RHO1 = ("H->L", "L->H", "L->L", "H->H", "unknown")
"""Falling, rising, low throughout, high throughout; unknown: a row that is not finite."""
CHANGE_NATS = 0.2
NATS_PER_BIT = float(np.log(2))
UNKNOWN = RHO1.index("unknown")


@dataclass(frozen=True)
class Rho1Classes:
    """The class of each token.

    Attributes:
        codes_N: Index into `RHO1`, int8.
        change_N: Change of the fitted line from the first to the last row, nats; NaN where unknown.
        mean_nats: Mean loss of all tokens at the last row: what divides low from high.
        axis: What the line was fitted over.
    """

    codes_N: NDArray[np.int8]
    change_N: NDArray[np.float64]
    mean_nats: float
    axis: str

    @property
    def names(self) -> NDArray[Any]:
        """The classes as texts, shape [N]."""
        return np.array(RHO1, object)[self.codes_N]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the tokens in each class."""
        counts = np.bincount(self.codes_N, minlength=len(RHO1))
        return {name: float(count) / max(1, len(self.codes_N)) for name, count in zip(RHO1, counts, strict=True)}


def rho1_classes(surprisal_TN: CurvesLike | ArrayLike, steps: ArrayLike, *, axis: str = "row") -> Rho1Classes:
    """Sorts tokens into the classes of Rho-1.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token]: an array or something that is read in blocks.
        steps: Training steps of the rows, increasing.
        axis: What the lines are fitted over; one of `AXES`.

    Raises:
        ValueError: If there are fewer than two rows on the axis, shapes don't fit, or there is no such axis.
    """
    curves_TN = blocks.as_curves(surprisal_TN)
    x_T, rows = axis_of(blocks.check_curves(curves_TN, steps), axis)
    if len(x_T) < 2:
        raise ValueError(f"steps: {len(x_T)} on the axis {axis!r}; a line takes at least two.")
    n_tokens = curves_TN.shape[1]
    change_N, last_N = np.full(n_tokens, np.nan), np.full(n_tokens, np.nan)
    u_T = x_T - x_T.mean()
    weight_T = u_T * (x_T[-1] - x_T[0]) / (u_T @ u_T)
    for tokens in blocks.token_blocks(curves_TN, None):
        nats_Tn = np.asarray(curves_TN[:, tokens], np.float64)[rows] * NATS_PER_BIT
        known_n = np.isfinite(nats_Tn).all(axis=0)
        with np.errstate(invalid="ignore"):
            change_N[tokens] = np.where(known_n, weight_T @ nats_Tn, np.nan)
        last_N[tokens] = nats_Tn[-1]
    return sorted_by(change_N, last_N, axis)


def sorted_by(change_N: NDArray[np.float64], last_N: NDArray[np.float64], axis: str) -> Rho1Classes:
    """The classes, from each line's change and the last loss, both in nats; NaN in the former where unknown."""
    finite = np.isfinite(last_N)
    mean = float(last_N[finite].mean()) if finite.any() else float("nan")
    codes_N = np.where(last_N <= mean, RHO1.index("L->L"), RHO1.index("H->H"))
    codes_N[change_N < -CHANGE_NATS] = RHO1.index("H->L")
    codes_N[change_N > CHANGE_NATS] = RHO1.index("L->H")
    codes_N[np.isnan(change_N)] = UNKNOWN
    return Rho1Classes(codes_N.astype(np.int8), change_N, mean, axis)
