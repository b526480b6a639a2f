"""Mean and spread of each token over the last quarter of training so far, kept up to date.

At the end of a planned run these are final surprisal and within-run variability. The window moves: a row joins it at
each observation, and those that fall behind three quarters of the way leave it again. Suffix: N tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.smoothing import Floats
from curvewatch.measures.surprisal import FINAL_SHARE

BLOCK = 1 << 15  # tokens worked on at a time: what is in between stays in a core's cache
KEPT_BYTES = 8 << 20  # of rows in the window; those of a small set fit, and nothing is read twice

ReadRow = Callable[[int], NDArray[np.float32]]


class RecentSurprisal:
    """Sums over the rows with step > 0.75 * the current step.

    A row that leaves the window and is not in memory any more is read once again. Memory: 18 bytes a token, and at
    most `KEPT_BYTES` of rows.

    Args:
        n_tokens: N.
        read_row: Surprisal at an earlier step, bits, shape [N]; what it raises is passed on.
        most_kept: Rows kept in memory; None for as many as `KEPT_BYTES` hold.
    """

    def __init__(self, n_tokens: int, read_row: ReadRow, most_kept: int | None = None) -> None:
        self._read_row = read_row
        self._most_kept = KEPT_BYTES // (4 * max(1, n_tokens)) if most_kept is None else most_kept
        self._kept: deque[tuple[int, Floats]] = deque()
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
        # Not the newest, which would be gone before it is their turn to leave.
        if len(self._kept) < self._most_kept:
            self._kept.append((step, surprisal_N))
        while self._steps[0] <= FINAL_SHARE * step and len(self._steps) > 1:
            first = self._steps[0]
            kept = self._kept and self._kept[0][0] == first
            self._add(self._kept.popleft()[1] if kept else self._read_row(first), -1)
            self._steps.popleft()

    def mean(self) -> NDArray[np.float32]:
        """Mean surprisal in the window, bits, shape [N]; NaN where a value is NaN or infinite, and without rows."""
        mean_N = np.full(self._sum_N.size, np.nan, np.float32)
        if self.rows:
            for part in self._parts():
                np.copyto(mean_N[part], self._sum_N[part] / self.rows, "same_kind", where=self._missing_N[part] == 0)
        return mean_N

    def variability(self) -> NDArray[np.float32]:
        """Population standard deviation in the window, bits, shape [N]; NaN as above, and with fewer than two rows."""
        deviation_N = np.full(self._sum_N.size, np.nan, np.float32)
        if self.rows >= 2:
            for part in self._parts():
                variance_n = self._squares_N[part] / self.rows
                variance_n -= np.square(self._sum_N[part] / self.rows)
                np.maximum(variance_n, 0.0, out=variance_n)
                np.copyto(deviation_N[part], np.sqrt(variance_n), "same_kind", where=self._missing_N[part] == 0)
        return deviation_N

    def _add(self, surprisal_N: Floats, sign: int) -> None:
        for part in self._parts():
            values_n = surprisal_N[part].astype(np.float64)
            finite_n = np.isfinite(values_n)
            if not finite_n.all():
                self._missing_N[part] += (sign * ~finite_n).astype(np.int16)
                values_n[~finite_n] = 0.0
            if sign > 0:
                self._sum_N[part] += values_n
                self._squares_N[part] += np.square(values_n)
            else:
                self._sum_N[part] -= values_n
                self._squares_N[part] -= np.square(values_n)

    def _parts(self) -> Iterator[slice]:
        n = self._sum_N.size
        return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))
