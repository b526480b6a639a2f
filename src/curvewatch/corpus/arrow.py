"""DatasetCorpus: a Hugging Face dataset as a corpus, its rows read as Arrow arrays and never as Python lists.

Suffixes: R rows of a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from curvewatch.corpus.keys import Int64
from curvewatch.corpus.sources import BLOCK, MASK, laid

MAX_ROWS = 1000  # at once


class DatasetCorpus:
    """A `datasets.Dataset`, its rows documents, read as Arrow arrays.

    Args:
        dataset: The dataset.
        column: Its column of token ids.
        about: More for the record.
    """

    def __init__(self, dataset: Any, column: str = "input_ids", about: Mapping[str, Any] | None = None) -> None:
        if column not in dataset.column_names:
            raise KeyError(
                f"column={column!r}: the dataset has no such column (it has: {', '.join(dataset.column_names)})."
            )
        self._column = column
        columns = [column, MASK] if MASK in dataset.column_names and column != MASK else [column]
        self._rows = dataset.select_columns(columns).with_format("arrow")
        self.size: int | None = len(dataset)
        self.about: Mapping[str, Any] = {"kind": "dataset", **(about or {}), "rows": self.size, "column": column}

    def blocks(self) -> Iterator[tuple[Int64, int]]:
        """See `sources.Corpus`."""
        path = f"={self.about['path']}" if "path" in self.about else ""
        name, done = f"corpus{path}, column {self._column!r}", 0
        n_rows, longest = 1, 1
        while done < (self.size or 0):
            table = self._rows[done : done + n_rows]
            done += table.num_rows
            lengths_R, values = _flat(table.column(self._column), name)
            ends_R, first = np.cumsum(lengths_R), done - table.num_rows
            ids = laid(
                values, name, lambda i, e=ends_R, f=first: f"row {f + int(np.searchsorted(e, i, side='right')):,}"
            )
            if MASK in table.column_names and self._column != MASK:
                mask_lengths_R, mask = _flat(table.column(MASK), MASK)
                if not np.array_equal(mask_lengths_R, lengths_R):
                    raise ValueError(f"{name}: its rows and those of {MASK!r} are not equally long.")
                ids *= mask != 0
            block = np.zeros(len(ids) + len(lengths_R), np.int64)
            is_token = np.ones(len(block), bool)
            is_token[np.cumsum(lengths_R + 1) - 1] = False
            block[is_token] = ids
            for first in range(0, len(block), BLOCK):
                yield block[first : first + BLOCK], done
            longest = max(longest, int(lengths_R.max(initial=1)))
            n_rows = max(1, min(MAX_ROWS, BLOCK // longest))


def is_dataset(corpus: Any) -> bool:
    """Whether `corpus` is a `datasets.Dataset` that can be read by rows (not a stream, not a dict of splits)."""
    return all(hasattr(corpus, name) for name in ("column_names", "select_columns", "with_format", "__len__"))


def _flat(column: Any, name: str) -> tuple[Int64, Any]:
    """Length of each row of an Arrow column of lists, and their items behind one another."""
    import pyarrow
    import pyarrow.compute

    lists = column.combine_chunks()
    if isinstance(lists, pyarrow.ChunkedArray):
        lists = pyarrow.concat_arrays(lists.chunks)
    kind = lists.type
    if not (pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)):
        raise ValueError(f"{name}: rows of token ids are expected, got {kind}.")
    if lists.null_count or lists.flatten().null_count:
        raise ValueError(f"{name}: it has missing values.")
    lengths_R = pyarrow.compute.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths_R, lists.flatten().to_numpy(zero_copy_only=False)
