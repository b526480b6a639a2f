"""Age of acquisition: when the smoothed curve first gets halfway from chance to its own minimum.

Source: Chang, Tu & Bergen (2024), on 1000 points evenly spaced in log10 step between the first and the last scored
step after step 0. Suffixes: N tokens, K splines, G grid points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoothing import Fit, Float64, Floats, Smoother

ACQUISITION_STATUS = ("learned", "left_censored", "never", "unfitted")
LEARNED, LEFT_CENSORED, NEVER, UNFITTED = range(4)

GRID_POINTS = 1000
BANDS = 25  # of 40 neighbouring grid points: few enough splines reach into one, and its minimum says where to look


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

    Attributes:
        x_G: log10 steps.
    """

    def __init__(self, smoother: Smoother) -> None:
        """Evaluates the splines on the grid.

        Args:
            smoother: The smoother of the schedule.
        """
        self.x_G = np.linspace(smoother.basis.lower, smoother.basis.upper, GRID_POINTS)
        basis_GK = smoother.basis(self.x_G).astype(smoother.dtype)
        self._bands: list[tuple[slice, Floats]] = []
        for rows in np.split(basis_GK, BANDS):
            reached = np.flatnonzero(rows.any(axis=0))  # splines are local: four or five of the 25
            columns = slice(reached[0], reached[-1] + 1)
            self._bands.append((columns, np.ascontiguousarray(rows[:, columns])))

    def search(self, fit: Fit, chance: float, *, paper: bool = False) -> Acquisition:
        """Returns the age of acquisition of a block of fitted curves.

        Args:
            fit: The block.
            chance: log2 of the vocabulary size, bits.
            paper: A token never below chance gets the last step as its age, as in the released code; the status
                still says `never`.
        """
        n = fit.coefficients_KN.shape[1]
        width = GRID_POINTS // BANDS
        curves_BWN = np.empty((BANDS, width, n), fit.coefficients_KN.dtype)
        for band_WN, (columns, basis_WC) in zip(curves_BWN, self._bands, strict=True):
            np.matmul(basis_WC, fit.coefficients_KN[columns], out=band_WN)
        lowest_BN = curves_BWN.min(axis=1)
        # Everything is compared about the curve's centre, where float32 keeps its digits.
        minimum_N = lowest_BN.min(axis=0)
        centre_N = fit.centre_N.astype(np.float64)
        threshold_N = 0.5 * chance + 0.5 * (minimum_N + centre_N)
        never_N = threshold_N >= chance
        relative_N = threshold_N - centre_N

        def first(level_N: Float64) -> NDArray[np.intp]:
            band_N = (lowest_BN <= level_N).argmax(axis=0)
            inside_WN = curves_BWN[band_N, :, np.arange(n)].T
            first_N: NDArray[np.intp] = band_N * width + (inside_WN <= level_N).argmax(axis=0)
            return first_N

        if curves_BWN.dtype == np.float64:
            first_N = first(relative_N)
            doubtful_N = np.zeros(n, bool)
        else:
            error_N = 32 * np.finfo(np.float32).eps * fit.scale_N.astype(np.float64)
            first_N = first(relative_N + error_N)
            doubtful_N = first(relative_N - error_N) != first_N
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
