"""File descriptors that close themselves, and that a process opens only once for each journal.

A POSIX lock falls when its process closes ANY descriptor of the file, even one that never locked it. So all who
use a journal within one process share what is open, and it is closed when the last of them lets go.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref

Inode = tuple[int, int]


class Descriptor:
    """An open file, closed when nobody refers to this object any more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.inode = inode(status)
        self.mode = stat.S_IMODE(status.st_mode)  # now: of a file that is deleted a network file system may say nothing
        self.holds_lock = False
        self._older: Descriptor | None = None
        self.close = weakref.finalize(self, os.close, fd)
        """Close now; a second call does nothing."""


def inode(status: os.stat_result) -> Inode:
    """Return what tells one file from another, whatever its names."""
    return status.st_dev, status.st_ino


def inode_at(path: str) -> Inode | None:
    """Return the inode that a name leads to, not following a symbolic link, or None if there is none."""
    try:
        return inode(os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return None


class Registry:
    """The descriptors that this process shares; hold `lock` from looking until sharing."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._open: weakref.WeakValueDictionary[Inode, Descriptor] = weakref.WeakValueDictionary()
        os.register_at_fork(after_in_child=self._after_fork)

    def get(self, path: str) -> Descriptor | None:
        """Return the descriptor that is open on the file at `path`, if any."""
        there = inode_at(path)
        return self._open.get(there) if there is not None else None

    def share(self, descriptor: Descriptor) -> None:
        """Offer this descriptor from now on; an older one of the same file lives as long as it does."""
        descriptor._older = self._open.get(descriptor.inode)
        self._open[descriptor.inode] = descriptor

    def _after_fork(self) -> None:
        self.lock = threading.RLock()  # another thread may have held it
        for descriptor in list(self._open.values()):
            descriptor.holds_lock = False  # POSIX locks stay with the parent
