"""A run in other formats: npz (NumPy), parquet (a row a token, curves as lists), netCDF. Written block by block."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.frames import need, target_texts, token_frame
from curvewatch.analysis.moment import Moment
from curvewatch.runfile import layout
from curvewatch.runfile.reader import Reader

FORMATS = {".npz": "npz", ".parquet": "parquet", ".nc": "netcdf"}
BLOCK_VALUES = 1 << 22
CURVES = ("surprisal", "correct", "entropy")
Progress = Callable[[int, int], None]


def export(run: Reader, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
    """Writes curves, tokens and measures of a run to `path`, in the format of its ending.

    Args:
        run: The run.
        path: Ends in .npz, .parquet or .nc. What is there is replaced once the new file is whole.
        progress: Called with the number of values done and in all.

    Raises:
        ValueError: If the ending is none of these.
        ImportError: If the format's package is not installed.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix)
    if kind is None:
        raise ValueError(f"output={path}: the ending chooses the format; use one of {', '.join(FORMATS)}.")
    with replaced(path) as temporary:
        {"npz": _npz, "parquet": _parquet, "netcdf": _netcdf}[kind](run, temporary, progress)
    return path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where a file is written that takes the place of `path` once it is whole; of the same ending."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _row_blocks(moment: Moment) -> Iterator[slice]:
    t, n_tokens = moment.surprisal.shape
    block = max(1, BLOCK_VALUES // max(1, n_tokens))
    yield from (slice(start, min(start + block, t)) for start in range(0, t, block))


def _npz(run: Reader, path: Path, progress: Progress | None) -> None:
    moment, table, tokens = Moment.now(run), measures_of(run), run.tokens
    small: dict[str, Any] = {"step": moment.steps_T, "time": moment.times_T}
    small |= {name: getattr(tokens, name) for name in ("sequence_index", "position", "target")}
    texts = target_texts(tokens)
    if texts is not None:
        small["target_text"] = texts.astype(str)
    small |= {name: table[name] for name in table}
    small["about"] = np.array(json.dumps(moment.identity))
    done, total = 0, len(CURVES) * max(1, len(moment))
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, values in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(values), allow_pickle=False)
        for name in CURVES:
            curves = getattr(moment, name)
            header = {
                "descr": np.lib.format.dtype_to_descr(curves.dtype),
                "fortran_order": False,
                "shape": curves.shape,
            }
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for rows in _row_blocks(moment):
                    stream.write(np.ascontiguousarray(curves[rows]).tobytes())
                    done += rows.stop - rows.start
                    if progress is not None:
                        progress(done, total)


def _parquet(run: Reader, path: Path, progress: Progress | None) -> None:
    pa, parquet = need("pyarrow", "parquet"), need("pyarrow.parquet", "parquet")
    moment, frame = Moment.now(run), token_frame(run).reset_index()
    frame.attrs.clear()
    t, n_tokens = moment.surprisal.shape
    about = {b"curvewatch": json.dumps({**moment.identity, "step": moment.steps_T.tolist()}).encode()}
    kinds = {"surprisal": pa.float32(), "correct": pa.bool_(), "entropy": pa.float32()}
    block = max(1, min(int(moment.surprisal.chunks[1]), 4 * BLOCK_VALUES // max(t, 1)))
    writer = None
    try:
        for start in range(0, n_tokens, block):
            stop = min(start + block, n_tokens)
            part = pa.Table.from_pandas(frame.iloc[start:stop], preserve_index=False)
            offsets = pa.array(np.arange(stop - start + 1) * t)
            for name, kind in kinds.items():
                flat = np.ascontiguousarray(getattr(moment, name)[:, start:stop].T).reshape(-1)
                part = part.append_column(name, pa.LargeListArray.from_arrays(offsets, pa.array(flat, kind)))
            if writer is None:
                writer = parquet.ParquetWriter(path, part.schema.with_metadata(about))
            writer.write_table(part.replace_schema_metadata(about))
            if progress is not None:
                progress(stop, n_tokens)
    finally:
        if writer is not None:
            writer.close()


def _netcdf(run: Reader, path: Path, progress: Progress | None) -> None:
    h5netcdf = need("h5netcdf", "netCDF")
    moment, table, tokens = Moment.now(run), measures_of(run), run.tokens
    done, total = 0, len(CURVES) * max(1, len(moment))
    with h5netcdf.File(path, "w") as file:
        # A dimension of no extent is an unlimited one to netCDF.
        file.dimensions = {"step": len(moment) or None, "token": run.n_tokens}
        for key, value in moment.identity.items():
            file.attrs[key] = value if value is not None else 0
        columns: dict[str, tuple[str, Any]] = {"step": ("step", moment.steps_T), "time": ("step", moment.times_T)}
        columns |= {name: ("token", getattr(tokens, name)) for name in ("sequence_index", "position", "target")}
        columns |= {name: ("token", table[name]) for name in table}
        texts = target_texts(tokens)
        if texts is not None:
            columns["target_text"] = ("token", texts)
        for name, (dim, values) in columns.items():
            text = values.dtype.kind in "UO"
            dtype = h5netcdf.core.h5py.string_dtype() if text else values.dtype
            variable = file.create_variable(name, (dim,), dtype)
            variable[...] = values.astype(object) if text else values
            if units := table.units.get(name) or (layout.BY_NAME[name].units if name in layout.BY_NAME else ""):
                variable.attrs["units"] = units
        for name in CURVES:
            curves = getattr(moment, name)
            dtype = np.dtype("int8") if curves.dtype == bool else curves.dtype
            variable = file.create_variable(name, ("step", "token"), dtype)
            variable.attrs["units"] = layout.BY_NAME[name].units
            for rows in _row_blocks(moment):
                variable[rows] = curves[rows].astype(dtype)
                done += rows.stop - rows.start
                if progress is not None:
                    progress(done, total)
