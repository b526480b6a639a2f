"""What an object of an HDF5 file says of itself: the messages in its header.

Layout: HDF5 file format specification, version 3, sections IV.A.1.b (object header, version 2) and IV.A.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

LINK_INFO, LAYOUT, FILTERS, CONTINUATION, ATTRIBUTE_INFO = 0x02, 0x08, 0x0B, 0x10, 0x15
MAX_BYTES = 1 << 20
"""Of one part of a header. It holds at most eight attributes of 64 KiB; more go to a heap."""
MAX_PARTS = 256
Read = Callable[[int, int], bytes]
"""Bytes of the file, by address and number."""
_NOWHERE = (1 << 64) - 1
_MESSAGE = struct.Struct("<BHB")
_FIXED_ARRAY, _GROWING_ARRAY, _TREE = 3, 4, 5
_SKIPPED = {_FIXED_ARRAY: 1, _GROWING_ARRAY: 5, _TREE: 6}
"""Bytes between a chunk index's type and its address."""


class Pointer(NamedTuple):
    """An index that an object points at, and of which kind it must be.

    Attributes:
        at: Address of the index's header.
        kind: What its header must say: the type of a B-tree's records, or the class of an array's elements.
        records: The least and the most bytes a record or an element may have.
    """

    at: int
    kind: int
    records: range


def length(read: Read, at: int) -> int:
    """Return the bytes of the header at `at` up to its first checksum, that included."""
    begin, n = _first_part(read, at)
    return begin - at + n + 4


def pointers(read: Read, at: int, size: int) -> list[Pointer]:
    """Return the indexes that the object at `at` points at.

    Raises:
        ValueError: A part of the header is longer than any can be, or than the file, or there are too many.
    """
    found, chunked, filtered = list[Pointer](), list[tuple[int, bytes]](), False
    for message, body in _messages(read, at, size):
        if message == LINK_INFO and len(body) >= 18:
            first = 2 + 8 * (body[1] & 1)
            found += _pair(body[first:], body[1] & 2, (5, 11), (6, 15))
        elif message == ATTRIBUTE_INFO and len(body) >= 18:
            first = 2 + 2 * (body[1] & 1)
            found += _pair(body[first:], body[1] & 2, (8, 17), (9, 13))
        elif message == FILTERS and len(body) >= 2:
            filtered = filtered or body[1] > 0
        elif message == LAYOUT and len(body) >= 5 and body[0] >= 4 and body[1] == 2:
            chunked.append((body[3], body[5 + body[3] * body[4] :]))
    return found + [pointer for rank, index in chunked for pointer in _chunk_index(rank - 1, index, filtered)]


def _pair(addresses: bytes, ordered: int, by_name: tuple[int, int], by_order: tuple[int, int]) -> list[Pointer]:
    """The trees of a group's links or an object's attributes; the first address is that of their heap."""
    wanted = (by_name, by_order) if ordered else (by_name,)
    return [
        Pointer(at, kind, range(record, record + 1))
        for i, (kind, record) in enumerate(wanted, 1)
        if (at := int.from_bytes(addresses[8 * i : 8 * i + 8], "little")) != _NOWHERE
    ]


def _chunk_index(rank: int, index: bytes, filtered: bool) -> list[Pointer]:
    if not index or index[0] not in _SKIPPED:
        return []
    first = 1 + _SKIPPED[index[0]]
    at = int.from_bytes(index[first : first + 8], "little")
    if at == _NOWHERE:
        return []
    # An address; where there are filters also the stored length, in one to eight bytes, and what was left out.
    least, most = (13, 20) if filtered else (8, 8)
    if index[0] == _TREE:
        return [Pointer(at, 10 + filtered, range(least + 8 * rank, most + 8 * rank + 1))]
    return [Pointer(at, int(filtered), range(least, most + 1))]


def _messages(read: Read, at: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message, through all parts of the header."""
    head = _MESSAGE.size + 2 * (read(at + 5, 1)[0] >> 2 & 1)  # with its number, if attributes are in order
    parts = [_first_part(read, at)]
    for begin, n in parts:
        if not 0 <= n <= min(MAX_BYTES, size - begin) or len(parts) > MAX_PARTS:
            raise ValueError(f"{n:,} bytes in part {len(parts)} of an object header")
        raw, here = read(begin, n), 0
        while here + head <= n:
            message, length, _ = _MESSAGE.unpack_from(raw, here)
            body = raw[here + head : here + head + length]
            here += head + length
            if message == CONTINUATION and len(body) >= 16:
                where, m = struct.unpack_from("<QQ", body)
                parts.append((where + 4, m - 8))  # signature and checksum are none of it
            else:
                yield message, body


def _first_part(read: Read, at: int) -> tuple[int, int]:
    flags = read(at + 5, 1)[0]
    width = 1 << (flags & 3)
    begin = at + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
    return begin + width, int.from_bytes(read(begin, width), "little")
