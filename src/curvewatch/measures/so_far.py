"""The measures of the smoothed curves as far as a run has come, for every token at once.

The same definitions as in `measure_curves`, on the curves of a `GrowingFit`. Before the end they are provisional: a
token's minimum may still be to come, and with it its halfway threshold and its age of acquisition. Suffix: N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.acquisition import LEARNED, LEFT_CENSORED, NEVER, UNFITTED, AcquisitionGrid
from curvewatch.measures.forgetting import WALKED_VALUES, threshold_events
from curvewatch.measures.rises import Rises
from curvewatch.measures.smoother.growing import GrowingFit, GrowingSolver
from curvewatch.measures.smoother.products import product
from curvewatch.measures.smoother.smoothing import Floats

# Tokens at a time: few enough for a core's cache, enough that Python's share is small.
BLOCK = 16_384
ROUNDING = 1e-5  # bits: what is no further below chance does not count, since float32 may have put it there

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class SoFar:
    """The smoothed measures after some step, one value a token.

    Attributes:
        step: The last step that is in them.
        n_fitted: Observations that are in them.
        age_N: Halfway age of acquisition, log10 step, NaN where there is none; float32.
        status_N: Index into `ACQUISITION_STATUS`.
        forgettability_N: Sum of all rises between successive observations, bits; NaN without a fit; float32.
        events_N: Times that the smoothed curve rose from its halfway threshold to more than a margin above it.
        lambda_index_N: Which of `LAMBDAS` each curve got.
    """

    step: int
    n_fitted: int
    age_N: NDArray[np.float32]
    status_N: NDArray[np.int8]
    forgettability_N: NDArray[np.float32]
    events_N: NDArray[np.int16]
    lambda_index_N: NDArray[np.int8]

    @property
    def acquired_N(self) -> NDArray[np.bool_]:
        """Tokens whose curve has come halfway."""
        acquired_N: NDArray[np.bool_] = (self.status_N == LEARNED) | (self.status_N == LEFT_CENSORED)
        return acquired_N


def measure_so_far(growing: GrowingFit, *, chance: float, margin: float = 1.0, run: Map = map) -> SoFar:
    """Returns the measures of all curves so far.

    Args:
        growing: The curves, with at least three observations after step 0.
        chance: log2 of the number of the model's outputs, bits.
        margin: Hysteresis of the events, bits.
        run: Applies a function to blocks of tokens, as `map` does; a thread pool's `map` shares them out.

    Raises:
        ValueError: With too few observations.
    """
    return _SoFarMeasurer(growing, growing.solver(), chance, margin).measure(run)


class _SoFarMeasurer:
    def __init__(self, growing: GrowingFit, solver: GrowingSolver, chance: float, margin: float) -> None:
        self._growing, self._solver, self._chance, self._margin = growing, solver, chance, margin
        basis, x_T = growing.basis, np.log10(np.array(growing.steps, np.float64))
        self._basis_TK: Floats = basis(x_T).astype(np.float32)
        self._rises = Rises(basis, x_T)
        self._grid = AcquisitionGrid(basis, float(x_T[-1]), np.float32)
        n = growing.n_tokens
        self._out = SoFar(
            growing.steps[-1], len(growing.steps), np.empty(n, np.float32), np.empty(n, np.int8),
            np.empty(n, np.float32), np.empty(n, np.int16), np.empty(n, np.int8),
        )  # fmt: skip

    def measure(self, run: Map) -> SoFar:
        n = self._growing.n_tokens
        for _ in run(self._block, [slice(a, min(a + BLOCK, n)) for a in range(0, n, BLOCK)]):
            pass
        return self._out

    def _block(self, tokens: slice) -> None:
        out = self._out
        fit = self._growing.fit(self._solver, tokens)
        acquired = self._grid.search(fit, self._chance)
        rises_n = self._rises(fit.coefficients_KN)
        # An event takes a rise of more than the margin; few curves have that, and only those are computed.
        walked = np.flatnonzero(rises_n > self._margin - 1e-3)
        events_n = np.zeros(rises_n.size, np.int64)
        width = max(16, WALKED_VALUES // len(self._basis_TK))
        for start in range(0, walked.size, width):
            few = walked[start : start + width]
            curves_Tn = product(self._basis_TK, fit.coefficients_KN[:, few])
            curves_Tn += fit.centre_N[few]
            events_n[few] = threshold_events(curves_Tn, acquired.threshold_N[few], margin=self._margin)
        events_n[acquired.status_N == UNFITTED] = 0
        out.events_N[tokens] = np.minimum(events_n, np.iinfo(np.int16).max)
        at_chance_n = acquired.threshold_N > self._chance - ROUNDING
        out.age_N[tokens] = np.where(at_chance_n, math.nan, acquired.age_N)
        out.status_N[tokens] = np.where(at_chance_n, NEVER, acquired.status_N)
        out.forgettability_N[tokens] = np.where(fit.finite_N, rises_n, math.nan)
        out.lambda_index_N[tokens] = fit.lambda_index_N
