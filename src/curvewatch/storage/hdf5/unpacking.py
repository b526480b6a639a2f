"""Whether packed chunks hold as much as they declare: HDF5 doesn't ask.

It takes what a filter gives for a whole chunk. Of a shorter one it reads, or overwrites, what stands behind it in
memory; and a gzip bomb it unpacks however large it becomes.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from h5py import h5d, h5i, h5t, h5z

SLACK_BYTES = 64
"""What a chunk may unpack to beyond its size."""
REFERENCE_BYTES = 16
"""Of a text in a chunk: its length, and where it lies."""
TEXT_SLACK = 4
"""How many times as long as a chunk of texts one may be: H5Ocopy makes them longer."""
FEW = 16
"""Chunks that are looked up one by one. HDF5 looks through all to find one, and through all to list them."""


def check_unpacked(found: h5d.DatasetID, index: Any = ()) -> None:
    """Refuses chunks that unpack to less or more than a chunk is, where `index` reaches; all, if it isn't given.

    Datasets that aren't packed take no time.

    Args:
        found: The dataset.
        index: As given to the dataset in brackets.

    Raises:
        RuntimeError: As HDF5 raises where a filter fails. It names the dataset.
    """
    plist = found.get_create_plist()
    if plist.get_layout() != h5d.CHUNKED or plist.get_nfilters() == 0:
        return
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    extents, shape = plist.get_chunk(), found.shape
    n_bytes = math.prod(extents) * found.get_type().get_size()
    is_text = isinstance(found.get_type(), h5t.TypeStringID)
    reach = [
        range(part.start // extent * extent, part.stop, extent)
        for part, extent in zip(_box(index, shape), extents, strict=True)
    ]
    name = h5i.get_name(found).decode(errors="replace")
    if math.prod(map(len, reach)) <= FEW:
        places: Iterable[tuple[int, ...]] = itertools.product(*reach)
    else:
        there = (info.chunk_offset for info in chunks_of(found))
        places = (place for place in there if all(i in part for i, part in zip(place, reach, strict=True)))
    for place in places:
        try:
            left_out, stored = found.read_direct_chunk(place)
        except (OSError, RuntimeError, KeyError):  # there is none, and HDF5 fills in zeros
            continue
        if is_text:
            unpacked_text(found, place)
            continue
        unpacked = _unpacked_bytes(stored, left_out, filters, n_bytes)
        if not n_bytes <= unpacked <= n_bytes + SLACK_BYTES:
            size = f"{unpacked:,} of" if unpacked < n_bytes else "more than"
            raise RuntimeError(f"{name}: a chunk that unpacks to {size} {n_bytes:,} bytes")


def _box(index: Any, shape: tuple[int, ...]) -> list[range]:
    """The rows and columns between the first and the last that an index names; all, where it is neither 3 nor 3:5."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in parts) or len(parts) > len(shape):
        parts = ()
    box = [range(extent) for extent in shape]
    for axis, part in enumerate(parts):
        if isinstance(part, slice):
            named = box[axis][part]
            box[axis] = range(min(named[0], named[-1]), max(named[0], named[-1]) + 1) if named else range(0)
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool) and -shape[axis] <= part < shape[axis]:
            box[axis] = range(int(part) % shape[axis], int(part) % shape[axis] + 1)
    return box


def _unpacked_bytes(stored: bytes, left_out: int, filters: Sequence[int], n_bytes: int) -> int:
    """How many bytes a chunk's filters make of it, the last first; those in `left_out` were not used on it."""
    for i in reversed(range(len(filters))):
        if left_out >> i & 1 or filters[i] == h5z.FILTER_SHUFFLE:
            continue
        if filters[i] == h5z.FILTER_FLETCHER32:
            stored = stored[:-4]
        elif filters[i] == h5z.FILTER_DEFLATE:
            try:
                stored = zlib.decompressobj().decompress(stored, n_bytes + SLACK_BYTES + 1)
            except zlib.error:
                return 0
        else:  # these make a whole chunk of whatever they are given, since their parameters are those of the dataset
            return n_bytes if h5z.FILTER_DEFLATE not in filters[:i] else 0
    return len(stored)


def unpacked_text(found: h5d.DatasetID, place: tuple[int, ...]) -> bytes:
    """What a packed chunk of texts holds: references to where each of them lies in the file.

    Raises:
        RuntimeError: If it unpacks to less than a chunk, or to much more.
    """
    plist = found.get_create_plist()
    n_bytes = math.prod(plist.get_chunk()) * REFERENCE_BYTES
    left_out, read = found.read_direct_chunk(place)
    stored = bytes(read)
    most = TEXT_SLACK * n_bytes + SLACK_BYTES
    for i in reversed(range(plist.get_nfilters())):
        code = plist.get_filter(i)[0]
        if left_out >> i & 1:
            continue
        if code == h5z.FILTER_FLETCHER32:
            stored = stored[:-4]
        elif code == h5z.FILTER_DEFLATE:
            try:
                stored = zlib.decompressobj().decompress(stored, most + 1)
            except zlib.error:
                stored = b""
        else:  # HDF5 itself leaves shuffling out where there are texts
            raise RuntimeError(f"text that is packed by filter {code}")
    if not n_bytes <= len(stored) <= most:
        name = h5i.get_name(found).decode(errors="replace")
        raise RuntimeError(f"{name}: a chunk that unpacks to {len(stored):,} of {n_bytes:,} bytes")
    return stored


def chunks_of(found: h5d.DatasetID) -> list[h5d.StoreInfo]:
    """All chunks that a dataset has in the file."""
    chunks: list[h5d.StoreInfo] = []
    found.chunk_iter(chunks.append)
    return chunks
