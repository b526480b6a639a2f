"""Sources: corpora of every kind, each read once and in blocks of laid ids (see `counting`).

Suffixes: M places of a block, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.keys import Int64
from curvewatch.tokens import text

BLOCK = 1 << 16  # tokens; what is computed with a block then stays in the processor's cache
MASK = "attention_mask"


class Corpus(Protocol):
    """Token ids to be counted.

    Attributes:
        about: What it is, for the record.
        size: How much there is, in whatever `blocks` counts; None where that is not known.
    """

    about: Mapping[str, Any]
    size: int | None

    def blocks(self) -> Iterator[tuple[Int64, int]]:
        """Blocks of laid ids, each with how much of `size` is done after it. The last place of the last is 0."""
        ...


class ArrayCorpus:
    """An array of ids, read slice by slice: of NumPy, memory-mapped, of h5py or zarr, or a tensor.

    Args:
        array: Shape [tokens], one document, or [sequences, tokens].
        about: What it is, for the record.
    """

    def __init__(self, array: Any, about: Mapping[str, Any] | None = None) -> None:
        self._array = array
        self.size: int | None = int(np.prod(array.shape, dtype=np.int64))
        shape = list(map(int, array.shape))
        self.about: Mapping[str, Any] = {"kind": "array", **(about or {}), "shape": shape, "dtype": str(array.dtype)}
        if len(shape) not in (1, 2):
            raise ValueError(f"corpus: an array [tokens] or [sequences, tokens] is expected, not {array.shape}.")

    def blocks(self) -> Iterator[tuple[Int64, int]]:
        """See `Corpus`."""
        if len(self._array.shape) == 1 or self._array.shape[1] > BLOCK:
            name = self._name()
            rows = [self._array] if len(self._array.shape) == 1 else self._array
            done = 0
            for r, row in enumerate(rows):
                for piece in _slices(row, name if len(self._array.shape) == 1 else f"{name}, row {r:,}"):
                    done += len(piece)
                    yield piece, done
                yield np.zeros(1, np.int64), done
            return
        n_rows, length = map(int, self._array.shape)
        step = max(1, BLOCK // (length + 1))
        for first in range(0, n_rows, step):
            rows_RL = laid(
                self._array[first : first + step], self._name(), lambda r, t, f=first: f"row {f + r:,}, token {t:,}"
            )
            block = np.zeros((len(rows_RL), length + 1), np.int64)
            block[:, :length] = rows_RL
            yield block.ravel(), min(n_rows, first + step) * length

    def _name(self) -> str:
        return f"corpus={self.about['path']}" if "path" in self.about else "corpus"


class RowsCorpus:
    """Rows one after the other, each a document: arrays or lists of ids, or mappings with a column of them.

    Args:
        rows: What is iterated over, once.
        column: The column of ids, where rows are mappings.
    """

    def __init__(self, rows: Iterable[Any], column: str) -> None:
        self._rows = rows
        self._column = column
        self.size: int | None = len(rows) if isinstance(rows, Sized) else None
        self.about: Mapping[str, Any] = {"kind": type(rows).__name__, "rows": self.size}

    def blocks(self) -> Iterator[tuple[Int64, int]]:
        """See `Corpus`."""
        held: list[Int64] = []
        places = done = 0
        for row in _each(self._rows):
            for piece in self._pieces(row, done):
                held.append(piece)
                places += len(piece)
                if places >= BLOCK:
                    yield np.concatenate(held), done
                    held, places = [], 0
            held.append(np.zeros(1, np.int64))
            done += 1
        if held:
            yield np.concatenate(held), done

    def _pieces(self, row: Any, r: int) -> Iterator[Int64]:
        if not isinstance(row, Mapping):
            yield from _slices(row, f"corpus row {r}")
            return
        if self._column not in row:
            raise KeyError(f"column={self._column!r}: row {r} has no such column (it has: {', '.join(map(str, row))}).")
        name = f"corpus row {r}, column {self._column!r}"
        ids = np.asarray(row[self._column])
        mask = np.asarray(row[MASK]) if MASK in row else np.ones(ids.shape, bool)
        if ids.ndim != 1 or mask.shape != ids.shape:
            raise ValueError(f"{name}: a row of token ids is expected, got shape {ids.shape} and a mask {mask.shape}.")
        yield laid(ids, name) * (mask != 0)


class TextCorpus:
    """A text file through a tokenizer: one document, encoded piece by piece as `TokenSet.from_text` does.

    Args:
        path: A UTF-8 file.
        tokenizer: See `curvewatch.tokens.text`.
    """

    def __init__(self, path: Path, tokenizer: Any) -> None:
        self._path = path
        self.tokenizer = tokenizer
        self.size: int | None = path.stat().st_size
        self.about: Mapping[str, Any] = {"kind": "text", "path": str(path.absolute()), "bytes": self.size}

    def blocks(self) -> Iterator[tuple[Int64, int]]:
        """See `Corpus`."""
        done = 0

        def pieces(file: TextIO) -> Iterator[str]:
            nonlocal done
            for part in _pieces_of(file):
                done += len(part.encode())
                yield part

        try:
            with open(self._path, encoding="utf-8") as file:
                for ids in text.encode_pieces(self.tokenizer, pieces(file)):
                    for piece in _slices(ids):
                        yield piece, done
        except UnicodeDecodeError as error:
            raise ValueError(f"corpus={self._path}: it is no UTF-8 text ({error}).") from error
        yield np.zeros(1, np.int64), done


def laid(ids: Any, name: str = "corpus", place: Callable[..., str] = lambda i: f"token {i:,}") -> Int64:
    """Ids plus 1, int64.

    Args:
        ids: Integers, 0 or more.
        name: For the message.
        place: Likewise: in words, where in the corpus that stands which has these indices in `ids`.

    Raises:
        ValueError: If they are anything else.
    """
    array = np.asarray(ids)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: token ids (integers) are expected, got {array.dtype} of shape {array.shape}.")
    found: NDArray[np.int64] = array.astype(np.int64)
    if (lowest := found.min(initial=0)) < 0:
        where = place(*np.unravel_index(int(found.argmin()), found.shape))
        raise ValueError(
            f"{name}, {where}: token id {lowest} is below 0. If it marks padding, leave those places out, or give rows "
            f"with {MASK!r}."
        )
    found += 1
    return found


def _slices(row: Any, name: str = "corpus") -> Iterator[Int64]:
    """A document's ids, laid, in pieces that are not longer than a block."""
    whole = row if hasattr(row, "shape") else np.asarray(row)
    if len(whole.shape) != 1:
        raise ValueError(f"{name}: a row of token ids is expected, got {getattr(whole, 'dtype', '')} {whole.shape}.")
    for first in range(0, len(whole), BLOCK):
        yield laid(whole[first : first + BLOCK], name, lambda i, f=first: f"token {f + i:,}")


def _each(rows: Any) -> Iterator[Any]:
    """The rows of what can be iterated over, or has a length and is indexed (as PyTorch's datasets)."""
    return iter(rows) if hasattr(rows, "__iter__") else (rows[r] for r in range(len(rows)))


def _pieces_of(file: TextIO) -> Iterator[str]:
    """A text file in the pieces that `text.encode` would cut its text into."""
    begun = ""
    while part := begun + file.read(text.PIECE_CHARACTERS - len(begun)):
        begun = ""
        if len(part) == text.PIECE_CHARACTERS:
            part += file.readline()
            while part.endswith("\n") and (begun := file.read(1)) == "\n":
                part += begun
        yield part
