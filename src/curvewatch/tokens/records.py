"""Rows with named columns, from whatever people keep them in: lists, datasets, tables, JSON lines, CSV."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curvewatch.errors import brief

READABLE = (".jsonl", ".json", ".csv", ".tsv")


def records(rows: Any, names: Sequence[str], columns: Sequence[str | None]) -> list[dict[str, Any]]:
    """One dictionary a row, with the columns that are asked for.

    Args:
        rows: Tuples in the order of `columns`, which may be shorter at their end; mappings; a `datasets.Dataset` or a
            table of pandas, pyarrow or polars; or the path of a file of JSON lines, a JSON list, CSV or TSV.
        names: What each column is, for messages and as keys of what is returned.
        columns: Its name in rows that are mappings; None leaves one out.

    Raises:
        FileNotFoundError: If there is no such file.
        KeyError: If a row has no such column.
        TypeError: If `rows` holds no rows.
        ValueError: If the file can't be read as rows, or there is none.
    """
    wanted = [(name, column) for name, column in zip(names, columns, strict=True) if column is not None]
    found = []
    for r, row in enumerate(rows_of(rows)):
        where = f"rows[{r}]"
        if isinstance(row, (tuple, list)):
            if len(row) > len(names):
                raise ValueError(
                    f"{where}={brief(row)}: {len(row)} values; {', '.join(names)} are expected, in this order."
                )
            found.append(dict(zip(names, row, strict=False)))
            continue
        if not isinstance(row, Mapping):
            raise TypeError(f"{where}={brief(row)}: a row with columns, or a tuple, is expected.")
        missing = [(name, column) for name, column in wanted if column not in row]
        if missing:
            name, column = missing[0]
            raise KeyError(
                f"{name}={brief(column)}: {where} has no such column (it has {brief(list(row))}). Name the column that "
                f"holds it with {name}=."
            )
        found.append({name: row[column] for name, column in wanted})
    if not found:
        raise ValueError("rows: there is none; a token set needs at least one.")
    return found


def rows_of(rows: Any) -> Any:
    """The rows one by one, as they stand in a list, a dataset, a table or a file; see `records`."""
    if isinstance(rows, (str, os.PathLike)):
        return _from_file(Path(rows))
    if hasattr(rows, "to_dicts"):  # polars
        return rows.to_dicts()
    if hasattr(rows, "to_pylist"):  # pyarrow
        return rows.to_pylist()
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # pandas
        return rows.to_dict("records")
    if isinstance(rows, Mapping) or not hasattr(rows, "__iter__"):
        raise TypeError(f"rows={brief(rows)}: a list of rows, a dataset, a table, or the path of a file is expected.")
    return rows


def _from_file(path: Path) -> list[Any]:
    if not path.exists():
        raise FileNotFoundError(f"rows={brief(str(path))}: no such file.")
    if path.suffix not in READABLE:
        raise ValueError(
            f"rows={brief(str(path))}: files that end in {', '.join(READABLE)} are read. Read it yourself, and give "
            "the rows."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix == ".json":
            found = json.loads(text)
            if not isinstance(found, list):
                raise ValueError(f"it holds a {type(found).__name__}, not a list of rows")
            return found
        return list(csv.DictReader(text.splitlines(True), delimiter="\t" if path.suffix == ".tsv" else ","))
    except ValueError as error:  # of json, csv and UTF-8
        raise ValueError(f"rows={brief(str(path))}: can't be read as rows ({error}).") from error


def text_of(record: Mapping[str, Any], name: str, r: int, *, empty: bool = False) -> str:
    """A text in a row.

    Raises:
        TypeError: If it is no text.
        ValueError: If it is empty, and must not be.
    """
    value = record.get(name)
    if not isinstance(value, str):
        raise TypeError(f"rows[{r}]: its {name} is {brief(value)}; a text is expected.")
    if not empty and not value.strip():
        raise ValueError(f"rows[{r}]: its {name} is {brief(value)}, so nothing can be scored. Leave the row out.")
    return value
