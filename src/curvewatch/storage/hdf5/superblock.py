"""The first 48 bytes of an HDF5 file: where it says it ends, and whether a writer left its mark on it.

Only superblock versions 2 and 3 at offset 0 are understood: the ones that our own files have. Layout of those
(HDF5 file format specification, section II.A): signature 8, version 1, size of offsets 1, size of lengths 1,
consistency flags 1, base address 8, extension address 8, end of file 8, root group 8, checksum 4.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZE = 48
VERSIONS = (2, 3)
"""With a checksum."""
OPEN_FOR_WRITING = 0x01
"""The consistency flag that HDF5 sets while a file is open for writing, and that a crash leaves behind."""
_FLAGS_AT = 11
_LAYOUT = struct.Struct("<8sBBBB8xQQ8xI")


class Superblock(NamedTuple):
    """What a writer needs to know of the superblock."""

    raw: bytes
    end: int
    """Logical end of the file in bytes; what lies past it belongs to nobody."""
    flags: int

    def with_flags_cleared(self) -> bytes:
        """Return the 48 bytes as they stand after an orderly close: no consistency flag, checksum to match."""
        body = bytearray(self.raw[:-4])
        body[_FLAGS_AT] = 0
        return bytes(body) + struct.pack("<I", lookup3(bytes(body)))


def parse(head: bytes) -> Superblock | None:
    """Return the superblock that `head` (the file's first 48 bytes or more) begins with, or None.

    None means: no HDF5 signature, another version, offsets that aren't 8 bytes, or a wrong checksum.
    """
    if len(head) < SIZE:
        return None
    raw = bytes(head[:SIZE])
    signature, version, offsets, lengths, flags, _extension, end, checksum = _LAYOUT.unpack(raw)
    if signature != SIGNATURE or version not in VERSIONS or offsets != 8 or lengths != 8:
        return None
    if lookup3(raw[:-4]) != checksum:
        return None
    return Superblock(raw, end, flags)


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' lookup3 hash of `data` (hashlittle, initial value 0): HDF5's metadata checksum."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    if not data:
        return c

    def rotate(x: int, k: int) -> int:
        return ((x << k) | (x >> (32 - k))) & mask

    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    for i in range(0, len(words), 3):
        a, b, c = (a + words[i]) & mask, (b + words[i + 1]) & mask, (c + words[i + 2]) & mask
        if i + 3 < len(words):
            a = (a - c) & mask ^ rotate(c, 4)
            c = (c + b) & mask
            b = (b - a) & mask ^ rotate(a, 6)
            a = (a + c) & mask
            c = (c - b) & mask ^ rotate(b, 8)
            b = (b + a) & mask
            a = (a - c) & mask ^ rotate(c, 16)
            c = (c + b) & mask
            b = (b - a) & mask ^ rotate(a, 19)
            a = (a + c) & mask
            c = (c - b) & mask ^ rotate(b, 4)
            b = (b + a) & mask
    c = ((c ^ b) - rotate(b, 14)) & mask
    a = ((a ^ c) - rotate(c, 11)) & mask
    b = ((b ^ a) - rotate(a, 25)) & mask
    c = ((c ^ b) - rotate(b, 16)) & mask
    a = ((a ^ c) - rotate(c, 4)) & mask
    b = ((b ^ a) - rotate(a, 14)) & mask
    return ((c ^ b) - rotate(b, 24)) & mask
