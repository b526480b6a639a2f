"""Matrix products that stay on the thread that asks for them.

A BLAS spreads a large product over all cores, with threads that wait for their share in busy loops. Beside a training
that takes those cores away from it, and under a pool of threads they stand in each other's way; of matrices that are a
few dozen rows high there is nothing to gain either.
"""

from __future__ import annotations

import numpy as np

from curvewatch.measures.smoother.smoothing import Floats

# Multiplications in one call; OpenBLAS begins to share out above 262,144.
MOST_WORK = 200_000


def product(a_MK: Floats, b_KN: Floats) -> Floats:
    """Returns `a_MK @ b_KN`, worked out in slices of columns that are too small to be shared out.

    Args:
        a_MK: A small matrix.
        b_KN: A wide one, of the same type; its rows may lie apart, its columns side by side.
    """
    (m, k), n = a_MK.shape, b_KN.shape[1]
    width = max(1, MOST_WORK // max(1, m * k))
    if n <= width:
        return a_MK @ b_KN
    whole = n // width * width
    out_MN = np.empty((m, n), np.result_type(a_MK, b_KN))
    slices_SKn = b_KN[:, :whole].reshape(k, -1, width).swapaxes(0, 1)
    np.matmul(a_MK, slices_SKn, out=out_MN[:, :whole].reshape(m, -1, width).swapaxes(0, 1))
    if whole < n:
        np.matmul(a_MK, b_KN[:, whole:], out=out_MN[:, whole:])
    return out_MN
