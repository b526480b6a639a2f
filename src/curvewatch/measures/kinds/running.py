"""The four classes of Rho-1 while a run goes on: from two sums a token, not from its whole curve. Suffix: N tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.kinds.rho1 import NATS_PER_BIT, RHO1, Rho1Classes, sorted_by


class RunningRho1:
    """The classes of all rows so far, over the rows' numbers (axis "row"): what `rho1_classes` would give for them.

    Args:
        n_tokens: N.
    """

    def __init__(self, n_tokens: int) -> None:
        self._rows = 0
        self._sum_N = np.zeros(n_tokens)
        self._moment_N = np.zeros(n_tokens)
        self._last_N = np.full(n_tokens, np.nan, np.float32)

    def update(self, surprisal_N: ArrayLike) -> None:
        """Takes the next row, bits."""
        self._last_N = np.array(surprisal_N, np.float32)
        self._sum_N += self._last_N
        with np.errstate(invalid="ignore"):  # infinite: not known from here on, in any row
            self._moment_N += self._rows * self._last_N.astype(np.float64)
        self._rows += 1

    def classes(self) -> Rho1Classes | None:
        """The classes now; None before the second row, which a line takes."""
        t = self._rows
        if t < 2:
            return None
        # Slope times its length: sum of (k - (t - 1) / 2) y_k over t (t + 1) / 12, since k runs from 0 to t - 1.
        with np.errstate(invalid="ignore"):
            change_N: NDArray[np.float64] = (self._moment_N - (t - 1) / 2 * self._sum_N) * (12 / (t * (t + 1)))
        change_N *= NATS_PER_BIT
        change_N[~np.isfinite(self._sum_N)] = np.nan
        return sorted_by(change_N, self._last_N.astype(np.float64) * NATS_PER_BIT, "row")

    def shares(self) -> dict[str, float]:
        """Share of the tokens in each of the four classes; nothing before the second row."""
        found = self.classes()
        return {} if found is None else {name: share for name, share in found.shares.items() if name in RHO1[:-1]}
