"""Transactions seen from outside: readers, second writers, wrong journals, rolled-back blocks.

What crashes, power cuts and full disks do is in tests/faults.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curvewatch.errors import FileBusyError, ForeignFileError, RunFileError
from curvewatch.storage import committed, filelock, journal, redolog, stateblock
from curvewatch.storage.hdf5 import superblock
from curvewatch.storage.journal import JournaledFile, snapshot
from curvewatch.storage.overlay import Extents, Memory, Overlay, Piece
from tests.faults import rows
from tests.faults.kill import Child, in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture
def journaled(path: Path) -> Iterator[JournaledFile]:
    handle = JournaledFile.create(path, rows.build)
    yield handle
    handle.close()


def n_rows(path: Path) -> int:
    with snapshot(path) as file:
        return rows.count(file)


def crash(path: Path, n: int = 3, reader: bool = False) -> None:
    """Leave `path` as a killed writer does, with `n` rows; with a `reader` inside, the last are only in the journal."""

    def work(fd: int) -> None:
        handle = JournaledFile.create(path, rows.build)
        rows.append(handle, 0)
        inside = h5py.File(path) if reader else None
        journal.READER_WAIT_S = 0.0
        for k in range(1, n):
            rows.append(handle, k)
        os.write(fd, b"%d" % n)
        os.kill(os.getpid(), signal.SIGKILL)
        assert inside is not None

    assert in_child(work) == (True, b"%d" % n)


# --- one writer alone --------------------------------------------------------------------------------------------


def test_rows_are_there_for_any_reader_and_the_journal_goes(journaled: JournaledFile, path: Path) -> None:
    for k in range(20):
        rows.append(journaled, k)
        with h5py.File(path) as file:
            assert rows.count(file) == k + 1
    journaled.close()
    journaled.close()
    assert os.listdir(path.parent) == ["run.h5"]
    with pytest.raises(RunFileError, match="closed"), journaled.transaction():
        pass


def test_an_exception_in_the_block_changes_nothing(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    before = path.read_bytes()
    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            _change_and_raise(journaled, error)
        assert path.read_bytes() == before
    for k in range(1, 6):
        rows.append(journaled, k)
    assert n_rows(path) == 6


def _change_and_raise(journaled: JournaledFile, error: BaseException) -> None:
    with journaled.transaction() as file:
        rows.add(file, 1)
        del file["entropy"]
        file.flush()
        raise error


def test_a_handle_kept_past_the_block_is_dead_and_does_no_harm(journaled: JournaledFile, path: Path) -> None:
    with journaled.transaction() as file:
        kept = file["surprisal"]
        rows.add(file, 0)
    assert not kept
    rows.append(journaled, 1)
    assert n_rows(path) == 2


def test_a_block_that_changes_nothing_commits_nothing(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    before = path.read_bytes()
    with journaled.transaction() as file:
        assert file.attrs["rows"] == 1
    assert path.read_bytes() == before


def test_transactions_do_not_nest_and_threads_take_turns(journaled: JournaledFile, path: Path) -> None:
    with journaled.transaction(), pytest.raises(RuntimeError, match="already"), journaled.transaction():
        pass
    with journaled.transaction(), pytest.raises(RuntimeError, match="already"):
        journaled.close()

    def add_one() -> None:
        with journaled.transaction() as file:
            rows.add(file, int(file.attrs["rows"]))

    threads = [threading.Thread(target=add_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert n_rows(path) == 8


def test_a_file_that_shrinks_and_grows_again(journaled: JournaledFile, path: Path) -> None:
    for round_ in range(3):
        with journaled.transaction() as file:
            file["bulk"] = np.full(100_000, round_)
        with h5py.File(path) as file:
            assert (file["bulk"][:] == round_).all()
        with journaled.transaction() as file:
            del file["bulk"]
        rows.append(journaled, round_)
    assert n_rows(path) == 3


def test_relative_paths_symbolic_links_and_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    real.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(real)
    with JournaledFile.create("run.h5", rows.build) as journaled:
        (elsewhere / "link.h5").symlink_to(real / "run.h5")
        monkeypatch.chdir(elsewhere)
        rows.append(journaled, 0)
        assert n_rows(Path("link.h5")) == 1
        with pytest.raises(FileBusyError):
            JournaledFile("link.h5")
    with JournaledFile("link.h5") as journaled:
        rows.append(journaled, 1)
        assert os.listdir(elsewhere) == ["link.h5"]
    assert n_rows(real / "run.h5") == 2


# --- creation ----------------------------------------------------------------------------------------------------


def test_create_never_overwrites(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    journaled.close()
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="exists already"):
        JournaledFile.create(path, rows.build)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run.h5"]


def test_a_file_that_appears_while_it_is_built_is_not_overwritten(path: Path) -> None:
    def build(file: h5py.File) -> None:
        rows.build(file)
        path.write_bytes(b"somebody else's")

    with pytest.raises(RunFileError, match="exists already"):
        JournaledFile.create(path, build)
    assert path.read_bytes() == b"somebody else's"
    assert os.listdir(path.parent) == ["run.h5"]


def test_a_build_that_fails_leaves_nothing(path: Path) -> None:
    def build(file: h5py.File) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        JournaledFile.create(path, build)
    assert os.listdir(path.parent) == []


def test_two_creators_do_not_touch_each_other(path: Path) -> None:
    """The half-made file of a live process stays; that of a dead one is removed."""

    def build(file: h5py.File) -> None:
        rows.build(file)
        half_made = set(os.listdir(path.parent))
        assert len(half_made) == 2
        with pytest.raises(FileBusyError):
            JournaledFile.create(path, rows.build)
        _, said = in_child(lambda fd: os.write(fd, _outcome(lambda: JournaledFile.create(path, rows.build))))
        assert said == b"FileBusyError"
        assert set(os.listdir(path.parent)) == half_made

    litter = path.parent / f".{path.name}.{'0' * 16}.new"
    litter.write_bytes(b"of a killed process")
    with JournaledFile.create(path, build) as journaled:
        rows.append(journaled, 0)
    assert os.listdir(path.parent) == ["run.h5"]


def _outcome(work: object) -> bytes:
    try:
        work()  # type: ignore[operator]
    except Exception as error:
        return type(error).__name__.encode()
    return b"done"


# --- one writer at a time ----------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_everywhere(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    with pytest.raises(FileBusyError, match="this process"):
        JournaledFile(path)
    # After a fork: the child can neither use the parent's handle nor open another, nor spoil the parent's lock.
    for attempt in (lambda: JournaledFile(path), lambda: rows.append(journaled, 1), journaled.close):
        _, said = in_child(lambda fd, attempt=attempt: os.write(fd, _outcome(attempt)))  # type: ignore[misc]
        assert said == (b"done" if attempt == journaled.close else b"FileBusyError")
    script = "import sys; from curvewatch.storage.journal import JournaledFile as J; J(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "FileBusyError" in other.stderr
    # Reading the file in this process opens and closes the journal; the lock must survive that.
    assert n_rows(path) == 1
    _, said = in_child(lambda fd: os.write(fd, _outcome(lambda: JournaledFile(path))))
    assert said == b"FileBusyError"
    rows.append(journaled, 1)
    journaled.close()
    with JournaledFile(path) as again:
        rows.append(again, 2)
    assert n_rows(path) == 3


def test_a_snapshot_that_was_there_first_does_not_drop_the_lock(path: Path) -> None:
    crash(path, reader=True)
    with snapshot(path) as file:
        handle = JournaledFile(path)
        assert rows.count(file) == 3
    _, said = in_child(lambda fd: os.write(fd, _outcome(lambda: JournaledFile(path))))
    assert said == b"FileBusyError"
    handle.close()


def test_a_lock_that_careless_code_dropped_is_taken_again(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    shutil.copy(f"{path}.journal", path.parent / "backup")  # closing it drops the POSIX lock of the whole process
    rows.append(journaled, 1)
    _, said = in_child(lambda fd: os.write(fd, _outcome(lambda: JournaledFile(path))))
    assert said == b"FileBusyError"


def test_who_lost_the_lock_to_another_writes_nothing(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    shutil.copy(f"{path}.journal", path.parent / "backup")

    def take_over(fd: int) -> None:
        other = JournaledFile(path)
        rows.append(other, 1)
        os.write(fd, b"x")
        signal.pause()

    child = Child(take_over)
    child.first_word()
    before = path.read_bytes()
    with pytest.raises(FileBusyError):
        rows.append(journaled, 1)
    assert path.read_bytes() == before
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(RunFileError, match="another program has changed it"):  # its lock is free, its row is there
        rows.append(journaled, 1)
    journaled.close()
    assert n_rows(path) == 2


# --- readers -----------------------------------------------------------------------------------------------------


def _poll(path: Path, fd: int, how: str) -> None:
    """Open, check and close, without a pause, until `stop` exists; say how often, and how many rows at the end."""
    polls = seen = 0
    while True:
        last = (path.parent / "stop").exists()
        with h5py.File(path) if how == "h5py" else snapshot(path) as file:
            n = int(file.attrs["rows"])
            assert n >= seen, "rows vanished"
            seen = n
            for name in rows.NAMES:
                assert file[name].shape[0] == n
                for k in {n - 1, n // 2} if n else ():
                    assert file[name][k].tobytes() == rows.row(name, k).tobytes()
        polls += 1
        if last:
            os.write(fd, b"%d %d" % (polls, seen))
            return


POLLED_APPENDS = {"h5py": 500, "snapshot": 200}


@pytest.mark.parametrize("how", ["h5py", "snapshot"])
def test_a_reader_that_polls_all_the_time_never_sees_an_error_or_half_a_row(path: Path, how: str) -> None:
    """In another process, during hundreds of appends; the writer hardly notices."""
    appends = POLLED_APPENDS[how]
    journaled = JournaledFile.create(path, rows.build)
    reader = Child(lambda fd: _poll(path, fd, how))
    times = []
    for k in range(appends):
        begun = time.perf_counter()
        rows.append(journaled, k)
        times.append(time.perf_counter() - begun)
    (path.parent / "stop").touch()
    polls, seen = map(int, reader.wait()[1].split())
    journaled.close()
    assert seen == appends
    assert polls > 100
    assert np.median(times) < 0.2
    assert n_rows(path) == appends


def test_snapshots_and_h5py_in_the_writers_own_process(journaled: JournaledFile, path: Path) -> None:
    """Two threads read while a third commits; nobody waits for ever.

    With a snapshot open all the time there is hardly a moment for a lease, so the writer may fall back to a lock, and
    h5py be turned away for that instant; never a snapshot.
    """
    done, errors = threading.Event(), []

    def read(how: str) -> None:
        try:
            while not done.is_set():
                turned_away = suppress(BlockingIOError) if how == "h5py" else nullcontext()
                with turned_away, h5py.File(path) if how == "h5py" else snapshot(path) as file:
                    assert file["surprisal"].shape[0] == int(file.attrs["rows"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(how,)) for how in ("h5py", "snapshot")]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    for k in range(30):
        rows.append(journaled, k)
    assert time.monotonic() - begun < 30
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert n_rows(path) == 30


@pytest.mark.parametrize("leases", [True, False])
def test_a_reader_that_stays_sees_its_state_and_does_not_stop_the_writer(
    journaled: JournaledFile, path: Path, leases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "READER_WAIT_S", 0.05)
    if not leases:
        monkeypatch.setattr(filelock, "_lease", lambda fd: None)
    rows.append(journaled, 0)
    with h5py.File(path) as notebook:
        before = path.read_bytes()
        for k in range(1, 10):
            rows.append(journaled, k)
            assert n_rows(path) == k + 1  # snapshots go on seeing everything
        assert rows.count(notebook) == 1
        assert path.read_bytes()[: len(before)] == before
    rows.append(journaled, 10)
    with h5py.File(path) as file:
        assert rows.count(file) == 11
    with h5py.File(path) as notebook:
        rows.append(journaled, 11)
        journaled.close()  # the file must end whole, whoever reads
    with h5py.File(path) as file:
        assert rows.count(file) == 12
    assert os.listdir(path.parent) == ["run.h5"]


def test_only_the_first_commit_waits_for_a_reader_that_stays(journaled: JournaledFile, path: Path) -> None:
    with h5py.File(path):
        begun = time.monotonic()
        for k in range(5):
            rows.append(journaled, k)
        assert 0.9 < time.monotonic() - begun < 2


def test_patience_has_an_end_and_the_snapshot_says_so(
    journaled: JournaledFile, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "READER_WAIT_S", 0.0)
    monkeypatch.setattr(journal, "PENDING_LIMIT_BYTES", 10_000)
    monkeypatch.setattr(filelock, "_warned", set())
    rows.append(journaled, 0)
    reading = snapshot(path)
    reading.__enter__()
    for k in range(1, 8):
        rows.append(journaled, k)
    with pytest.raises(RunFileError, match="Read it again"):
        reading.__exit__(None, None, None)
    assert sum("a reader keeps the file open" in message for message in caplog.messages) == 1
    assert n_rows(path) == 8


def test_a_snapshot_stays_true_while_the_journal_is_emptied(
    journaled: JournaledFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the journal is in the file when the snapshot begins; then the writer empties it and begins anew."""
    monkeypatch.setattr(journal, "READER_WAIT_S", 0.0)
    monkeypatch.setattr(journal, "JOURNAL_LIMIT_BYTES", 100)
    for k in range(6):
        rows.append(journaled, k)
    with snapshot(path) as file:
        for k in range(6, 16):
            rows.append(journaled, k)
        assert rows.count(file) == 6


