"""Disks that fail in their own ways, through a real file system (FUSE): training goes on, and what is told is true.

The table of `docs/filesystems.md` is made of these tests.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from curvewatch import RunFileError, open_run
from curvewatch.analysis.doctor import BAD, examine
from curvewatch.runfile import recorder
from curvewatch.storage import filelock
from curvewatch.storage.journal import JournaledFile, snapshot
from tests.faults import rows
from tests.faults.mounting import ROOT, Mount, mounted
from tests.support.hosts import Watching, run
from tests.support.models import random_tokens
from tests.support.trainings import Outcome, Training

# A checkpoint at step 4, where an epoch of 16 rows ends: a resumed loop does not know its place within one.
TRAINING = Training(steps=8, rows=16, log_every=1, save_every=4, dropout=0.0, shuffle=False)
STEPS = list(range(9))
ALL = "write fsync truncate fallocate create open link unlink rename getattr fsyncdir"


class Fault(NamedTuple):
    """A lasting fault, and the words by which the log tells of it."""

    ops: str
    rule: dict[str, Any]
    said: str


LASTING = {
    "EIO at every write": Fault("write", {"error": "EIO"}, "Input/output error"),
    "ENOSPC at every write": Fault("write fallocate", {"error": "ENOSPC"}, "No space left on device"),
    "EDQUOT at every write": Fault("write fallocate", {"error": "EDQUOT"}, "Disk quota exceeded"),
    "every sync fails": Fault("fsync", {"error": "EIO"}, "Input/output error"),
    "permission lost": Fault(ALL, {"error": "EACCES"}, "Permission denied"),
    "read-only": Fault("write truncate fallocate create link unlink rename", {"error": "EROFS"}, "Read-only"),
    "ESTALE everywhere": Fault(f"{ALL} read", {"error": "ESTALE"}, "Stale file handle"),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with mounted(tmp_path_factory.mktemp("disk")) as mount:
        yield mount


@pytest.fixture
def mount(disk: Mount, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder of its own on the disk, which is well before and afterwards."""
    disk.set([])
    folder = disk.path / f"{abs(hash(request.node.name)):x}"
    folder.mkdir()
    yield folder
    disk.set([])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The training without a watch."""
    return run("loop", TRAINING, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Surprisal on a disk where all is well, shape [steps, tokens]."""
    folder = tmp_path_factory.mktemp("well")
    run("loop", TRAINING, folder, Watching(random_tokens(), folder / "curves.h5"))
    return open_run(folder / "curves.h5").surprisal[:]


def train(folder: Path, path: Path, events: dict[int, Any], **settings: Any) -> tuple[Outcome, Watching]:
    """The training with a watch; after an update, what `events` has for it is done."""
    watching = Watching(random_tokens(), path)
    outcome = run("loop", TRAINING, folder, watching, after=lambda step, _: events.get(step, int)(), **settings)
    return outcome, watching


def assert_whole(path: Path, expected: np.ndarray, steps: list[int]) -> None:
    """The file opens, verifies, and holds exactly the rows of these steps."""
    assert not [found for found in examine(path) if found.level == BAD]
    found = open_run(path)
    assert found.steps.tolist() == steps
    assert found.surprisal[:].tobytes() == expected[: len(steps)].tobytes()
    with h5py.File(path) as plain:
        assert plain["step"][:].tolist() == steps


