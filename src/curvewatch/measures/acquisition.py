"""Age of acquisition: when the smoothed curve first gets halfway from chance to its own minimum.

Source: Chang, Tu & Bergen (2024), on 1000 points evenly spaced in log10 step between the first and the last scored
step after step 0. Suffixes: N tokens, K splines, G grid points.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from curvewatch.measures.smoothing import Fit, Float64, Floats
from curvewatch.measures.splines import ORDER, SplineBasis

ACQUISITION_STATUS = ("learned", "left_censored", "never", "unfitted")
LEARNED, LEFT_CENSORED, NEVER, UNFITTED = range(4)

GRID_POINTS = 1000


class Acquisition(NamedTuple):
    """When each token of a block was acquired.

    Attributes:
        age_N: log10 step of the first grid point at or below the threshold. Where the status is `left_censored` this
            is the first scored step, an upper bound; where it is `never` or `unfitted`, NaN.
        status_N: Index into `ACQUISITION_STATUS`.
        threshold_N: Halfway between chance and the minimum, bits.
        minimum_N: Minimum of the smoothed curve over the grid, bits.
        doubtful_N: Rounding could have moved the grid point or the status (only in float32).
    """

    age_N: Float64
    status_N: NDArray[np.int8]
    threshold_N: Float64
    minimum_N: Float64
    doubtful_N: NDArray[np.bool_]


class AcquisitionGrid:
    """The grid of one schedule, on which any block of fitted curves can be searched.

    Only a few of the thousand points are computed for each curve: between two knots a spline never leaves the range of
    its four Bezier ordinates there, so most intervals are ruled out by them.

    Attributes:
        x_G: log10 steps.
    """

    def __init__(self, basis: SplineBasis, last_x: float | None = None, dtype: DTypeLike = np.float64) -> None:
        """Evaluates the splines on the grid.

        Args:
            basis: The splines of the schedule.
            last_x: log10 of the last fitted step, if that is not where the last knot lies.
            dtype: Of the coefficients to come.
        """
        self.x_G = np.linspace(basis.lower, basis.upper if last_x is None else last_x, GRID_POINTS)
        basis_GK = basis(self.x_G).astype(dtype)
        # By knot interval: the points' place in the grid, and the values of the four splines that are not zero.
        u_G = (self.x_G - basis.lower) / (basis.spacing if basis.spacing > 0 else 1.0)
        interval_G = np.clip(u_G.astype(np.intp), 0, basis.n_splines - ORDER - 1)
        starts = np.searchsorted(interval_G, np.arange(interval_G[-1] + 2))
        self._starts_J = starts[:-1]
        self._bases = [
            np.ascontiguousarray(basis_GK[start:end, j : j + ORDER + 1])
            for j, (start, end) in enumerate(pairwise(starts))
        ]

    def search(self, fit: Fit, chance: float, *, paper: bool = False) -> Acquisition:
        """Returns the age of acquisition of a block of fitted curves.

        Args:
            fit: The block.
            chance: log2 of the vocabulary size, bits.
            paper: A token never below chance gets the last step as its age, as in the released code; the status
                still says `never`.
        """
        curves = _Intervals(fit.coefficients_KN, self._bases)
        # Everything is compared about the curve's centre, where float32 keeps its digits.
        minimum_N = curves.minimum()
        centre_N = fit.centre_N.astype(np.float64)
        threshold_N = 0.5 * chance + 0.5 * (minimum_N + centre_N)
        never_N = threshold_N >= chance
        relative_N = threshold_N - centre_N
        error_N = 32 * np.finfo(np.float32).eps * fit.scale_N.astype(np.float64)
        if fit.coefficients_KN.dtype == np.float64 or not error_N.any():
            first_N = self._first(curves, relative_N)
            doubtful_N = np.zeros(first_N.size, bool)
        else:
            first_N = self._first(curves, relative_N + error_N)
            doubtful_N = self._first(curves, relative_N - error_N) != first_N
            doubtful_N |= np.abs(chance - threshold_N) <= error_N
        age_N = self.x_G[first_N]
        status_N = np.where(first_N == 0, LEFT_CENSORED, LEARNED).astype(np.int8)
        status_N[never_N] = NEVER
        age_N[never_N] = self.x_G[-1] if paper else np.nan
        minimum64_N: Float64 = minimum_N + centre_N
        for values_N in (age_N, threshold_N, minimum64_N):
            values_N[~fit.finite_N] = np.nan
        status_N[~fit.finite_N] = UNFITTED
        return Acquisition(age_N, status_N, threshold_N, minimum64_N, doubtful_N & fit.finite_N)

    def _first(self, curves: _Intervals, level_N: Float64) -> NDArray[np.intp]:
        interval_N, inside_N = curves.first_at_or_below(level_N)
        return self._starts_J[interval_N] + inside_N


class _Intervals:
    """A block of curves, knot interval by knot interval. Suffix: J intervals.

    Args:
        coefficients_KN: Of the curves.
        bases: For each interval, the four splines at the grid points in it.
    """

    def __init__(self, coefficients_KN: Floats, bases: list[Floats]) -> None:
        self._c_KN, self._bases = coefficients_KN, bases
        j = len(bases)
        first_JN, third_JN = coefficients_KN[:-2], coefficients_KN[2:]
        middle_JN = coefficients_KN[1:-1]
        knots_JN = (first_JN + third_JN) * (1 / 6) + middle_JN * (2 / 3)
        left_JN, right_JN = middle_JN[:j], third_JN[:j]
        low_JN = np.minimum(knots_JN[:j], knots_JN[1 : j + 1])
        # The two inner ordinates lie between the two inner coefficients, a third of the way from either.
        np.minimum(low_JN, (2 * left_JN + right_JN) * (1 / 3), out=low_JN)
        np.minimum(low_JN, (left_JN + 2 * right_JN) * (1 / 3), out=low_JN)
        # With room for rounding, here and in the values at the points.
        low_JN -= 8 * np.finfo(low_JN.dtype).eps * np.abs(coefficients_KN).max(axis=0, initial=0.0)
        self._low_JN: Floats = low_JN

    def minimum(self) -> Floats:
        """The lowest value at any point of the grid, shape [N]."""
        possible_JN = self._low_JN.copy()
        tokens = np.arange(possible_JN.shape[1])
        best_N = np.full(tokens.size, np.inf, possible_JN.dtype)
        while tokens.size:
            # Where the curve may be lowest comes first; then whatever could still be lower than what was found there.
            interval_n = possible_JN.argmin(axis=0)
            for chosen, values_Pn in self._values(interval_n, tokens):
                best_N[tokens[chosen]] = np.minimum(best_N[tokens[chosen]], values_Pn.min(axis=0))
            possible_JN[interval_n, np.arange(tokens.size)] = np.inf
            open_n = possible_JN.min(axis=0) < best_N[tokens]
            tokens, possible_JN = tokens[open_n], possible_JN[:, open_n]
        return best_N

    def first_at_or_below(self, level_N: Float64) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where each curve first gets down to its level: the interval and the point in it; (0, 0) if nowhere."""
        tokens = np.arange(level_N.size)
        interval_N, inside_N = np.zeros(level_N.size, np.intp), np.zeros(level_N.size, np.intp)
        possible_JN = self._low_JN <= level_N
        while tokens.size:
            interval_n = possible_JN.argmax(axis=0)
            there_n = possible_JN[interval_n, np.arange(tokens.size)]
            if not there_n.all():
                tokens, interval_n, possible_JN = tokens[there_n], interval_n[there_n], possible_JN[:, there_n]
            found_n = np.zeros(tokens.size, bool)
            for chosen, values_Pn in self._values(interval_n, tokens):
                below_Pn = values_Pn <= level_N[tokens[chosen]]
                found_n[chosen] = below_Pn.any(axis=0)
                inside_N[tokens[chosen]] = below_Pn.argmax(axis=0)
            interval_N[tokens[found_n]] = interval_n[found_n]
            possible_JN[interval_n, np.arange(tokens.size)] = False
            tokens, possible_JN = tokens[~found_n], possible_JN[:, ~found_n]
        return interval_N, inside_N

    def _values(self, interval_n: NDArray[np.intp], tokens: NDArray[np.intp]) -> Iterator[tuple[Any, Floats]]:
        """The curves of `tokens` at the grid points of one interval each: which of them, and values [points, n]."""
        order = np.argsort(interval_n.astype(np.int16), kind="stable")
        ends = np.searchsorted(interval_n[order], np.arange(len(self._bases) + 1))
        for j, basis_P4 in enumerate(self._bases):
            chosen = order[ends[j] : ends[j + 1]]
            if chosen.size and len(basis_P4):
                yield chosen, basis_P4 @ self._c_KN[j : j + ORDER + 1][:, tokens[chosen]]
