"""Reading curves a block of tokens at a time, so that memory stays bounded whatever their number.

Suffixes: T scored steps, N tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.smoothing import Floats, Road

CHUNK_TOKENS = 16384  # width of the run file's chunks; a block that cuts a chunk reads it twice
BLOCK_BYTES = 2**27  # of curves in memory at a time, in the precision they are fitted in
FIT_TOKENS = 2048  # fitted at a time: the intermediate matrices stay in the processor's cache


class CurvesLike(Protocol):
    """An array, an h5py dataset, or whatever has a shape, a dtype and slices [step, token]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, N)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __getitem__(self, key: Any) -> Any:
        """Rows and columns."""


class MeasureWarning(UserWarning):
    """The measures are right by definition, but rest on less than they should."""


def warn(message: str, messages: list[str]) -> None:
    """Warns, and keeps the message for the table's metadata."""
    messages.append(message)
    warnings.warn(message, MeasureWarning, stacklevel=4)


def as_curves(curves: CurvesLike | ArrayLike) -> CurvesLike:
    """Returns the argument itself where it can be sliced, and an array otherwise."""
    if all(hasattr(curves, name) for name in ("shape", "dtype", "__getitem__")):
        return curves  # type: ignore[return-value]
    return np.asarray(curves)


def check_curves(curves_TN: CurvesLike, steps: ArrayLike, name: str = "surprisal") -> NDArray[Any]:
    """Returns the steps as an array, after checking that they fit the curves.

    Args:
        curves_TN: The curves.
        steps: Training steps of the rows.
        name: What the curves are, for the message.

    Raises:
        ValueError: Shapes that don't fit, or steps that are not increasing from 0 on.
    """
    steps_T = np.asarray(steps)
    if len(curves_TN.shape) != 2:
        raise ValueError(f"{name} has shape {tuple(curves_TN.shape)}; it must be [step, token].")
    if steps_T.shape != (curves_TN.shape[0],):
        raise ValueError(
            f"steps has shape {steps_T.shape}, but {name} has {curves_TN.shape[0]} rows, shape [step, token]. "
            f"Give one step for each row (and transpose {name} if its tokens come first)."
        )
    if steps_T.size == 0:
        return steps_T.astype(np.int64)
    if steps_T.dtype.kind not in "iuf" or not np.isfinite(steps_T).all():
        raise ValueError(f"steps must be finite numbers, not {steps_T.dtype} with values such as {steps_T[:3]}.")
    if steps_T[0] < 0:
        raise ValueError(f"steps[0] is {steps_T[0]}; training steps count from 0.")
    repeats = np.flatnonzero(steps_T[1:] <= steps_T[:-1])
    if repeats.size:
        at = int(repeats[0])
        raise ValueError(
            f"steps must increase, but steps[{at}] = {steps_T[at]} is followed by steps[{at + 1}] = {steps_T[at + 1]}. "
            "Sort the rows by step and keep one row for each."
        )
    return steps_T


def choose_road(curves_TN: CurvesLike, dtype: Road | None, *, paper: bool) -> Road:
    """Returns the precision to fit in: what was asked for, float64 for the paper's values, else what the file holds."""
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; choose 'float32', 'float64', or None for the precision of the curves.")
    if paper:
        return "float64"
    if dtype is not None:
        return dtype
    return "float32" if curves_TN.dtype in (np.float16, np.float32) else "float64"


def token_blocks(curves_TN: CurvesLike, block_tokens: int | None = None) -> Iterator[slice]:
    """Yields slices of tokens that together cover all of them, each small enough to hold in memory.

    Args:
        curves_TN: The curves.
        block_tokens: Tokens in a slice; by default whole HDF5 chunks, as many as `BLOCK_BYTES` allows.
    """
    n_steps, n_tokens = curves_TN.shape
    if block_tokens is None:
        chunks = getattr(curves_TN, "chunks", None)
        width = int(chunks[1]) if chunks else CHUNK_TOKENS
        affordable = max(1, BLOCK_BYTES // (8 * max(n_steps, 1)))
        while width > affordable:  # halves, so that no block straddles two chunks
            width = -(-width // 2)
        block_tokens = affordable // width * width
    if block_tokens < 1:
        raise ValueError(f"block_tokens is {block_tokens}; it must be at least 1.")
    for start in range(0, n_tokens, block_tokens):
        yield slice(start, min(start + block_tokens, n_tokens))


def read(curves_TN: CurvesLike, tokens: slice, road: Road) -> Floats:
    """Returns one block of curves in the given precision, shape [T, block]."""
    block_TN: Floats = np.asarray(curves_TN[:, tokens], dtype=road)
    return block_TN