# ---------------------------------------------------------------------- training over a fault


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_passes(
    name: str, disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any
) -> None:
    """From step 3 to 6 nothing can be written; afterwards all rows are in the file."""
    ops, rule, said = LASTING[name]
    met: list[int] = []

    def recover() -> None:
        deadline = time.monotonic() + 10
        while "could not be written" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        met.append(disk.met)
        disk.lift()

    watched, _ = train(tmp_path, mount / "c.h5", {3: lambda: disk.fail(ops, **rule), 6: recover})
    assert met[0] > 0, "the fault did not happen"
    assert alone.differences(watched) == []
    assert f"({said}" in caplog.text or said in caplog.text
    assert "nothing recorded is lost, it will be tried again" in caplog.text
    assert "writing works again" in caplog.text
    assert_whole(mount / "c.h5", expected, STEPS)
    assert sorted(p.name for p in mount.iterdir()) == ["c.h5"]


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts(
    name: str, disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any
) -> None:
    """It lasts to the end: what is missing is said; what was committed is there, and a resumed training goes on."""
    ops, rule, said = LASTING[name]
    path = mount / "c.h5"
    watching = Watching(random_tokens(), path)

    def break_it(step: int, _model: Any) -> None:
        if step == 6:
            assert watching.watch is not None
            assert watching.watch.flush(10)
            disk.fail(ops, **rule)

    watched = run("loop", TRAINING, tmp_path, watching, after=break_it)
    assert disk.met > 0, "the fault did not happen"
    disk.lift()
    assert alone.differences(watched) == []
    assert said in caplog.text
    n_missing = next(int(r.args[1]) for r in caplog.records if "rows could not be written" in r.getMessage())
    assert n_missing == 3
    assert open_run(path).steps.tolist() == STEPS[:6]
    train(tmp_path, path, {}, resume=4)
    assert_whole(path, expected, STEPS)


def test_a_restarted_server(
    disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any
) -> None:
    """What was open is stale for ever: only opening it anew helps."""
    watched, _ = train(tmp_path, mount / "c.h5", {4: lambda: disk.fail("", stale=True)})
    assert alone.differences(watched) == []
    assert "Stale file handle" in caplog.text
    assert "its server had forgotten it; opened again" in caplog.text
    assert "writing works again" in caplog.text
    assert_whole(mount / "c.h5", expected, STEPS)
    assert sorted(p.name for p in mount.iterdir()) == ["c.h5"]


def test_short_writes(disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray) -> None:
    disk.fail("write", short=True)
    watched, _ = train(tmp_path, mount / "c.h5", {})
    assert disk.met > 100
    assert alone.differences(watched) == []
    assert_whole(mount / "c.h5", expected, STEPS)


