"""Forgettability: how many bits of surprisal a token regained, all rises of its smoothed curve together.

Source: Chang, Tu & Bergen (2024). The sum runs over successive scored steps, so it depends on the schedule: never
compare it between runs that were scored at different steps. Suffixes: T fitted steps, N tokens.
"""

from __future__ import annotations

import numpy as np

from curvewatch.measures.smoother.smoothing import Float64, Floats


def forgettability(smoothed_TN: Floats) -> Float64:
    """Returns the sum of rises between successive steps, bits, shape [N]; NaN where a curve is not finite.

    Args:
        smoothed_TN: Fitted curves at the fitted steps, bits.
    """
    if len(smoothed_TN) == 0:
        return np.full(smoothed_TN.shape[1], np.nan)
    with np.errstate(invalid="ignore"):  # inf - inf
        rises_TN = np.diff(smoothed_TN, axis=0)
        np.maximum(rises_TN, 0.0, out=rises_TN)
        total_N = rises_TN.sum(axis=0).astype(np.float64)
    return np.where(np.isfinite(smoothed_TN).all(axis=0) & np.isfinite(total_N), total_N, np.nan)
