"""The smoother: penalised splines with the smoothing parameter chosen for each curve by generalised cross-validation.

All curves of a run share their steps, so the whole search over smoothing parameters is linear algebra on small
matrices that are made once; a block of curves then costs a few matrix products. The result is that of
`pygam.LinearGAM(n_splines=25).gridsearch(lam=numpy.logspace(-3, 3, 11))`, which Chang, Tu & Bergen (2024) fit to each
curve by itself. Suffixes: T fitted steps, N curves, K splines, L smoothing parameters, R rank of the basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.splines import N_SPLINES, SplineBasis, roughness_penalty

Floats = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]
Road = Literal["float32", "float64"]

LAMBDAS = np.logspace(-3, 3, 11)
LAMBDAS.setflags(write=False)
RIDGE = float(np.sqrt(np.finfo(np.float64).eps))  # pyGAM's, on every coefficient and on the intercept
GCV_GAMMA = 1.4
# Two points are a straight line with nothing left over: no curve, and no cross-validation.
MIN_FIT_STEPS = 3
# Below this the denominator of the cross-validation score vanishes or turns negative for the roughest fits.
FEW_STEPS = 35


@dataclass(frozen=True)
class Fit:
    """Fitted curves of one block of tokens.

    Attributes:
        coefficients_KN: Spline coefficients, bits, less `centre_N`.
        centre_N: What was taken off each curve before fitting; zero in float64.
        lambda_index_N: Which of `LAMBDAS` each curve got.
        doubtful_N: Rounding in float32 could have decided which one, so the curve was fitted again in float64.
        finite_N: False where the curve held NaN or infinity; the fit means nothing there.
        scale_N: Largest distance of the curve from its centre, bits; rounding errors are relative to it.
    """

    coefficients_KN: Floats
    centre_N: Floats
    lambda_index_N: NDArray[np.intp]
    doubtful_N: NDArray[np.bool_]
    finite_N: NDArray[np.bool_]
    scale_N: Floats

    def at(self, basis_SK: Float64) -> Floats:
        """Returns the fitted curves at the rows of a basis matrix, bits, shape [S, N]."""
        curves_SN: Floats = basis_SK.astype(self.coefficients_KN.dtype) @ self.coefficients_KN
        curves_SN += self.centre_N
        return curves_SN

    def overwrite(self, tokens: NDArray[np.intp], exact: Fit) -> None:
        """Puts the float64 fit of some tokens in the place of the one here."""
        # The splines sum to one, so a constant comes off the curve as it comes off every coefficient.
        self.coefficients_KN[:, tokens] = exact.coefficients_KN + exact.centre_N - self.centre_N[tokens]
        self.lambda_index_N[tokens] = exact.lambda_index_N


class Smoother:
    """Fits every curve that was scored at the same steps.

    Attributes:
        basis: The splines.
        basis_TK: The splines at the fitted steps.
        paper: Whether pyGAM's own behaviour is reproduced.
        edof_L: Effective degrees of freedom at each smoothing parameter.
        admissible_L: Which smoothing parameters the search may choose.
        dtype: The precision curves are fitted in.
    """

    def __init__(self, x_T: Float64, *, paper: bool = False, dtype: Road = "float64") -> None:
        """Prepares the matrices for one set of steps.

        Args:
            x_T: log10 of the steps, increasing, without step 0; at least `MIN_FIT_STEPS` (one with `paper`).
            paper: With few steps, do what pyGAM does there: below 26 it crops a singular value decomposition, below
                35 its score rewards interpolation. Without it the fit is the true penalised one, and only smoothing
                parameters with `1.4 * edof < T` (and always the largest) may be chosen.
            dtype: "float32" takes two thirds of the time and half the memory; choices that its rounding could have
                turned are made again in float64. `paper` always computes in float64: the cropped
                decomposition magnifies rounding.
        """
        self.n_steps = len(x_T)
        self.paper = paper
        self.basis = SplineBasis(float(x_T[0]), float(x_T[-1]))
        self.basis_TK = self.basis(x_T)
        self.dtype = np.dtype(np.float64 if paper else dtype)
        self._x_T = x_T
        if paper and self.n_steps < N_SPLINES + 1:
            q_TR, gain_LKR, hat_LRR = _cropped_gains(self.basis_TK)
        else:
            q_TR, r_RK = np.linalg.qr(self.basis_TK)
            gain_LKR = PenalisedSystem.of(r_RK).gains()
            hat_LRR = r_RK @ gain_LKR
        self.edof_L = np.trace(hat_LRR, axis1=1, axis2=2)
        freedom_L = self.n_steps - GCV_GAMMA * self.edof_L
        self.admissible_L = np.ones(len(LAMBDAS), bool) if paper else freedom_L > 0
        self.admissible_L[-1] = True
        # sqrt(GCV) = sqrt(T * SSE) / |T - 1.4 edof| orders the choices as GCV does, with an even rounding error.
        self._root_weight_L = np.sqrt(self.n_steps) / np.abs(freedom_L)
        residual_LRR = np.eye(hat_LRR.shape[1]) - hat_LRR
        self._q_TR: Floats = q_TR.astype(self.dtype)
        self._gain_LKR: Floats = gain_LKR.astype(self.dtype)
        self._residual_LRR: Floats = residual_LRR.astype(self.dtype)

    @cached_property
    def exact(self) -> Smoother:
        """The same smoother in float64."""
        return self if self.dtype == np.float64 else Smoother(self._x_T)

    def fit(self, curves_TN: Floats) -> Fit:
        """Returns the fit of a block of curves.

        Args:
            curves_TN: Surprisal at the fitted steps, bits, shape [T, N].
        """
        y_TN: Floats = np.asarray(curves_TN, self.dtype)
        finite_N: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(y_TN), axis=0)
        if not finite_N.all():
            y_TN = np.where(finite_N, y_TN, self.dtype.type(0))
        low_N, high_N = y_TN.min(axis=0), y_TN.max(axis=0)
        # Half the digits of float32 would go to the mean. In float64 the curve stays where it is: pyGAM's ridge pulls
        # the mean down by some 1e-9 bit, and parity includes that.
        centre_N = (low_N + high_N) / 2 if self.dtype == np.float32 else np.zeros_like(low_N)
        if self.dtype == np.float32:
            y_TN = y_TN - centre_N
        scale_N = np.maximum(high_N - centre_N, centre_N - low_N)
        z_RN = self._q_TR.T @ y_TN
        choice_N, doubtful_N = self._choose(y_TN, z_RN, scale_N)
        # Every parameter fits a constant alike, and rounding would choose.
        constant_N = (low_N == high_N) & (not self.paper)
        choice_N[constant_N] = len(LAMBDAS) - 1
        doubtful_N[constant_N] = False
        coefficients_KN = np.empty((N_SPLINES, y_TN.shape[1]), self.dtype)
        for index in np.unique(choice_N):
            chosen = np.flatnonzero(choice_N == index)
            coefficients_KN[:, chosen] = self._gain_LKR[index] @ z_RN[:, chosen]
        # A constant fits itself, without the ridge's pull: one that lies at chance is not below chance.
        coefficients_KN[:, constant_N] = 0.0
        centre_N[constant_N] = low_N[constant_N]
        fit = Fit(coefficients_KN, centre_N, choice_N, doubtful_N & finite_N, finite_N, scale_N)
        again = np.flatnonzero(fit.doubtful_N)
        if again.size:
            fit.overwrite(again, self.exact.fit(np.asarray(curves_TN)[:, again]))
        return fit

    def _choose(self, y_TN: Floats, z_RN: Floats, scale_N: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Returns the index of each curve's smoothing parameter, and whether rounding may have decided it."""
        residual_TN = self._q_TR @ z_RN
        np.subtract(y_TN, residual_TN, out=residual_TN)
        np.square(residual_TN, out=residual_TN)
        # What no spline reaches, and what the penalty leaves of the rest: two sums of squares. By subtraction from
        # y'y the small ones would be lost in rounding, and with them the choice.
        outside_N = residual_TN.sum(axis=0)
        n = y_TN.shape[1]
        best_N = np.full(n, np.inf, self.dtype)
        second_N = np.full(n, np.inf, self.dtype)
        choice_N = np.zeros(n, np.intp)
        for index in np.flatnonzero(self.admissible_L):
            left_RN = self._residual_LRR[index] @ z_RN
            np.square(left_RN, out=left_RN)
            root_N = np.sqrt(outside_N + left_RN.sum(axis=0)) * self.dtype.type(self._root_weight_L[index])
            better_N = root_N < best_N  # strictly: of equal scores the first wins, as in pyGAM
            np.copyto(choice_N, index, where=better_N)
            second_N = np.minimum(second_N, np.maximum(root_N, best_N))
            best_N = np.minimum(best_N, root_N)
        if self.dtype == np.float64:
            return choice_N, np.zeros(n, bool)
        # The norm of a residual of T values, each off by a few roundings of the curve's scale.
        weight = float(self._root_weight_L[self.admissible_L].max() * np.sqrt(self.n_steps))
        error_N = scale_N * self.dtype.type(8 * np.finfo(np.float32).eps * weight)
        return choice_N, second_N - best_N < error_N


