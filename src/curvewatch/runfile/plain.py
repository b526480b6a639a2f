"""Whether one dataset is plain data: of its type and rank, inside the file, of a size that the file can hold.

HDF5 believes what a file says of its own pieces. Here it is asked in an order in which no answer opens another file,
loads a plugin, or takes memory that the data don't need.
"""

from __future__ import annotations

import math

import numpy as np
from h5py import h5d, h5i, h5p, h5s, h5t, h5z

from curvewatch.runfile import layout
from curvewatch.storage.hdf5.unpacking import TEXT_SLACK, check_unpacked, chunks_of

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
STANDARD_TYPES = {
    "i": (h5t.STD_I8LE, h5t.STD_I16LE, h5t.STD_I32LE, h5t.STD_I64LE, h5t.STD_I16BE, h5t.STD_I32BE, h5t.STD_I64BE),
    "u": (h5t.STD_U8LE, h5t.STD_U16LE, h5t.STD_U32LE, h5t.STD_U64LE, h5t.STD_U16BE, h5t.STD_U32BE, h5t.STD_U64BE),
    "f": (h5t.IEEE_F16LE, h5t.IEEE_F32LE, h5t.IEEE_F64LE, h5t.IEEE_F16BE, h5t.IEEE_F32BE, h5t.IEEE_F64BE),
}


class StoredOtherwise(ValueError):
    """Nothing is wrong with the data, but for how they are stored.

    Attributes:
        options: Of h5repack, which stores them otherwise.
    """

    def __init__(self, what: str, options: str) -> None:
        super().__init__(what)
        self.options = f"-j 2 -k 2 {options}"


def require(fulfilled: bool, what: str) -> None:
    if not fulfilled:
        raise ValueError(what)


def check_dataset(found: h5d.DatasetID, wanted: layout.Dataset, file_size: int) -> tuple[int, ...]:
    """Refuses what isn't plain data as `layout` has it, and returns its shape."""
    name, plist = wanted.name, found.get_create_plist()
    # In this order: to ask a virtual dataset for its shape may open the files that it is made of.
    require(plist.get_layout() in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED), f"{name}: virtual storage")
    require(plist.get_external_count() == 0, f"{name}: its data lie in another file")
    kind, space = found.get_type(), found.get_space()
    if wanted.dtype == layout.TEXT:
        require(isinstance(kind, h5t.TypeStringID) and kind.is_variable_str(), f"{name}: not text")
    else:
        standard = STANDARD_TYPES[np.dtype(wanted.dtype).kind]
        require(any(kind.equal(one) for one in standard), f"{name}: another type than {wanted.dtype}")
    rank = len(wanted.dims)
    require(space.get_simple_extent_type() == h5s.SIMPLE, f"{name}: no array")
    require(space.get_simple_extent_ndims() == rank, f"{name}: not of rank {rank}")
    shape: tuple[int, ...] = space.get_simple_extent_dims()
    n_bytes, packed = math.prod(shape) * kind.get_size(), False
    if plist.get_layout() == h5d.CHUNKED:
        chunk = plist.get_chunk()
        chunk_bytes = math.prod(chunk) * kind.get_size()
        require(len(chunk) == rank and 0 < chunk_bytes <= MAX_CHUNK_BYTES, f"{name}: chunks of {chunk_bytes:,} bytes")
        n_chunks = math.prod(-(-extent // part) for extent, part in zip(shape, chunk, strict=True))
        if n_chunks > MAX_MISSING_CHUNKS:
            missing = n_chunks - found.get_num_chunks()
            require(missing <= MAX_MISSING_CHUNKS, f"{name}: {missing:,} of {n_chunks:,} chunks aren't in the file")
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
            require(fits, f"{name}: a chunk of another length")
    elif wanted.dtype == layout.TEXT:
        options = f"-l {h5i.get_name(found).decode()}:CHUNK={max(1, min(shape[0], TEXT_CHUNK))}"
        raise StoredOtherwise(f"{name}: text that isn't chunked", options)
    bound = max(SMALL_BYTES, INFLATION * found.get_storage_size()) if packed else file_size
    require(n_bytes <= bound, f"{name}: declares {n_bytes:,} bytes in a file of {file_size:,}")
    return shape


def _check_filters(plist: h5p.PropDCID, wanted: layout.Dataset, items: int, item_bytes: int) -> None:
    """Refuses filters that would be looked for as a plugin, and parameters that contradict the chunks."""
    require(plist.get_nfilters() <= len(_PARAMETERS), f"{wanted.name}: {plist.get_nfilters()} filters")
    seen: list[int] = []
    for i in range(plist.get_nfilters()):
        code, _, values, _ = plist.get_filter(i)
        if code in _OF_HDF5 and not (code in _PARAMETERS and wanted.dtype != layout.TEXT):
            raise StoredOtherwise(f"{wanted.name}: packed by {_OF_HDF5[code]}", "-f NONE")
        require(code in _PARAMETERS and code not in seen, f"{wanted.name}: filter {code}, which may be a plugin")
        seen.append(code)
        text_too = wanted.dtype != layout.TEXT or code in _FOR_TEXT
        require(text_too, f"{wanted.name}: text that is packed by filter {code}")
        require(h5z.FILTER_FLETCHER32 not in seen[:-1], f"{wanted.name}: a checksum that isn't the last filter")
        fits = len(values) >= _PARAMETERS[code]
        if wanted.dtype == layout.TEXT and code == h5z.FILTER_SHUFFLE:
            fits = True  # without any, and then HDF5 leaves it out
        elif fits and code == h5z.FILTER_SHUFFLE:
            fits = values[0] == item_bytes
        elif fits and code == h5z.FILTER_SCALEOFFSET:  # it sizes its buffers by these, not by the dataset
            fits = values[2] == items and values[4] == item_bytes
        elif fits and code == _LZF:
            fits = values[2] == items * item_bytes
        require(fits, f"{wanted.name}: filter {code} with parameters of other data")


def _check_chunks(found: h5d.DatasetID, wanted: layout.Dataset, chunk_bytes: int) -> None:
    """Refuses stored chunks larger than unpacked ones; those that are read without `read` must be small besides."""
    small = chunk_bytes <= MAX_BLIND_BYTES
    require(small or not _is_read_blindly(wanted), f"{wanted.name}: packed chunks of {chunk_bytes:,} bytes")
    plist = found.get_create_plist()
    summed = plist.get_filter(plist.get_nfilters() - 1)[0] == h5z.FILTER_FLETCHER32
    if summed or found.get_storage_size() > MAX_BLIND_BYTES:  # or else no chunk can be too large
        for info in chunks_of(found):  # HDF5 2.0 takes four bytes off for the checksum even where there are fewer
            require(4 * summed < info.size <= chunk_bytes + 64, f"{wanted.name}: a chunk of {info.size:,} bytes")


def _is_read_blindly(wanted: layout.Dataset) -> bool:
    """Whether it is read in part, or written, without `read`."""
    return wanted.grows or wanted.dims[0] in layout.RESIZABLE_DIMS
