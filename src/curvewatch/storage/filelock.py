"""Keeping readers out for the few milliseconds in which a file changes under them, and writers while they read.

HDF5's own readers take a shared `flock` for as long as they have a file open, and *fail at once* if they
can't have it. So while the writer copies, it holds something better where the kernel offers it: a write lease
(`fcntl(2)`, F_SETLEASE). A lease is granted only when nobody else has the file open at all, and a reader that
comes meanwhile isn't refused: its `open` waits until the lease is given back.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

_log = logging.getLogger("curvewatch")
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NO_LOCKS = "this file system has no locks: a reader may see a commit half made; reading again helps"
_warned: set[str] = set()
# Of its own: the stream of the `random` module belongs to training, and another thread draws here.
_spread = random.Random()


def warn_once(message: str) -> None:
    """Log a warning, once in the life of the process."""
    if message not in _warned:
        _warned.add(message)
        _log.warning(message)


def h5py_lock() -> AbstractContextManager[Any] | None:
    """Return the lock that every h5py call of this process takes, or None if this h5py doesn't show it.

    h5py opens files while it holds Python's global lock. If it waited there for our lease, we could never
    run again to give the lease back. Holding h5py's lock while we hold the lease makes that impossible.
    """
    try:
        from h5py._objects import phil
    except ImportError:
        return None
    lock: AbstractContextManager[Any] = phil
    return lock


def _lease(fd: int) -> bool | None:
    """Try to take a write lease. True: held. False: someone has the file open. None: no leases here."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    # A waiting reader is announced by a signal. SIGIO, the default, would kill the process; SIGURG is ignored
    # unless the host handles it, and then we keep away.
    if signal.getsignal(signal.SIGURG) not in (signal.SIG_DFL, signal.SIG_IGN):
        return None
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True


def _flock(fd: int, kind: int) -> bool | None:
    """Try to take a lock. True: held. False: taken by another. None: no such locks on this file system."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _unlease(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def _given_back(fd: int, give_back: Callable[[int], None]) -> Iterator[None]:
    """Give a lock back even if a signal came between its being granted and our knowing it.

    A child that was forked meanwhile doesn't: both kinds of lock belong to the open file, which it shares with us.
    """
    process = os.getpid()
    try:
        yield
    finally:
        if process == os.getpid():
            with suppress(OSError):  # there was none
                give_back(fd)


def pauses(seconds: float) -> Iterator[bool]:
    """Yield at once and then every millisecond or so; the value is True on the last round."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield False
        time.sleep(min(left, _spread.uniform(0.0003, 0.0015)))
    yield True


class Hold(enum.IntEnum):
    """How well a file is ours; false if not at all."""

    NONE = 0
    """A reader is inside."""
    SHARED = 1
    """Someone has it open, but not with HDF5's lock: a backup, or a reader with locks switched off."""
    ALONE = 2


@contextmanager
def exclusive(fd: int, seconds: float, leases: bool = True) -> Iterator[Hold]:
    """Hold the file for ourselves, waiting at most `seconds`; yields how well that went.

    A lease first. If none is to be had in time, an exclusive `flock`: it proves that no HDF5 reader is
    inside, and turns newcomers away with an error instead of letting them wait. Where the file system knows
    neither, ALONE: there the record stays safe, but a reader may see a commit half made (said once in the log).

    Without `leases`, a `flock` alone: while a lease is held no thread of this process can use h5py, and a training
    that reads its data with it would wait for a disk that takes seconds.
    """
    readers = h5py_lock()
    leases = leases and readers is not None
    for last in pauses(seconds):
        if leases:
            with readers or nullcontext(), _given_back(fd, _unlease):
                granted = _lease(fd)
                if granted:
                    yield Hold.ALONE
                    return
                leases = granted is not None
        if last or not leases:
            with _given_back(fd, _unlock):
                granted = _flock(fd, fcntl.LOCK_EX)
                if granted is None:
                    warn_once(_NO_LOCKS)
                    yield Hold.ALONE
                    return
                if granted:
                    yield Hold.SHARED if leases else Hold.ALONE
                    return
    yield Hold.NONE


@contextmanager
def shared(fd: int, seconds: float) -> Iterator[bool]:
    """Keep writers from changing the file in place, waiting at most `seconds`; yields whether that was granted."""
    for _ in pauses(seconds):
        with _given_back(fd, _unlock):
            granted = _flock(fd, fcntl.LOCK_SH)
            if granted is None:
                warn_once(_NO_LOCKS)
            if granted is not False:
                yield True
                return
    yield False