class PenalisedSystem(NamedTuple):
    """The penalised least-squares problem of one basis, diagonal in every smoothing parameter at once.

    Q'y of a curve is [R], its coefficients with smoothing parameter l are `a @ (shrink[l] * (l_RK.T @ Q'y))`.

    Attributes:
        a_KK: From the common directions to spline coefficients.
        l_RK: The same directions as fitted values, in Q's coordinates.
        shrink_LK: What each smoothing parameter leaves of each direction, 0 to 1.
    """

    a_KK: Float64
    l_RK: Float64
    shrink_LK: Float64

    @classmethod
    def of(cls, r_RK: Float64) -> PenalisedSystem:
        """The system of a basis whose QR decomposition has this R.

        The basis is ill-conditioned (1e7 on the paper's schedule, where the first knot intervals hold one step each),
        so the data enters by a QR decomposition and no inverse of B'B is formed. The splines sum to one, so the
        intercept is folded into the coefficients; minimising over it turns its ridge and theirs into
        RIDGE * (I - 11'/(K + 1)). One generalised eigendecomposition then serves every smoothing parameter.
        """
        k = r_RK.shape[1]
        penalty_KK = roughness_penalty(k)
        ridge_KK = RIDGE * (np.eye(k) - 1.0 / (k + 1))
        lower_KK = np.linalg.cholesky(r_RK.T @ r_RK + ridge_KK + LAMBDAS[0] * penalty_KK)
        inverse_KK = np.linalg.inv(lower_KK)
        eigenvalues_K, vectors_KK = np.linalg.eigh(inverse_KK @ penalty_KK @ inverse_KK.T)
        a_KK = inverse_KK.T @ vectors_KK
        shrink_LK = 1.0 / (1.0 + (LAMBDAS - LAMBDAS[0])[:, None] * np.maximum(eigenvalues_K, 0.0))
        return cls(a_KK, r_RK @ a_KK, shrink_LK)

    def gains(self) -> Float64:
        """What turns Q'y into coefficients, for each smoothing parameter, shape [L, K, R]."""
        gain_LKR: Float64 = (self.a_KK * self.shrink_LK[:, None, :]) @ self.l_RK.T
        return gain_LKR