def test_snapshot_writes_nothing_and_sees_what_a_crash_left_in_the_journal(path: Path) -> None:
    crash(path, 5, reader=True)
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()}
    with h5py.File(path) as file:
        assert rows.count(file) == 1  # a plain reader sees an earlier state, whole
    assert n_rows(path) == 5
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()} == before
    with JournaledFile(path) as journaled:
        assert "5 committed transactions" in journaled.recovered
    with h5py.File(path) as file:
        assert rows.count(file) == 5


def test_read_only_places(path: Path) -> None:
    """As an ordinary user, who may not write: reading works, and writing says why not."""
    crash(path, 5, reader=True)
    for p in path.parent.iterdir():
        p.chmod(0o444)
    path.parent.chmod(0o555)
    for parent in list(path.parents)[1:4]:
        parent.chmod(0o755)

    def work(fd: int) -> None:
        os.setresuid(65534, 65534, 65534) if os.getuid() == 0 else None
        assert n_rows(path) == 5
        for attempt in (
            lambda: JournaledFile(path),
            lambda: JournaledFile.create(path.with_name("new.h5"), rows.build),
        ):
            with pytest.raises(RunFileError, match=r"Permission denied.*Check the permissions"):
                attempt()
        os.write(fd, b"done")

    try:
        assert in_child(work)[1] == b"done"
    finally:
        path.parent.chmod(0o755)


