"""HDF5 transactions that are all or nothing, through kill -9, power cuts and full disks.

HDF5 by itself survives none of these: it changes its metadata in place, piece by piece. Here h5py works on an
[overlay][curvewatch.overlay.Overlay] in memory, and a commit then

1. reserves the new space at the end of the file (a full disk shows here, before anything is promised), writes
   what goes there, and waits for the disk: nothing refers to that space yet;
2. writes everything that changes in place to `<file>.journal` and waits for the disk: **this is the commit**;
3. copies it into the file, when no reader is inside. The journal is emptied once the file is safely on disk.

After a crash, a whole record in the journal is copied again; a torn one was never committed. This module knows
nothing of what is in the file.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import h5py

from curvewatch import stateblock, superblock
from curvewatch.diskio import BLOCK, reserve, sync, sync_directory, write_all
from curvewatch.errors import FileBusyError, ForeignFileError, RunFileError
from curvewatch.filelock import exclusive, shared, warn_once
from curvewatch.overlay import Disk, Extents, Layer, Memory, Overlay, Piece, Source
from curvewatch.redolog import SUFFIX, Chain, Header, RedoLog
from curvewatch.stateblock import StateBlock

_log = logging.getLogger("curvewatch")

READER_WAIT_S = 1.0
"""How long a commit waits for a reader to leave before it puts the copying off."""
WRITER_WAIT_S = 10.0
"""How long a snapshot waits for the writer's copying (normally milliseconds) before it gives up."""
PENDING_LIMIT_BYTES = 1 << 30
"""How much the journal holds back for a reader that keeps the file open. It is disk, not memory."""
JOURNAL_LIMIT_BYTES = 8 << 20
"""When the journal is emptied even if no commit makes the file grow."""
_LIBVER = ("v110", "latest")
_Path = str | os.PathLike[str]


