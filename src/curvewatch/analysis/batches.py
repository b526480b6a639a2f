"""Which sequences were trained on between two rows, found again in the data by their fingerprints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.frames import need
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.fingerprints import fingerprints, fingerprints_of

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Batches:
    """The sequences of some updates.

    Attributes:
        first: First of the updates.
        last: Last of them.
        frame: A pandas DataFrame with step, fingerprint (hexadecimal), index (the host's own number; -1 for none),
            and row (where it stands in the data; -1 if not there, or not looked for).
        unknown: Stretches of these updates of which nothing is known.
    """

    first: int
    last: int
    frame: Any
    unknown: list[tuple[int, int]]


def batches_before(run: Reader, step: int, data: Path | None = None) -> Batches:
    """The sequences that were trained on behind the last row before `step`, up to it.

    Args:
        run: The run.
        step: Of a row, or any other.
        data: Where to look them up; see `rows_in`.

    Raises:
        ValueError: If sequences were not remembered, or nothing lies before the step.
    """
    pandas = need("pandas", "batches")
    trained = run.trained
    if trained is None or not trained.batches:
        raise ValueError(f"{run.path}: its batches were not remembered. Train with live=Live(batches=True).")
    steps = run.steps
    earlier = steps[steps < step]
    if step < 1 or step > trained.through:
        raise ValueError(f"before={step}: the batches of updates 1 to {trained.through:,} are in {run.path}.")
    first = int(earlier[-1]) + 1 if len(earlier) else 1
    chosen = (trained.step_S >= first) & (trained.step_S <= step)
    prints = trained.fingerprint_S[chosen]
    row = np.full(len(prints), -1, np.int64)
    if data is not None:
        known = rows_in(data)
        order = np.argsort(known, kind="stable")
        known = known[order]
        at = np.searchsorted(known, prints)
        inside = at < len(known)
        row[inside] = np.where(known[at[inside]] == prints[inside], order[at[inside]], -1)
    frame = pandas.DataFrame(
        {
            "step": trained.step_S[chosen],
            "fingerprint": [f"{one:016x}" for one in prints.tolist()],
            "index": trained.index_S[chosen],
            "row": row,
        }
    )
    unknown = [(max(a, first), min(b, step)) for a, b in trained.unknown if a <= step and b >= first]
    return Batches(first, step, frame, unknown)


def rows_in(data: Path) -> NDArray[np.uint64]:
    """Fingerprints of all rows of a data set.

    Args:
        data: A folder that `datasets` saved, with a column "input_ids"; a `.jsonl` file with such a field; or a `.npy`
            file of token ids, one row a sequence.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is none of these.
    """
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such file or folder.")
    if data.suffix == ".npy":
        rows = np.load(data, mmap_mode="r", allow_pickle=False)
        if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(
                f"{data}: token ids of shape [rows, length] are expected, this is {rows.dtype} {rows.shape}."
            )
        parts = [fingerprints(rows[k : k + BLOCK_ROWS]) for k in range(0, len(rows), BLOCK_ROWS)]
        return np.concatenate([np.zeros(0, np.uint64), *parts])
    if data.suffix == ".jsonl":
        return fingerprints_of(_of_lines(data))
    if data.is_dir():
        try:
            import datasets
        except ImportError as error:
            raise ImportError(f"{data}: to read it, install datasets.") from error
        found = datasets.load_from_disk(str(data))
        if "input_ids" not in getattr(found, "column_names", ()):
            raise ValueError(f"{data}: a data set with a column 'input_ids' is expected.")
        return fingerprints_of(
            row for batch in found.select_columns("input_ids").iter(BLOCK_ROWS) for row in batch["input_ids"]
        )
    raise ValueError(f"{data}: a folder that `datasets` saved, .jsonl or .npy is expected.")


def _of_lines(path: Path) -> Iterator[list[int]]:
    with open(path, encoding="utf-8") as lines:
        for n, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict) or "input_ids" not in row:
                raise ValueError(f"{path}, line {n}: an object with the field input_ids is expected.")
            yield row["input_ids"]
