"""What people hand to the token set's builders, checked and brought into one form: text, rows, positions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]


def check_counts(*, n_tokens: int, context: int | None, per_sequence: int | None) -> None:
    """Refuses settings that make no token set.

    Raises:
        ValueError: Naming the setting.
    """
    if n_tokens < 1:
        raise ValueError(f"n_tokens={n_tokens}: at least one token must be scored.")
    if context is not None and context < 2:
        raise ValueError(f"context={context}: a sequence needs at least two tokens, one to predict and one before it.")
    if per_sequence is not None and per_sequence < 1:
        raise ValueError(f"per_sequence={per_sequence}: give at least 1, or None to score every position.")


def read_text(text_or_path: str | os.PathLike[str]) -> str:
    """The text itself, read from the file if a path is given.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if isinstance(text_or_path, os.PathLike):
        return Path(text_or_path).read_text(encoding="utf-8")
    short = len(text_or_path) < 4096 and "\n" not in text_or_path
    if short and os.path.isfile(text_or_path):
        return Path(text_or_path).read_text(encoding="utf-8")
    # One word with a suffix or a slash is a mistyped path, not a corpus.
    if short and text_or_path and " " not in text_or_path and ("/" in text_or_path or Path(text_or_path).suffix):
        raise FileNotFoundError(f"text_or_path={text_or_path!r}: no such file.")
    return text_or_path


def as_ids(row: Any, name: str) -> NDArray[np.int64]:
    """One row of token ids, shape [n].

    Raises:
        ValueError: If it is anything else, naming it by `name`.
    """
    array = np.asarray(row)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"{name}: a row of token ids (integers) is expected, got {array.dtype} of shape {array.shape}."
        )
    return array.astype(np.int64)


def given_positions(positions: Any, n_sequences: int, shift: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequence and position of each token that the caller wants scored, by sequence, then by position.

    Args:
        positions: One row of positions for each sequence.
        n_sequences: How many sequences there are.
        shift: Added to each position: 1 if a token was put in front.

    Raises:
        ValueError: If the rows don't fit the sequences, or name a position twice.
    """
    rows = [as_ids(row, f"positions[{s}]") for s, row in enumerate(positions)]
    if len(rows) != n_sequences:
        raise ValueError(f"positions: {len(rows)} rows for {n_sequences} sequences; give one row a sequence.")
    for s, row in enumerate(rows):
        if len(np.unique(row)) != len(row):
            raise ValueError(f"positions[{s}]: a position stands there twice.")
    sequence_index = np.repeat(np.arange(n_sequences), [len(row) for row in rows])
    position = np.concatenate([np.sort(row) for row in rows]) + shift if rows else np.zeros(0, np.int64)
    return sequence_index, position


def rows_of(dataset: Any, column: str, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The rows' token ids: in drawn order where the dataset has a length, else as they come.

    Raises:
        KeyError: If a row has no `column`.
    """
    if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        source: Iterable[Any] = (dataset[int(r)] for r in rng.permutation(len(dataset)))
    else:
        source = iter(dataset)
    for r, row in enumerate(source):
        try:
            ids = row[column]
        except (KeyError, TypeError, IndexError) as error:
            known = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
            raise KeyError(
                f"column={column!r}: the dataset's rows have no such column (they have: {known})."
            ) from error
        yield as_ids(ids, f"dataset row {r}, column {column!r}")
