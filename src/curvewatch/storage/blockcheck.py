"""A look at HDF5's own blocks as they are read, for what makes the library hang or crash instead of failing.

Found by opening 10^5 damaged files with HDF5 2.0. The worst needs no evil intent: the heap that holds all texts has no
checksum, and HDF5 walks it for ever where zeros stand in the place of an object's size. What is checked here says
only that the library will come to an end; whether the contents are right, it finds out itself.

Layouts: HDF5 file format specification, version 3, sections III.A.2 (version 2 B-trees), III.E (global heap),
III.G (fractal heap), VII.C and VII.D (fixed and extensible arrays).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from curvewatch.storage.overlay import Source, read
from curvewatch.storage.superblock import lookup3

LARGEST_READ = 1 << 15
"""Metadata comes in small pieces; what is larger is data."""
_KNOWN = re.compile(rb"GCOL\x01\0\0\0|BTHD\0|BTLF\0|FRHP\0|EAHD\0|FAHD\0")
_RECORD_SIZES = {1: 24, 5: 11, 6: 15, 8: 17, 9: 13}
"""By type of B-tree, where it is fixed: huge objects, links by name and by order, attributes by name and by order."""
_LENGTHS = {b"BTHD": 38, b"FRHP": 146, b"EAHD": 72, b"FAHD": 28}
"""Bytes of a block, its checksum the last four."""
_TABLE = struct.Struct("<HQQHHQH")
_OBJECT = struct.Struct("<HHxxxxQ")


class Checked:
    """A source whose blocks are looked at before HDF5 gets them.

    Args:
        lower: The file.
        size: Of the file in bytes.
    """

    def __init__(self, lower: Source, size: int) -> None:
        self.lower, self.size = lower, size

    def read_into(self, offset: int, view: memoryview) -> None:
        """Read, and refuse a block that HDF5 can't be given.

        Raises:
            OSError: Which h5py passes on.
        """
        self.lower.read_into(offset, view)
        if len(view) > LARGEST_READ:
            return
        # Not only at the start: HDF5 gathers neighbouring blocks in one read. What stands inside a heap is text of
        # the user's, in which any four letters may occur ("FAHD" is a protein's, too).
        heap_ends = 0
        for match in _KNOWN.finditer(view):
            at = offset + match.start()
            if at < heap_ends:
                continue
            if match[0].startswith(b"GCOL"):
                heap_ends = at + self._number(at + 8, 8)
            elif not self._is_whole(match[0][:4], at):
                continue
            if not _CHECKS[match[0][:4]](self, at):
                raise OSError(f"damaged HDF5 block {match[0][:4].decode('latin-1')!r} at {at}")

    def _is_whole(self, kind: bytes, at: int) -> bool:
        """Whether a block has its checksum. If not it is data by chance, or HDF5 refuses it by itself."""
        if kind == b"BTLF":
            return True  # where its checksum stands is not known here; the check asks for more
        length = _LENGTHS[kind]
        if kind == b"FRHP" and (filters := self._number(at + 7, 2)):
            length += 12 + filters
        if length > self.size - at:
            return False
        block = read(self.lower, at, length)
        return lookup3(block[:-4]) == int.from_bytes(block[-4:], "little")

    def _heap(self, at: int) -> bool:
        """Whether the objects of a global heap follow one another to its end."""
        size = self._number(at + 8, 8)
        if not 16 <= size <= self.size - at:
            return False
        heap, here = read(self.lower, at, size), 16
        while here + _OBJECT.size <= size:
            index, _, length = _OBJECT.unpack_from(heap, here)
            step = _OBJECT.size + (length + 7) // 8 * 8 if index else length
            if step < _OBJECT.size or here + step > size:
                return False
            here += step
        return True

    def _tree(self, at: int) -> bool:
        kind, node, record, depth = (self._number(at + 5 + i, n) for i, n in ((0, 1), (1, 4), (5, 2), (7, 2)))
        n, n_all = self._number(at + 24, 2), self._number(at + 26, 8)
        return (
            node in (512, 2048)
            and 0 < record == _RECORD_SIZES.get(kind, record)
            and n * record <= node - 10
            and (n == n_all if depth == 0 else 0 < n < n_all <= self.size)
            and depth <= 8
        )

    def _records(self, at: int) -> bool:
        """Whether no attribute is said to be shared: HDF5 then follows a pointer that it never set."""
        kind = self._number(at + 5, 1)
        if kind not in (8, 9):
            return True
        n_bytes = min(512, self.size - at)  # the size of a node of ours
        node, size = read(self.lower, at, n_bytes), _RECORD_SIZES[kind]
        return not any(node[here + 8] & 2 for here in range(6, n_bytes - 4 - size + 1, size))

    def _fractal_heap(self, at: int) -> bool:
        """Whether a heap has the measures that HDF5 gives to every one, and no filter.

        Nothing in a run file needs a filter on a heap, and an unknown one would be looked for as a plugin.
        """
        length, filters, largest = self._number(at + 5, 2), self._number(at + 7, 2), self._number(at + 10, 4)
        width, first, direct, bits, rows, _, now = _TABLE.unpack(read(self.lower, at + 110, _TABLE.size))
        return (
            (length, filters, largest, width, direct, rows) == (bits // 8 + 3, 0, 4096, 4, 65536, 1)
            and (first, bits) in ((512, 32), (1024, 40))
            and now <= 32
        )

    def _growing_array(self, at: int) -> bool:
        return all(self._number(at + 12 + 8 * i, 8) <= self.size for i in range(6))

    def _fixed_array(self, at: int) -> bool:
        return self._number(at + 8, 8) * max(1, self._number(at + 6, 1)) <= self.size

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(read(self.lower, at, width), "little")


_CHECKS: dict[bytes, Callable[[Checked, int], bool]] = {
    b"GCOL": Checked._heap,
    b"BTHD": Checked._tree,
    b"BTLF": Checked._records,
    b"FRHP": Checked._fractal_heap,
    b"EAHD": Checked._growing_array,
    b"FAHD": Checked._fixed_array,
}
