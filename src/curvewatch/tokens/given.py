"""What people hand to the token set's builders, checked and brought into one form: text, rows, positions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

# A path with blanks in it is told from a text by its ending.
_FILE_SUFFIXES = {".txt", ".text", ".md", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst"}

IntArray = NDArray[np.integer]
LARGEST_ID = int(np.iinfo(np.int32).max)


def check_settings(
    *,
    n_tokens: int | None,
    per_sequence: int | None,
    seed: int,
    bos: int | None,
    vocab_size: int | None,
    context: int | None = None,
    needed: Sequence[str] = ("seed",),
) -> None:
    """Refuses settings that make no token set.

    Args:
        n_tokens: At least 1.
        per_sequence: At least 1.
        seed: At least 0.
        bos: An id.
        vocab_size: At least 2.
        context: At least 2.
        needed: Names of those that can't be None.

    Raises:
        TypeError: If one is no whole number.
        ValueError: Naming the setting.
    """
    given = {"n_tokens": n_tokens, "context": context, "seed": seed}
    if missing := [name for name in needed if given[name] is None]:
        raise TypeError(f"{missing[0]}=None: a whole number is expected.")
    if (n := _whole("n_tokens", n_tokens)) is not None and n < 1:
        raise ValueError(f"n_tokens={n}: at least one token must be scored.")
    if (n := _whole("context", context)) is not None and n < 2:
        raise ValueError(f"context={n}: a sequence needs at least two tokens, one to predict and one before it.")
    if (n := _whole("per_sequence", per_sequence)) is not None and n < 1:
        raise ValueError(f"per_sequence={n}: give at least 1, or None to score every position.")
    if (n := _whole("seed", seed)) is not None and n < 0:
        raise ValueError(f"seed={n}: a whole number of 0 or more is expected.")
    if (n := _whole("bos", bos)) is not None and not 0 <= n <= LARGEST_ID:
        raise ValueError(f"bos={n}: the id of a token is expected, from 0 to {LARGEST_ID}, or None.")
    if (n := _whole("vocab_size", vocab_size)) is not None and n < 2:
        raise ValueError(f"vocab_size={n}: a vocabulary has at least two tokens. None leaves it to the tokenizer.")


def _whole(name: str, value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer))):
        raise TypeError(f"{name}={brief(value)}: a whole number is expected, got a {type(value).__name__}.")
    return None if value is None else int(value)


def with_first(row: IntArray, bos: int) -> IntArray:
    """The row behind `bos`, which is not put there twice."""
    return row if begins_with(row, bos) else np.concatenate([[bos], row])


def begins_with(row: IntArray, bos: int | None) -> bool:
    """Whether a tokenizer, say, has put `bos` there already."""
    return bos is not None and len(row) > 0 and int(row[0]) == bos


def read_text(text_or_path: object) -> str:
    """The text itself, read from the file if a path is given.

    Raises:
        FileNotFoundError: If there is no such file, or what is given looks like the path of one.
        IsADirectoryError: If it is a folder.
        TypeError: If it is neither a text nor a path.
        ValueError: If the file is no UTF-8 text.
    """
    if not isinstance(text_or_path, (str, os.PathLike)):
        many = isinstance(text_or_path, (list, tuple))
        way = (
            "Join the texts, '\\n'.join(texts), or encode each and pass the rows to TokenSet.from_sequences."
            if many
            else "Pass a str, or the path of a UTF-8 file."
        )
        raise TypeError(
            f"text_or_path={brief(text_or_path)}: one text or one path is expected, got a "
            f"{type(text_or_path).__name__}. {way}"
        )
    # A text of several lines, or longer than any path, is a text.
    if isinstance(text_or_path, str) and (len(text_or_path) >= 4096 or "\n" in text_or_path or not text_or_path):
        return text_or_path
    if os.path.isdir(text_or_path):
        raise IsADirectoryError(f"text_or_path={brief(text_or_path)}: a folder. Give one file in it, or the text.")
    if os.path.isfile(text_or_path):
        try:
            return Path(text_or_path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"text_or_path={brief(text_or_path)}: it is no UTF-8 text ({error.reason} at byte {error.start}). Give "
                "a text file in UTF-8, not a compressed or binary one."
            ) from error
    if isinstance(text_or_path, os.PathLike) or _looks_like_a_path(text_or_path):
        raise FileNotFoundError(
            f"text_or_path={brief(text_or_path)}: no such file. Check the path; if it is the text itself, put a line "
            "break behind it."
        )
    return text_or_path


def _looks_like_a_path(text: str) -> bool:
    """One word that could name a file is a mistyped path, not a corpus; so is what ends as files of text do."""
    nameable = all(len(part.encode(errors="replace")) < 256 for part in text.split("/"))
    return nameable and (not any(map(str.isspace, text)) or Path(text).suffix.lower() in _FILE_SUFFIXES)


def storable(text: str) -> str:
    """The text as files can hold it: a NUL would end an HDF5 string early, and a lone surrogate is no UTF-8."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def as_ids(row: Any, name: str) -> NDArray[np.int64]:
    """One row of token ids, shape [n].

    Raises:
        ValueError: If it is anything else, naming it by `name`.
    """
    array = np.asarray(row.detach().cpu() if hasattr(row, "detach") else row)  # a tensor may lie on an accelerator
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"{name}: a row of token ids (integers) is expected, got {array.dtype} of shape {array.shape}."
        )
    if array.size and (array.min() < 0 or array.max() > LARGEST_ID):
        raise ValueError(
            f"{name}: numbers from {array.min()} to {array.max()}; they must be 0 or more, at most {LARGEST_ID}."
        )
    return array.astype(np.int64)