def test_what_is_not_hdf5_is_refused_and_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_bytes(b"hello" * 1000)
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    before = (tmp_path / "foreign.h5").read_bytes()
    for name in ("pipe", "text", "empty", "directory"):
        with pytest.raises(ForeignFileError), snapshot(tmp_path / name):
            pass
        with pytest.raises(ForeignFileError):
            JournaledFile(tmp_path / name)
    with snapshot(tmp_path / "foreign.h5") as file:
        assert file["x"][()] == 1
    with pytest.raises(ForeignFileError, match="not written by curvewatch"):
        JournaledFile(tmp_path / "foreign.h5")
    assert (tmp_path / "foreign.h5").read_bytes() == before
    assert len(os.listdir(tmp_path)) == 5
    for attempt in (lambda: JournaledFile(tmp_path / "none.h5"), lambda: snapshot(tmp_path / "none.h5").__enter__()):
        with pytest.raises(RunFileError, match=r"none\.h5: can't .* No such file"):
            attempt()


def test_garbage_raises_only_our_errors(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits flipped and tails cut off, in the file and in its journal: refused, or read, and never a hang."""
    monkeypatch.setattr(committed, "WRITER_WAIT_S", 0.1)
    crash(path, 5, reader=True)
    good = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    rng = random.Random(0)
    refused = 0
    for _ in range(150):
        victim = rng.choice(sorted(good))
        content = bytearray(good[victim])
        for _ in range(rng.randint(1, 8)):
            # mostly where the structure is
            at = rng.randrange(rng.choice((64, 2000, len(content))))
            content[at] ^= 1 << rng.randrange(8)
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        for name, data in good.items():
            (tmp_path / name).write_bytes(content if name == victim else data)
        try:
            with snapshot(path) as file:
                file.attrs["rows"]
        except RunFileError:
            refused += 1
        except (OSError, KeyError):  # from the block, not from the opening
            refused += 1
        try:
            JournaledFile(path).close()
        except RunFileError:
            pass
        for stale in path.parent.glob("*.stale*"):
            stale.unlink()
    assert 20 < refused < 150


# --- files that change under the writer --------------------------------------------------------------------------


def test_replaced_or_deleted_while_open(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    path.rename(path.with_name("moved.h5"))
    with pytest.raises(RunFileError, match="deleted or moved"):
        rows.append(journaled, 1)
    assert not path.exists()
    shutil.copy(path.with_name("moved.h5"), path)
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="replaced by another"):
        rows.append(journaled, 1)
    journaled.close()
    assert path.read_bytes() == before
    assert n_rows(path) == n_rows(path.with_name("moved.h5")) == 1


def test_moved_with_commits_that_wait_for_a_reader(
    journaled: JournaledFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written to the moved file; its journal stays, and brings it up to date when it follows."""
    monkeypatch.setattr(journal, "READER_WAIT_S", 0.0)
    with h5py.File(path):
        for k in range(3):
            rows.append(journaled, k)
        path.rename(path.with_name("moved.h5"))
        with pytest.raises(RunFileError, match="moved"):
            journaled.close()
    path.with_name("run.h5.journal").rename(path.with_name("moved.h5.journal"))
    assert n_rows(path.with_name("moved.h5")) == 3
    rows.check_and_go_on(path.with_name("moved.h5"), 3, 3)


def test_a_deleted_journal_is_made_again(
    journaled: JournaledFile, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "READER_WAIT_S", 0.0)
    with h5py.File(path):
        for k in range(3):
            rows.append(journaled, k)
        path.with_name("run.h5.journal").unlink()
        rows.append(journaled, 3)
        assert n_rows(path) == 4
    assert "was deleted while in use" in caplog.text
    _, said = in_child(lambda fd: os.write(fd, _outcome(lambda: JournaledFile(path))))
    assert said == b"FileBusyError"
    rows.append(journaled, 4)
    assert n_rows(path) == 5


def test_a_journal_that_is_a_directory_or_a_link_is_refused(journaled: JournaledFile, path: Path) -> None:
    journaled.close()
    path.with_name("run.h5.journal").mkdir()
    with pytest.raises(RunFileError, match="journal"):
        JournaledFile(path)
    path.with_name("run.h5.journal").rmdir()
    path.with_name("precious").write_bytes(b"mine")
    path.with_name("run.h5.journal").symlink_to(path.with_name("precious"))
    with pytest.raises(RunFileError, match="journal"):
        JournaledFile(path)
    assert path.with_name("precious").read_bytes() == b"mine"


def test_the_journal_of_another_file_is_never_applied(tmp_path: Path) -> None:
    """Two runs with the same shapes, step by step alike: only the identity tells them apart."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = tmp_path / "a/run.h5", tmp_path / "b/run.h5"
    crash(a, 4, reader=True)
    with JournaledFile.create(b, rows.build) as journaled:
        rows.append(journaled, 0)
    before = b.read_bytes()
    shutil.copy(f"{a}.journal", f"{b}.journal")
    assert n_rows(b) == 1
    with JournaledFile(b) as journaled:
        assert "not this file's" in journaled.recovered
    assert b.read_bytes() == before
    assert sorted(os.listdir(b.parent)) == ["run.h5", "run.h5.journal.stale1"]
    assert b.with_name("run.h5.journal.stale1").read_bytes() == Path(f"{a}.journal").read_bytes()


@pytest.mark.parametrize("rows_in_backup", [0, 1, 2, 3])
def test_an_older_copy_put_back_beside_a_newer_journal(path: Path, rows_in_backup: int) -> None:
    """The same identity, but commits are missing between: applying the journal would tear holes."""
    with JournaledFile.create(path, rows.build) as journaled:
        for k in range(6):
            if k == rows_in_backup:
                shutil.copy(path, path.with_name("backup.h5"))
            rows.append(journaled, k)
        shutil.copy(f"{path}.journal", path.with_name("journal"))
    path.with_name("backup.h5").rename(path)
    path.with_name("journal").rename(f"{path}.journal")
    assert n_rows(path) == rows_in_backup
    with JournaledFile(path) as journaled:
        assert "not this file's" in journaled.recovered
        rows.append(journaled, rows_in_backup)
    assert n_rows(path) == rows_in_backup + 1


def test_an_old_journal_beside_a_file_that_went_on(journaled: JournaledFile, path: Path) -> None:
    for k in range(3):
        rows.append(journaled, k)
    shutil.copy(f"{path}.journal", path.with_name("journal"))
    for k in range(3, 9):
        rows.append(journaled, k)
    journaled.close()
    path.with_name("journal").rename(f"{path}.journal")
    assert n_rows(path) == 9
    rows.check_and_go_on(path, 9, 9)


def test_a_pair_that_was_copied_recovers(path: Path, tmp_path: Path) -> None:
    crash(path, 5, reader=True)
    (tmp_path / "copy").mkdir()
    for name in ("run.h5", "run.h5.journal"):
        shutil.copy(path.with_name(name), tmp_path / "copy" / name.replace("run", "other"))
    rows.check_and_go_on(tmp_path / "copy" / "other.h5", 5, 5)


def test_the_journal_of_a_deleted_file_does_not_stop_a_new_one(path: Path) -> None:
    crash(path, 4, reader=True)
    path.unlink()
    with JournaledFile.create(path, rows.build) as journaled:
        rows.append(journaled, 0)
    assert n_rows(path) == 1
    assert path.with_name("run.h5.journal.stale1").exists()


# --- other programs that write -----------------------------------------------------------------------------------


def test_a_foreign_writer_that_crashed_left_its_mark(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    journaled.close()

    def work(fd: int) -> None:
        h5py.File(path, "r+")
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(work)
    head = superblock.parse(path.read_bytes())
    if head is not None and head.flags == 0:  # HDF5 writes its mark only with libver="latest"; make it ourselves
        body = bytearray(head.raw[:44])
        body[11] = superblock.OPEN_FOR_WRITING
        with open(path, "r+b") as stream:
            stream.write(bytes(body) + superblock.lookup3(bytes(body)).to_bytes(4, "little"))
    with pytest.raises(OSError, match="already open"):
        h5py.File(path)
    assert n_rows(path) == 1
    with JournaledFile(path) as again:
        assert "mark" in again.recovered
        with h5py.File(path) as file:
            assert rows.count(file) == 1
        rows.append(again, 1)
    rows.check_and_go_on(path, 2, 2)


def test_a_foreign_writer_between_two_transactions_is_respected(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    with h5py.File(path, "r+") as file:
        file["note"] = np.arange(1000)
    rows.append(journaled, 1)
    with h5py.File(path) as file:
        assert rows.count(file) == 2
        assert file["note"][999] == 999


def test_a_foreign_writer_inside_is_not_run_over(journaled: JournaledFile, path: Path) -> None:
    rows.append(journaled, 0)
    with h5py.File(path, "r+", libver="latest") as file:
        with pytest.raises((FileBusyError, RunFileError)):
            rows.append(journaled, 1)
        file["note"] = 1
    rows.append(journaled, 1)
    assert n_rows(path) == 2


# --- systems that lack something ---------------------------------------------------------------------------------


def test_without_locks_leases_and_reservations(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on some network file systems: it works, and says once what is not protected."""

    def unsupported(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    for module, name in ((os, "posix_fallocate"), (os, "link"), (filelock.fcntl, "flock"), (redolog.fcntl, "lockf")):
        monkeypatch.setattr(module, name, unsupported)
    monkeypatch.setattr(filelock, "_lease", lambda fd: None)
    monkeypatch.setattr(filelock, "_warned", set())
    with JournaledFile.create(path, rows.build) as journaled:
        for k in range(6):
            rows.append(journaled, k)
    assert n_rows(path) == 6
    assert sum("only one process writes" in message for message in caplog.messages) == 1
    assert sum("half made" in message for message in caplog.messages) == 1
    with pytest.raises(FileBusyError), JournaledFile(path):  # within the process we still know
        JournaledFile(path)


# --- the parts ---------------------------------------------------------------------------------------------------

_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 120), st.binary(max_size=40)),
        st.tuples(st.just("truncate"), st.integers(0, 150), st.just(b"")),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=300)
