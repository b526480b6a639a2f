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
from curvewatch.storage.committed import close_quietly
from curvewatch.storage.diskio import sync_directory
from curvewatch.storage.hdf5 import superblock
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
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "r+b") as stream:
            file = h5py.File(stream, "w", libver=LIBVER)
            try:
                build(file)
                stateblock.add(file, StateBlock(secrets.token_bytes(16), 0))
                state_at = stateblock.find(file)
                file.close()
            except BaseException:
                close_quietly(file)
                raise
            stream.flush()
            stream.seek(0)
            head = superblock.parse(stream.read(superblock.SIZE))
            if state_at is None or head is None or head.flags or head.end > os.fstat(fd).st_size:
                raise RunFileError(f"{real}: HDF5 did not write the file whole")
            os.fsync(fd)
        _give_name(temporary, real)
    finally:
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
        os.rename(temporary, real)
