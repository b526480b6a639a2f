"""Final surprisal: how well a token is predicted over the last quarter of training.

Source: Chang, Tu & Bergen (2024), who average the last 11 of 222 checkpoints; on their schedule those are the steps
after 75 % of training. Suffixes: T scored steps, N tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from curvewatch.measures.smoother.smoothing import Float64, Floats

FINAL_SHARE = 0.75
FEW_WINDOW_ROWS = 5  # below this a mean, and more so a standard deviation, says little
PAPER_WINDOW_ROWS = 11


def final_window(steps_T: ArrayLike, max_steps: float, *, paper: bool = False) -> slice:
    """Returns the rows of the last quarter of training: those with step > 0.75 * max_steps.

    Args:
        steps_T: Scored steps, increasing.
        max_steps: Planned length of the training run, in steps.
        paper: The last 11 rows, whatever their steps, as in the released code.
    """
    steps = np.asarray(steps_T)
    if paper:
        return slice(max(0, steps.size - PAPER_WINDOW_ROWS), steps.size)
    return slice(int(np.searchsorted(steps, FINAL_SHARE * max_steps, side="right")), steps.size)


def final_surprisal(window_WN: Floats) -> Float64:
    """Returns each token's mean surprisal over the window, bits, shape [N].

    Args:
        window_WN: Raw surprisal in the rows of `final_window`, bits. A token with a NaN or an infinity in the window,
            and every token of an empty window, gets NaN.
    """
    if len(window_WN) == 0:
        return np.full(window_WN.shape[1], np.nan)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        mean_N = window_WN.mean(axis=0, dtype=np.float64)
    return np.where(np.isfinite(mean_N), mean_N, np.nan)
