"""Curves: one [step, token] dataset of a run, read when it is indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.runfile import layout
from curvewatch.runfile.trust import DAMAGE, refused
from curvewatch.storage.hdf5.unpacking import check_unpacked

if TYPE_CHECKING:
    from curvewatch.runfile.reader import Reader


class Curves:
    """One [step, token] dataset of a run, read when indexed: `run.surprisal[-1]`, `run.surprisal[:, 17]`.

    It is sliced like a NumPy array, and `numpy.asarray` reads it whole.

    Args:
        run: Where it stands.
        name: Of the dataset.
        dtype: To read it as.
        n_rows: Show only the first rows, so that the shape stays while the file grows; None shows all there are.

    Attributes:
        chunks: Steps and tokens that are stored together; blocks of tokens are best read by multiples of the latter.
    """

    def __init__(self, run: Reader, name: str, dtype: Any, n_rows: int | None = None) -> None:
        self._run = run
        self._name = name
        self._n_rows = n_rows
        self.dtype = np.dtype(dtype)
        self.chunks = layout.chunks(layout.BY_NAME[name], (0, run.n_tokens))

    @property
    def shape(self) -> tuple[int, int]:
        """Steps, tokens; the first grows while training goes on."""
        return (len(self._run) if self._n_rows is None else self._n_rows, self._run.n_tokens)

    def first(self, n_rows: int) -> Curves:
        """The same, of the first `n_rows` steps only."""
        return Curves(self._run, self._name, self.dtype, n_rows)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        with refused(self._run.path, DAMAGE), self._run.group() as group:
            rows, dataset = _rows(rows, group["step"].shape[0], self._n_rows), group[self._name]
            check_unpacked(dataset.id, (rows, *rest))
            found = dataset[(rows, *rest)]
        return found.astype(self.dtype) if isinstance(found, np.ndarray) else self.dtype.type(found)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:]
        return whole.astype(dtype) if dtype is not None else whole

    def __repr__(self) -> str:
        steps, tokens = self.shape
        return f"<{self._name}: {steps:,} steps x {tokens:,} tokens, {self.dtype}>"


def _rows(rows: Any, in_file: int, shown: int | None) -> Any:
    """Rows counted from the front, since h5py knows the length only of this moment's file.

    Raises:
        IndexError: If a single row is not there.
        RunFileError: If rows that were there are gone: training resumed from before them.
    """
    n_rows = in_file if shown is None else shown
    if n_rows > in_file:
        raise RunFileError(
            f"the file had {n_rows:,} observations and now has {in_file:,}: training was resumed from an earlier step "
            "meanwhile. Read it again."
        )
    if isinstance(rows, slice):
        return slice(*rows.indices(n_rows))
    if not isinstance(rows, (int, np.integer)) or isinstance(rows, bool):
        return rows
    if not -n_rows <= rows < n_rows:
        raise IndexError(f"row {rows}: there are {n_rows} rows.")
    return int(rows) % n_rows