def given_positions(positions: Any, shifts_S: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequence and position of each token that the caller wants scored, by sequence, then by position.

    Args:
        positions: One row of positions for each sequence.
        shifts_S: Added to each position of a sequence: 1 if a token was put in front.

    Raises:
        TypeError: If `positions` has no rows.
        ValueError: If the rows don't fit the sequences, or name a position twice.
    """
    if not hasattr(positions, "__iter__"):
        raise TypeError(f"positions={brief(positions)}: a row of positions for each sequence is expected.")
    rows = [as_ids(row, f"positions[{s}]") for s, row in enumerate(positions)]
    n_sequences = len(shifts_S)
    if len(rows) != n_sequences:
        raise ValueError(f"positions: {len(rows)} rows for {n_sequences} sequences; give one row a sequence.")
    for s, row in enumerate(rows):
        if len(np.unique(row)) != len(row):
            raise ValueError(f"positions[{s}]: a position stands there twice.")
    sequence_index = np.repeat(np.arange(n_sequences), [len(row) for row in rows])
    shifted = [np.sort(row) + shift for row, shift in zip(rows, shifts_S, strict=True)]
    position = np.concatenate(shifted) if shifted else np.zeros(0, np.int64)
    return sequence_index, position


def check_parts(tokens: TokenSet) -> None:
    """Makes sure that the parts of a token set go together.

    Raises:
        ValueError: Naming the part, and what is wrong with it.
    """
    if tokens.vocab_size is not None:
        if tokens.vocab_size < 2:
            raise ValueError(f"vocab_size={tokens.vocab_size}: a vocabulary has at least two tokens.")
        if int(tokens.ids.max()) >= tokens.vocab_size:
            raise ValueError(
                f"sequences: token id {int(tokens.ids.max())} lies beyond vocab_size={tokens.vocab_size}. Were they "
                "made with another tokenizer? If its ids have holes, give the highest one and 1 as vocab_size=."
            )
    key = tokens.sequence_index.astype(np.int64) * (int(tokens.position.max()) + 1) + tokens.position
    if not (np.diff(key) > 0).all():
        raise ValueError("positions: tokens must be in order of sequence and position, each once.")
    if tokens.position.min() < 1:
        raise ValueError("positions: position 0 has no context to be predicted from. Pass bos= to give it one.")
    beyond = tokens.position >= tokens.lengths[tokens.sequence_index]
    if beyond.any():
        i = int(np.argmax(beyond))
        s = int(tokens.sequence_index[i])
        raise ValueError(
            f"positions: position {int(tokens.position[i])} of sequence {s} lies beyond its {int(tokens.lengths[s])} "
            "tokens."
        )
