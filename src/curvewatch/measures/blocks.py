"""Reading curves a block of tokens at a time, so that memory stays bounded whatever their number.

Suffixes: T scored steps, N tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.smoother.smoothing import Floats, Road

CHUNK_TOKENS = 16384  # width of the run file's chunks; a block that cuts a chunk reads it twice
BLOCK_BYTES = 2**27  # of curves in memory at a time, in the precision they are fitted in
FIT_TOKENS = 4096  # fitted at a time, at most: the intermediate matrices stay in the processor's cache
FIT_VALUES = 2**22  # in one such part: with thousands of steps it holds fewer tokens


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
    warnings.warn(message, MeasureWarning, stacklevel=3)


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


def check_correct(correct: CurvesLike | ArrayLike | None, curves_TN: CurvesLike) -> CurvesLike | None:
    """Returns `correct` as something that can be sliced, after checking that it has the shape of the curves."""
    if correct is None:
        return None
    correct_TN = as_curves(correct)
    if tuple(correct_TN.shape) != tuple(curves_TN.shape):
        raise ValueError(
            f"correct has shape {tuple(correct_TN.shape)}, surprisal {tuple(curves_TN.shape)}; both are [step, token]."
        )
    return correct_TN


def block_width(curves_TN: CurvesLike, *, share: int = 1) -> int:
    """Returns how many tokens to read at a time: whole HDF5 chunks, or an even part of one where they are too large.

    Args:
        curves_TN: The curves.
        share: How many arrays of this size share the memory.
    """
    chunks = getattr(curves_TN, "chunks", None)  # of h5py; dask's are tuples, and say nothing about a file
    width = int(chunks[1]) if chunks and isinstance(chunks[1], int) else CHUNK_TOKENS
    affordable = max(1, BLOCK_BYTES // (8 * max(curves_TN.shape[0], 1) * share))
    while width > affordable:  # halves, so that no block straddles two chunks
        width = -(-width // 2)
    return affordable // width * width


def fit_width(n_steps: int, *, share: int = 1) -> int:
    """Returns how many tokens to work on at a time inside a block; `share` arrays of their curves are alive at once."""
    return max(16, min(FIT_TOKENS, FIT_VALUES // max(n_steps * share, 1)))


def parts(tokens: slice, width: int) -> Iterator[tuple[slice, slice]]:
    """Yields the parts of a block, each as its columns within the block and as tokens of the run."""
    size = tokens.stop - tokens.start
    for start in range(0, size, width):
        stop = min(start + width, size)
        yield slice(start, stop), slice(tokens.start + start, tokens.start + stop)


def token_blocks(curves_TN: CurvesLike, block_tokens: int | None = None) -> Iterator[slice]:
    """Yields slices of tokens that together cover all of them.

    Args:
        curves_TN: The curves.
        block_tokens: Tokens in a slice; None takes `block_width`.
    """
    if block_tokens is None:
        block_tokens = block_width(curves_TN)
    if block_tokens < 1:
        raise ValueError(f"block_tokens is {block_tokens}; it must be at least 1.")
    n_tokens = curves_TN.shape[1]
    for start in range(0, n_tokens, block_tokens):
        yield slice(start, min(start + block_tokens, n_tokens))


def read(curves_TN: CurvesLike, tokens: slice, road: Road) -> Floats:
    """Returns one block of curves in the given precision, shape [T, block]."""
    block_TN: Floats = np.asarray(curves_TN[:, tokens], dtype=road)
    return block_TN


def read_correct(correct_TN: CurvesLike | None, tokens: slice) -> NDArray[np.bool_] | None:
    """Returns one block of whether the targets were the arg-max, shape [T, block]."""
    return None if correct_TN is None else np.asarray(correct_TN[:, tokens], bool)