@pytest.mark.parametrize(("ops", "delay"), [("write", 2.0), (f"{ALL} read", 0.15)], ids=["2 s a write", "all calls"])
def test_a_slow_disk(
    ops: str, delay: float, disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Training takes as long as on a good disk; rows wait together, and the end waits for them."""
    monkeypatch.setattr(recorder, "SAY_SECONDS", 1.0)
    with h5py.File(tmp_path / "data.h5", "w") as data:
        data["rows"] = np.arange(8)
    times: list[float] = []
    behind: list[float] = []

    def train_on_hdf5() -> None:
        """A training may read its data with h5py, which has one lock for the whole process."""
        with h5py.File(tmp_path / "data.h5") as data:
            assert data["rows"][3] == 3
        times.append(time.monotonic())
        time.sleep(0.3)

    watching = Watching(random_tokens(), mount / "c.h5")
    watching.settings["log"] = lambda scalars, step: behind.append(scalars["curvewatch/watch/rows_behind"])
    events = dict.fromkeys(range(2, 9), train_on_hdf5) | {1: lambda: disk.fail(ops, delay=delay)}
    watched = run("loop", TRAINING, tmp_path, watching, after=lambda step, _: events.get(step, int)())
    closing = time.monotonic() - times[-1]
    met = disk.met
    disk.set([])
    assert alone.differences(watched) == []
    assert times[-1] - times[0] < 6 * 0.3 + 1.5, "training waited for the disk"
    assert closing > 2.0, "the disk was not slow"
    if ops == "write":
        assert met <= 16, "rows that wait are committed together"
    assert behind[-1] >= 3, "the trackers are told how many rows wait"
    assert "the disk is slow; waiting for" in caplog.text
    assert_whole(mount / "c.h5", expected, STEPS)


def test_a_disk_that_does_not_answer(
    disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The end waits for it, but not for ever; when it answers again, what is in the file is whole."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 1.0)
    ended: list[float] = []
    events = {4: lambda: disk.fail("write", delay=4.0, times=1), 8: lambda: ended.append(time.monotonic())}
    watched, _ = train(tmp_path, mount / "c.h5", events)
    assert time.monotonic() - ended[0] < 3.0
    assert disk.met == 1
    assert alone.differences(watched) == []
    assert "no answer from the disk in 1 s" in caplog.text
    time.sleep(max(0.0, ended[0] + 5.0 - time.monotonic()))
    disk.set([])
    found = open_run(mount / "c.h5")
    assert found.steps.tolist() == STEPS[: len(found.steps)]
    assert found.surprisal[:].tobytes() == expected[: len(found.steps)].tobytes()
    assert not [one for one in examine(mount / "c.h5") if one.level == BAD]
    train(tmp_path, mount / "c.h5", {}, resume=4)
    assert_whole(mount / "c.h5", expected, STEPS)


# ---------------------------------------------------------------------- the beginning


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_from_the_beginning(name: str, disk: Mount, mount: Path, tmp_path: Path) -> None:
    """Refused before the first step, with the path and the cause; nothing is left that keeps the next try away."""
    ops, rule, said = LASTING[name]
    disk.fail(ops, **rule)
    with pytest.raises(RunFileError) as caught:
        train(tmp_path, mount / "c.h5", {})
    assert "c.h5" in str(caught.value)
    assert said in str(caught.value)
    disk.lift()
    train(tmp_path, mount / "c.h5", {})
    assert open_run(mount / "c.h5").steps.tolist() == STEPS
    assert sorted(p.name for p in mount.iterdir()) == ["c.h5"]


def test_writes_at_the_end_only(disk: Mount, mount: Path, tmp_path: Path) -> None:
    """As an object store takes them (Mountpoint for S3): the file can't be there, and this is said at once."""
    disk.fail("write", inside=True, error="EINVAL")
    with pytest.raises(RunFileError, match=r"c\.h5.*Invalid argument"):
        train(tmp_path, mount / "c.h5", {})
    assert disk.met > 0
    disk.lift()
    assert [p.name for p in mount.iterdir() if p.suffix == ".h5"] == []


@pytest.mark.parametrize("error", ["", "EIO"])
def test_a_rename_that_is_a_copy(error: str, disk: Mount, mount: Path, tmp_path: Path, expected: np.ndarray) -> None:
    """No hard links, and half of the file stands there for a moment, or for ever."""
    disk.set([{"ops": ["link"], "error": "EPERM"}, {"ops": ["rename"], "error": error, "delay": 0.2, "name": ".h5"}])
    if error:
        with pytest.raises(RunFileError, match=r"c\.h5: can't create it: Input/output error"):
            train(tmp_path, mount / "c.h5", {})
        assert list(mount.iterdir()) == []
        disk.set([{"ops": ["link"], "error": "EPERM"}])
    train(tmp_path, mount / "c.h5", {})
    disk.set([])
    assert_whole(mount / "c.h5", expected, STEPS)


def test_a_rename_that_ends_half_way_where_a_run_begins_anew(
    disk: Mount, mount: Path, tmp_path: Path, expected: np.ndarray
) -> None:
    """The old run is to be kept under another name: it is whole under one of the two."""
    train(tmp_path, mount / "c.h5", {})
    disk.fail("rename", error="EIO")
    with pytest.raises(RunFileError, match=r"c\.h5.*Input/output error"):
        train(tmp_path, mount / "c.h5", {})
    disk.set([])
    assert_whole(mount / "c.h5", expected, STEPS)
    train(tmp_path, mount / "c.h5", {})
    assert_whole(mount / "c.h5", expected, STEPS)
    kept = sorted(p for p in mount.iterdir() if p.name != "c.h5")
    assert len(kept) == 1
    assert_whole(kept[0], expected, STEPS)


# ---------------------------------------------------------------------- each call in turn


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EACCES"])
@pytest.mark.parametrize("ops", ["write", "fallocate", "fsync", "truncate"])
def test_each_call_of_a_commit_fails_in_turn(ops: str, error: str, disk: Mount, mount: Path) -> None:
    """Committed or not, never half: rows are what `append` said, in the file and after a power cut of the server."""
    n, failures = 0, 0
    while True:
        path = mount / f"{n}.h5"
        disk.set([])
        with JournaledFile.create(path, rows.build) as journaled:
            have = 0
            rows.append(journaled, have)
            have += 1
            disk.fail(ops, error=error, skip=n, times=1)
            for _ in range(6):
                failed = None
                try:
                    rows.append(journaled, have)
                    have += 1
                except OSError as caught:
                    failed = caught.errno
                    failures += 1
                assert failed in (None, getattr(errno, error))
            met = disk.met
            disk.set([])
            with snapshot(path) as file:
                assert rows.count(file) == have
            with snapshot(disk.durable / path.relative_to(disk.path)) as file:
                assert rows.count(file) == have
        rows.count(h5py.File(path))
        if not met:
            break
        n += 1
    assert n > 0
    if ops != "truncate":  # to clear up behind a commit is no part of it
        assert failures > 0


def test_how_many_calls_a_commit_takes(disk: Mount, mount: Path) -> None:
    """At the end of a network each takes its time, whatever it holds."""
    with JournaledFile.create(mount / "run.h5", rows.build) as journaled:
        for ops, least, most in (("write", 2, 5), ("fsync", 1, 3)):
            found = []
            for k in range(12):
                disk.fail(ops)
                rows.append(journaled, k if ops == "write" else 12 + k)
                found.append(disk.met)
            assert min(found) == least
            assert max(found) == most


def test_a_sync_that_fails_once_and_then_lies(
    disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray
) -> None:
    """What the failed sync was to save is gone on the server; it is written again, so nothing is missing there."""
    for skip in range(6):
        path = mount / f"{skip}.h5"
        events = {2: lambda: disk.fail("fsync", error="EIO", skip=skip, times=1)}  # noqa: B023
        watched, _ = train(tmp_path, path, events)
        assert disk.met == 1
        disk.set([])
        assert alone.differences(watched) == []
        assert_whole(path, expected, STEPS)
        assert_whole(disk.durable / path.relative_to(disk.path), expected, STEPS)


# ---------------------------------------------------------------------- what a file system has not


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS"])
def test_no_locks(error: str, tmp_path: Path, alone: Outcome, expected: np.ndarray, caplog: Any) -> None:
    filelock._warned.clear()
    with mounted(tmp_path, "--locks", error) as disk:
        watched, _ = train(tmp_path, disk.path / "c.h5", {})
        assert alone.differences(watched) == []
        path = disk.path / "c.h5"
        assert not [found for found in examine(path) if found.level == BAD]
        found = open_run(path)
        assert found.steps.tolist() == STEPS
        assert found.surprisal[:].tobytes() == expected.tobytes()
        if error == "ENOLCK":  # HDF5 by itself gives up there; it knows ENOSYS alone
            with pytest.raises(OSError, match="lock"):
                h5py.File(path)
        with h5py.File(path, locking=False if error == "ENOLCK" else None) as plain:
            assert plain["step"][:].tolist() == STEPS
    said = [record.getMessage() for record in caplog.records if "locks" in record.getMessage()]
    assert len(said) == 2, "once for writers, once for readers"
    assert "no file locks here" in said[0]
    assert "make sure that only one process writes" in said[0]
    assert "a reader may see a commit half made" in said[1]


SECOND_WRITER = """
import sys
from curvewatch.storage.journal import JournaledFile
from tests.faults import rows
with JournaledFile(sys.argv[1]) as journaled:
    rows.append(journaled, 3)
"""


@pytest.mark.parametrize(
    ("where", "locks"),
    [("this machine", "none"), ("another machine", "none"), ("another machine", "of each machine")],
)
def test_two_writers_without_locks(where: str, locks: str, tmp_path: Path) -> None:
    """Nothing keeps the second one out; the first one notices, and stops rather than write over it."""
    options = ("--locks", "ENOSYS") if locks == "none" else ()
    with mounted(tmp_path, *options) as disk, mounted(tmp_path, *options, shared=disk) as other_machine:
        path = disk.path / "run.h5"
        first = JournaledFile.create(path, rows.build)
        for k in range(3):
            rows.append(first, k)
        there = disk if where == "this machine" else other_machine
        subprocess.run([sys.executable, "-c", SECOND_WRITER, str(there.path / "run.h5")], cwd=ROOT, check=True)
        for _ in range(2):
            with pytest.raises(RunFileError, match="another program has changed it"):
                rows.append(first, 3)
        first.close()
        with JournaledFile(path) as third:
            rows.append(third, 4)
        rows.check_and_go_on(path, 5, 5)


def test_no_fallocate(disk: Mount, mount: Path, tmp_path: Path, alone: Outcome, expected: np.ndarray) -> None:
    disk.fail("fallocate", error="EOPNOTSUPP")
    watched, _ = train(tmp_path, mount / "c.h5", {})
    assert disk.met > 0
    assert alone.differences(watched) == []
    assert_whole(mount / "c.h5", expected, STEPS)


# ---------------------------------------------------------------------- readers


WITHOUT_LEASES = """
import sys, time
from pathlib import Path
from curvewatch.storage import filelock
from curvewatch.storage.journal import JournaledFile
from tests.faults import rows
path = Path(sys.argv[1])
with JournaledFile.create(path, rows.build) as journaled:
    assert filelock._lease(journaled._fd) is None, "there are leases"
    print("begun", flush=True)
    for k in range(40):
        rows.append(journaled, k)
        time.sleep(0.01)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv, of util-linux, is not installed")
def test_no_leases(tmp_path: Path) -> None:
    """The writer owns nothing there, and may not lease: readers wait for its flock, and see whole rows alone."""
    with mounted(tmp_path, "--owner", "12345") as disk:
        path = disk.path / "run.h5"
        command = ["setpriv", "--bounding-set=-lease", sys.executable, "-c", WITHOUT_LEASES, str(path)]
        writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        found = [0]
        while writer.poll() is None:
            with snapshot(path) as file:
                found.append(rows.count(file))
        assert writer.returncode == 0
        assert found == sorted(found)
        assert len(set(found)) > 3
        assert rows.check_and_go_on(path, 40, 40) == 40


def test_a_reader_on_another_machine(tmp_path: Path) -> None:
    """It believes what it knows of a file's length for a minute: it sees an older state, or a newer one, but whole."""
    with mounted(tmp_path) as disk, mounted(tmp_path, "--cached", "60", shared=disk) as other:
        journaled = JournaledFile.create(disk.path / "run.h5", rows.build)
        seen, n_old = [], 0
        for k in range(30):
            rows.append(journaled, k)
            for name in ("run.h5", "run.h5.journal"):  # somebody lists the folder
                n_old += os.stat(other.path / name).st_size < os.stat(disk.path / name).st_size
            with snapshot(other.path / "run.h5") as file:
                seen.append(rows.count(file))
            with open(other.path / "run.h5", "rb") as file:  # as any program that looks at it now and then
                os.fstat(file.fileno())
        journaled.close()
        with snapshot(other.path / "run.h5") as file:
            seen.append(rows.count(file))
        assert n_old > 2, "it knew all lengths"
        assert seen == sorted(seen)
        assert seen[-1] == 30
