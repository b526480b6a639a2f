"""The file's own note of which commits it holds: 96 readable bytes in a small dataset of their own.

The journal must never be applied to another file, to an older copy put back in place, or after a file has gone on
without it. Inodes can't tell (a copy has a new one, a new file may inherit an old one), so the file carries a
random identity, which never changes, and the number of its last commit, which changes with each.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

import h5py

SIZE = 96
_GROUP, _NAME = "_journal", "state"
_FORM = re.compile(rb"curvewatch journal 1 id=([0-9a-f]{32}) commit=([0-9a-f]{16}) crc=([0-9a-f]{8})\0+")


class StateBlock(NamedTuple):
    """An identity and the number of the last commit."""

    file_id: bytes
    commit: int

    def pack(self) -> bytes:
        """Return the bytes as they stand in the file."""
        body = b"curvewatch journal 1 id=%s commit=%016x" % (self.file_id.hex().encode(), self.commit)
        return (body + b" crc=%08x" % zlib.crc32(body)).ljust(SIZE, b"\0")


def parse(raw: bytes) -> StateBlock | None:
    """Return what the bytes say, or None if they are torn or something else."""
    match = _FORM.fullmatch(raw)
    if match is None:
        return None
    state = StateBlock(bytes.fromhex(match[1].decode()), int(match[2], 16))
    return state if state.pack() == raw else None


def has_identity(raw: bytes, file_id: bytes) -> bool:
    """Return whether the bytes, which a power cut may have torn, carry this identity: that part never changes."""
    whole = StateBlock(file_id, 0).pack()
    length = whole.index(b" commit=")
    return raw[:length] == whole[:length]


def add(file: h5py.File, state: StateBlock) -> None:
    """Write the block into a new file."""
    group = file.create_group(_GROUP)
    group.attrs["description"] = "Which commits this file holds; kept by the writer, of no interest to readers."
    group.create_dataset(_NAME, (), dtype=f"S{SIZE}", data=state.pack())


def find(file: h5py.File) -> int | None:
    """Return the block's offset in the file, which never changes, or None if the file has none of ours."""
    try:
        if not isinstance(file.get(_GROUP, getlink=True), h5py.HardLink):
            return None
        group = file[_GROUP]
        if not isinstance(group, h5py.Group) or not isinstance(group.get(_NAME, getlink=True), h5py.HardLink):
            return None
        dataset = group[_NAME]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != () or dataset.dtype.str != f"|S{SIZE}":
            return None
        offset = dataset.id.get_offset()
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):  # how h5py reports damage
        return None
    return int(offset) if offset is not None else None
