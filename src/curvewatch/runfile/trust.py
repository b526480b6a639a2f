"""Whether a run file may be read: a look at its structure before any of its data, since files come from strangers.

HDF5 can send a reader to other files, have a plugin loaded, or declare terabytes in a few bytes. None of that is in
a run file, so none of it is obeyed: what `layout` names must be plain data of its type and rank inside the file, of
sizes that the file can hold. What `layout` doesn't name is never opened.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5p, h5t
from numpy.typing import NDArray

from curvewatch.errors import CurvewatchError, RunFileError
from curvewatch.runfile import layout
from curvewatch.runfile.plain import STANDARD_TYPES, StoredOtherwise, check_dataset, require
from curvewatch.storage.hdf5.unpacking import check_unpacked, chunks_of, unpacked_text

_T = TypeVar("_T")

MAX_SETS = 1000
MAX_TEXT_BYTES = 16 << 20
"""Of one attribute or one session."""
DAMAGE = (OSError, RuntimeError, KeyError)
"""What HDF5 raises when data can't be read."""
_ANY = (*DAMAGE, ArithmeticError, AttributeError, IndexError, MemoryError, SystemError, TypeError, ValueError)
_OPTIONAL = (
    "target_text",
    "vocabulary_id",
    "vocabulary_text",
    "due_step",
    "skipped_step",
    "skipped_why",
    *(one.name for one in (*layout.SEEN, *layout.OF_SOME)),
)
_OPTIONAL_ATTRIBUTES = ("max_overhead", "weights", *layout.OPTIONAL_ATTRIBUTES)
_SESSIONS = layout.Dataset("sessions", ("session",), layout.TEXT, "", "")
_NUMBERS = {
    "format_version",
    "max_steps",
    "max_overhead",
    "chance",
    "vocab_size",
    "model_vocab_size",
    "through",
    "mask_id",
}
_JSON: dict[str, type[Any]] = {"made_by": dict, "scorer": dict, "sets": list, "texts": dict}
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


@contextmanager
def refused(path: str | os.PathLike[str], errors: tuple[type[Exception], ...] = _ANY) -> Iterator[None]:
    """Turns whatever a bad file makes h5py, NumPy or json raise in the block into a RunFileError.

    Only for blocks of our own code: an error in a caller's code must reach the caller as it is. Where a caller's
    index may be at fault as well, `errors` leaves IndexError, TypeError and ValueError alone.
    """
    try:
        yield
    except CurvewatchError:
        raise
    except errors as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not HDF5's
            raise RunFileError(f"path={path}: can't be read or written ({error}). Check the disk.") from error
        what = str(error.args[0] if error.args else "")[:500] or type(error).__name__
        if isinstance(error, StoredOtherwise):
            root, extension = os.path.splitext(path)
            command = f"h5repack {error.options} {shlex.quote(str(path))} {shlex.quote(f'{root}.converted{extension}')}"
            raise RunFileError(
                f"path={path}: another program rewrote it in a form that is not read here ({what}). Convert it, and "
                f"use the converted file: {command}"
            ) from error
        raise RunFileError(
            f"path={path}: damaged, or changed by another program ({what}). Restore it from a copy."
        ) from error


def check_trusted(h5: h5py.File, path: str | os.PathLike[str]) -> None:
    """Refuses a file in which anything that `layout` names isn't plain data inside the file.

    Raises:
        RunFileError: Naming what is wrong.
    """
    with refused(path):
        _require_plain(h5g.open(h5.id, b"/"), "/")
        _check_attributes(h5, layout.ROOT_ATTRIBUTES)
        sets = sets_of(h5)
        for name in sets:
            _check_set(h5, name)
        if layout.TRAINED_ON not in sets and h5.id.links.exists(layout.TRAINED_ON.encode()):
            _check_trained_on(_group(h5, layout.TRAINED_ON), h5.id.get_filesize())
        sessions = _dataset(_group(h5, layout.PROVENANCE), _SESSIONS.name)
        check_dataset(sessions, _SESSIONS, h5.id.get_filesize())


def sets_of(h5: h5py.File) -> list[str | None]:
    """The groups of the file's token sets; [None] if one set stands in the root.

    Raises:
        ValueError: If the file names none, too many, or one twice.
    """
    names = parsed(attribute(h5, "sets"), list)
    require(all(isinstance(name, str) for name in names), "sets: not names")
    require(0 < len(names) == len(set(names)) <= MAX_SETS, f"sets: {len(names)} names, or one twice")
    return list(names) if len(names) > 1 else [None]


def attribute(holder: h5py.Group, name: str) -> Any:
    """The value of an attribute that holds one text or one number.

    Raises:
        ValueError: If it holds anything else; it is not read then.
    """
    found = h5a.open(holder.id, name.encode())
    kind = found.get_type()
    require(found.get_space().get_simple_extent_npoints() == 1 and found.shape == (), f"{name}: not a single value")
    if name in _NUMBERS:
        require(any(kind.equal(t) for kinds in "iuf" for t in STANDARD_TYPES[kinds]), f"{name}: not a number")
        value = holder.attrs[name].item()
        require(math.isfinite(value), f"{name}: {value}")
        return value
    require(isinstance(kind, h5t.TypeStringID), f"{name}: not text")
    require(kind.is_variable_str() or kind.get_size() <= MAX_TEXT_BYTES, f"{name}: too long")
    text = holder.attrs[name]
    text = text.decode() if isinstance(text, bytes) else str(text)
    require(len(text) <= MAX_TEXT_BYTES and text.encode() is not None, f"{name}: too long")
    return text


