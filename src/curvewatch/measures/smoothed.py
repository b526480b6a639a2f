"""Smoothed curves as an analyst wants them: at the scored steps, or at any step between.

Suffixes: T scored steps after step 0, N tokens, K splines, S steps asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.smoother.smoothing import (
    FEW_STEPS,
    LAMBDAS,
    MIN_FIT_STEPS,
    Float64,
    Floats,
    Road,
    Smoother,
)
from curvewatch.measures.smoother.splines import N_SPLINES, SplineBasis


@dataclass(frozen=True)
class SmoothedCurves:
    """Fitted curves, kept as 25 coefficients a token and evaluated when asked for.

    Attributes:
        steps_T: The steps that were fitted: the scored ones without step 0.
        coefficients_KN: Spline coefficients, bits; NaN for curves that could not be fitted.
        lambda_N: Smoothing parameter of each curve; NaN for curves that could not be fitted.
        fitted_N: Whether there is a fit: False with NaN or infinity in the curve, or too few steps.
        basis: The splines, over log10 of the step.
    """

    steps_T: NDArray[Any]
    coefficients_KN: Floats
    lambda_N: Float64
    fitted_N: NDArray[np.bool_]
    basis: SplineBasis | None

    @property
    def curves_TN(self) -> Floats:
        """The fitted curves at the fitted steps, bits; as large as the surprisal they came from."""
        return self.at(self.steps_T)

    def at(self, steps: ArrayLike, tokens: slice | NDArray[Any] = slice(None)) -> Floats:
        """Returns the fitted curves at any steps, bits, shape [S, tokens].

        Args:
            steps: Steps between the first and the last fitted one, not necessarily whole; shape [S].
            tokens: Which tokens, as a slice, indices or a mask.

        Raises:
            ValueError: A step outside the fitted range, where a spline says nothing.
        """
        steps_S = np.atleast_1d(np.asarray(steps, np.float64))
        coefficients_KN = self.coefficients_KN[:, tokens]
        if self.basis is None:
            return np.full((steps_S.size, coefficients_KN.shape[1]), np.nan, coefficients_KN.dtype)
        if steps_S.size and not (steps_S.min() >= self.steps_T[0] and steps_S.max() <= self.steps_T[-1]):
            raise ValueError(
                f"steps asked for: {steps_S.min():g} to {steps_S.max():g}; the curves are fitted from "
                f"{self.steps_T[0]:g} to {self.steps_T[-1]:g}. Ask inside that range."
            )
        curves_SN: Floats = self.basis(np.log10(steps_S)).astype(coefficients_KN.dtype) @ coefficients_KN
        return curves_SN


def smooth_curves(
    surprisal_TN: CurvesLike | ArrayLike,
    steps: ArrayLike,
    *,
    paper: bool = False,
    dtype: Road | None = None,
    block_tokens: int | None = None,
) -> SmoothedCurves:
    """Returns every token's smoothed curve, the one its age of acquisition and forgettability come from.

    Source: Chang, Tu & Bergen (2024): `pygam.LinearGAM(n_splines=25)` on log10 of the step, with the smoothing
    parameter chosen by generalised cross-validation.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token]: an array or an h5py dataset, which is read in blocks.
        steps: Training steps of the rows, increasing. Step 0 is left out.
        paper: Do what pyGAM does with fewer than 35 steps, instead of a true penalised fit.
        dtype: "float32" or "float64"; None follows the curves.
        block_tokens: Tokens in memory at a time; None chooses by their size.

    Raises:
        ValueError: Shapes that don't fit, or steps that don't increase.

    Warns:
        MeasureWarning: So few scored steps that the smoothing is hardly determined, or that nothing can be fitted.
    """
    curves_TN = blocks.as_curves(surprisal_TN)
    steps_T = blocks.check_curves(curves_TN, steps)
    road = blocks.choose_road(curves_TN, dtype, paper=paper)
    rows = steps_T > 0
    fitted_T = steps_T[rows]
    first = steps_T.size - fitted_T.size
    n_tokens = curves_TN.shape[1]
    coefficients_KN = np.full((N_SPLINES, n_tokens), np.nan, road)
    lambda_N = np.full(n_tokens, np.nan)
    fitted_N = np.zeros(n_tokens, bool)
    if fitted_T.size < (1 if paper else MIN_FIT_STEPS):
        blocks.warn(f"Only {fitted_T.size} scored steps after step 0: no curve can be fitted.", [])
        return SmoothedCurves(fitted_T, coefficients_KN, lambda_N, fitted_N, None)
    if fitted_T.size < FEW_STEPS:
        blocks.warn(f"Only {fitted_T.size} scored steps after step 0: smoothing is hardly determined.", [])
    smoother = Smoother(np.log10(fitted_T.astype(np.float64)), paper=paper, dtype=road)
    for tokens in blocks.token_blocks(curves_TN, block_tokens):
        block_TN = blocks.read(curves_TN, tokens, road)[first:]
        for part, out in blocks.parts(tokens, blocks.fit_width(fitted_T.size)):
            fit = smoother.fit(block_TN[:, part])
            # The splines sum to one: the centre goes back on by adding it to every coefficient.
            coefficients_KN[:, out] = np.where(fit.finite_N, fit.coefficients_KN + fit.centre_N, np.nan)
            lambda_N[out] = np.where(fit.finite_N, LAMBDAS[fit.lambda_index_N], np.nan)
            fitted_N[out] = fit.finite_N
    return SmoothedCurves(fitted_T, coefficients_KN, lambda_N, fitted_N, smoother.basis)
