"""What the released code of Chang, Tu & Bergen (2024) returns as sigmoid age of acquisition, case by case.

One curve at a time, by scipy: for checking a replication on some thousands of curves. `sigmoid_acquisition` without
`paper` is the one to use. Suffixes: T fitted steps, N tokens, P parameters.
"""

from __future__ import annotations

import warnings
from importlib import import_module

import numpy as np

from curvewatch.measures.smoother.smoothing import Float64


def released_sigmoid(x_T: Float64, y_TN: Float64, chance: float) -> tuple[Float64, Float64]:
    """Returns the ages (log10 step), shape [N], and the parameters, shape [P, N].

    Args:
        x_T: log10 steps.
        y_TN: Surprisal, bits, all finite.
        chance: log2 of the vocabulary size, bits.

    Raises:
        ImportError: scipy is missing.
    """
    try:
        curve_fit = import_module("scipy.optimize").curve_fit
    except ImportError as error:
        raise ImportError("paper=True fits by scipy, which is not installed: pip install scipy") from error

    def rising(x: Float64, start: float, end: float, xmid: float, scale: float) -> Float64:
        values: Float64 = start + (end - start) / (1.0 + np.exp((xmid - x) / scale))
        return values

    ages, parameters = [], []
    for y_T in -y_TN.T:  # the released code fits the negative: an increasing sigmoid
        tolerance, found = 1e-8, None
        guess = [y_T.min(), y_T.max(), x_T.mean(), 1.0]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # covariance of a flat curve
            while found is None:
                try:
                    found = curve_fit(rising, x_T, y_T, p0=guess, maxfev=1_000_000, ftol=tolerance)[0]
                except RuntimeError:
                    tolerance *= 10.0
        start, end, xmid, scale = (float(value) for value in found)
        ages.append(_age(x_T, (start, end, xmid, scale), low=-chance, high=float(y_T.max())))
        parameters.append([-start, -end, xmid, scale])
    return np.array(ages), np.array(parameters).reshape(-1, 4).T


def _age(x_T: Float64, parameters: tuple[float, float, float, float], *, low: float, high: float) -> float:
    """Returns where the rising sigmoid crosses halfway from `low` to `high`, or the end of training it is put at."""
    start, end, xmid, scale = parameters
    threshold = low * 0.5 + high * 0.5
    falls = (end < start and scale > 0) or (end > start and scale < 0)
    if (threshold >= start and threshold >= end) or low >= high or falls:
        return float(x_T.max())
    if threshold <= start and threshold <= end:
        return float(x_T.min())
    crossing = xmid - scale * np.log((end - start) / (threshold - start) - 1.0)
    return float(np.clip(crossing, x_T.min(), x_T.max()))
