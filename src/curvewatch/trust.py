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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5i, h5l, h5o, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from curvewatch import layout
from curvewatch.errors import CurvewatchError, RunFileError
from curvewatch.unpacking import TEXT_SLACK, check_unpacked, chunks_of, unpacked_text

_T = TypeVar("_T")

MAX_SETS = 1000
MAX_TEXT_BYTES = 16 << 20
"""Of one attribute or one session."""
MAX_CHUNK_BYTES = 64 << 20
"""HDF5 takes a chunk's memory to read one number of it. Ours have 4 MiB, more only where sequences have 10^6 tokens."""
MAX_BLIND_BYTES = 1 << 20
"""The largest compressed piece that is handed to HDF5 unseen: it takes what gzip makes of it, up to 1 GiB."""
INFLATION = 1032
"""The most that gzip packs into one byte."""
MAX_MISSING_CHUNKS = 1024
"""To read many at once HDF5 takes some 16 KiB for each, there or not. We write all that we declare."""
SMALL_BYTES = 64 << 20
"""What a packed dataset may always unpack to: constants take scale-offset no space at all."""

_LZF = 32_000  # registered by h5py itself; every other number from 256 on would be looked for as a plugin
_PARAMETERS = {
    h5z.FILTER_DEFLATE: 1,
    h5z.FILTER_SHUFFLE: 1,
    h5z.FILTER_FLETCHER32: 0,
    _LZF: 3,
    h5z.FILTER_SCALEOFFSET: 6,
}
_FOR_TEXT = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
"""Those that h5repack gives to every dataset, texts among them."""
_OF_HDF5 = {h5z.FILTER_SZIP: "szip", h5z.FILTER_NBIT: "n-bit", h5z.FILTER_SCALEOFFSET: "scale-offset"}
"""Its own, which nobody needs to make a plugin for."""
TEXT_CHUNK = 1024
_STANDARD_TYPES = {
    "i": (h5t.STD_I8LE, h5t.STD_I16LE, h5t.STD_I32LE, h5t.STD_I64LE, h5t.STD_I16BE, h5t.STD_I32BE, h5t.STD_I64BE),
    "u": (h5t.STD_U8LE, h5t.STD_U16LE, h5t.STD_U32LE, h5t.STD_U64LE, h5t.STD_U16BE, h5t.STD_U32BE, h5t.STD_U64BE),
    "f": (h5t.IEEE_F16LE, h5t.IEEE_F32LE, h5t.IEEE_F64LE, h5t.IEEE_F16BE, h5t.IEEE_F32BE, h5t.IEEE_F64BE),
}
DAMAGE = (OSError, RuntimeError, KeyError)
"""What HDF5 raises when data can't be read."""
_ANY = (*DAMAGE, ArithmeticError, AttributeError, IndexError, MemoryError, SystemError, TypeError, ValueError)
_OPTIONAL = (
    "target_text",
    "vocabulary_id",
    "vocabulary_text",
    "due_step",
    *(dataset.name for dataset in (*layout.SAMPLES, *layout.COUNTS)),
)
_OPTIONAL_ATTRIBUTES = ("weights",)
_SESSIONS = layout.Dataset("sessions", ("session",), layout.TEXT, "", "")
_NUMBERS = {"format_version", "max_steps", "max_overhead", "chance", "vocab_size", "model_vocab_size"}
_JSON: dict[str, type[Any]] = {"made_by": dict, "scorer": dict, "sets": list}
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


class _Stored(ValueError):
    """Nothing is wrong with the data, but for how they are stored.

    Attributes:
        options: Of h5repack, which stores them otherwise.
    """

    def __init__(self, what: str, options: str) -> None:
        super().__init__(what)
        self.options = f"-j 2 -k 2 {options}"


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
        if isinstance(error, _Stored):
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
        for name in sets_of(h5):
            _check_set(h5, name)
        sessions = _dataset(_group(h5, layout.PROVENANCE), _SESSIONS.name)
        _check_dataset(sessions, _SESSIONS, h5.id.get_filesize())


def sets_of(h5: h5py.File) -> list[str | None]:
    """The groups of the file's token sets; [None] if one set stands in the root.

    Raises:
        ValueError: If the file names none, too many, or one twice.
    """
    names = parsed(attribute(h5, "sets"), list)
    _require(all(isinstance(name, str) for name in names), "sets: not names")
    _require(0 < len(names) == len(set(names)) <= MAX_SETS, f"sets: {len(names)} names, or one twice")
    return list(names) if len(names) > 1 else [None]