class JournaledFile:
    """One writer's handle on an HDF5 file whose every transaction is all-or-nothing.

    Not for use by two threads at once: transactions and `close` wait for one another.

    Args:
        path: An existing file made by `create`.

    Raises:
        ForeignFileError: The file wasn't made by `create`; it is left untouched.
        FileBusyError: Another writer has it.
        RunFileError: It doesn't exist, is damaged, or the directory can't be written.
    """

    recovered: str
    """What opening the file had to repair, in words; empty if nothing."""

    def __init__(self, path: _Path) -> None:
        self.path = Path(path)
        self._real = os.path.realpath(path)
        with snapshot(self._real) as file:
            state_at = stateblock.find(file)
        if state_at is None:
            raise _foreign(self.path)
        with _explained(self.path, "open it for writing"):
            mode = stat.S_IMODE(os.stat(self._real).st_mode)
            log = RedoLog.acquire(self._real + SUFFIX, mode & 0o666)
            try:
                self._attach(log, state_at)
            except BaseException:
                log.release(remove=False)
                raise

    def _attach(self, log: RedoLog, state_at: int) -> None:
        """Open the file, whose lock we have, and bring it to its last committed state."""
        self._log = log
        self._busy = threading.Lock()
        self._owner: int | None = None
        self._pid = os.getpid()
        self._closed = False
        self._patient = True
        self._fd = os.open(self._real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self._disk = Disk(self._fd)
            self._logged = Extents()
            """Everything that the journal holds."""
            self._pending = Extents()
            """What of that isn't in the file yet."""
            self._recover(state_at)
        except BaseException:
            os.close(self._fd)
            raise

    def _recover(self, state_at: int) -> None:
        self.recovered = ""
        header, chain = self._log.load()
        if chain is not None and not _belongs(self._disk, header, chain):
            name = self._log.set_aside()
            self.recovered = f"set a journal aside that is not this file's: {name}"
            chain = None
        elif header is None or header.state_at != state_at:
            self._log.discard()
        if chain is not None:
            self._logged.update(chain.changes)
            self._pending.update(chain.changes)
            n = chain.last - chain.first + 1
            self.recovered = f"applied {n} committed transaction{'s' * (n > 1)} from the journal"
        head = superblock.parse(self._read(0, superblock.SIZE))
        state = stateblock.parse(self._read(state_at, stateblock.SIZE))
        if head is None or state is None:
            raise RunFileError(f"{self.path}: damaged (superblock or commit number). Restore it from a copy.")
        self._header = Header(state.file_id, state_at)
        self._commit_number = state.commit
        self._end = self._floor = head.end
        if chain is not None:
            self._copy_pending()
            if not self._pending:
                self._sync_file()
                self._log.reset()
                self._logged.clear()
        if head.flags:
            self._clear_flags(head)
        if self.recovered:
            _log.warning("%s: %s", self.path, self.recovered)

    def _clear_flags(self, head: superblock.Superblock) -> None:
        """Remove the mark of a writer other than us that crashed; HDF5 would refuse the file to everyone."""
        with shared(self._fd, 0) as alone:
            if not alone:
                raise FileBusyError(f"{self.path}: another program has it open for writing. Close it there.")
        changes = Extents()
        changes.put(Piece(0, superblock.SIZE, Memory(head.with_flags_cleared()), 0))
        self._commit(changes, self._end)
        self.recovered += ("; " if self.recovered else "") + "cleared the mark of a crashed foreign writer"

    # --- transactions --------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[h5py.File]:
        """Yield the file, open for changes, and commit them when the block ends.

        If the block raises, or the commit fails, the file is as before and the exception goes on; the next
        transaction may succeed. When the block has ended well, the changes survive kill -9 and a power cut.

        Raises:
            OSError: The disk is full or fails; nothing was committed.
            FileBusyError: Another process has taken the file over.
            RunFileError: The file or its journal was replaced, or the handle is closed.
        """
        with self._alone():
            self._check_still_ours()
            overlay = Overlay(self._view(), self._end)
            file = h5py.File(overlay, "r+", libver=_LIBVER, rdcc_nbytes=0)
            try:
                yield file
                file.close()
            except BaseException:
                _close_quietly(file)
                raise
            self._commit(overlay.changes, overlay.size)

    def _view(self) -> Source:
        return Layer(self._disk, self._pending) if self._pending else self._disk

    def _read(self, at: int, length: int) -> bytes:
        out = bytearray(length)
        self._view().read_into(at, memoryview(out))
        return bytes(out)

    def _commit(self, changes: Extents, end: int) -> None:
        changes, _ = _without_repetitions(changes, self._view()).split(end)
        if not changes and end == self._end:
            return
        number = self._commit_number + 1
        state = StateBlock(self._header.file_id, number).pack()
        at = self._header.state_at
        changes.put(Piece(at, at + len(state), Memory(state), 0))
        inside, beyond = changes.split(self._floor)
        try:
            self._log.settle()  # a record that failed must be gone for good before what it refers to changes
            self._check_still_ours()
            if end > self._floor:
                self._grow(end, beyond)
            if end > self._floor or self._log.end > JOURNAL_LIMIT_BYTES:
                self._sync_file()
                if not self._pending:
                    self._log.reset()
                    self._logged.clear()
            logged = self._log.append(self._header, number, end, inside)
        except BaseException:
            self._roll_back()
            raise
        self._commit_number, self._end = number, end
        self._floor = max(self._floor, end)
        self._logged.update(logged)
        self._pending.update(logged)
        self._copy_pending()

    def _grow(self, end: int, beyond: Extents) -> None:
        if os.fstat(self._fd).st_size > self._floor:
            os.ftruncate(self._fd, self._floor)  # left over from a transaction that failed
        reserve(self._fd, self._floor, end)
        for piece in beyond:
            write_all(self._fd, piece.read(), piece.start)

    def _sync_file(self) -> None:
        try:
            sync(self._fd)
        except OSError:
            # What was copied may be lost, and a second sync would not say so: copy it all again.
            self._pending.update(self._logged)
            raise

    def _roll_back(self) -> None:
        """Make the disk forget a transaction that failed."""
        try:
            self._log.settle()
            if os.fstat(self._fd).st_size > self._floor:
                os.ftruncate(self._fd, self._floor)
        except OSError as error:
            # Harmless: the space past the end is nobody's, and the next commit begins with settling.
            _log.warning("%s: a failed commit could not be cleaned up yet: %s", self.path, error)

    def _copy_pending(self, force: bool = False) -> None:
        """Bring the file up to the last commit, unless a reader is inside; failure is not an error."""
        if not self._pending:
            return
        try:
            with exclusive(self._fd, READER_WAIT_S if self._patient else 0) as alone:
                self._patient = alone
                if not alone:
                    if not force and self._log.end < PENDING_LIMIT_BYTES:
                        return
                    warn_once(f"{self.path}: a reader keeps the file open; it may see a commit half made")
                # The superblock last: it says where the file ends.
                for piece in sorted(self._pending, key=lambda piece: (piece.start == 0, piece.start)):
                    for start in range(piece.start, piece.stop, BLOCK):
                        part = piece.part(start, start + BLOCK)
                        write_all(self._fd, part.read(), part.start)
            self._pending.clear()
        except OSError as error:
            _log.warning("%s: committed, but not yet copied from the journal: %s", self.path, error)

    # --- guards --------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._owner == threading.get_ident():
            raise RuntimeError(f"{self.path}: a transaction is open already in this thread")
        if self._pid != os.getpid():
            raise FileBusyError(f"{self.path}: opened by the parent process; only that may write it")
        with self._busy:
            if self._closed:
                raise RunFileError(f"{self.path}: the file is closed. Open it again.")
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _check_still_ours(self) -> None:
        """Raise if the names no longer lead to our files, or another has taken the lock."""
        ours = os.fstat(self._fd)
        try:
            there: os.stat_result | None = os.stat(self._real, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            what = "was deleted or moved" if there is None else "was replaced by another file"
            raise RunFileError(
                f"{self.path}: {what} while open for writing. Close this handle and open the file again."
            )
        if not self._log.is_at_its_path():
            raise RunFileError(
                f"{self._log.path}: was deleted or replaced while in use. Close and open the file again."
            )
        self._log.lock()

    # --- end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Bring the file up to date, remove the journal and let go of the file; a second call does nothing.

        A reader that keeps the file open is waited for only briefly: the file must end whole.

        Raises:
            OSError: The file isn't safely on disk. The journal stays, and opening the file again repairs it.
            RunFileError: The file was replaced; its last commits stay in the journal.
        """
        if self._closed:
            return
        if self._pid != os.getpid():
            self._closed = True
            os.close(self._fd)
            return
        with self._alone():
            self._closed = True
            done = False
            try:
                if self._pending:
                    self._check_still_ours()
                    self._patient = True
                    self._copy_pending(force=True)
                sync(self._fd)
                done = not self._pending
                if not done:
                    raise RunFileError(
                        f"{self.path}: its last commits could not be copied from {self._log.path}. Keep both."
                    )
            finally:
                self._log.release(remove=done)
                os.close(self._fd)

    def __enter__(self) -> JournaledFile:
        """Return the handle."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the handle; an error of closing doesn't hide one that is under way."""
        try:
            self.close()
        except (OSError, RunFileError) as closing:
            if error is None:
                raise
            _log.warning("%s", closing)

    # --- birth ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: _Path, build: Callable[[h5py.File], None]) -> JournaledFile:
        """Return a handle on a new file, filled by `build`; a crash leaves no file at `path`, or the whole one.

        Raises:
            RunFileError: There is a file already, or it can't be made here.
            FileBusyError: Another process is just making it.
        """
        self = cls.__new__(cls)
        self.path = Path(path)
        self._real = os.path.realpath(path)
        if os.path.lexists(self._real):
            raise _exists(self.path)
        with _explained(self.path, "create it"):
            log = RedoLog.acquire(self._real + SUFFIX, 0o666)
            try:
                if log.load() != (None, None):  # of a file that is gone
                    log.set_aside()
                state_at = _publish(self._real, build)
                self._attach(log, state_at)
            except BaseException as error:
                log.release(remove=True)
                if isinstance(error, FileExistsError):
                    raise _exists(self.path) from error
                raise
        return self


@contextmanager
def snapshot(path: _Path) -> Iterator[h5py.File]:
    """Yield a read-only view of the file as of its last commit; it doesn't change while the block runs.

    Nothing is written, so it works on a read-only disk, beside a writer, and on what a crash has left: commits
    that are only in the journal are seen too. Keep it short: until it ends, a writer keeps its commits in the journal.

    Raises:
        ForeignFileError: It isn't an HDF5 file.
        FileBusyError: Another program has it open for writing.
        RunFileError: It doesn't exist or can't be read, or the writer couldn't wait for this snapshot any longer.
    """
    real = os.path.realpath(path)
    with _explained(path, "read it"):
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        with shared(fd, WRITER_WAIT_S) as granted:
            if not granted:
                raise FileBusyError(f"{path}: another program has it open for writing. Close it there.")
            with _explained(path, "read it"):
                view = _committed_view(fd, real, path)
                try:
                    file = h5py.File(view, "r")
                except (OSError, RuntimeError, ValueError) as error:
                    raise RunFileError(f"{path}: damaged HDF5 file ({error}). Restore it from a copy.") from error
            try:
                yield file
            finally:
                _close_quietly(file)
    finally:
        os.close(fd)


def _committed_view(fd: int, real: str, path: _Path) -> Overlay:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFileError(f"{path}: not a regular file")
    disk = Disk(fd)
    log = RedoLog.peek(real + SUFFIX)
    header, chain = log.load() if log is not None else (None, None)
    view: Source = disk
    size = status.st_size
    if chain is not None and _belongs(disk, header, chain) and _lags(disk, header, chain):
        view, size = Layer(disk, chain.changes), chain.end
    offsets = [0, *(512 << k for k in range(64) if 512 << k < status.st_size)]
    if not any(Piece(at, at + 8, view, at).read() == superblock.SIGNATURE for at in offsets):
        raise ForeignFileError(f"{path}: not an HDF5 file; left untouched")
    head = superblock.parse(Piece(0, superblock.SIZE, view, 0).read())
    if head is not None and head.flags == superblock.OPEN_FOR_WRITING:
        # A crashed writer's mark: we hold the lock, so no one is writing now.
        cleared = Extents()
        cleared.put(Piece(0, superblock.SIZE, Memory(head.with_flags_cleared()), 0))
        view = Layer(view, cleared)
    return Overlay(view, size, writable=False)


def _belongs(disk: Disk, header: Header | None, chain: Chain) -> bool:
    """Return whether the journal may be applied: same file, and not older or newer than the journal's start."""
    if header is None:
        return False
    raw = Piece(header.state_at, header.state_at + stateblock.SIZE, disk, header.state_at).read()
    if not stateblock.has_identity(raw, header.file_id):
        return False
    state = stateblock.parse(raw)
    return state is None or state.commit >= chain.first - 1


def _lags(disk: Disk, header: Header | None, chain: Chain) -> bool:
    """Return whether the journal may hold commits that the file doesn't."""
    assert header is not None
    state = stateblock.parse(Piece(header.state_at, header.state_at + stateblock.SIZE, disk, header.state_at).read())
    return state is None or state.commit <= chain.last


def _without_repetitions(changes: Extents, view: Source) -> Extents:
    """Leave out small pieces that only repeat what the file holds: HDF5 rewrites some metadata unchanged."""
    out = Extents()
    for piece in changes:
        small = piece.stop - piece.start <= 4096
        if not (small and piece.read() == Piece(piece.start, piece.stop, view, piece.start).read()):
            out.put(piece)
    return out


def _publish(real: str, build: Callable[[h5py.File], None]) -> int:
    """Make the whole file under another name, and only then give it its own; return the state block's offset."""
    directory, name = os.path.split(real)
    prefix, suffix = f".{name}.", ".new"
    for stale in os.listdir(directory):  # we hold the lock: whoever made these is dead
        if stale.startswith(prefix) and stale.endswith(suffix):
            os.unlink(os.path.join(directory, stale))
    temporary = os.path.join(directory, f"{prefix}{secrets.token_hex(8)}{suffix}")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "r+b") as stream:
            file = h5py.File(stream, "w", libver=_LIBVER)
            try:
                build(file)
                stateblock.add(file, StateBlock(secrets.token_bytes(16), 0))
                state_at = stateblock.find(file)
                file.close()
            except BaseException:
                _close_quietly(file)
                raise
            assert state_at is not None
            stream.flush()
            os.fsync(stream.fileno())
        _link_new(temporary, real)
    finally:
        with suppress(FileNotFoundError):  # gone where it had to be renamed
            os.unlink(temporary)
    sync_directory(directory)
    return state_at


def _link_new(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # No hard links here: between the look and the rename only our lock keeps others out.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        os.rename(source, target)
        os.link(target, source) if False else None


def _close_quietly(file: h5py.File) -> None:
    try:
        file.close()
    except Exception as error:
        _log.debug("closing after an error: %s", error)


def _exists(path: Path) -> RunFileError:
    return RunFileError(f"{path}: exists already, and is never overwritten. Open it to go on, or choose another name.")


def _foreign(path: Path) -> ForeignFileError:
    return ForeignFileError(f"{path}: was not written by curvewatch; left untouched. Choose another name.")


@contextmanager
def _explained(path: _Path, action: str) -> Iterator[None]:
    """Turn the system's errors into ours: path, cause, and the way out."""
    ways = {
        errno.ENOENT: "Check the path.",
        errno.EACCES: "Check the permissions of the file and its directory.",
        errno.EPERM: "Check the permissions of the file and its directory.",
        errno.EROFS: "The file system is read-only: choose a writable place.",
        errno.ENOSPC: "The disk is full: make room and try again.",
        errno.EDQUOT: "The quota is used up: make room and try again.",
    }
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        way = ways.get(error.errno or 0, "")
        raise RunFileError(f"{path}: can't {action}: {error.strerror or error}. {way}".rstrip()) from error
