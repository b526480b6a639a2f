"""Sums of all rises of spline curves, without looking at every observation of every curve.

Where three successive coefficients only fall, a cubic spline only falls between the two knots that they govern, and
where they only rise, its rises add up to one difference. What is between observations is computed one by one only in
the few intervals of a curve where it turns. Suffixes: T fitted steps, N curves, K splines, P pairs of observations.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.products import product
from curvewatch.measures.smoother.smoothing import Float64, Floats
from curvewatch.measures.smoother.splines import ORDER, SplineBasis

MOST_PAIRS = 64  # computed at a time, so that memory does not grow with the observations
CROWDED = 0.7  # share of the curves from which on it is faster to compute them all


class _Stretch(NamedTuple):
    """Successive observations, all but the last one between the same two knots.

    Attributes:
        splines: Those that reach them.
        rise_PK: What turns their coefficients into the differences of successive observations, float32.
        whole_K: The same for the difference of the last and the first one.
    """

    splines: slice
    rise_PK: NDArray[np.float32]
    whole_K: NDArray[np.float32]


class Rises:
    """Sums the rises of curves between successive observations.

    Args:
        basis: The splines.
        x_T: log10 of the fitted steps.
    """

    def __init__(self, basis: SplineBasis, x_T: Float64) -> None:
        basis_TK = basis(x_T)
        interval_T = basis.interval(x_T)
        self._stretches = []
        for start, end in _stretches(interval_T):
            splines = slice(int(interval_T[start]), int(interval_T[end]) + ORDER + 1)
            # Differences come out of one product: of float32 curves they would cost digits and a pass more.
            rise_PK = np.diff(basis_TK[start : end + 1, splines], axis=0)
            whole_K = basis_TK[end, splines] - basis_TK[start, splines]
            self._stretches.append(_Stretch(splines, rise_PK.astype(np.float32), whole_K.astype(np.float32)))

    def __call__(self, coefficients_KN: Floats) -> Floats:
        """Returns the sum of all rises of each curve, in the coefficients' unit, shape [N]."""
        total_N = np.zeros(coefficients_KN.shape[1], coefficients_KN.dtype)
        up_KN = coefficients_KN[1:] > coefficients_KN[:-1]
        for splines, rise_PK, whole_K in self._stretches:
            up_kN = up_KN[splines.start : splines.stop - 1]
            some_N, all_N = np.logical_or.reduce(up_kN, axis=0), np.logical_and.reduce(up_kN, axis=0)
            c_KN = coefficients_KN[splines]
            total_N += product(whole_K[None], c_KN)[0] * all_N
            some_N ^= all_N
            turning = np.flatnonzero(some_N)
            if turning.size > CROWDED * total_N.size:
                rises_PN = product(rise_PK, c_KN)
                np.maximum(rises_PN, 0.0, out=rises_PN)
                total_N += rises_PN.sum(axis=0) * some_N
            elif turning.size:
                rises_PN = product(rise_PK, c_KN.take(turning, axis=1))
                np.maximum(rises_PN, 0.0, out=rises_PN)
                total_N[turning] += rises_PN.sum(axis=0)
        return total_N


def _stretches(interval_T: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """First and last observation of each stretch; one begins where another ends."""
    begins = np.flatnonzero(np.diff(interval_T, prepend=-1))
    for start, end in pairwise([*begins.tolist(), interval_T.size - 1]):
        for first in range(start, end, MOST_PAIRS):
            yield first, min(first + MOST_PAIRS, end)
