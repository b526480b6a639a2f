"""Age of acquisition by a sigmoid: the second variant of Chang, Tu & Bergen (2024).

The sigmoid on x = log10(step) is y = start + (end - start) / (1 + exp((xmid - x) / scale)), fitted by least squares;
the threshold lies halfway between chance and the lowest raw surprisal. A sigmoid can't turn round: curves that fall and
rise again are described badly, and many land at an end of training. Suffixes: T fitted steps, N tokens, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.acquisition import ACQUISITION_STATUS, LEARNED, LEFT_CENSORED, NEVER, UNFITTED
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.sigmoids.least_squares import fit_sigmoids, sigmoid
from curvewatch.measures.sigmoids.released_sigmoid import released_sigmoid
from curvewatch.measures.smoother.smoothing import Float64

N_PARAMETERS = 4


@dataclass(frozen=True)
class SigmoidAcquisition:
    """When each token was acquired, by its fitted sigmoid.

    Attributes:
        age_N: log10 step at which the sigmoid reaches the threshold. The first scored step (an upper bound) where it
            is below from the start; NaN where it never gets there or nothing could be fitted.
        codes_N: Index into `ACQUISITION_STATUS`.
        threshold_N: Halfway between chance and the lowest raw surprisal, bits.
        parameters_PN: start, end (bits), xmid, scale (log10 steps).
        converged_N: Whether the least-squares search came to rest.
    """

    age_N: Float64
    codes_N: NDArray[np.int8]
    threshold_N: Float64
    parameters_PN: Float64
    converged_N: NDArray[np.bool_]

    @property
    def status_N(self) -> NDArray[np.str_]:
        """The status in words: learned, left_censored, never, unfitted."""
        return np.array(ACQUISITION_STATUS)[self.codes_N]


def sigmoid_acquisition(
    surprisal_TN: CurvesLike | ArrayLike,
    steps: ArrayLike,
    *,
    chance: float,
    paper: bool = False,
    block_tokens: int | None = None,
) -> SigmoidAcquisition:
    """Returns when each token's fitted sigmoid gets halfway from chance to its lowest surprisal.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token]: an array or an h5py dataset, which is read in blocks.
        steps: Training steps of the rows, increasing. Step 0 is left out.
        chance: log2 of the vocabulary size, bits.
        paper: The released code's values: each curve by `scipy.optimize.curve_fit` (milliseconds a curve, needs
            scipy), the first or the last step wherever there is no crossing between them.
        block_tokens: Tokens in memory at a time; None chooses by their size.

    Raises:
        ValueError: Shapes that don't fit, or steps that don't increase.
    """
    curves_TN = blocks.as_curves(surprisal_TN)
    steps_T = blocks.check_curves(curves_TN, steps)
    first = int(np.searchsorted(steps_T, 0, side="right"))
    x_T = np.log10(steps_T[first:].astype(np.float64))
    n_tokens = curves_TN.shape[1]
    result = SigmoidAcquisition(
        np.full(n_tokens, np.nan),
        np.full(n_tokens, UNFITTED, np.int8),
        np.full(n_tokens, np.nan),
        np.full((N_PARAMETERS, n_tokens), np.nan),
        np.zeros(n_tokens, bool),
    )
    if x_T.size < N_PARAMETERS:
        blocks.warn(
            f"Only {x_T.size} scored steps after step 0: a sigmoid has {N_PARAMETERS} parameters, none is fitted.", []
        )
        return result
    for tokens in blocks.token_blocks(curves_TN, block_tokens):
        block_TN: Float64 = np.asarray(curves_TN[:, tokens], np.float64)[first:]
        for part, where in blocks.parts(tokens, blocks.fit_width(x_T.size)):
            part_TN = block_TN[:, part]
            finite = np.flatnonzero(np.isfinite(part_TN).all(axis=0))
            out = where.start + finite
            fit_TN = part_TN[:, finite]
            if paper:
                ages_N, parameters_PN = released_sigmoid(x_T, fit_TN, chance)
                converged_N = np.ones(finite.size, bool)
            else:
                parameters_PN, converged_N = fit_sigmoids(x_T, fit_TN)
            threshold_N = 0.5 * chance + 0.5 * fit_TN.min(axis=0)
            age_N, code_N = _crossing(x_T, parameters_PN, threshold_N)
            code_N[threshold_N >= chance] = NEVER
            age_N[code_N == NEVER] = np.nan
            result.age_N[out] = ages_N if paper else age_N
            result.codes_N[out] = code_N
            result.threshold_N[out] = threshold_N
            result.parameters_PN[:, out] = parameters_PN
            result.converged_N[out] = converged_N
    return result


def _crossing(x_T: Float64, parameters_PN: Float64, threshold_N: Float64) -> tuple[Float64, NDArray[np.int8]]:
    """Returns where each sigmoid first is at or below its threshold between the first and the last step."""
    start_N, end_N, xmid_N, scale_N = parameters_PN
    first_N, last_N = sigmoid(x_T[[0, -1]], parameters_PN)
    code_N = np.where(first_N <= threshold_N, LEFT_CENSORED, np.where(last_N <= threshold_N, LEARNED, NEVER))
    with np.errstate(all="ignore"):  # the formula holds where the status says learned
        crossing_N = xmid_N - scale_N * np.log((end_N - start_N) / (threshold_N - start_N) - 1.0)
    age_N = np.where(code_N == LEARNED, np.clip(crossing_N, x_T[0], x_T[-1]), x_T[0])
    return age_N, code_N.astype(np.int8)
