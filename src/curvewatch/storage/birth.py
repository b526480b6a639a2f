"""A new HDF5 file that is there whole or not at all, and never in the place of another."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress

import h5py

from curvewatch.errors import RunFileError
from curvewatch.storage import stateblock
from curvewatch.storage.descriptors import Descriptor
from curvewatch.storage.diskio import reserve, sync_directory, write_all
from curvewatch.storage.hdf5 import superblock
from curvewatch.storage.objectfile import close, close_quietly, open_on
from curvewatch.storage.overlay import Disk, Layer, Overlay, read
from curvewatch.storage.replacing import move
from curvewatch.storage.stateblock import StateBlock

LIBVER = ("v110", "latest")
"""A format with checksums on all metadata, that every HDF5 since 1.10 reads."""
_SUFFIX = ".new"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def publish(real: str, build: Callable[[h5py.File], None]) -> int:
    """Make the whole file under another name beside `real`, and only then give it its own.

    The caller holds the writer's lock.

    Returns:
        The offset of its state block.

    Raises:
        FileExistsError: There is a file already.
        OSError: There is no room, or another failure; nothing is left behind.
    """
    directory, name = os.path.split(real)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(8)}{_SUFFIX}")
    descriptor = Descriptor(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    try:
        overlay = Overlay(Disk(descriptor), 0)
        file = open_on(overlay, "w", libver=LIBVER)
        try:
            build(file)
            stateblock.add(file, StateBlock(secrets.token_bytes(16), 0))
            state_at = stateblock.find(file)
            close(file)
        except BaseException:
            close_quietly(file)
            raise
        head = superblock.parse(read(Layer(Disk(descriptor), overlay.changes), 0, superblock.SIZE))
        if state_at is None or head is None or head.flags or head.end > overlay.size:
            raise RunFileError(f"{real}: HDF5 did not write the file whole")
        reserve(descriptor.fd, 0, head.end)
        for piece in overlay.changes:
            write_all(descriptor.fd, piece.read(), piece.start)
        os.fsync(descriptor.fd)
        descriptor.close()
        _give_name(temporary, real)
    finally:
        descriptor.close()
        with suppress(OSError):  # it may have been renamed; and litter does no harm: see `sweep`
            os.unlink(temporary)
    sync_directory(directory)
    return state_at


def sweep(real: str) -> None:
    """Remove what killed processes left half made. Only for who holds the writer's lock: then they are dead."""
    directory, name = os.path.split(real)
    with suppress(OSError):  # litter does no harm
        for entry in os.listdir(directory):
            middle = entry.removeprefix(f".{name}.").removesuffix(_SUFFIX)
            if entry == f".{name}.{middle}{_SUFFIX}" and len(middle) == 16:
                os.unlink(os.path.join(directory, entry))


def _give_name(temporary: str, real: str) -> None:
    try:
        os.link(temporary, real)  # unlike a rename, this never replaces
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links on this file system. Between the look and the rename only our lock keeps others out.
        if os.path.lexists(real):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), real) from error
        move(temporary, real)
