"""The rows of a dataset, whichever library it comes from, in drawn order or as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curvewatch.errors import brief


def rows_of(dataset: Any, columns: Sequence[str], rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """What stands in some columns of the rows: in drawn order where the dataset has a length, else as they come.

    Args:
        dataset: Rows that are mappings with `column` (a `datasets.Dataset`, a PyTorch dataset, a list, a stream), or
            hold the ids alone (a `TensorDataset` of one tensor); or a table of pyarrow, pandas or polars.
        columns: The column of token ids or texts, and others.
        rng: Draws the order.

    Raises:
        KeyError: If a row has no `column`.
        TypeError: If it is no dataset.
        ValueError: If it is several.
    """
    _refuse_what_is_no_dataset(dataset, columns[0])
    of_table = [_column_of(dataset, column) for column in columns]
    if of_table[0] is not None:
        readers = [one for one in of_table if one is not None]
        yield from (tuple(read(int(r)) for read in readers) for r in rng.permutation(len(dataset)))
    elif _has_places(dataset):
        for r in rng.permutation(len(dataset)):
            row = dataset[int(r)]
            yield tuple(_cell(row, column) for column in columns)
    else:
        for row in dataset:
            yield tuple(_cell(row, column) for column in columns)


def _has_places(dataset: Any) -> bool:
    """Whether rows can be taken by number; a stream may tell its length, and inherit a `__getitem__` that raises."""
    if any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__):
        return False
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def _library(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _column_of(table: Any, column: str) -> Callable[[int], Any] | None:
    """What gives the ids of row r of a table; None if `table` is none."""
    library = _library(table)
    if library == "pyarrow" and hasattr(table, "column_names"):
        _refuse_missing(column, table.column_names)
        arrow_column = table.column(column)
        return lambda r: arrow_column[r].as_py()
    if library == "pandas" and hasattr(table, "columns"):
        _refuse_missing(column, table.columns)
        places = table[column].iloc
        return lambda r: places[r]
    if library == "polars" and hasattr(table, "columns"):
        _refuse_missing(column, table.columns)
        series = table.get_column(column)
        return lambda r: series[r]
    return None


def _cell(row: Any, column: str) -> Any:
    """What stands in `column` of one row."""
    if isinstance(row, tuple) and len(row) == 1:
        return row[0]
    column_of = _column_of(row, column)  # a row may come as a table of one row
    if column_of is not None:
        return column_of(0)
    try:
        return row[column]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(row, Mapping):
            _refuse_missing(column, row)
        of = f" of {len(row)}" if isinstance(row, (tuple, list)) else ""
        raise KeyError(
            f"column={brief(column)}: the dataset's rows have no such column (each is a {type(row).__name__}{of}). "
            "Give rows that are mappings with this column, or the ids themselves to TokenSet.from_sequences."
        ) from error


def _refuse_missing(column: str, known: Any) -> None:
    if column not in known:
        raise KeyError(
            f"column={brief(column)}: the dataset's rows have no such column (they have: "
            f"{brief([str(name) for name in known])}). Name one with column=."
        )


def _refuse_what_is_no_dataset(dataset: Any, column: str) -> None:
    kind = type(dataset).__name__
    if isinstance(dataset, (str, bytes, os.PathLike)):
        raise TypeError(
            f"dataset={brief(dataset)}: a name or a path is no dataset. Load it (datasets.load_dataset, "
            "datasets.load_from_disk) and pass its rows; a text file goes to TokenSet.from_text."
        )
    if isinstance(dataset, Mapping):
        if column in dataset:
            raise ValueError(
                f"dataset: a {kind} of whole columns, not rows. Give TokenSet.from_sequences(dataset[{brief(column)}])."
            )
        names = list(dataset)
        way = f"dataset[{brief(names[0])}]" if names else "a dataset with rows"
        raise ValueError(f"dataset: a {kind} of several datasets, {brief(names)}. Give one of them: {way}.")
    if _library(dataset) == "polars" and kind == "LazyFrame":
        raise TypeError("dataset: a LazyFrame has no rows yet. Give dataset.collect().")
    if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"dataset={brief(dataset)}: a {kind} has no rows to go through. Give a datasets.Dataset, a table of "
            "pyarrow, pandas or polars, or anything that yields mappings with the column."
        )
