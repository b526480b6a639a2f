"""What a straight line is drawn over: rows as they come, steps, or their logarithm. Suffix: T rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AXES = ("row", "step", "log_step")
"""row: the index, as the papers have it, whose checkpoints were equally far apart; step: training steps; log_step:
their decadic logarithm, without step 0."""


def axis_of(steps_T: NDArray[np.number], axis: str) -> tuple[NDArray[np.float64], slice]:
    """The places of the rows on the axis, and which rows have one.

    Raises:
        ValueError: If there is no such axis.
    """
    if axis not in AXES:
        raise ValueError(f"axis={axis!r}: one of {', '.join(AXES)} is expected.")
    places_T: NDArray[np.float64] = np.asarray(steps_T, np.float64)
    if axis == "row":
        return np.arange(len(places_T), dtype=np.float64), slice(0, None)
    if axis == "step":
        return places_T, slice(0, None)
    first = int(np.searchsorted(places_T, 0, side="right"))
    return np.log10(places_T[first:]), slice(first, None)
