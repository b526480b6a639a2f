"""A look at HDF5's own blocks as they are read, for what makes the library hang or crash instead of failing.

Found by opening 10^5 damaged files with HDF5 2.0. The worst needs no evil intent: the heap that holds all texts has no
checksum, and HDF5 walks it for ever where zeros stand in the place of an object's size. What is checked here says
only that the library will come to an end; whether the contents are right, it finds out itself.

A block that HDF5 can't be given is given to it blank, and HDF5 refuses it when it comes to use it. So nothing happens
where it never does: reads are longer than what is wanted, and freed space is full of old blocks.

Layouts: HDF5 file format specification, version 3, sections III.A.2 (version 2 B-trees), III.E (global heap),
III.G (fractal heap), VII.C and VII.D (fixed and extensible arrays).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from curvewatch.storage.hdf5 import objectheader
from curvewatch.storage.hdf5.objectheader import Pointer
from curvewatch.storage.hdf5.superblock import lookup3
from curvewatch.storage.overlay import Source, read

LARGEST_READ = 1 << 15
"""Metadata comes in small pieces; what is larger is data."""
MAX_WORK_BYTES = 16 << 20
"""How much is looked at, or summed, on behalf of one snapshot: a thousand token sets have less than half of it."""
_KNOWN = re.compile(rb"GCOL\x01\0\0\0|BTHD\0|BTLF\0[\x08\x09]|FRHP\0|EAHD\0|FAHD\0|OHDR\x02")
_LONGEST = 8
_RECORD_SIZES = {1: (24, 24), 5: (11, 11), 6: (15, 15), 8: (17, 17), 9: (13, 13), 10: (16, 264), 11: (21, 276)}
"""Least and most by type of B-tree: huge objects, links by name and by order, attributes by name and by order, chunks,
packed chunks. HDF5 has more types: without a file's own option for them it follows a pointer that it never set."""
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
        self._verdicts: dict[int, int] = {}
        """By address of a block: 0 if HDF5 may have it, else its length."""
        self._work = 0

    def read_into(self, offset: int, view: memoryview) -> None:
        """Read, and blank the blocks that HDF5 can't be given.

        Raises:
            OSError: Which h5py passes on: there is far more to look at than in any run file.
        """
        self.lower.read_into(offset, view)
        if len(view) > LARGEST_READ:
            return
        # Not only at the start: HDF5 reads neighbouring blocks at once, and what it has of a block it doesn't read
        # again. What stands inside a heap is text of the user's, in which "FAHD" may occur (a protein has it, too), but
        # no block with its checksum.
        before = min(offset, _LONGEST - 1)
        heap_ends = 0
        for match in _KNOWN.finditer(read(self.lower, offset - before, before) + view if before else view):
            at = offset - before + match.start()
            if match[0].startswith(b"GCOL"):  # no checksum, but its first bytes are in no text
                self._verdicts[at] = 0 if at < heap_ends or self._heap(at) else len(match[0])
                if not self._verdicts[at]:
                    heap_ends = max(heap_ends, at + self._number(at + 8, 8))
            elif at not in self._verdicts:
                self._verdicts[at] = 0 if _CHECKS[match[0][:4]](self, at) else self._whole(match[0][:4], at)
            start, stop = max(at - offset, 0), at + self._verdicts[at] - offset
            if stop > start:
                view[start:stop] = bytes(len(view[start:stop]))

    def _whole(self, kind: bytes, at: int) -> int:
        """The length of a block that has its checksum; else 0: it is data by chance, or HDF5 refuses it by itself."""
        lengths = [_LENGTHS.get(kind, 0)]
        if kind == b"BTLF":  # how many records there are stands elsewhere
            lengths = [*range(10, 512, _RECORD_SIZES[self._number(at + 5, 1)][0])]
        elif kind == b"OHDR":
            lengths = [objectheader.length(self._read, at)]
        elif kind == b"FRHP" and (filters := self._number(at + 7, 2)):
            lengths[0] += 12 + filters
        for length in lengths:
            if length <= min(self.size - at, 2 * objectheader.MAX_BYTES):
                block = self._read(at, length)
                if lookup3(block[:-4]) == int.from_bytes(block[-4:], "little"):
                    return 512 if kind == b"BTLF" else length
        return 0

    def _object(self, at: int) -> bool:
        """Whether the indexes that an object points at are what it takes them for, since HDF5 doesn't ask."""
        try:
            return all(self._is_as_said(pointer) for pointer in objectheader.pointers(self._read, at, self.size))
        except ValueError:
            return False

    def _is_as_said(self, pointer: Pointer) -> bool:
        if pointer.at >= self.size:
            return True
        head = self._read(pointer.at, 12)
        if head[:4] not in (b"BTHD", b"EAHD", b"FAHD"):
            return True  # this it does ask
        record = int.from_bytes(head[10:12], "little") if head[:4] == b"BTHD" else head[6]
        return head[5] == pointer.kind and record in pointer.records

    def _heap(self, at: int) -> bool:
        """Whether the objects of a global heap follow one another to its end."""
        size = self._number(at + 8, 8)
        if not 16 <= size <= self.size - at:
            return False
        heap, here = read(self.lower, at, size), 16  # of any size: all texts are in heaps
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
            and kind in _RECORD_SIZES
            and _RECORD_SIZES[kind][0] <= record <= _RECORD_SIZES[kind][1]
            and n * record <= node - 10
            and (n == n_all if depth == 0 else 0 < n < n_all <= self.size)
            and depth <= 8
        )

    def _records(self, at: int) -> bool:
        """Whether no attribute is said to be shared: HDF5 then follows a pointer that it never set."""
        kind = self._number(at + 5, 1)
        n_bytes = min(512, self.size - at)  # the size of a node of ours
        node, size = self._read(at, n_bytes), _RECORD_SIZES[kind][0]
        return not any(node[here + 8] & 2 for here in range(6, n_bytes - 4 - size + 1, size))

    def _fractal_heap(self, at: int) -> bool:
        """Whether a heap has the measures that HDF5 gives to every one, and no filter.

        Nothing in a run file needs a filter on a heap, and an unknown one would be looked for as a plugin.
        """
        length, filters, largest = self._number(at + 5, 2), self._number(at + 7, 2), self._number(at + 10, 4)
        width, first, direct, bits, rows, _, now = _TABLE.unpack(self._read(at + 110, _TABLE.size))
        return (
            (length, filters, largest, width, direct, rows) == (bits // 8 + 3, 0, 4096, 4, 65536, 1)
            and (first, bits) in ((512, 32), (1024, 40))
            and now <= 32
            and self._is_as_said(Pointer(self._number(at + 22, 8), 1, range(24, 25)))  # the tree of huge objects
        )

    def _growing_array(self, at: int) -> bool:
        return all(self._number(at + 12 + 8 * i, 8) <= self.size for i in range(6))

    def _fixed_array(self, at: int) -> bool:
        return self._number(at + 8, 8) * max(1, self._number(at + 6, 1)) <= self.size

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._read(at, width), "little")

    def _read(self, at: int, length: int) -> bytes:
        self._work += length
        if self._work > MAX_WORK_BYTES:
            raise OSError("more object headers, or damaged blocks, than a run file can have")
        return read(self.lower, at, length)


_CHECKS: dict[bytes, Callable[[Checked, int], bool]] = {
    b"GCOL": Checked._heap,
    b"BTHD": Checked._tree,
    b"BTLF": Checked._records,
    b"FRHP": Checked._fractal_heap,
    b"EAHD": Checked._growing_array,
    b"FAHD": Checked._fixed_array,
    b"OHDR": Checked._object,
}