def attribute(holder: h5py.Group, name: str) -> Any:
    """The value of an attribute that holds one text or one number.

    Raises:
        ValueError: If it holds anything else; it is not read then.
    """
    found = h5a.open(holder.id, name.encode())
    kind = found.get_type()
    _require(found.get_space().get_simple_extent_npoints() == 1 and found.shape == (), f"{name}: not a single value")
    if name in _NUMBERS:
        _require(any(kind.equal(t) for kinds in "iuf" for t in _STANDARD_TYPES[kinds]), f"{name}: not a number")
        value = holder.attrs[name].item()
        _require(math.isfinite(value), f"{name}: {value}")
        return value
    _require(isinstance(kind, h5t.TypeStringID), f"{name}: not text")
    _require(kind.is_variable_str() or kind.get_size() <= MAX_TEXT_BYTES, f"{name}: too long")
    text = holder.attrs[name]
    text = text.decode() if isinstance(text, bytes) else str(text)
    _require(len(text) <= MAX_TEXT_BYTES and text.encode() is not None, f"{name}: too long")
    return text


def parsed(text: str, kind: type[_T]) -> _T:
    """What a text holds as JSON.

    Raises:
        ValueError: If it is too long, no JSON, or of another kind.
        RecursionError: If it is nested absurdly deep.
    """
    _require(len(text) <= MAX_TEXT_BYTES, f"{len(text):,} characters of JSON")
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
    _require(held <= dataset.file.id.get_filesize(), f"{dataset.name}: {held:,} bytes of text, more than the file has")
    texts: NDArray[Any] = dataset.asstr()[:]
    return texts


# ---------------------------------------------------------------------- one set, one dataset


def _check_set(h5: h5py.File, name: str | None) -> None:
    group = h5 if name is None else _group(h5, name)
    _check_attributes(group, layout.SET_ATTRIBUTES)
    size, extents = h5.id.get_filesize(), dict[str, int]()
    for dataset in layout.DATASETS:
        if dataset.name in _OPTIONAL and not group.id.links.exists(dataset.name.encode()):
            continue
        shape = _check_dataset(_dataset(group, dataset.name), dataset, size)
        for dim, extent in zip(dataset.dims, shape, strict=True):
            known = extents.setdefault(dim, extent)
            _require(extent == known, f"{dataset.name}: {extent:,} along {dim}, where others have {known:,}")


def _check_attributes(holder: h5py.Group, names: Sequence[str] | dict[str, str]) -> None:
    for name in names:
        if name in _OPTIONAL_ATTRIBUTES and name not in holder.attrs:
            continue
        value = attribute(holder, name)
        _require(name != "weights" or value in layout.WEIGHTS, f"weights: {str(value)[:80]!r}")
        if name in _JSON:
            parsed(value, _JSON[name])


def _group(h5: h5py.File, name: str) -> h5py.Group:
    """The group of that name; a set's name may have slashes in it, and each link on the way counts."""
    group = h5.id
    for part in name.split("/"):
        _require(part not in ("", "."), f"{name!r}: not a name")
        _require_hard(group, part)
        group = h5o.open(group, part.encode())
        _require(isinstance(group, h5g.GroupID), f"{name}: not a group")
    _require_plain(group, name)
    return h5py.Group(group)


def _require_plain(group: h5g.GroupID, name: str) -> None:
    # The list of links may be packed, and then a filter runs before any link can be looked at.
    plist = group.get_create_plist()
    filters = h5p.PropDCID(plist.id)  # h5py asks only datasets for their filters
    filters.locked = True  # the id is closed by `plist` alone
    _require(filters.get_nfilters() == 0, f"{name}: a group that is packed")


def _dataset(group: h5py.Group, name: str) -> h5d.DatasetID:
    _require_hard(group.id, name)
    return h5d.open(group.id, name.encode())


def _require_hard(group: h5g.GroupID, name: str) -> None:
    # HDF5 opens the other file of an external link as soon as the name is used.
    _require(group.links.get_info(name.encode()).type == h5l.TYPE_HARD, f"{name}: a link that may lead anywhere")


