"""The file as of its last commit, for reading: what `snapshot` shows, beside a writer or after a crash."""

from __future__ import annotations

import enum
import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import h5py

from curvewatch.errors import FileBusyError, ForeignFileError, RunFileError
from curvewatch.storage import stateblock
from curvewatch.storage.descriptors import Descriptor
from curvewatch.storage.filelock import pauses, shared
from curvewatch.storage.hdf5 import superblock
from curvewatch.storage.hdf5.blockcheck import Checked
from curvewatch.storage.objectfile import close_quietly, open_on
from curvewatch.storage.overlay import Disk, Extents, Layer, Memory, Overlay, Piece, Source, read
from curvewatch.storage.redolog import SUFFIX, Chain, Header, RedoLog

_log = logging.getLogger("curvewatch")

WRITER_WAIT_S = 10.0
"""How long a snapshot waits for the writer's copying (normally milliseconds) before it gives up."""
_Path = str | os.PathLike[str]
_WAYS_OUT = {
    errno.ENOENT: "Check the path.",
    errno.EACCES: "Check the permissions of the file and its directory.",
    errno.EPERM: "Check the permissions of the file and its directory.",
    errno.EROFS: "The file system is read-only: choose a writable place.",
    errno.ENOSPC: "The disk is full: make room and try again.",
    errno.EDQUOT: "The quota is used up: make room and try again.",
}


class Standing(enum.Enum):
    """How a file stands to the journal beside it."""

    BEHIND = "the journal may hold what the file doesn't: apply it"
    AHEAD = "the file has gone on since: the journal is left over"
    STRANGER = "the journal is another file's, or another copy's: never apply it"


def standing(disk: Disk, header: Header | None, chain: Chain) -> Standing:
    """Return how the file stands to these records.

    After a power cut the file's own commit number says nothing about its other pages, so a file that claims to be
    level with the journal is behind it: applying what is there already does no harm.
    """
    if header is None or chain.end > disk.size:
        return Standing.STRANGER
    raw = read(disk, header.state_at, stateblock.SIZE)
    if not stateblock.has_identity(raw, header.file_id):
        return Standing.STRANGER
    state = stateblock.parse(raw)
    if state is None or chain.first - 1 <= state.commit <= chain.last:
        return Standing.BEHIND
    return Standing.AHEAD if state.commit > chain.last else Standing.STRANGER


@contextmanager
def snapshot(path: _Path) -> Iterator[h5py.File]:
    """Yield a read-only view of the file as of its last commit; it doesn't change while the block runs.

    Nothing is written, so it works on a read-only disk, beside a writer, and on what a crash has left: commits
    that are only in the journal are seen too. Keep it short: until it ends, the writer's commits stay in the journal.

    Raises:
        ForeignFileError: It isn't an HDF5 file.
        FileBusyError: Another program has it open for writing.
        RunFileError: It doesn't exist or can't be read, or the writer couldn't wait for this snapshot any longer.
    """
    real = os.path.realpath(path)
    with explained(path, "read it"):
        descriptor = _open(real)
    try:
        if not stat.S_ISREG(os.fstat(descriptor.fd).st_mode):
            raise ForeignFileError(f"path={path}: not a regular file. Give the run file itself.")
        with shared(descriptor.fd, WRITER_WAIT_S) as granted:
            if not granted:
                raise FileBusyError(f"{path}: another program has it open for writing. Close it there.")
            with _opened(descriptor, real, path) as file:
                yield file
    finally:
        descriptor.close()


def _open(real: str) -> Descriptor:
    for _ in pauses(WRITER_WAIT_S):
        with suppress(BlockingIOError):  # the writer is copying
            return Descriptor(os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))  # a pipe must not block us
    raise FileBusyError(f"{real}: a writer has been changing it for {WRITER_WAIT_S:.0f} s. Try again.")


@contextmanager
def _opened(descriptor: Descriptor, real: str, path: _Path) -> Iterator[h5py.File]:
    disk = Disk(descriptor)
    with explained(path, "read it"):
        view, size = _view(disk, real)
        head = superblock.parse(read(view, 0, superblock.SIZE))
        if head is not None and size < head.end < 1 << 62:
            # A file system that keeps attributes for a while shows an old length, until one reads behind it.
            read(disk, head.end - 1, 1)
            view, size = _view(disk, real)
        _require_hdf5(view, size, path)
        try:
            file = open_on(Overlay(Checked(uncrashed(view), size), size, writable=False), "r")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            way_out = "Restore it from a copy."
            if head is not None and head.end > size:
                way_out = (
                    f"{head.end - size} bytes are missing at its end: it was copied half way, or a network file system "
                    "shows an old length. Read it again in a minute; else restore it from a copy."
                )
            raise RunFileError(f"{path}: damaged HDF5 file ({error}). {way_out}") from error
    try:
        state_at = stateblock.find(file)
        before = _commit(view, state_at)
        failed: Exception | None = None
        try:
            yield file
        except Exception as error:
            failed = error
        # Our lock keeps the writer from changing the file in place, unless its patience or the disk is exhausted.
        now = _commit(disk, state_at)
        if before is not None and now is not None and now > before:
            raise RunFileError(
                f"{path}: the writer could not wait any longer and changed it. Read it again."
            ) from failed
        if failed is not None:
            raise failed
    finally:
        close_quietly(file)


def _view(disk: Disk, real: str) -> tuple[Source, int]:
    """Return the file with the journal, if any, laid over it, and its size."""
    log = RedoLog.peek(real + SUFFIX)
    while log is not None:
        fingerprint = log.fingerprint()
        header, chain = log.load()
        if header is None or chain is None or standing(disk, header, chain) is not Standing.BEHIND:
            break
        commit = _commit(disk, header.state_at)
        changes = chain.changes
        if commit == chain.last:
            # Perhaps all is in the file; then a writer may empty the journal at any time, and we need our own copy.
            changes = changes.in_memory()
            if log.fingerprint() != fingerprint:
                continue
        return Layer(disk, changes), chain.end
    return disk, disk.size


def uncrashed(view: Source) -> Source:
    """Return the view without the mark of a crashed writer, for which HDF5 refuses a file.

    Only right for who holds a lock on the file: then nobody is writing it now.
    """
    head = superblock.parse(read(view, 0, superblock.SIZE))
    if head is None or head.flags != superblock.OPEN_FOR_WRITING:
        return view
    cleared = Extents()
    cleared.put(Piece(0, superblock.SIZE, Memory(head.with_flags_cleared()), 0))
    return Layer(view, cleared)


def _require_hdf5(view: Source, size: int, path: _Path) -> None:
    at = 0  # the signature may stand at 0, 512, 1024, 2048, ...
    while at < size:
        if read(view, at, len(superblock.SIGNATURE)) == superblock.SIGNATURE:
            return
        at = max(512, 2 * at)
    raise ForeignFileError(f"path={path}: not an HDF5 file; left untouched. Give a run file, or choose another name.")


def _commit(source: Source, state_at: int | None) -> int | None:
    if state_at is None:
        return None
    state = stateblock.parse(read(source, state_at, stateblock.SIZE))
    return state.commit if state is not None else None


@contextmanager
def explained(path: _Path, action: str) -> Iterator[None]:
    """Turn the system's errors into ours: path, cause, and the way out."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, os.fspath(path)) else ""
        cause = f"{path}: can't {action}: {error.strerror or error}{where}."
        raise RunFileError(f"{cause} {_WAYS_OUT.get(error.errno or 0, '')}".rstrip()) from error
