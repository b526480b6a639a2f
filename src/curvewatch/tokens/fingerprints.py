"""Fingerprints of sequences: 64 bits by which a row of a training set is found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def fingerprints(rows_BL: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """One fingerprint a row; it depends on the row's tokens and their order, not on padding.

    Two different rows have the same one with a probability of about 2^-64.

    Args:
        rows_BL: Token ids, shape [rows, length]; below 0 where there is no token.

    Returns:
        uint64, shape [rows].

    Raises:
        ValueError: If it is of another shape.
    """
    rows_BL = np.asarray(rows_BL, np.int64)
    if rows_BL.ndim != 2:
        raise ValueError(f"rows_BL: token ids of shape [rows, length] are expected, this is {rows_BL.shape}.")
    there_BL = rows_BL >= 0
    with np.errstate(over="ignore"):
        powers_L = np.cumprod(np.full(rows_BL.shape[1], _FACTOR, np.uint64), dtype=np.uint64)
        if there_BL.all():
            place_BL = np.broadcast_to(np.arange(rows_BL.shape[1]), rows_BL.shape)
        else:
            place_BL = np.cumsum(there_BL, axis=1) - 1
        values_BL = _mixed((rows_BL + 1).astype(np.uint64)) * powers_L[place_BL]
        values_BL[~there_BL] = 0
        return _mixed(values_BL.sum(axis=1, dtype=np.uint64) + there_BL.sum(axis=1).astype(np.uint64))


def fingerprints_of(sequences: Iterable[Sequence[int] | NDArray[np.integer[Any]]]) -> NDArray[np.uint64]:
    """`fingerprints` of sequences of any lengths."""
    found = [fingerprints(np.asarray(one, np.int64).reshape(1, -1)) for one in sequences]
    return np.concatenate([np.zeros(0, np.uint64), *found])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