@given(base=st.binary(max_size=100), operations=_OPERATIONS, cut=st.integers(0, 160))
def test_the_overlay_is_a_file(base: bytes, operations: list[tuple[str, int, bytes]], cut: int) -> None:
    """Against a bytearray: any sequence of writes reads the same, whole, in parts, and split in two."""
    overlay = Overlay(Memory(base.ljust(400, b"\0")), len(base))
    model = bytearray(base.ljust(400, b"\0"))
    size = len(base)
    for kind, at, data in operations:
        if kind == "write":
            overlay.seek(at)
            overlay.write(bytearray(data))
            model[at : at + len(data)] = data
            size = max(size, at + len(data))
        else:
            size = overlay.truncate(at)
    overlay.seek(0)
    assert overlay.read(300) == bytes(model[:300])
    assert (overlay.seek(0, os.SEEK_END), overlay.tell()) == (size, size)
    below, above = overlay.changes.split(cut)
    assert all(piece.stop <= cut for piece in below)
    assert all(piece.start >= cut for piece in above)
    merged = Extents()
    merged.update(above)
    merged.update(below)
    patched = bytearray(base.ljust(400, b"\0"))
    for piece in merged:
        patched[piece.start : piece.stop] = piece.read()
    assert patched == model
    starts = [(piece.start, piece.stop) for piece in overlay.changes]
    assert all(a[1] <= b[0] for a, b in pairwise(starts))


