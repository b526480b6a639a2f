"""The smoother while a run is still growing: every curve's fit kept up to date in 26 numbers a token.

Steps only increase, and a cubic B-spline reaches over four knot intervals, so a new observation touches the last four
rows of the QR decomposition that all curves share: one orthogonal 5 x 5 matrix turns those rows of Q'y, and the new
observation, into their successors. What is left of the observation joins the residual sum of squares. The state after
the last planned step is that of the fit to the whole curve (sums of products B'y in float32 would be off by up to
0.05 bit). Suffixes: T fitted steps, N tokens, K splines reached so far, L smoothing parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import CurvewatchError
from curvewatch.measures.smoother.products import product
from curvewatch.measures.smoother.smoothing import (
    GCV_GAMMA,
    LAMBDAS,
    MIN_FIT_STEPS,
    Fit,
    Float64,
    Floats,
    PenalisedSystem,
)
from curvewatch.measures.smoother.splines import N_SPLINES, ORDER, SplineBasis

MOST_SPLINES = 100  # four times a planned run's; what goes further was planned otherwise
OPEN_SPACING = 0.18  # decades between knots when the end of training is not known: the paper's schedule has 0.181
BLOCK = 4096  # tokens worked on at a time, so that they stay in a core's own cache
# Fitted values that a direction of the common basis must have to be told from rounding.
WEAK_DIRECTION = 1e-6
# How far the directions may be from orthogonal: further where the ridge holds splines that no observation reaches.
ORTHOGONAL = 2e-5
STRAIGHT = 2e-5  # bits that are rounding, on average over a curve's observations


class GrowingFit:
    """The penalised spline fit of N curves, one observation after another.

    At the end of a planned run it is the fit that `smooth_curves` makes of the file: the same smoothing parameters,
    the same curves to 1e-4 bit. Before that it is what is known so far, on the knots of the whole run.

    Memory: 105 bytes a token (four more for each spline beyond the 25th).

    Args:
        n_tokens: N.
        last_step: The last planned step, at which the last knot lies; None if it is not known: knots then stand
            `OPEN_SPACING` decades apart, and splines are added as training goes on.
        centre: Taken off each value before it is added, bits: float32 keeps most digits about zero.

    Attributes:
        steps: Fitted steps so far: those after step 0.
        finite_N: False from the first NaN or infinity of a curve on: it has no fit.
    """

    def __init__(self, n_tokens: int, *, last_step: int | None = None, centre: float = 0.0) -> None:
        self.n_tokens = n_tokens
        self.centre = np.float32(centre)
        self.steps: list[int] = []
        self.finite_N = np.ones(n_tokens, bool)
        self._last_x = math.log10(last_step) if last_step is not None and last_step > 1 else None
        self._lower = 0.0
        self._spacing = OPEN_SPACING
        self._r_KK: Float64 = np.zeros((N_SPLINES, N_SPLINES))
        self._z_KN = np.zeros((N_SPLINES, n_tokens), np.float32)
        self._rss_N = np.zeros(n_tokens, np.float32)
        self._reached = 0

    @property
    def can_fit(self) -> bool:
        """Whether there are enough observations for a curve."""
        return len(self.steps) >= MIN_FIT_STEPS

    @property
    def basis(self) -> SplineBasis:
        """The splines reached so far; evaluate them between the first and the last fitted step only."""
        return SplineBasis(self._lower, self._lower + (self._reached - ORDER) * self._spacing, self._reached)

    def update(self, step: int, surprisal_N: Floats) -> None:
        """Takes the next observation; one at step 0 is no part of any fit.

        Args:
            step: Updates done, more than at any time before.
            surprisal_N: Surprisal, bits.

        Raises:
            CurvewatchError: If training goes so far beyond its planned end that the knots don't serve any more.
        """
        if step <= 0:
            return
        x = math.log10(step)
        if not self.steps:
            self._lower = x
            if self._last_x is not None and self._last_x > x:
                self._spacing = (self._last_x - x) / (N_SPLINES - ORDER)
        self.steps.append(step)
        first, weights = self._spline_weights(x)
        rotation = self._rotate(first, weights)
        rows = slice(first, first + ORDER + 1)
        for start in range(0, self.n_tokens, 4 * BLOCK):
            part = slice(start, start + 4 * BLOCK)
            stacked = np.empty((ORDER + 2, len(self._rss_N[part])), np.float32)
            stacked[:-1] = self._z_KN[rows, part]
            np.subtract(surprisal_N[part], self.centre, out=stacked[-1])
            finite = np.isfinite(stacked[-1])
            if not finite.all():
                self.finite_N[part] &= finite
                stacked[-1][~finite] = 0.0
            stacked = product(rotation, stacked)
            self._z_KN[rows, part] = stacked[:-1]
            self._rss_N[part] += np.square(stacked[-1])

    def _spline_weights(self, x: float) -> tuple[int, Float64]:
        """The first of the four splines that reach x, and their values there."""
        u = (x - self._lower) / self._spacing
        interval = int(u)
        # The last planned step lies on the last knot, and belongs to the interval before it.
        if interval == N_SPLINES - ORDER and u - interval < 1e-9:
            interval -= 1
        t = u - interval
        if interval + ORDER + 1 > len(self._r_KK):
            self._add_splines(interval + ORDER + 1 - len(self._r_KK))
        self._reached = max(self._reached, interval + ORDER + 1)
        s = 1 - t
        values = (s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3)
        return interval, np.array(values) / 6

    def _add_splines(self, n: int) -> None:
        if len(self._r_KK) + n > MOST_SPLINES:
            raise CurvewatchError(
                f"steps {self.steps[0]} to {self.steps[-1]} would take {len(self._r_KK) + n:,} splines: the knots were "
                "laid for a run that ends much earlier. The smoothed curves are not followed any more; "
                "`curvewatch table` has them."
            )
        self._r_KK = np.pad(self._r_KK, (0, n))
        self._z_KN = np.concatenate([self._z_KN, np.zeros((n, self.n_tokens), np.float32)])

    def _rotate(self, first: int, weights: Float64) -> NDArray[np.float32]:
        """Adds a row to R; returns the rotation that does the same to Q'y, shape [5, 5]."""
        rotation = np.eye(ORDER + 2)
        row = weights.copy()
        for j in range(ORDER + 1):
            diagonal, new = self._r_KK[first + j, first + j], row[j]
            length = math.hypot(diagonal, new)
            if length == 0:
                continue
            c, s = diagonal / length, new / length
            columns = slice(first, first + ORDER + 1)
            old = self._r_KK[first + j, columns].copy()
            self._r_KK[first + j, columns] = c * old + s * row
            row = c * row - s * old
            above, below = rotation[j].copy(), rotation[-1].copy()
            rotation[j], rotation[-1] = c * above + s * below, c * below - s * above
        return rotation.astype(np.float32)

    def solver(self) -> GrowingSolver:
        """What all curves share at this moment, for fitting blocks of them.

        Raises:
            ValueError: With fewer than three observations.
        """
        if not self.can_fit:
            raise ValueError(f"{len(self.steps)} observations after step 0: a curve takes {MIN_FIT_STEPS}.")
        return GrowingSolver(self._r_KK[: self._reached, : self._reached], len(self.steps))

    def fit(self, solver: GrowingSolver, tokens: slice) -> Fit:
        """The fit of some curves, as `Smoother.fit` gives it.

        Args:
            solver: Of this moment.
            tokens: Which.
        """
        return solver.fit(self._z_KN[: self._reached, tokens], self._rss_N[tokens], self.centre, self.finite_N[tokens])


