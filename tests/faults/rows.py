"""A small file whose content is known in advance: row k of each dataset is a function of k alone."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from curvewatch.storage.journal import JournaledFile, snapshot

N = 700
NAMES = {"surprisal": "f4", "correct": "u1", "entropy": "f2"}


def row(name: str, k: int, n: int = N) -> np.ndarray:
    """Return row `k`, shape [n]; no row is all zeros, and no two are equal."""
    values = np.random.default_rng([k, sorted(NAMES).index(name)]).random(n) * 16 + 1
    return values.astype(NAMES[name])


def build(file: h5py.File, n: int = N, chunk: tuple[int, int] = (4, 350)) -> None:
    """Make the empty datasets, as small chunks so that rows often need new space, and often don't."""
    for name, dtype in NAMES.items():
        chunks = (chunk[0], min(chunk[1], n))
        file.create_dataset(name, (0, n), maxshape=(None, n), chunks=chunks, dtype=dtype)
    file.attrs["rows"] = 0


def append(journaled: JournaledFile, k: int, n: int = N) -> None:
    """Add row `k` in one transaction."""
    with journaled.transaction() as file:
        add(file, k, n)


def add(file: h5py.File, k: int, n: int = N) -> None:
    """Add row `k`."""
    for name in NAMES:
        file[name].resize(k + 1, axis=0)
        file[name][k] = row(name, k, n)
    file.attrs["rows"] = k + 1


def count(file: h5py.File, n: int = N) -> int:
    """Return how many rows there are, having compared every bit of them."""
    rows = int(file.attrs["rows"])
    for name in NAMES:
        assert file[name].shape == (rows, n), (name, file[name].shape, rows)
        found = file[name][:]
        for k in range(rows):
            assert found[k].tobytes() == row(name, k, n).tobytes(), f"{name}, row {k} of {rows}"
    return rows


def check_and_go_on(path: Path, at_least: int, at_most: int, more: int = 2, n: int = N) -> int:
    """Check what a crash has left: by snapshot, after recovery, and after more rows; return the number found."""
    with snapshot(path) as file:
        seen = count(file, n)
    assert at_least <= seen <= at_most, (at_least, seen, at_most)
    with JournaledFile(path) as journaled:
        with snapshot(path) as file:
            assert count(file, n) == seen
        for k in range(seen, seen + more):
            append(journaled, k, n)
    with h5py.File(path) as file:  # any HDF5 reader
        assert count(file, n) == seen + more
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]
    return seen
