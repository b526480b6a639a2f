"""The learning-time spectrum: when the bits were learned, from a sigmoid fitted to each token's curve.

Each token falls by a height around a time; heights laid out over their times rebuild the slope of the mean curve, and
tell whether it is smooth because tokens learn smoothly or because many learn at different times. Suffixes: T rows after
step 0, N tokens, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.sigmoids.least_squares import sigmoid
from curvewatch.measures.sigmoids.sigmoid import sigmoid_acquisition

BLOCK = 1 << 14  # tokens whose sigmoids are worked out at a time


@dataclass(frozen=True)
class Spectrum:
    """When what was learned was learned.

    Attributes:
        time_N: log10 step of the middle of each token's fitted sigmoid; NaN where none was fitted.
        drop_N: Bits that it falls by; below 0 where it rises.
        edges_B1: log10 steps, the bins' edges, shape [B + 1].
        bits_B: Mean bits learned a token whose middle lies in each bin (falls less rises).
        slope_x_T: log10 steps between successive rows.
        slope_T: Bits a decade that the mean curve falls by there.
        rebuilt_T: The same of the mean of the fitted sigmoids.
        explained: Share of the variance of that slope along the axis which the sigmoids rebuild (1 less the residual's,
            each stretch weighted by its width).
    """

    time_N: NDArray[np.float64]
    drop_N: NDArray[np.float64]
    edges_B1: NDArray[np.float64]
    bits_B: NDArray[np.float64]
    slope_x_T: NDArray[np.float64]
    slope_T: NDArray[np.float64]
    rebuilt_T: NDArray[np.float64]
    explained: float


def learning_time_spectrum(
    surprisal_TN: CurvesLike | ArrayLike, steps: ArrayLike, *, chance: float, bins: int = 60
) -> Spectrum:
    """Lays out over time what each token learned.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token].
        steps: Training steps of the rows, increasing. Step 0 is left out.
        chance: log2 of the vocabulary size, bits.
        bins: Of the spectrum.

    Raises:
        ValueError: If fewer than five rows come after step 0, or shapes don't fit.
    """
    curves_TN = blocks.as_curves(surprisal_TN)
    steps_T = blocks.check_curves(curves_TN, steps)
    first = int(np.searchsorted(steps_T, 0, side="right"))
    x_T = np.log10(steps_T[first:].astype(np.float64))
    if len(x_T) < 5:
        raise ValueError(f"steps: {len(x_T)} rows after step 0; a spectrum takes at least five.")
    parameters_PN = sigmoid_acquisition(curves_TN, steps_T, chance=chance).parameters_PN
    start_N, end_N, time_N, scale_N = parameters_PN
    # A sigmoid of negative scale is the same one turned round.
    drop_N = np.where(scale_N > 0, start_N - end_N, end_N - start_N)
    fitted = np.flatnonzero(np.isfinite(parameters_PN).all(axis=0))
    raw_T, rebuilt_T = np.zeros(len(x_T)), np.zeros(len(x_T))
    for at in range(0, len(fitted), BLOCK):
        part = fitted[at : at + BLOCK]
        low, high = int(part[0]), int(part[-1]) + 1
        block_Tn = np.asarray(curves_TN[:, low:high], np.float64)[first:]
        raw_T += block_Tn[:, part - low].sum(axis=1)
        rebuilt_T += sigmoid(x_T, parameters_PN[:, part]).sum(axis=1)
    n = max(1, len(fitted))
    width_T = np.diff(x_T)
    slope_T, of_sigmoids_T = -np.diff(raw_T / n) / width_T, -np.diff(rebuilt_T / n) / width_T
    edges_B1 = np.linspace(x_T[0], x_T[-1], bins + 1)
    # What lies beyond the ends is not seen: only the part of a fall between first and last row counts as learned there.
    inside = fitted[(time_N[fitted] >= x_T[0]) & (time_N[fitted] <= x_T[-1])]
    bits_B = np.histogram(time_N[inside], edges_B1, weights=drop_N[inside])[0] / n
    mean = float(np.average(slope_T, weights=width_T))
    total = float(width_T @ np.square(slope_T - mean))
    left = float(width_T @ np.square(slope_T - of_sigmoids_T))
    explained = 1 - left / total if total > 0 else float("nan")
    return Spectrum(time_N, drop_N, edges_B1, bits_B, (x_T[1:] + x_T[:-1]) / 2, slope_T, of_sigmoids_T, explained)