class GrowingSolver:
    """Chooses smoothing parameters and solves for coefficients, from R and the number of fitted steps.

    Splines that no observation has reached yet are left out: they would only go on in a straight line.

    Args:
        r_KK: R of the basis at the fitted steps.
        n_steps: T.
    """

    def __init__(self, r_KK: Float64, n_steps: int) -> None:
        system = PenalisedSystem.of(r_KK)
        gain_LKK = system.gains()
        edof_L = np.trace(r_KK @ gain_LKK, axis1=1, axis2=2)
        freedom_L = n_steps - GCV_GAMMA * edof_L
        admissible_L = freedom_L > 0
        admissible_L[-1] = True
        self._gain_LKK: Floats = gain_LKK.astype(np.float32)
        self._indices = np.flatnonzero(admissible_L)
        # Apart from the ridge (1.5e-8) the directions are orthogonal as fitted values, too. The residual of a curve is
        # then a sum over directions, each smoothing parameter leaving its own share of each: all terms positive, so
        # that float32 does not flip the choice, and a few numbers a curve instead of a matrix product for each choice.
        # Of what no direction reaches all is left.
        length_K = np.square(system.l_RK).sum(axis=0)
        strong = length_K > WEAK_DIRECTION
        direction_RK = system.l_RK[:, strong] / np.sqrt(length_K[strong])
        n_strong = direction_RK.shape[1]
        full_RR = np.concatenate([direction_RK, np.linalg.svd(direction_RK)[0][:, n_strong:]], axis=1)
        left_LR = np.ones((len(LAMBDAS), len(full_RR)))
        left_LR[:, :n_strong] = np.square(1.0 - length_K[strong] * system.shrink_LK[:, strong])
        residual_LRR = np.eye(len(full_RR)) - r_KK @ gain_LKK
        squares_LRR = residual_LRR.transpose(0, 2, 1) @ residual_LRR
        off = np.abs((full_RR * left_LR[:, None, :]) @ full_RR.T - squares_LRR).max()
        self._direction_RR: Floats = full_RR.T.astype(np.float32)
        self._left_LR: Floats = left_LR.astype(np.float32)
        # Where observations leave wide gaps, the matrix products after all.
        self._residual_LRR: Floats | None = residual_LRR.astype(np.float32) if off > ORTHOGONAL else None
        # GCV = T * SSE / (T - 1.4 edof)^2.
        self._weight_L: Floats = (n_steps / np.square(freedom_L)).astype(np.float32)
        self._straight = n_steps * STRAIGHT**2

    def fit(self, z_RN: Floats, rss_N: Floats, centre: np.float32, finite_N: NDArray[np.bool_]) -> Fit:
        """The fit of a block of curves; arguments as kept by `GrowingFit`."""
        n = rss_N.size
        choice_N = self._choose(z_RN, rss_N)
        # Ordered by their choice, the curves of one smoothing parameter lie side by side.
        order = np.argsort(choice_N, kind="stable")
        ends = np.searchsorted(choice_N[order], np.arange(len(LAMBDAS) + 1))
        z_RN = z_RN.take(order, axis=1)
        ordered_KN = np.empty_like(z_RN)
        for index in self._indices:
            chosen = slice(ends[index], ends[index + 1])
            if chosen.start < chosen.stop:
                ordered_KN[:, chosen] = product(self._gain_LKK[index], z_RN[:, chosen])
        place_N = np.empty(n, np.intp)
        place_N[order] = np.arange(n)
        coefficients_KN = ordered_KN.take(place_N, axis=1)
        centre_N = np.full(n, centre, np.float32)
        # The curves themselves are gone, so nothing can be computed again in float64: no doubt, no scale of rounding.
        no_doubt_N, no_scale_N = np.zeros(n, bool), np.zeros(n, np.float32)
        return Fit(coefficients_KN, centre_N, choice_N.astype(np.intp), no_doubt_N, finite_N, no_scale_N)

    def _choose(self, z_RN: Floats, rss_N: Floats) -> NDArray[np.int8]:
        """Index of each curve's smoothing parameter; of equal scores the first wins, as in `Smoother`."""
        best_N = np.full(rss_N.size, np.inf, np.float32)
        choice_N = np.zeros(rss_N.size, np.int8)
        for index, squares_N in zip(self._indices, self._left_over(z_RN), strict=True):
            squares_N += rss_N
            score_N = self._weight_L[index] * squares_N
            np.copyto(choice_N, np.int8(index), where=score_N < best_N)
            np.minimum(best_N, score_N, out=best_N)
        # Every parameter fits a straight line alike, and rounding would choose.
        np.copyto(choice_N, np.int8(len(LAMBDAS) - 1), where=squares_N <= self._straight)
        return choice_N

    def _left_over(self, z_RN: Floats) -> Iterable[Floats]:
        """Sum of squares within reach of the splines that each admissible smoothing parameter leaves, each [N]."""
        if self._residual_LRR is not None:
            return (np.square(product(self._residual_LRR[index], z_RN)).sum(axis=0) for index in self._indices)
        along_RN = product(self._direction_RR, z_RN)
        np.square(along_RN, out=along_RN)
        return product(self._left_LR[self._indices], along_RN)
