"""HDF5 transactions that are all or nothing, through kill -9, power cuts and full disks.

HDF5 by itself survives none of these: it changes its metadata in place, piece by piece. Here h5py works on an
overlay in memory, and a commit then

1. reserves the new space at the end of the file (a full disk shows here, before anything is promised), writes
   what goes there, and waits for the disk: nothing refers to that space yet;
2. writes everything that changes in place to `<file>.journal` and waits for the disk: **this is the commit**;
3. copies it into the file when no reader is inside. The journal is emptied once the file is safely on disk.

After a crash, whole records in the journal are copied again; a torn one was never committed. This module knows
nothing of what is in the file. Longer than other files, since each step of a commit is right only after the ones
before it: they are to be read, and changed, together.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import h5py

from curvewatch.errors import FileBusyError, ForeignFileError, RunFileError
from curvewatch.storage import stateblock
from curvewatch.storage.birth import LIBVER, publish, sweep
from curvewatch.storage.committed import Standing, explained, snapshot, standing, uncrashed
from curvewatch.storage.descriptors import Descriptor, inode_at
from curvewatch.storage.diskio import BLOCK, is_stale, reserve, sync, write_all
from curvewatch.storage.filelock import Hold, exclusive, shared, warn_once
from curvewatch.storage.hdf5 import superblock
from curvewatch.storage.hdf5.blockcheck import Checked
from curvewatch.storage.objectfile import close, close_quietly, open_on
from curvewatch.storage.overlay import Disk, Extents, Layer, Memory, Overlay, Piece, Source, read
from curvewatch.storage.redolog import SUFFIX, Header, RedoLog
from curvewatch.storage.stateblock import StateBlock

__all__ = ["JournaledFile", "snapshot"]

_log = logging.getLogger("curvewatch")

READER_WAIT_S = 1.0
"""How long a commit waits for a reader to leave before it puts the copying off."""
PENDING_LIMIT_BYTES = 1 << 30
"""How much the journal holds back for a reader that keeps the file open. It is disk, not memory."""
GAP_BYTES = 16 << 10
"""Changes less than this apart are written together."""
SLOW_S = 0.5
"""A disk that takes longer for a commit is not waited for while other threads can't use h5py."""
JOURNAL_LIMIT_BYTES = 8 << 20
"""When the journal is emptied even if no commit makes the file grow."""
_Path = str | os.PathLike[str]


