"""Correlations between runs, over tokens that arrive in blocks.

Pearson's r from moments that are updated block by block, so no column is ever kept whole. A token counts for a pair of
runs when both values are finite. Suffixes: K things correlated (steps, or measures), R runs, N tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.smoothing import Float64


class PairwiseCorrelation:
    """Moments for the correlation of each of K quantities between each two of R runs.

    Attributes:
        count_KRR: Tokens counted for each pair.
    """

    def __init__(self, n_quantities: int, n_runs: int) -> None:
        """Starts with no tokens."""
        shape = (n_quantities, n_runs, n_runs)
        self.count_KRR = np.zeros(shape)
        # Mean and sum of squared deviations of the row's run, and its sum of products with the column's run. The
        # column's own mean and squares over the same tokens are the transposed entries.
        self._mean_KRR, self._squares_KRR, self._products_KRR = (np.zeros(shape) for _ in range(3))

    def update(self, values_KRN: NDArray[Any]) -> None:
        """Adds a block of tokens.

        Args:
            values_KRN: The quantities in each run; NaN or infinity where there is none.
        """
        finite_KRN = np.isfinite(values_KRN)
        one_KRN = finite_KRN.astype(np.float64)
        x_KRN = np.where(finite_KRN, values_KRN, 0.0)
        # Sums about the block's own mean keep their digits, whatever the level of the values.
        shift_KR1 = x_KRN.sum(axis=2, keepdims=True) / np.maximum(one_KRN.sum(axis=2, keepdims=True), 1)
        x_KRN = (x_KRN - shift_KR1) * one_KRN
        one_KNR = one_KRN.swapaxes(1, 2)
        count_KRR = one_KRN @ one_KNR
        some_KRR = np.maximum(count_KRR, 1)
        sum_KRR = x_KRN @ one_KNR
        mean_KRR = sum_KRR / some_KRR
        squares_KRR = np.square(x_KRN) @ one_KNR - sum_KRR * mean_KRR
        products_KRR = x_KRN @ x_KRN.swapaxes(1, 2) - sum_KRR * _transposed(mean_KRR)
        # Two sets of tokens become one (Chan, Golub & LeVeque 1979).
        total_KRR = self.count_KRR + count_KRR
        weight_KRR = self.count_KRR * count_KRR / np.maximum(total_KRR, 1)
        step_KRR = mean_KRR + shift_KR1 - self._mean_KRR
        self._squares_KRR += squares_KRR + step_KRR**2 * weight_KRR
        self._products_KRR += products_KRR + step_KRR * _transposed(step_KRR) * weight_KRR
        self._mean_KRR += step_KRR * count_KRR / np.maximum(total_KRR, 1)
        self.count_KRR = total_KRR

    def result(self) -> Float64:
        """Returns r, shape [K, R, R]; NaN with fewer than two tokens, or where all values are the same."""
        # Where nothing varies, rounding of the values' own level is what is left.
        rounding_KRR = self.count_KRR * (4 * np.finfo(np.float64).eps * self._mean_KRR) ** 2
        varies_KRR = self._squares_KRR > rounding_KRR
        with np.errstate(invalid="ignore", divide="ignore"):
            r_KRR = self._products_KRR / np.sqrt(self._squares_KRR * _transposed(self._squares_KRR))
        usable_KRR = (self.count_KRR >= 2) & varies_KRR & _transposed(varies_KRR)
        return np.where(usable_KRR, np.clip(r_KRR, -1.0, 1.0), np.nan)


def _transposed(values_KRR: NDArray[Any]) -> NDArray[Any]:
    return values_KRR.swapaxes(1, 2)


def pearson(a_N: NDArray[Any], b_N: NDArray[Any]) -> float:
    """Pearson's r over the tokens at which both are finite; NaN where it is none."""
    known = np.isfinite(a_N) & np.isfinite(b_N)
    if known.sum() < 2:
        return float("nan")
    a, b = (np.asarray(one, np.float64)[known] for one in (a_N, b_N))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")
