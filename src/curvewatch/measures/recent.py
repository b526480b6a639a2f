"""Mean and spread of each token over the last quarter of training so far, kept up to date.

At the end of a planned run these are final surprisal and within-run variability. The window moves: a row joins it at
each observation, and those that fall behind three quarters of the way leave it again. Suffix: N tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoothing import Float64, Floats
from curvewatch.measures.surprisal import FINAL_SHARE

ReadRow = Callable[[int], NDArray[np.float32]]


class RecentSurprisal:
    """Sums over the rows with step > 0.75 * the current step.

    Rows are not kept in memory: one that leaves the window is read once more. Memory: 18 bytes a token.

    Args:
        n_tokens: N.
        read_row: Surprisal at an earlier step, bits, shape [N]; what it raises is passed on.
    """

    def __init__(self, n_tokens: int, read_row: ReadRow) -> None:
        self._read_row = read_row
        # float64: what was added is taken off again, and must leave nothing behind.
        self._sum_N = np.zeros(n_tokens)
        self._squares_N = np.zeros(n_tokens)
        self._missing_N = np.zeros(n_tokens, np.int16)
        self._steps: deque[int] = deque()

    @property
    def rows(self) -> int:
        """Rows in the window."""
        return len(self._steps)

    def update(self, step: int, surprisal_N: Floats) -> None:
        """Takes the next observation.

        Args:
            step: Updates done, more than at any time before.
            surprisal_N: Surprisal, bits.
        """
        self._add(surprisal_N, +1)
        self._steps.append(step)
        while self._steps[0] <= FINAL_SHARE * step and len(self._steps) > 1:
            self._add(self._read_row(self._steps[0]), -1)
            self._steps.popleft()

    def mean(self) -> Float64:
        """Mean surprisal in the window, bits, shape [N]; NaN where a value is NaN or infinite, and without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_N: Float64 = self._sum_N / self.rows
        mean_N[self._missing_N > 0] = np.nan
        return mean_N

    def variability(self) -> Float64:
        """Population standard deviation in the window, bits, shape [N]; NaN as above, and with fewer than two rows."""
        if self.rows < 2:
            return np.full(self._sum_N.size, np.nan)
        mean_N = self.mean()
        variance_N = self._squares_N / self.rows - mean_N**2
        deviation_N: Float64 = np.sqrt(np.maximum(variance_N, 0.0))
        return deviation_N

    def _add(self, surprisal_N: Floats, sign: int) -> None:
        values_N = np.asarray(surprisal_N, np.float64)
        finite_N = np.isfinite(values_N)
        if not finite_N.all():
            self._missing_N += (sign * ~finite_N).astype(np.int16)
            values_N = np.where(finite_N, values_N, 0.0)
        self._sum_N += sign * values_N
        self._squares_N += sign * values_N**2
