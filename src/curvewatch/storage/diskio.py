"""System calls with their small print: partial writes, missing calls, directories that must be synced too."""

from __future__ import annotations

import errno
import os
from pathlib import Path

BLOCK = 1 << 20


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`.

    Raises:
        OSError: The system can't write it all; part of it may be written.
    """
    view = memoryview(data)
    while view:
        n = os.pwrite(fd, view, offset)
        if n == 0:
            raise OSError(errno.EIO, "wrote nothing")
        view, offset = view[n:], offset + n


def sync(fd: int) -> None:
    """Wait until everything written to this file, and its size, would survive a power cut.

    Raises:
        OSError: It may not survive. Calling again proves nothing: the kernel may have dropped the pages.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_directory(path: str | Path) -> None:
    """Wait until the names in this directory would survive a power cut.

    Some network file systems can't sync a directory; there the server orders its names itself.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def is_stale(error: BaseException | None, *descriptors: int) -> bool:
    """Whether the server of a file no longer knows what was opened before, as after its restart.

    Args:
        error: What failed.
        descriptors: Of the files; h5py may have hidden what a read failed by.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ESTALE:
            return True
        error = error.__cause__ or error.__context__
    for fd in descriptors:
        try:
            os.fstat(fd)
        except OSError as found:
            if found.errno == errno.ESTALE:
                return True
    return False


def reserve(fd: int, start: int, stop: int) -> None:
    """Make the bytes from `start` to `stop` exist on disk, as zeros, so that writing them can't run out of space.

    `start` is the end of the file. Where the file system can't reserve, the zeros are written.

    Raises:
        OSError: There is no room (ENOSPC, EDQUOT, EFBIG) or another failure.
    """
    if stop <= start:
        return
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, start, stop - start)
            return
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
    for at in range(start, stop, BLOCK):
        write_all(fd, bytes(min(BLOCK, stop - at)), at)
