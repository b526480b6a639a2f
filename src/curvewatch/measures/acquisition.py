"""Age of acquisition: when the smoothed curve first gets halfway from chance to its own minimum.

Source: Chang, Tu & Bergen (2024), on 1000 points evenly spaced in log10 step between the first and the last scored
step after step 0. Suffixes: N tokens, K splines, G grid points.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from curvewatch.measures.forgetting import at_most
from curvewatch.measures.smoother.products import product
from curvewatch.measures.smoother.smoothing import Fit, Float64, Floats
from curvewatch.measures.smoother.splines import ORDER, SplineBasis

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
        interval_G = basis.interval(self.x_G)
        starts = np.searchsorted(interval_G, np.arange(interval_G[-1] + 2))
        self._starts_J = starts[:-1]
        self._bases = [
            np.ascontiguousarray(basis_GK[start:end, j : j + ORDER + 1])
            for j, (start, end) in enumerate(pairwise(starts))
        ]
        # One point of each interval that has any: the lowest of them is at least as high as the lowest of all.
        self._some_SK = basis_GK[[start for start, end in pairwise(starts) if start < end]]

    def search(self, fit: Fit, chance: float | Float64, *, paper: bool = False) -> Acquisition:
        """Returns the age of acquisition of a block of fitted curves.

        Args:
            fit: The block.
            chance: log2 of the vocabulary size, bits; one number, or one for each curve.
            paper: A token never below chance gets the last step as its age, as in the released code; the status
                still says `never`.
        """
        curves = _Intervals(fit.coefficients_KN, self._bases, self._some_SK)
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
        some_SK: All splines at a few of the points.
    """

    def __init__(self, coefficients_KN: Floats, bases: list[Floats], some_SK: Floats) -> None:
        self._c_KN, self._bases, self._some_SK = coefficients_KN, bases, some_SK
        j = len(bases)
        # The two inner ordinates lie between the two inner coefficients, a third of the way from either; the outer
        # ones, at the knots, halfway between the inner ordinates on both sides.
        third_JN = np.diff(coefficients_KN[: j + 3], axis=0)
        third_JN *= 1 / 3
        after_JN = coefficients_KN[: j + 2] + third_JN
        before_JN = coefficients_KN[1 : j + 3] - third_JN
        low_JN = np.minimum(after_JN[1 : j + 1], before_JN[1 : j + 1])
        knots_JN = before_JN[: j + 1] + after_JN[1 : j + 2]
        knots_JN *= 0.5
        np.minimum(low_JN, knots_JN[:j], out=low_JN)
        np.minimum(low_JN, knots_JN[1:], out=low_JN)
        # With room for rounding, here and in the values at the points.
        low_JN -= 8 * np.finfo(low_JN.dtype).eps * np.abs(coefficients_KN).max(axis=0, initial=0.0)
        self._low_JN: Floats = low_JN

    def minimum(self) -> Floats:
        """The lowest value at any point of the grid, shape [N]."""
        best_N: Floats = product(self._some_SK, self._c_KN).min(axis=0)
        for j, basis_P4 in enumerate(self._bases):
            lower = np.flatnonzero(self._low_JN[j] < best_N)
            if lower.size and len(basis_P4):
                best_N[lower] = np.minimum(best_N[lower], self._values(j, lower).min(axis=0))
        return best_N

    def first_at_or_below(self, level_N: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where each curve first gets down to its level: the interval and the point in it; (0, 0) if nowhere."""
        level_N = at_most(level_N, self._c_KN.dtype)
        interval_N, inside_N = np.zeros(level_N.size, np.intp), np.zeros(level_N.size, np.intp)
        open_JN = self._low_JN <= level_N
        found_N = np.zeros(level_N.size, bool)
        for j, basis_P4 in enumerate(self._bases):
            tokens = np.flatnonzero(open_JN[j] > found_N)
            if not tokens.size or not len(basis_P4):
                continue
            n_points = len(basis_P4)
            # The first point below is the one with most points behind it.
            behind_P1 = np.arange(n_points, 0, -1).astype(np.min_scalar_type(n_points))[:, None]
            below_Pn = self._values(j, tokens) <= level_N[tokens]
            behind_n = (below_Pn.view(np.uint8) * behind_P1).max(axis=0)
            found_n = behind_n > 0
            found = tokens[found_n]
            interval_N[found], inside_N[found] = j, n_points - behind_n[found_n].astype(np.intp)
            found_N[found] = True
        return interval_N, inside_N

    def _values(self, j: int, tokens: NDArray[np.intp]) -> Floats:
        """The curves of `tokens` at the grid points of an interval, shape [points, n]."""
        return product(self._bases[j], self._c_KN[j : j + ORDER + 1].take(tokens, axis=1))