def _cropped_gains(basis_TK: Float64) -> tuple[Float64, Float64, Float64]:
    """Returns the same matrices for what pyGAM computes with fewer steps than coefficients.

    It keeps as many singular vectors of the stacked [R; E] as there are steps and drops the rest, which is no longer
    the penalised least-squares fit. Reproduced, not defended. With so few rows Q is taken as the identity.
    """
    n_steps = len(basis_TK)
    model = np.column_stack([basis_TK, np.ones(n_steps)])
    q, r = np.linalg.qr(model)
    gains, hats = [], []
    for lam in LAMBDAS:
        penalty = np.zeros((N_SPLINES + 1, N_SPLINES + 1))
        penalty[:N_SPLINES, :N_SPLINES] = lam * roughness_penalty()
        e = np.linalg.cholesky(RIDGE * np.eye(N_SPLINES + 1) + penalty).T
        u, d, vt = np.linalg.svd(np.vstack([r, e]), full_matrices=False)
        u, d, vt = u[:n_steps, :n_steps], d[:n_steps], vt[:n_steps]
        solve = (vt.T / d) @ u.T @ q.T
        gains.append(solve[:N_SPLINES] + solve[N_SPLINES])  # intercept folded in: the splines sum to one
        hats.append(model @ solve)
    return np.eye(n_steps), np.stack(gains), np.stack(hats)
