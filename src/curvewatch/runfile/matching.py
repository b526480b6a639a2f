"""Whether a file is the one to go on with: a run file of a known format, with these token sets, of these weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from curvewatch.errors import ForeignFileError, RunFileError, TokenSetMismatchError
from curvewatch.runfile import layout
from curvewatch.runfile.datasets import group_of
from curvewatch.runfile.records import SetRecord
from curvewatch.runfile.trust import attribute, check_trusted, refused
from curvewatch.storage.hdf5.unpacking import check_unpacked


def check_format(h5: h5py.File, path: Path) -> None:
    """Refuses what is not a run file of a version that this code knows.

    Raises:
        ForeignFileError: If it was not written by curvewatch.
        RunFileError: If a newer version wrote it, or it isn't to be trusted.
    """
    with refused(path):
        ours = "format" in h5.attrs and attribute(h5, "format") == layout.FORMAT
        version = attribute(h5, "format_version") if ours else 0
    if not ours:
        raise ForeignFileError(f"path={path}: an HDF5 file, but not a run file of curvewatch. Choose another path.")
    if version > layout.FORMAT_VERSION:
        raise RunFileError(
            f"path={path}: written in format {version}, this curvewatch knows formats up to {layout.FORMAT_VERSION}. "
            "Upgrade curvewatch."
        )
    check_trusted(h5, path)


def check_same(h5: h5py.File, path: Path, sets: Mapping[str, SetRecord]) -> None:
    check_format(h5, path)
    names = json.loads(h5.attrs["sets"])
    if list(names) != list(sets):
        raise TokenSetMismatchError(
            f"path={path}: it holds the token sets {names}, this run has {list(sets)}. Give the same sets in the same "
            "order, or choose another path."
        )
    for name, record in sets.items():
        kept = str(group_of(h5, names, name).attrs["set_hash"])
        if kept != record.tokens.hash:
            raise TokenSetMismatchError(
                f"path={path}: it holds the curves of token set {kept[:16]}…, but the set given as {name!r} is "
                f"{record.tokens.hash[:16]}…. Give the set that the run began with (open_run(path).tokens has it), or "
                "choose another path."
            )
        group = group_of(h5, names, name)
        if "boundary_kind" in group:
            flags_V = record.tokens.annotations.boundary
            if flags_V is None or not np.array_equal(flags_V, group["boundary_kind"][:]):
                raise TokenSetMismatchError(
                    f"path={path}: its rows have the boundaries of words, those of the set given as {name!r} are "
                    f"{'others' if flags_V is not None else 'missing'}. Make it as the run began with it, "
                    '.words(boundary="corrected") with the same tokenizer, or choose another path.'
                )
        for dataset in layout.DATASETS:  # HDF5 cuts them where training goes on
            if (dataset.grows or dataset.dims[0] in layout.RESIZABLE_DIMS) and dataset.name in group:
                check_unpacked(group[dataset.name].id)


def weights_of(h5: h5py.File) -> str:
    """Which weights a file's rows are of; those of older files are all of the trained ones."""
    return str(attribute(h5, "weights")) if "weights" in h5.attrs else layout.WEIGHTS[0]


def check_weights(path: Path, kept: str, given: str) -> None:
    if kept != given:
        raise RunFileError(
            f"path={path}: its rows are of the {kept} weights, this run scores the {given} ones, and a curve must not "
            f"change from one to the other. Score the {kept} weights again, or choose another path."
        )
