"""The journal beside a file: committed changes that the file itself may not hold yet.

The whole changes of each transaction stand here, with a checksum, before the file is touched; replaying them in
order is always right, however often it is done and wherever it was cut off. The layout, little-endian:

    header   magic 24, id of the file 16, offset of its state block 8, CRC-32 4
    record   magic 4, CRC-32 of the rest 4, sequence number 8, end of file 8, number of pieces 8, table, bytes
    table    for each piece: offset in the file 8, length 8

A record that is cut off or torn ends the journal: it was never committed. Also here is the writer's lock, a
POSIX lock on the journal: the kernel drops it with the process, and children don't inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from curvewatch.diskio import BLOCK, sync, sync_directory, write_all
from curvewatch.errors import FileBusyError, RunFileError
from curvewatch.filelock import warn_once
from curvewatch.overlay import Disk, Extents, Piece

SUFFIX = ".journal"
_HEADER = struct.Struct("<24s16sQI")
_HEADER_MAGIC = b"curvewatch journal 1\n".ljust(24, b"\0")
_RECORD = struct.Struct("<4sIQQQ")
_RECORD_MAGIC = b"cwR1"
_ENTRY = struct.Struct("<QQ")


class Header(NamedTuple):
    """Which file the journal belongs to."""

    file_id: bytes
    state_at: int


class Chain(NamedTuple):
    """Committed transactions without a gap, laid over one another."""

    first: int
    last: int
    end: int
    """Where the file ends after the last one."""
    changes: Extents


class _Record(NamedTuple):
    sequence: int
    end: int
    table_at: int
    n: int
    stop: int


# --- descriptors -------------------------------------------------------------------------------------------------
# POSIX locks fall when the process closes ANY descriptor of the file, also one that never locked. So within a
# process all users of a journal share what is open, and it is closed when the last of them lets go.


class _Descriptor:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode = _inode(os.fstat(fd))
        self.older: _Descriptor | None = None
        self.writes = False
        weakref.finalize(self, os.close, fd)


_open: weakref.WeakValueDictionary[tuple[int, int], _Descriptor] = weakref.WeakValueDictionary()
_open_lock = threading.RLock()


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _forget_after_fork() -> None:
    global _open_lock
    _open_lock = threading.RLock()
    for descriptor in list(_open.values()):
        descriptor.writes = False


os.register_at_fork(after_in_child=_forget_after_fork)


def _share(descriptor: _Descriptor) -> None:
    descriptor.older = _open.get(descriptor.inode)
    _open[descriptor.inode] = descriptor


def _regular(fd: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RunFileError(f"{path}: not a regular file, where the journal should be. Move it away.")


# --- reading -----------------------------------------------------------------------------------------------------


class RedoLog:
    """An open journal; `acquire` makes it writable for one process, `peek` reads it beside a writer."""

    def __init__(self, path: str, descriptor: _Descriptor) -> None:
        self.path = path
        self._descriptor = descriptor
        self.source = Disk(descriptor.fd)
        self.end = 0
        """Where the next record goes; 0 as long as there is no header."""
        self._settled = False

    @classmethod
    def peek(cls, path: str) -> RedoLog | None:
        """Return the journal at `path` for reading only, or None if there is none."""
        with _open_lock:
            try:
                descriptor = _open.get(_inode(os.stat(path, follow_symlinks=False)))
                if descriptor is None:
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                    _regular(fd, path)
                    _share(descriptor := _Descriptor(fd))
            except FileNotFoundError:
                return None
            return cls(path, descriptor)

    def load(self) -> tuple[Header | None, Chain | None]:
        """Return what a crash, or a writer at work, has left here; the bytes stay in the journal.

        Each is None if there is none that is whole. The next record will follow the last whole one.
        """
        size = os.fstat(self._descriptor.fd).st_size
        header = self._header()
        if header is None:
            return None, None
        self.end, self._settled = _HEADER.size, False
        chain: Chain | None = None
        while (record := self._record(self.end, size)) is not None:
            chain_goes_on = chain is None or record.sequence == chain.last + 1
            if not chain_goes_on or not self._lay(record, changes := chain.changes if chain else Extents()):
                break
            chain = Chain(chain.first if chain else record.sequence, record.sequence, record.end, changes)
            self.end = record.stop
        return header, chain

    def _header(self) -> Header | None:
        raw = self._read(0, _HEADER.size)
        magic, file_id, state_at, crc = _HEADER.unpack(raw)
        if magic != _HEADER_MAGIC or crc != zlib.crc32(raw[:-4]):
            return None
        return Header(file_id, state_at)

    def _record(self, at: int, size: int) -> _Record | None:
        """Return the record at `at` if it is whole; only then does any of it count."""
        head = self._read(at, _RECORD.size)
        magic, crc, sequence, end, n = _RECORD.unpack(head)
        table_at = at + _RECORD.size
        if magic != _RECORD_MAGIC or n > (size - table_at) // _ENTRY.size:
            return None
        stop = table_at + n * _ENTRY.size + sum(length for _, length in self._table(table_at, n))
        if stop > size:
            return None
        found = zlib.crc32(head[8:])
        for block in range(table_at, stop, BLOCK):
            found = zlib.crc32(self._read(block, min(BLOCK, stop - block)), found)
        return _Record(sequence, end, table_at, n, stop) if found == crc else None

    def _table(self, at: int, n: int) -> Iterator[tuple[int, int]]:
        for first in range(0, n, 4096):
            count = min(4096, n - first)
            yield from _ENTRY.iter_unpack(self._read(at + first * _ENTRY.size, count * _ENTRY.size))

    def _lay(self, record: _Record, changes: Extents) -> bool:
        """Lay the record over `changes`; False, and nothing done, if it points outside its own file."""
        if any(offset + length > record.end for offset, length in self._table(record.table_at, record.n)):
            return False
        content_at = record.table_at + record.n * _ENTRY.size
        for offset, length in self._table(record.table_at, record.n):
            changes.put(Piece(offset, offset + length, self.source, content_at))
            content_at += length
        return True

    def _read(self, at: int, length: int) -> bytes:
        out = bytearray(length)
        self.source.read_into(at, memoryview(out))
        return bytes(out)

    # --- writing -------------------------------------------------------------------------------------------------

    @classmethod
    def acquire(cls, path: str, mode: int) -> RedoLog:
        """Return the journal at `path`, made if need be, locked for this writer.

        Raises:
            FileBusyError: Another writer, in this process or another, holds it.
            OSError: It can't be made, opened or synced.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        while True:
            with _open_lock:
                try:
                    older = _open.get(_inode(os.stat(path, follow_symlinks=False)))
                except FileNotFoundError:
                    older = None
                if older is not None and older.writes:  # opening and closing it once more would drop the lock
                    raise FileBusyError(f"{path}: this process already writes the file. Close the other writer.")
                fd = os.open(path, flags, mode)
                _regular(fd, path)
                descriptor = _Descriptor(fd)
                log = cls(path, descriptor)
                log.lock()
                if not log.is_at_its_path():  # a writer that was closing removed it while we opened it
                    continue
                descriptor.writes = True
                _share(descriptor)
            sync_directory(os.path.dirname(path))  # a commit in a file without a name would be lost
            return log

    def lock(self) -> None:
        """Take the writer's lock, or make sure that it is still ours: careless code may have dropped it.

        Raises:
            FileBusyError: Another process holds it.
        """
        try:
            fcntl.lockf(self._descriptor.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise FileBusyError(
                    f"{self.path}: another process writes the file. Wait for it, stop it, or write to another file."
                ) from error
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            warn_once(f"{self.path}: no file locks here ({error.strerror}): make sure that only one process writes")

    def is_at_its_path(self) -> bool:
        """Return whether the name still leads to this journal."""
        try:
            return _inode(os.stat(self.path, follow_symlinks=False)) == self._descriptor.inode
        except FileNotFoundError:
            return False

    def append(self, header: Header, sequence: int, end: int, changes: Extents) -> Extents:
        """Write one record and wait for the disk: the transaction is committed when this returns.

        Returns:
            The same changes, to be found in the journal.

        Raises:
            OSError: It isn't committed; call `settle` before anything that it refers to is touched.
        """
        fd = self._descriptor.fd
        if self.end < _HEADER.size:
            raw = _HEADER.pack(_HEADER_MAGIC, *header, 0)[:-4]
            write_all(fd, raw + struct.pack("<I", zlib.crc32(raw)), 0)
        at = max(self.end, _HEADER.size)
        table = b"".join(_ENTRY.pack(piece.start, piece.stop - piece.start) for piece in changes)
        head = _RECORD.pack(_RECORD_MAGIC, 0, sequence, end, len(changes))[8:] + table
        crc = zlib.crc32(head)
        content_at = at + 8 + len(head)
        self._settled = False
        logged = Extents()
        for piece in changes:
            content = piece.read()
            crc = zlib.crc32(content, crc)
            write_all(fd, content, content_at)
            logged.put(Piece(piece.start, piece.stop, self.source, content_at))
            content_at += len(content)
        write_all(fd, _RECORD_MAGIC + struct.pack("<I", crc) + head, at)
        sync(fd)
        self.end, self._settled = content_at, True
        return logged

    def settle(self) -> None:
        """Make sure that nothing stands on disk behind the last committed record.

        Raises:
            OSError: A record whose commit failed may still come back after a power cut.
        """
        if not self._settled:
            os.ftruncate(self._descriptor.fd, self.end)
            sync(self._descriptor.fd)
            self._settled = True

    def reset(self) -> None:
        """Empty the journal: all that it holds is safe in the file.

        Raises:
            OSError: As for `settle`, which finishes the work.
        """
        if self.end > _HEADER.size:
            self.end, self._settled = _HEADER.size, False
        self.settle()

    def set_aside(self) -> str:
        """Keep a copy of a journal that isn't this file's, empty it, and return the name of the copy."""
        size = os.fstat(self._descriptor.fd).st_size
        for n in range(1, 1000):
            name = f"{self.path}.stale{n}"
            try:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                break
            except FileExistsError:
                continue
        else:
            raise RunFileError(f"{self.path}: too many stale journals beside it. Remove some.")
        try:
            for at in range(0, size, BLOCK):
                write_all(fd, self._read(at, min(BLOCK, size - at)), at)
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_directory(os.path.dirname(self.path))
        self.discard()
        return name

    def discard(self) -> None:
        """Empty the journal together with its header."""
        self.end, self._settled = 0, False
        self.settle()

    def release(self, remove: bool) -> None:
        """Give the lock back, and remove the journal first if it is no longer needed."""
        try:
            if remove and self.is_at_its_path():
                os.unlink(self.path)
                sync_directory(os.path.dirname(self.path))
        finally:
            self._descriptor.writes = False
            try:
                fcntl.lockf(self._descriptor.fd, fcntl.LOCK_UN)
            except OSError:
                pass  # it falls when the last reader in this process lets go of the descriptor