def parsed(text: str, kind: type[_T]) -> _T:
    """What a text holds as JSON.

    Raises:
        ValueError: If it is too long, no JSON, or of another kind.
        RecursionError: If it is nested absurdly deep.
    """
    require(len(text) <= MAX_TEXT_BYTES, f"{len(text):,} characters of JSON")
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f"JSON of {type(value).__name__}, not {kind.__name__}")
    return value


def read(dataset: h5py.Dataset, index: Any = ()) -> NDArray[Any]:
    """What a dataset that was checked holds, text as str; what it unpacks to is measured first.

    Args:
        dataset: Of numbers, or of text.
        index: Of numbers, as in brackets behind the dataset. Texts come whole.

    Raises:
        ValueError: If it unpacks to less or more than it declares, or its texts add up to more than the file holds.
    """
    if h5py.check_string_dtype(dataset.dtype) is None:
        check_unpacked(dataset.id, index)
        values: NDArray[Any] = dataset[index]
        return values
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    held, n_bytes = 0, dataset.chunks[0] * _REFERENCE.itemsize
    for info in chunks_of(dataset.id):
        # Memory of our own: h5py takes as much as a chunk is, HDF5 fills as much as the file says of this one.
        if packed:
            raw = np.frombuffer(unpacked_text(dataset.id, info.chunk_offset), np.uint8)
        else:
            raw = np.zeros(max(info.size, n_bytes), np.uint8)
            dataset.id.read_direct_chunk(info.chunk_offset, out=raw)
        references = raw[:n_bytes].view(_REFERENCE)
        held += int(references["length"][: dataset.shape[0] - info.chunk_offset[0]].sum(dtype=np.uint64))
    # Each text has its own place in the file, but a bad file can have a million point to the same long one.
    require(held <= dataset.file.id.get_filesize(), f"{dataset.name}: {held:,} bytes of text, more than the file has")
    texts: NDArray[Any] = dataset.asstr()[:]
    return texts


# ---------------------------------------------------------------------- one set, one dataset


def _check_set(h5: h5py.File, name: str | None) -> None:
    group = h5 if name is None else _group(h5, name)
    _check_attributes(group, layout.SET_ATTRIBUTES)
    _check_datasets(group, layout.DATASETS, _OPTIONAL, h5.id.get_filesize())
    _check_whole(group, (layout.MASKED, layout.ENCODER))
    require(
        ("mask_id" in group.attrs) == ("mask_row" in group), "mask_id: without the rows of masks, or they without it"
    )


def _check_trained_on(group: h5py.Group, size: int) -> None:
    _check_attributes(group, layout.TRAINED_ON_ATTRIBUTES)
    optional = {one.name for one in (*layout.EXPOSURES, *layout.TRAINED)}
    _check_datasets(group, layout.TRAINED_ON_DATASETS, optional, size)
    _check_whole(group, (layout.EXPOSURES, layout.TRAINED))


def _check_whole(group: h5py.Group, parts: Sequence[Sequence[layout.Dataset]]) -> None:
    for datasets in parts:
        there = {group.id.links.exists(one.name.encode()) for one in datasets}
        require(len(there) == 1, f"{datasets[0].name}: without the rest of what belongs to it")


def _check_datasets(
    group: h5py.Group, datasets: Sequence[layout.Dataset], optional: Collection[str], size: int
) -> None:
    extents = dict[str, int]()
    for dataset in datasets:
        if dataset.name in optional and not group.id.links.exists(dataset.name.encode()):
            continue
        shape = check_dataset(_dataset(group, dataset.name), dataset, size)
        for dim, extent in zip(dataset.dims, shape, strict=True):
            known = extents.setdefault(dim, extent)
            require(extent == known, f"{dataset.name}: {extent:,} along {dim}, where others have {known:,}")


def _check_attributes(holder: h5py.Group, names: Sequence[str] | dict[str, str]) -> None:
    for name in names:
        if name in _OPTIONAL_ATTRIBUTES and name not in holder.attrs:
            continue
        value = attribute(holder, name)
        require(name != "weights" or value in layout.WEIGHTS, f"weights: {str(value)[:80]!r}")
        if name in _JSON:
            parsed(value, _JSON[name])


def _group(h5: h5py.File, name: str) -> h5py.Group:
    """The group of that name; a set's name may have slashes in it, and each link on the way counts."""
    group = h5.id
    for part in name.split("/"):
        require(part not in ("", "."), f"{name!r}: not a name")
        _require_hard(group, part)
        group = h5o.open(group, part.encode())
        require(isinstance(group, h5g.GroupID), f"{name}: not a group")
    _require_plain(group, name)
    return h5py.Group(group)


def _require_plain(group: h5g.GroupID, name: str) -> None:
    # The list of links may be packed, and then a filter runs before any link can be looked at.
    plist = group.get_create_plist()
    filters = h5p.PropDCID(plist.id)  # h5py asks only datasets for their filters
    filters.locked = True  # the id is closed by `plist` alone
    require(filters.get_nfilters() == 0, f"{name}: a group that is packed")


def _dataset(group: h5py.Group, name: str) -> h5d.DatasetID:
    _require_hard(group.id, name)
    return h5d.open(group.id, name.encode())


def _require_hard(group: h5g.GroupID, name: str) -> None:
    # HDF5 opens the other file of an external link as soon as the name is used.
    require(group.links.get_info(name.encode()).type == h5l.TYPE_HARD, f"{name}: a link that may lead anywhere")
