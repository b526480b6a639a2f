"""Correlations between runs, over tokens that arrive in blocks.

Pearson's r from sums that are updated block by block, so no column is ever kept whole. A token counts for a pair of
runs when both values are finite. Suffixes: K things correlated (steps, or measures), R runs, N tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoothing import Float64


class PairwiseCorrelation:
    """Sums for the correlation of each of K quantities between each two of R runs.

    Attributes:
        count_KRR: Tokens counted for each pair.
    """

    def __init__(self, n_quantities: int, n_runs: int) -> None:
        """Starts with no tokens."""
        shape = (n_quantities, n_runs, n_runs)
        self.count_KRR = np.zeros(shape)
        self._x, self._y, self._xx, self._xy, self._yy = (np.zeros(shape) for _ in range(5))
        self._shift_KR1: Float64 | None = None

    def update(self, values_KRN: NDArray[Any]) -> None:
        """Adds a block of tokens.

        Args:
            values_KRN: The quantities in each run; NaN or infinity where there is none.
        """
        finite_KRN = np.isfinite(values_KRN)
        if self._shift_KR1 is None:
            # Sums about a typical value keep their digits; which value does not matter.
            count_KR1 = np.maximum(finite_KRN.sum(axis=2, keepdims=True), 1)
            self._shift_KR1 = np.where(finite_KRN, values_KRN, 0.0).sum(axis=2, keepdims=True) / count_KR1
        x_KRN = np.where(finite_KRN, values_KRN - self._shift_KR1, 0.0)
        one_KRN = finite_KRN.astype(np.float64)
        one_KNR, x_KNR = one_KRN.swapaxes(1, 2), x_KRN.swapaxes(1, 2)
        square_KRN = np.square(x_KRN)
        self.count_KRR += one_KRN @ one_KNR
        self._x += x_KRN @ one_KNR
        self._y += one_KRN @ x_KNR
        self._xx += square_KRN @ one_KNR
        self._yy += one_KRN @ square_KRN.swapaxes(1, 2)
        self._xy += x_KRN @ x_KNR

    def result(self) -> Float64:
        """Returns r, shape [K, R, R]; NaN with fewer than two tokens, or where all values are the same."""
        with np.errstate(invalid="ignore", divide="ignore"):
            n = self.count_KRR
            variance_x, variance_y = self._xx - self._x**2 / n, self._yy - self._y**2 / n
            r = (self._xy - self._x * self._y / n) / np.sqrt(variance_x * variance_y)
        # Where nothing varies, rounding leaves some 1e-16 of the sum of squares.
        varies = (variance_x > 1e-14 * self._xx) & (variance_y > 1e-14 * self._yy)
        return np.where((n >= 2) & varies, np.clip(r, -1.0, 1.0), np.nan)
