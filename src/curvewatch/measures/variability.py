"""Within-run variability: how much a token's surprisal moves about over the last quarter of training.

Source: Chang, Tu & Bergen (2024): the population standard deviation (ddof 0) over the window of the final surprisal.
Suffixes: W rows of the window, N tokens.
"""

from __future__ import annotations

import numpy as np

from curvewatch.measures.smoother.smoothing import Float64, Floats


def within_run_variability(window_WN: Floats, *, paper: bool = False) -> Float64:
    """Returns each token's standard deviation over the window, bits, shape [N].

    Args:
        window_WN: Raw surprisal in the rows of `surprisal.final_window`, bits. A token with a NaN or an infinity in
            the window gets NaN, and so does every token when the window has fewer than two rows.
        paper: One row gives 0, as in the released code.
    """
    # The deviation of a single value is 0, which would read as "perfectly stable".
    if len(window_WN) < (1 if paper else 2):
        return np.full(window_WN.shape[1], np.nan)
    with np.errstate(invalid="ignore"):  # inf - inf
        deviation_N = window_WN.std(axis=0, dtype=np.float64)
    return np.where(np.isfinite(deviation_N), deviation_N, np.nan)