def _check_dataset(found: h5d.DatasetID, wanted: layout.Dataset, file_size: int) -> tuple[int, ...]:
    """Refuses what isn't plain data as `layout` has it, and returns its shape."""
    name, plist = wanted.name, found.get_create_plist()
    # In this order: to ask a virtual dataset for its shape may open the files that it is made of.
    _require(plist.get_layout() in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED), f"{name}: virtual storage")
    _require(plist.get_external_count() == 0, f"{name}: its data lie in another file")
    kind, space = found.get_type(), found.get_space()
    if wanted.dtype == layout.TEXT:
        _require(isinstance(kind, h5t.TypeStringID) and kind.is_variable_str(), f"{name}: not text")
    else:
        standard = _STANDARD_TYPES[np.dtype(wanted.dtype).kind]
        _require(any(kind.equal(one) for one in standard), f"{name}: another type than {wanted.dtype}")
    rank = len(wanted.dims)
    _require(space.get_simple_extent_type() == h5s.SIMPLE, f"{name}: no array")
    _require(space.get_simple_extent_ndims() == rank, f"{name}: not of rank {rank}")
    shape: tuple[int, ...] = space.get_simple_extent_dims()
    n_bytes, packed = math.prod(shape) * kind.get_size(), False
    if plist.get_layout() == h5d.CHUNKED:
        chunk = plist.get_chunk()
        chunk_bytes = math.prod(chunk) * kind.get_size()
        _require(len(chunk) == rank and 0 < chunk_bytes <= MAX_CHUNK_BYTES, f"{name}: chunks of {chunk_bytes:,} bytes")
        n_chunks = math.prod(-(-extent // part) for extent, part in zip(shape, chunk, strict=True))
        if n_chunks > MAX_MISSING_CHUNKS:
            missing = n_chunks - found.get_num_chunks()
            _require(missing <= MAX_MISSING_CHUNKS, f"{name}: {missing:,} of {n_chunks:,} chunks aren't in the file")
        packed = plist.get_nfilters() > 0
        if packed:
            _check_filters(plist, wanted, math.prod(chunk), kind.get_size())
            _check_chunks(found, wanted, chunk_bytes * (TEXT_SLACK if wanted.dtype == layout.TEXT else 1))
            if rank == 1 and _is_read_blindly(wanted):
                check_unpacked(found)
        elif h5i.get_file_id(found).get_create_plist().get_version()[0] < 2:
            # HDF5's old format says of each chunk how long it is, without a checksum, and the library believes it.
            longest = chunk_bytes * (TEXT_SLACK if wanted.dtype == layout.TEXT else 1)
            fits = all(chunk_bytes <= info.size <= longest for info in chunks_of(found))
            _require(fits, f"{name}: a chunk of another length")
    elif wanted.dtype == layout.TEXT:
        options = f"-l {h5i.get_name(found).decode()}:CHUNK={max(1, min(shape[0], TEXT_CHUNK))}"
        raise _Stored(f"{name}: text that isn't chunked", options)
    bound = max(SMALL_BYTES, INFLATION * found.get_storage_size()) if packed else file_size
    _require(n_bytes <= bound, f"{name}: declares {n_bytes:,} bytes in a file of {file_size:,}")
    return shape


def _check_filters(plist: h5p.PropDCID, wanted: layout.Dataset, items: int, item_bytes: int) -> None:
    """Refuses filters that would be looked for as a plugin, and parameters that contradict the chunks."""
    _require(plist.get_nfilters() <= len(_PARAMETERS), f"{wanted.name}: {plist.get_nfilters()} filters")
    seen: list[int] = []
    for i in range(plist.get_nfilters()):
        code, _, values, _ = plist.get_filter(i)
        if code in _OF_HDF5 and not (code in _PARAMETERS and wanted.dtype != layout.TEXT):
            raise _Stored(f"{wanted.name}: packed by {_OF_HDF5[code]}", "-f NONE")
        _require(code in _PARAMETERS and code not in seen, f"{wanted.name}: filter {code}, which may be a plugin")
        seen.append(code)
        text_too = wanted.dtype != layout.TEXT or code in _FOR_TEXT
        _require(text_too, f"{wanted.name}: text that is packed by filter {code}")
        _require(h5z.FILTER_FLETCHER32 not in seen[:-1], f"{wanted.name}: a checksum that isn't the last filter")
        fits = len(values) >= _PARAMETERS[code]
        if wanted.dtype == layout.TEXT and code == h5z.FILTER_SHUFFLE:
            fits = True  # without any, and then HDF5 leaves it out
        elif fits and code == h5z.FILTER_SHUFFLE:
            fits = values[0] == item_bytes
        elif fits and code == h5z.FILTER_SCALEOFFSET:  # it sizes its buffers by these, not by the dataset
            fits = values[2] == items and values[4] == item_bytes
        elif fits and code == _LZF:
            fits = values[2] == items * item_bytes
        _require(fits, f"{wanted.name}: filter {code} with parameters of other data")


def _check_chunks(found: h5d.DatasetID, wanted: layout.Dataset, chunk_bytes: int) -> None:
    """Refuses stored chunks larger than unpacked ones; those that are read without `read` must be small besides."""
    small = chunk_bytes <= MAX_BLIND_BYTES
    _require(small or not _is_read_blindly(wanted), f"{wanted.name}: packed chunks of {chunk_bytes:,} bytes")
    plist = found.get_create_plist()
    summed = plist.get_filter(plist.get_nfilters() - 1)[0] == h5z.FILTER_FLETCHER32
    if summed or found.get_storage_size() > MAX_BLIND_BYTES:  # or else no chunk can be too large
        for info in chunks_of(found):  # HDF5 2.0 takes four bytes off for the checksum even where there are fewer
            _require(4 * summed < info.size <= chunk_bytes + 64, f"{wanted.name}: a chunk of {info.size:,} bytes")


def _is_read_blindly(wanted: layout.Dataset) -> bool:
    """Whether it is read in part, or written, without `read`."""
    return wanted.grows or wanted.dims[0] in layout.RESIZABLE_DIMS


def _require(fulfilled: bool, what: str) -> None:
    if not fulfilled:
        raise ValueError(what)
