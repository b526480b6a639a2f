"""The journal beside a file: committed changes that the file itself may not hold yet.

The whole changes of each transaction stand here, with a checksum, before the file is touched; replaying them in
order is always right, however often it is done and wherever it was cut off. The layout, little-endian:

    header   magic 24, id of the file 16, offset of its state block 8, CRC-32 4
    record   magic 4, CRC-32 of the rest 4, sequence number 8, end of file 8, number of pieces 8, table, bytes
    table    for each piece: offset in the file 8, length 8

A record that is cut off or torn ends the journal: it was never committed. Also here is the writer's lock, a
POSIX lock on the journal: the kernel drops it with the process, and children don't inherit it. Longer than other
files, since who holds the lock and what may be written are one question on the same descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from curvewatch.errors import FileBusyError, RunFileError
from curvewatch.storage.descriptors import Descriptor, Registry, inode_at
from curvewatch.storage.diskio import BLOCK, sync, sync_directory, write_all
from curvewatch.storage.filelock import warn_once
from curvewatch.storage.overlay import Disk, Extents, Piece, read

_log = logging.getLogger("curvewatch")

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


_registry = Registry()


class RedoLog:
    """An open journal; `acquire` makes it writable for one process, `peek` reads it beside a writer."""

    def __init__(self, path: str, descriptor: Descriptor) -> None:
        self.path = path
        self.source = Disk(descriptor)
        self.end = 0
        """Where the next record goes; 0 as long as there is no header."""
        self.locked = False
        """Whether a lock really keeps other writers out; some file systems have none."""
        self._descriptor = descriptor
        self._fd = descriptor.fd
        self._settled = False
        self._last: tuple[int, bytes] | None = None
        """Offset and first bytes, checksum included, of the last record, where we know it."""

    @classmethod
    def peek(cls, path: str) -> RedoLog | None:
        """Return the journal at `path` for reading only, or None if there is none.

        Raises:
            OSError: It can't be opened.
        """
        with _registry.lock:
            descriptor = _registry.get(path)
            if descriptor is None:
                try:
                    descriptor = _open(path, os.O_RDONLY)
                except FileNotFoundError:
                    return None
                _registry.share(descriptor)
            return cls(path, descriptor)

    def load(self, stop: int | None = None) -> tuple[Header | None, Chain | None]:
        """Return what a crash, or a writer at work, has left here; the bytes stay in the journal.

        Each is None if there is none that is whole. The next record will follow the last whole one.
        With `stop`, what lies behind that offset doesn't count.
        """
        size = os.fstat(self._fd).st_size
        size = size if stop is None else min(stop, size)
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
            self._last = self.end, self._read(self.end, _RECORD.size)
            self.end = record.stop
        return header, chain

    def _header(self) -> Header | None:
        raw = self._read(0, _HEADER.size)
        magic, file_id, state_at, crc = _HEADER.unpack(raw)
        if magic != _HEADER_MAGIC or crc != zlib.crc32(raw[:-4]) or state_at >= 1 << 62:
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
        return read(self.source, at, length)

    def fingerprint(self) -> bytes:
        """Return bytes that change when the journal is emptied or begun anew."""
        return self._read(0, _HEADER.size + _RECORD.size)

    # --- writing -------------------------------------------------------------------------------------------------

    @classmethod
    def acquire(cls, path: str, mode: int) -> RedoLog:
        """Return the journal at `path`, made if need be, locked for this writer.

        Raises:
            FileBusyError: Another writer, in this process or another, holds it.
            OSError: It can't be made, opened or synced.
        """
        while True:
            with _registry.lock:
                shared = _registry.get(path)
                if shared is not None and shared.holds_lock:  # to open and close it once more would drop the lock
                    raise FileBusyError(f"{path}: this process already writes the file. Close the other handle.")
                descriptor = _open(path, os.O_RDWR | os.O_CREAT, mode)
                log = cls(path, descriptor)
                log.lock()
                if not log.is_at_its_path():  # a writer that was closing removed it while we opened it
                    continue
                descriptor.holds_lock = True
                _registry.share(descriptor)
            sync_directory(os.path.dirname(path))  # a commit in a file without a name would be lost
            return log

    def lock(self) -> None:
        """Take the writer's lock, or make sure that it is still ours: careless code may have dropped it.

        Raises:
            FileBusyError: Another process holds it.
        """
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = True
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise FileBusyError(
                    f"{self.path}: another process writes the file. Wait for it, stop it, or write to another file."
                ) from error
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            warn_once(f"{self.path}: no file locks here ({error.strerror}): make sure that only one process writes")

    def is_untouched(self) -> bool:
        """Return whether the journal is as we left it: no other writer, taking us for dead, has used it."""
        if not self._settled:
            return True
        at, head = self._last or (0, b"")
        return os.fstat(self._fd).st_size == self.end and self._read(at, len(head)) == head

    def is_at_its_path(self) -> bool:
        """Return whether the name still leads to this journal."""
        return inode_at(self.path) == self._descriptor.inode

    def remade(self) -> RedoLog:
        """Return a new journal with the same records, at the same offsets, for this one that was deleted.

        Raises:
            FileBusyError: Another process has begun to write.
            RunFileError: Another process wrote, and crashed.
            OSError: It can't be made.
        """
        new = RedoLog.acquire(self.path, self._descriptor.mode)
        try:
            if new.load()[1] is not None:
                raise RunFileError(
                    f"{self.path}: another program wrote meanwhile. Close this handle and open it again."
                )
            new.discard()
            for at in range(0, self.end, BLOCK):
                write_all(new._fd, self._read(at, min(BLOCK, self.end - at)), at)
            sync(new._fd)
        except BaseException:
            new.release(remove=False)
            raise
        new.end, new._last = self.end, self._last
        self._descriptor.holds_lock = False
        return new

    def opened_again(self) -> RedoLog:
        """Return this journal, opened anew because a server had forgotten it.

        Raises:
            FileBusyError: Another process has begun to write.
            RunFileError: Another process wrote meanwhile.
            OSError: It can't be opened, or cut to what is committed.
        """
        self._descriptor.holds_lock = False
        new = RedoLog.acquire(self.path, self._descriptor.mode)
        try:
            new.load(self.end)
            if self.end >= _HEADER.size and (new.end != self.end or (self._last and new._last != self._last)):
                raise RunFileError(
                    f"{self.path}: another program wrote meanwhile. Close this handle and open it again."
                )
            new.rewind(self.end)
            new.settle()
            new._last = self._last
        except BaseException:
            new.release(remove=False)
            raise
        return new

    def append(self, header: Header, sequence: int, end: int, changes: Extents) -> Extents:
        """Write one record and wait for the disk: the transaction is committed when this returns.

        Returns:
            The same changes, to be found in the journal.

        Raises:
            OSError: It isn't committed; call `settle` before anything that it refers to is touched.
        """
        if self.end < _HEADER.size:
            raw = _HEADER.pack(_HEADER_MAGIC, *header, 0)[:-4]
            write_all(self._fd, raw + struct.pack("<I", zlib.crc32(raw)), 0)
        at = max(self.end, _HEADER.size)
        table = b"".join(_ENTRY.pack(piece.start, piece.stop - piece.start) for piece in changes)
        head = _RECORD.pack(_RECORD_MAGIC, 0, sequence, end, len(changes))[8:] + table
        crc = zlib.crc32(head)
        content_at = at + 8 + len(head)
        self._settled = False
        logged, waiting, waiting_at = Extents(), bytearray(), content_at
        for piece in changes:
            content = piece.read()
            crc = zlib.crc32(content, crc)
            logged.put(Piece(piece.start, piece.stop, self.source, content_at))
            content_at += len(content)
            waiting += content
            if len(waiting) >= BLOCK:
                write_all(self._fd, waiting, waiting_at)
                waiting, waiting_at = bytearray(), content_at
        head = _RECORD_MAGIC + struct.pack("<I", crc) + head
        if waiting_at == at + len(head):  # all of it in one call: a disk may take seconds for each
            write_all(self._fd, head + waiting, at)
        else:
            write_all(self._fd, waiting, waiting_at)
            write_all(self._fd, head, at)
        sync(self._fd)
        self._last = at, head[: _RECORD.size]
        self.end, self._settled = content_at, True
        return logged

    def rewind(self, end: int) -> None:
        """Drop what was written behind `end`, in memory; `settle` does it on disk."""
        self.end, self._settled, self._last = end, False, None

    def settle(self) -> None:
        """Make sure that nothing stands on disk behind the last committed record.

        Raises:
            OSError: A record whose commit failed may still come back after a power cut.
        """
        if not self._settled:
            os.ftruncate(self._fd, self.end)
            sync(self._fd)
            self._settled = True

    def reset(self) -> None:
        """Empty the journal: all that it holds is safe in the file.

        Raises:
            OSError: As for `settle`, which finishes the work.
        """
        if self.end > _HEADER.size:
            self.rewind(_HEADER.size)
        self.settle()

    def set_aside(self) -> str:
        """Keep a copy of a journal that isn't this file's, empty it, and return the name of the copy."""
        size = os.fstat(self._fd).st_size
        for n in range(1, 1000):
            name = f"{self.path}.stale{n}"
            try:
                fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
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
        self.rewind(0)
        self.settle()

    def release(self, remove: bool) -> None:
        """Give the lock back, and remove the journal first if it is no longer needed."""
        try:
            if remove and self.is_at_its_path() and self.is_untouched():
                self.lock()
                os.unlink(self.path)
                sync_directory(os.path.dirname(self.path))
        except FileBusyError:
            pass  # it is another writer's by now
        except OSError as error:
            # One that stays, or comes back after a power cut, does no harm: all of it is in the file.
            _log.warning("%s: could not be removed: %s", self.path, error.strerror)
        finally:
            self._descriptor.holds_lock = False
            with suppress(OSError):  # then it falls when the last reader in this process lets go
                fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _open(path: str, flags: int, mode: int = 0) -> Descriptor:
    descriptor = Descriptor(os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode))
    if not stat.S_ISREG(os.fstat(descriptor.fd).st_mode):
        raise RunFileError(f"{path}: not a regular file, where the journal should be. Move it away.")
    return descriptor
