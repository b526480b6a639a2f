"""The spline basis that all curves of a run share, and its roughness penalty.

Uniform cubic B-splines as pyGAM (0.9 to 0.12) builds them: the knots continue past both ends with the same spacing,
they are not clamped. (pyGAM also moves the outermost knot by 1e-9, which changes nothing between the ends.) x is log10
of the training step. Suffixes: S points, K splines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]

N_SPLINES = 25
ORDER = 3


@dataclass(frozen=True)
class SplineBasis:
    """Cubic B-splines on uniform knots between two points.

    Attributes:
        lower: x of the first knot inside, log10 of the first fitted step.
        upper: x of the last knot inside, log10 of the last fitted step.
        n_splines: K; the paper's 25, unless the end of training was not known beforehand.
    """

    lower: float
    upper: float
    n_splines: int = N_SPLINES

    @property
    def spacing(self) -> float:
        """Distance of two knots, decades."""
        return (self.upper - self.lower) / (self.n_splines - ORDER)

    def unit(self, x: ArrayLike) -> Float64:
        """Returns x rescaled so that the basis covers [0, 1].

        Args:
            x: log10 steps.
        """
        width = self.upper - self.lower
        # A single fitted step leaves no width; pyGAM takes 1 there, and so do we.
        return (np.asarray(x, np.float64) - self.lower) / (width if width > 0 else 1.0)

    def interval(self, x: ArrayLike) -> NDArray[np.intp]:
        """Returns between which two knots each point lies, from 0; that is also the first spline that reaches it."""
        u_S = (np.asarray(x, np.float64) - self.lower) / (self.spacing if self.spacing > 0 else 1.0)
        return np.clip(u_S.astype(np.intp), 0, self.n_splines - ORDER - 1)

    def __call__(self, x: ArrayLike) -> Float64:
        """Returns the value of each spline at each point, shape [S, K].

        Args:
            x: log10 steps inside [lower, upper], shape [S].

        Raises:
            ValueError: A point lies outside; a spline says nothing there.
        """
        u_S = self.unit(x).ravel()
        if u_S.size and not (u_S.min() >= -1e-12 and u_S.max() <= 1 + 1e-12):
            raise ValueError(
                f"x holds points between {np.min(x):g} and {np.max(x):g}, but the curves are fitted between "
                f"{self.lower:g} and {self.upper:g} (log10 steps). Evaluate inside that range."
            )
        knots = uniform_knots(self.n_splines)
        u_S1 = np.clip(u_S, 0.0, 1.0)[:, None]
        basis = ((u_S1 >= knots[:-1]) & (u_S1 < knots[1:])).astype(np.float64)
        for degree in range(1, ORDER + 1):
            rising = (u_S1 - knots[:-degree]) / (knots[degree:] - knots[:-degree])
            # Cox-de Boor: each spline rises over its own support and falls where the next one rises.
            basis = rising[:, :-1] * basis[:, :-1] + (1.0 - rising[:, 1:]) * basis[:, 1:]
        return basis


def uniform_knots(n_splines: int = N_SPLINES) -> Float64:
    """Returns the knots on the unit interval and three more on each side, shape [K + 4]."""
    inner = np.linspace(0.0, 1.0, n_splines - ORDER + 1)
    beyond = np.arange(1, ORDER + 1) * (inner[1] - inner[0])
    return np.concatenate([-beyond[::-1], inner, 1.0 + beyond])


def roughness_penalty(n_splines: int = N_SPLINES) -> Float64:
    """Returns P, shape [K, K]: c'Pc is the sum of squared second differences of the coefficients c."""
    differences = np.diff(np.eye(n_splines), n=2, axis=0)
    return differences.T @ differences
