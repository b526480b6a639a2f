"""A file seen through changes that are not in it yet.

`Extents` are the changes, `Layer` lays them over a file, `Overlay` is the file object that h5py reads and writes.
Nothing here writes to disk.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from curvewatch.storage.descriptors import Descriptor


class Source(Protocol):
    """Bytes that can be read at an offset."""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill all of `view` with the bytes from `offset` on; what doesn't exist reads as zeros."""


def read(source: Source, start: int, length: int) -> bytes:
    """Return `length` bytes of a source."""
    out = bytearray(length)
    source.read_into(start, memoryview(out))
    return bytes(out)


class Memory:
    """A source in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Copy the bytes."""
        view[:] = self._data[offset : offset + len(view)]


class Disk:
    """An open file as a source; it stays open as long as anyone may read from here."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    @property
    def fd(self) -> int:
        """The descriptor's number."""
        return self._descriptor.fd

    @property
    def size(self) -> int:
        """The length of the file in bytes, now."""
        return os.fstat(self._descriptor.fd).st_size

    def read_into(self, offset: int, view: memoryview) -> None:
        """Read at `offset`; past the end of the file there are zeros, as in HDF5's own driver."""
        done = 0
        while done < len(view):
            n = os.preadv(self._descriptor.fd, [view[done:]], offset + done)
            if n == 0:
                view[done:] = bytes(len(view) - done)
                return
            done += n


class Piece(NamedTuple):
    """The bytes from `start` to `stop` of a file, to be found in `source` at `at`."""

    start: int
    stop: int
    source: Source
    at: int

    def part(self, start: int, stop: int) -> Piece:
        """Return the part of this piece that lies between two offsets of the file."""
        start, stop = max(start, self.start), min(stop, self.stop)
        return Piece(start, stop, self.source, self.at + start - self.start)

    def read(self) -> bytes:
        """Return the bytes."""
        return read(self.source, self.at, self.stop - self.start)


class Extents:
    """New content for some byte ranges of a file; a later range replaces what it covers of earlier ones."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Piece] = []

    def put(self, new: Piece) -> None:
        """Lay `new` over what is there."""
        if new.start >= new.stop:
            return
        i, j = self._span(new.start, new.stop)
        kept = [new]
        if i < j:
            first, last = self._pieces[i], self._pieces[j - 1]
            if first.start < new.start:
                kept.insert(0, first.part(first.start, new.start))
            if last.stop > new.stop:
                kept.append(last.part(new.stop, last.stop))
        self._pieces[i:j] = kept
        self._starts[i:j] = [piece.start for piece in kept]

    def update(self, other: Extents) -> None:
        """Lay all of `other` over what is there."""
        for piece in other:
            self.put(piece)

    def within(self, start: int, stop: int) -> Iterator[Piece]:
        """Yield the pieces, cut to size, that touch the range from `start` to `stop`, in order."""
        i, j = self._span(start, stop)
        for piece in self._pieces[i:j]:
            yield piece.part(start, stop)

    def split(self, at: int) -> tuple[Extents, Extents]:
        """Return the changes below the offset `at` and those from there on."""
        below, above = Extents(), Extents()
        for piece in self:
            if piece.start < at:
                below.put(piece.part(piece.start, at))
            if piece.stop > at:
                above.put(piece.part(at, piece.stop))
        return below, above

    def runs(self, gap: int, limit: int) -> Iterator[tuple[int, int]]:
        """Yield ranges that together cover all pieces, in order: neighbours less than `gap` bytes apart share one.

        None is longer than `limit`. A disk at the end of a network answers one large write as fast as a small one.
        """
        start = stop = 0
        for piece in self:
            if stop > start and (piece.start - stop >= gap or piece.stop - start > limit):
                yield start, stop
                start = stop
            if stop == start:
                start = stop = piece.start
            while piece.stop - start > limit:
                yield start, start + limit
                start += limit
            stop = piece.stop
        if stop > start:
            yield start, stop

    def in_memory(self) -> Extents:
        """Return the same changes, all read now."""
        copy = Extents()
        for piece in self:
            copy.put(Piece(piece.start, piece.stop, Memory(piece.read()), 0))
        return copy

    def clear(self) -> None:
        """Forget all changes."""
        self._starts.clear()
        self._pieces.clear()

    def __iter__(self) -> Iterator[Piece]:
        """Yield all pieces in the order of their offsets; they never overlap."""
        return iter(self._pieces)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self._pieces)

    def _span(self, start: int, stop: int) -> tuple[int, int]:
        i, j = bisect_left(self._starts, start), bisect_left(self._starts, stop)
        if i and self._pieces[i - 1].stop > start:
            i -= 1
        return i, max(i, j)


class Layer:
    """A source seen through changes."""

    def __init__(self, lower: Source, changes: Extents) -> None:
        self.lower, self.changes = lower, changes

    def read_into(self, offset: int, view: memoryview) -> None:
        """Read what the lower source would hold if the changes were made."""
        stop = offset + len(view)
        pieces = list(self.changes.within(offset, stop))
        if not (len(pieces) == 1 and pieces[0].start == offset and pieces[0].stop == stop):
            self.lower.read_into(offset, view)
        for piece in pieces:
            piece.source.read_into(piece.at, view[piece.start - offset : piece.stop - offset])


class Overlay:
    """The file object that h5py is given: reads come through, writes stay in `changes`."""

    def __init__(self, lower: Source, size: int, writable: bool = True) -> None:
        self.changes = Extents()
        self.size = size
        self._view = Layer(lower, self.changes)
        self._position = 0
        self._writable = writable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview | bytearray) -> int:
        """Fill the whole buffer; past the end there are zeros."""
        view = memoryview(buffer).cast("B")
        self._view.read_into(self._position, view)
        self._position += len(view)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or all that remain."""
        if size < 0:
            size = max(0, self.size - self._position)
        out = bytearray(size)
        self.readinto(out)
        return bytes(out)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Note the change. The bytes are copied: the caller's buffer is HDF5's own and changes later."""
        if not self._writable:
            raise io.UnsupportedOperation("this view of the file is read-only")
        copy = bytes(data)
        start, stop = self._position, self._position + len(copy)
        self.changes.put(Piece(start, stop, Memory(copy), 0))
        self._position = stop
        self.size = max(self.size, stop)
        return len(copy)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, up or down."""
        self.size = self._position if size is None else size
        return self.size

    def flush(self) -> None:
        """Nothing to do: nothing is meant for the disk yet."""
