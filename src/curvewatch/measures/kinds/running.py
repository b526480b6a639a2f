"""Kinds of curves while a run goes on: from a few sums a token, not from its whole curve. Suffix: N tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.kinds import trends
from curvewatch.measures.kinds.rho1 import NATS_PER_BIT, RHO1, Rho1Classes, sorted_by
from curvewatch.measures.kinds.trends import TRENDS, UNKNOWN

# Sums of squares tell no spread below this share of them; a line that is as flat as rounding is flat.
ROUNDING = 1e-13


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


class RunningTrends:
    """The trends of all rows so far from one step on, over the rows' numbers: what `trend_classes` would give for them.

    Args:
        n_tokens: N.
        from_step: Checkpoint j is the first row at or after this step.

    Raises:
        ImportError: Without scipy (`curvewatch[analysis]`).
    """

    def __init__(self, n_tokens: int, from_step: int) -> None:
        trends.check_scipy()
        self._from_step, self._rows = from_step, 0
        self._first_N, self._last_N, self._bits_N, self._sum_N, self._squares_N, self._moment_N = (
            np.zeros(n_tokens) for _ in range(6)
        )

    def update(self, step: int, surprisal_N: ArrayLike) -> None:
        """Takes the next row, bits."""
        if step < self._from_step:
            return
        self._last_N = np.array(surprisal_N, np.float64)
        if self._rows == 0:
            self._first_N = self._last_N
        with np.errstate(all="ignore"):  # what is not finite is not known from here on, in any row
            ratio_N = np.exp2(self._last_N - self._first_N)
            self._bits_N += self._last_N
            self._sum_N += ratio_N
            self._moment_N += self._rows * ratio_N
            np.square(ratio_N, out=ratio_N)
            self._squares_N += ratio_N
        self._rows += 1

    def codes(self) -> NDArray[np.int8] | None:
        """Index into `TRENDS` of each token now; None before the third row, which a trend takes."""
        t = self._rows
        if t < 3:
            return None
        spread = t * (t * t - 1) / 12
        with np.errstate(all="ignore"):
            product_N = self._moment_N - (t - 1) / 2 * self._sum_N
            about_mean_N = self._squares_N - self._sum_N**2 / t
            flat_N = about_mean_N <= ROUNDING * t * self._squares_N
            slope_N = np.where(flat_N, 0.0, product_N / spread)
            left_N = about_mean_N - slope_N * product_N
            left_N[flat_N | (left_N <= ROUNDING * t * self._squares_N)] = 0
            error_N = np.sqrt(left_N / (t - 2) / spread)
            mean_N = self._bits_N / t
        known_N = np.isfinite(mean_N) & np.isfinite(slope_N)
        code_N, _ = trends.sorted_by(slope_N, error_N, t, self._first_N, self._last_N, mean_N)
        found: NDArray[np.int8] = np.where(known_N, code_N, UNKNOWN).astype(np.int8)
        return found

    def shares(self) -> dict[str, float]:
        """Share of the tokens with each trend; nothing before the third row."""
        found = self.codes()
        if found is None:
            return {}
        counts = np.bincount(found, minlength=len(TRENDS))
        return {name: float(counts[k] / max(1, len(found))) for k, name in enumerate(TRENDS) if k != UNKNOWN}
