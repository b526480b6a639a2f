"""The run step by step: mean, quantiles and accuracy over all its tokens.

Suffixes: T rows, N tokens, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.moment import Moment

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BLOCK_VALUES = 1 << 24  # read at a time: 64 MB of surprisal


@dataclass(frozen=True)
class StepSummary:
    """All tokens of a run in a few numbers a step; tokens whose surprisal is not finite are left out.

    Attributes:
        steps_T: Scored steps.
        mean_T: Mean surprisal, bits; NaN where no token's is finite.
        quantiles_QT: Its quantiles `QUANTILES`, bits.
        accuracy_T: Share of tokens that are the arg-max.
        entropy_T: Mean entropy, bits.
        nonfinite_T: Tokens whose surprisal is NaN or infinite.
    """

    steps_T: NDArray[np.int64]
    mean_T: NDArray[np.float64]
    quantiles_QT: NDArray[np.float64]
    accuracy_T: NDArray[np.float64]
    entropy_T: NDArray[np.float64]
    nonfinite_T: NDArray[np.int64]


def summarise(moment: Moment, progress: Callable[[int, int], None] | None = None) -> StepSummary:
    """Reads all rows, a few at a time.

    Args:
        moment: Whose rows.
        progress: Called with the number of rows done and in all.
    """
    t, n_tokens = moment.surprisal.shape
    mean_T, accuracy_T, entropy_T = np.full(t, np.nan), np.full(t, np.nan), np.full(t, np.nan)
    quantiles_QT, nonfinite_T = np.full((len(QUANTILES), t), np.nan), np.zeros(t, np.int64)
    stored_together = int(moment.surprisal.chunks[0])
    block = max(1, BLOCK_VALUES // max(n_tokens, 1))
    if block > stored_together:
        block -= block % stored_together
    for start in range(0, t, block):
        rows = slice(start, min(start + block, t))
        surprisal_bN, entropy_bN = moment.surprisal[rows], moment.entropy[rows]
        accuracy_T[rows] = moment.correct[rows].mean(axis=1)
        for r in range(rows.start, rows.stop):
            y_n, h_n = _finite(surprisal_bN[r - start]), _finite(entropy_bN[r - start])
            nonfinite_T[r] = n_tokens - len(y_n)
            if len(y_n):
                mean_T[r] = y_n.mean(dtype=np.float64)
                quantiles_QT[:, r] = np.quantile(y_n, QUANTILES)
            if len(h_n):
                entropy_T[r] = h_n.mean(dtype=np.float64)
        if progress is not None:
            progress(rows.stop, t)
    return StepSummary(moment.steps_T, mean_T, quantiles_QT, accuracy_T, entropy_T, nonfinite_T)


def _finite(values_N: NDArray[np.float32]) -> NDArray[np.float32]:
    finite_N = np.isfinite(values_N)
    return values_N if finite_N.all() else values_N[finite_N]