class JournaledFile:
    """One writer's handle on an HDF5 file whose every transaction is all-or-nothing.

    Threads may share it: transactions and `close` wait for one another.

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
            raise ForeignFileError(f"{path}: was not written by curvewatch; left untouched. Choose another name.")
        with explained(path, "open it for writing"):
            _require_our_form(self._real)
        with explained(path, "open it for writing"):
            log = RedoLog.acquire(self._real + SUFFIX, stat.S_IMODE(os.stat(self._real).st_mode) & 0o666)
            try:
                self._attach(log, state_at)
            except BaseException:
                log.release(remove=False)
                raise

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
        exists = RunFileError(f"{path}: exists already, and is never overwritten. Open it, or choose another name.")
        if os.path.lexists(self._real):
            raise exists
        with explained(path, "create it"):
            log = RedoLog.acquire(self._real + SUFFIX, 0o666)
            try:
                if log.load()[1] is not None:  # of a file that is gone
                    log.set_aside()
                if log.locked:
                    sweep(self._real)
                try:
                    state_at = publish(self._real, build)
                except FileExistsError as error:
                    raise exists from error
                self._attach(log, state_at)
            except BaseException:
                log.release(remove=True)
                raise
        return self

    def _attach(self, log: RedoLog, state_at: int) -> None:
        """Open the file, whose writer's lock we have, and bring it to its last committed state."""
        self._descriptor = Descriptor(os.open(self._real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        self._fd = self._descriptor.fd
        self._disk = Disk(self._descriptor)
        self._log = log
        self._pending = Extents()
        """What is committed but not yet in the file: it lies in the journal."""
        self._floor = 0
        """No state of the file that anyone may still read, or recover, uses the space from here on."""
        self._turn = threading.Lock()
        self._thread: int | None = None
        self._pid = os.getpid()
        self._closed = False
        self._patient = True
        self._quick = True
        self._forgotten = False
        if log.locked:
            sweep(self._real)
        self._recover(state_at)

    # --- what the disk says ----------------------------------------------------------------------------------------

    def _recover(self, state_at: int) -> None:
        """Finish what a crashed writer had committed, and forget what it had not."""
        self.recovered = ""
        header, chain = self._log.load()
        relation = standing(self._disk, header, chain) if chain is not None else Standing.AHEAD
        if relation is Standing.STRANGER:
            self.recovered = f"set a journal aside that is not this file's: {self._log.set_aside()}"
        elif relation is Standing.AHEAD:
            self._log.discard()
        elif chain is not None:
            n = chain.last - chain.first + 1
            self.recovered = f"applied {n} committed transaction{'s' * (n > 1)} from the journal"
        self._header = Header(b"", state_at)
        self._reload()
        if self._pending:
            self._copy_pending()
            if not self._pending:
                self._sync_file()
                self._log.reset()
        if self._superblock().flags:  # HDF5 would refuse the file to everyone
            self.recovered += ("; " if self.recovered else "") + "cleared the mark of another program that crashed"
            with self.transaction():
                pass
        if self.recovered:
            _log.warning("%s: %s", self.path, self.recovered)

    def _reload(self) -> None:
        """Learn from the disk which state was committed last."""
        _, chain = self._log.load(self._log.end)
        self._pending = chain.changes if chain is not None else Extents()
        for source in (self._disk, self._view()):
            head = superblock.parse(read(source, 0, superblock.SIZE))
            self._floor = max(self._floor, head.end if head is not None else 0)
        state = stateblock.parse(read(self._view(), self._header.state_at, stateblock.SIZE))
        if state is None:
            raise RunFileError(f"{self.path}: damaged (no commit number). Restore it from a copy.")
        self._header = Header(state.file_id, self._header.state_at)
        self._commit_number = state.commit
        self._in_doubt = False

    def _superblock(self) -> superblock.Superblock:
        head = superblock.parse(read(self._view(), 0, superblock.SIZE))
        if head is None or head.end > self._disk.size:
            raise RunFileError(f"{self.path}: damaged (superblock). Restore it from a copy.")
        return head

    def _view(self) -> Source:
        return Layer(self._disk, self._pending) if self._pending else self._disk

    # --- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[h5py.File]:
        """Yield the file, open for changes, and commit them when the block ends.

        If the block raises, or the commit fails, the file is as before and the exception goes on; the next
        transaction may succeed. When the block has ended well, the changes survive kill -9 and a power cut.
        (Ctrl-C in the main thread may come just after the commit, and is raised then too.)

        Raises:
            OSError: The disk is full or fails; nothing was committed.
            FileBusyError: Another program has taken the file over.
            RunFileError: The file was replaced or damaged, or the handle is closed.
        """
        with self._alone(), self._noticing_a_restart():
            self._check_still_ours()
            if self._in_doubt:
                self._reload()
            base = self._checked_base()
            end = self._superblock().end
            overlay = Overlay(Checked(base, end), end)  # a file that is continued may come from elsewhere
            file = open_on(overlay, "r+", libver=LIBVER, rdcc_nbytes=0)
            try:
                yield file
                close(file)
            except BaseException:
                close_quietly(file)
                raise
            self._commit(overlay, end)

    def _checked_base(self) -> Source:
        """Return the last committed state, having made sure that no other program has gone on from it."""
        state = stateblock.parse(read(self._disk, self._header.state_at, stateblock.SIZE))
        # While commits wait for a reader, the file is older; while copying had failed, its number may be torn.
        number = self._commit_number if state is None and self._pending else state.commit if state is not None else -1
        if number > self._commit_number or (number < self._commit_number and not self._pending):
            raise RunFileError(f"{self.path}: another program has changed it. Close this handle and open it again.")
        view = self._view()
        if self._superblock().flags:
            with shared(self._fd, 0) as nobody_writes:
                if not nobody_writes:
                    raise FileBusyError(f"{self.path}: another program has it open for writing. Close it there.")
        return uncrashed(view)

    def _commit(self, overlay: Overlay, old_end: int) -> None:
        head = superblock.parse(read(Layer(self._view(), overlay.changes), 0, superblock.SIZE))
        if head is None or head.flags or head.end > overlay.size:
            raise RunFileError(f"{self.path}: HDF5 did not close the file; nothing was committed")
        changes, _ = _without_repetitions(overlay.changes, self._view(), old_end).split(head.end)
        if not changes and head.end == old_end:
            return
        number = self._commit_number + 1
        state = StateBlock(self._header.file_id, number).pack()
        at = self._header.state_at
        changes.put(Piece(at, at + len(state), Memory(state), 0))
        self._floor = max(self._floor, old_end)
        inside, beyond = changes.split(self._floor)

        log_end = self._log.end
        self._in_doubt = True  # until the end: whatever stops us, the next transaction first asks the disk
        try:
            self._log.settle()  # a record that failed must be gone for good before what it refers to changes
            if head.end > self._floor:
                self._grow(head.end, beyond)
            if head.end > self._floor or (log_end > JOURNAL_LIMIT_BYTES and not self._pending):
                self._sync_file()
                if not self._pending:
                    self._log.reset()
                    self._floor, log_end = old_end, self._log.end
            self._check_still_ours()
            began = time.monotonic()
            logged = self._log.append(self._header, number, head.end, inside)
            self._quick = time.monotonic() - began < SLOW_S
        except BaseException:
            self._roll_back(log_end)
            raise
        self._pending.update(logged)
        self._commit_number = number
        self._floor = max(self._floor, head.end)
        self._in_doubt = False
        self._copy_pending()

    def _grow(self, end: int, beyond: Extents) -> None:
        if self._disk.size > self._floor:
            os.ftruncate(self._fd, self._floor)  # left over from a transaction that failed
        reserve(self._fd, self._floor, end)
        self._write(beyond)

    def _write(self, changes: Extents) -> None:
        """Write the changes, with the unchanged bytes of short gaps between them, in few calls."""
        view = Layer(self._disk, changes)
        for start, stop in changes.runs(GAP_BYTES, BLOCK):
            write_all(self._fd, read(view, start, stop - start), start)

    def _sync_file(self) -> None:
        try:
            sync(self._fd)
        except OSError:
            # What was copied may be lost, and a second sync would not say so: copy the whole journal again.
            self._in_doubt = True
            raise

    def _roll_back(self, log_end: int) -> None:
        """Make the disk forget a transaction that failed."""
        self._log.rewind(min(log_end, self._log.end))
        try:
            self._log.settle()
            if self._disk.size > self._floor:
                os.ftruncate(self._fd, self._floor)
        except OSError as error:
            # Harmless: the space past the end is nobody's, and the next commit begins with settling.
            _log.warning("%s: a failed commit could not be cleaned up yet: %s", self.path, error)

    def _copy_pending(self, force: bool = False) -> None:
        """Bring the file up to the last commit, unless a reader is inside; failure is no error, only delay."""
        if not self._pending:
            return
        try:
            with exclusive(self._fd, READER_WAIT_S if self._patient else 0, leases=self._quick) as hold:
                self._patient = hold is Hold.ALONE  # who waited in vain once doesn't at each commit
                if not hold:
                    if not force and self._log.end < PENDING_LIMIT_BYTES:
                        return
                    warn_once(f"{self.path}: a reader keeps the file open; it may see a commit half made")
                head, rest = self._pending.split(superblock.SIZE)
                self._write(rest)
                self._write(head)  # the superblock last: it says where the file ends
            self._pending.clear()
        except OSError as error:
            self._forgotten = is_stale(error)
            _log.warning("%s: committed, but not yet copied from the journal: %s", self.path, error)

    # --- guards ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._thread == threading.get_ident():
            raise RuntimeError(f"{self.path}: a transaction is open in this thread already")
        if self._pid != os.getpid():
            raise FileBusyError(f"{self.path}: opened by the parent process; only that may write it")
        with self._turn:
            if self._closed:
                raise RunFileError(f"{self.path}: the handle is closed. Open the file again.")
            self._thread = threading.get_ident()
            try:
                yield
            finally:
                self._thread = None

    @contextmanager
    def _noticing_a_restart(self) -> Iterator[None]:
        """Open the files anew if a server had forgotten them (ESTALE) the last time; notice it if it has now."""
        if self._forgotten:
            self._open_again()
        try:
            yield
        except Exception as error:
            self._forgotten = is_stale(error, self._fd, self._log.source.fd)
            raise

    def _open_again(self) -> None:
        self._open_file_again()
        self._log = self._log.opened_again()
        self._forgotten = False
        _log.warning("%s: its server had forgotten it; opened again", self.path)

    def _open_file_again(self) -> None:
        """See the file as it is now: a network file system shows what it knew when the file was opened."""
        descriptor = Descriptor(os.open(self._real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        if descriptor.inode != self._descriptor.inode:
            raise RunFileError(
                f"{self.path}: was replaced while open for writing. Close this handle and open it again."
            )
        self._descriptor, self._fd, self._disk = descriptor, descriptor.fd, Disk(descriptor)
        state = stateblock.parse(read(self._disk, self._header.state_at, stateblock.SIZE))
        if not self._in_doubt and state is not None and state.commit > self._commit_number:
            raise RunFileError(f"{self.path}: another program has changed it. Close this handle and open it again.")
        self._in_doubt = True

    def _check_still_ours(self) -> None:
        """Raise if the name leads to another file now, or another has the lock; heal what can be healed."""
        there = inode_at(self._real)
        if there != self._descriptor.inode:
            what = "deleted or moved" if there is None else "replaced by another file"
            raise RunFileError(f"{self.path}: was {what} while open for writing. Close this handle and open it again.")
        if self._log.is_at_its_path():
            self._log.lock()
            if not self._log.is_untouched():
                raise RunFileError(f"{self.path}: another program has changed it. Close this handle and open it again.")
        else:
            self._open_file_again()
            _log.warning("%s: was deleted while in use; made again", self._log.path)
            self._log = self._log.remade()

    # --- end -------------------------------------------------------------------------------------------------------

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
            self._descriptor.close()
            return
        with self._alone():
            self._closed, self._patient, done = True, True, False
            try:
                if self._forgotten:
                    self._open_again()
                if self._pending or self._in_doubt:
                    self._check_still_ours()
                    if self._in_doubt:
                        self._reload()
                    self._copy_pending(force=True)
                sync(self._fd)
                done = not self._pending
            finally:
                self._log.release(remove=done)
                self._descriptor.close()
                del self._log, self._pending  # what they keep open closes now, not when this handle is collected
        if not done:
            journal = self._real + SUFFIX
            raise RunFileError(f"{self.path}: its last commits are only in {journal}. Keep both, and open it again.")

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


def _without_repetitions(changes: Extents, view: Source, end: int) -> Extents:
    """Leave out small pieces that only repeat what the file holds: HDF5 rewrites some metadata unchanged.

    What stands past the `end` of the file doesn't count, even if it is the same: it is about to be cut off.
    """
    out = Extents()
    for piece in changes:
        length = piece.stop - piece.start
        if length > 4096 or piece.stop > end or piece.read() != read(view, piece.start, length):
            out.put(piece)
    return out


def _require_our_form(real: str) -> None:
    """Refuses a file that HDF5 reads and that transactions can't change: h5repack and others write an older form.

    Raises:
        RunFileError: Naming the command that converts it.
    """
    with open(real, "rb") as stream:
        head = stream.read(superblock.SIZE)
    signature = len(superblock.SIGNATURE)
    if head[:signature] != superblock.SIGNATURE:
        what, command = "a user block before", "h5unjam --delete -i {} -o {}"
    elif len(head) == superblock.SIZE and head[signature] not in superblock.VERSIONS:
        what, command = f"version {head[signature]} of HDF5's superblock in", "h5repack -j 2 -k 2 {} {}"
    else:
        return
    root, extension = os.path.splitext(real)
    command = command.format(shlex.quote(real), shlex.quote(f"{root}.converted{extension}"))
    raise RunFileError(
        f"{real}: another program rewrote it, with {what} it. So it can be read, but not continued. Convert it, and "
        f"continue the converted file: {command}"
    )