def test_a_later_piece_covers_many() -> None:
    changes = Extents()
    for at in range(0, 100, 10):
        changes.put(Piece(at, at + 5, Memory(b"a" * 5), 0))
    changes.put(Piece(3, 92, Memory(b"b" * 89), 0))
    assert [(piece.start, piece.stop) for piece in changes] == [(0, 3), (3, 92), (92, 95)]


def test_the_checksum_is_hdf5s_own(tmp_path: Path) -> None:
    """HDF5 wrote these superblocks; a flipped bit anywhere must show."""
    for n in range(20):
        with h5py.File(tmp_path / f"{n}.h5", "w", libver=("v110", "latest")) as file:
            file["x"] = np.zeros(n * 37)
        raw = (tmp_path / f"{n}.h5").read_bytes()[:48]
        head = superblock.parse(raw)
        assert head is not None
        assert head.end == (tmp_path / f"{n}.h5").stat().st_size
        assert head.with_flags_cleared() == raw
        flipped = bytearray(raw)
        flipped[n * 2] ^= 4
        assert superblock.parse(bytes(flipped)) is None


def test_the_state_block_tells_whole_torn_and_strange() -> None:
    state = stateblock.StateBlock(bytes(range(16)), 7)
    raw = state.pack()
    assert len(raw) == stateblock.SIZE
    assert stateblock.parse(raw) == state
    torn = raw[:70] + bytes(len(raw) - 70)
    assert stateblock.parse(torn) is None
    assert stateblock.has_identity(torn, state.file_id)
    assert not stateblock.has_identity(raw, bytes(16))


def test_the_log_is_ours(journaled: JournaledFile) -> None:
    assert logging.getLogger("curvewatch").propagate


def test_waiting_for_a_lock_draws_from_no_stream_of_the_scripts(path: Path) -> None:
    """Another thread waits while training draws: the streams of `random` and NumPy are training's."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    assert len(list(filelock.pauses(0.02))) > 2
    assert random.getstate() == state
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy_state, strict=True))  # noqa: NPY002


@pytest.mark.parametrize("end", [10_000_000, 2**63 + 5, 2**64 - 1])
def test_a_file_that_says_it_is_longer_than_it_is(path: Path, end: int) -> None:
    """Copied half way, or shown with an old length by a network file system; or made up."""
    JournaledFile.create(path, rows.build).close()
    body = bytearray(path.read_bytes()[: superblock.SIZE - 4])
    body[28:36] = end.to_bytes(8, "little")
    with open(path, "r+b") as stream:
        stream.write(bytes(body) + superblock.lookup3(bytes(body)).to_bytes(4, "little"))
    with pytest.raises(RunFileError, match="missing at its end: it was copied half way, or a network"), snapshot(path):
        pass
