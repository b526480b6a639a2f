"""The short form of the fault campaign; `python -m tests.faults` is the long one."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import pytest

from curvewatch.errors import RunFileError
from curvewatch.storage import redolog
from curvewatch.storage.journal import JournaledFile, snapshot
from tests.faults import campaign, rows
from tests.faults.kill import in_child
from tests.faults.power import Recorder, cut, rebuild
from tests.faults.refuse import refusing


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Recovery warns each time, and here that is all the time."""
    logger = logging.getLogger("curvewatch")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is such a thing: thousands of waits for a real disk take minutes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_kill_at_random_moments_loses_nothing(memory: Path) -> None:
    tally = campaign.kill_at_random(memory, trials=20, seed=1)
    assert tally["trials"] == 20
    assert tally["rows checked"] > 50


def test_kill_at_every_system_call_loses_nothing(memory: Path) -> None:
    tally = campaign.kill_at_every_call(memory, before=1, more=1)
    assert min(tally.values()) > 10


def test_power_cuts_lose_nothing(memory: Path) -> None:
    campaign.power_cuts(memory, states=150, seed=2)


@pytest.mark.parametrize("lie", ["journal", "file", "both"])
def test_the_campaign_notices_a_writer_that_does_not_wait_for_the_disk(
    memory: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without each of the two waits, some power cut loses a row. So the test above has power."""
    if lie in ("journal", "both"):
        monkeypatch.setattr(redolog, "sync", lambda fd: None)
    if lie in ("file", "both"):
        monkeypatch.setattr("curvewatch.storage.journal.sync", lambda fd: None)
    with pytest.raises((AssertionError, RunFileError, OSError, KeyError)):
        campaign.power_cuts(memory, states=400, seed=3)


def test_a_full_disk_at_every_call_rolls_back_and_room_again_goes_on(memory: Path) -> None:
    tally = campaign.disk_full(memory, starts=(0, 1))
    assert tally["posix_fallocate refused: rolled back"] == 2
    assert tally["pwrite refused: rolled back"] > 4
    assert tally["fdatasync refused: rolled back"] > 4


def test_a_broken_disk_is_not_asked_twice(tmp_path: Path) -> None:
    """After a failed sync the kernel may have dropped what was copied; a second sync would not say so."""
    path = tmp_path / "run.h5"
    recorder = Recorder(tmp_path)
    with recorder.recording():
        journaled = JournaledFile.create(path, rows.build)
        for k in range(3):
            rows.append(journaled, k)
            recorder.mark("row")
        failures = 0
        with refusing(0, errno.EIO, only=("fdatasync",)):  # at the next growth: what row 2 had copied is lost
            for k in range(3, 6):
                try:
                    rows.append(journaled, k)
                except OSError:
                    failures += 1
                    break
        lost = len(recorder.ops)
        rows.append(journaled, k)
        recorder.mark("row")
        with journaled._turn:  # no orderly end
            journaled._descriptor.close()
    assert failures == 1
    dropped = [
        op for i, op in enumerate(recorder.ops) if not (_last_sync(recorder, lost) < i < lost and op.kind == "write")
    ]
    recorder.ops = dropped
    rng = random.Random(0)
    for n in range(40):
        files, promised = cut(recorder, len(dropped), rng)
        rebuild(tmp_path / f"cut{n}", files)
        least = promised.count("row")
        rows.check_and_go_on(tmp_path / f"cut{n}" / "run.h5", least, least)


def _last_sync(recorder: Recorder, before: int) -> int:
    return max(i for i, op in enumerate(recorder.ops[:before]) if op.kind == "sync")


def test_a_limit_on_the_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """A real refusal by the kernel, in a child whose files may not exceed a limit; then the limit is lifted."""
    path = tmp_path / "run.h5"

    def work(fd: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with JournaledFile.create(path, rows.build) as journaled:
            rows.append(journaled, 0)
            _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5000, hard))
            k = 1
            try:
                while k < 50:
                    rows.append(journaled, k)
                    k += 1
            except OSError as error:
                os.write(fd, errno.errorcode[error.errno].encode())
            with snapshot(path) as file:
                assert rows.count(file) == k
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            for more in range(k, k + 3):
                rows.append(journaled, more)

    _, said = in_child(work)
    assert said == b"EFBIG"
    with h5py.File(path) as file:
        assert rows.count(file) > 3


def test_a_real_full_disk(tmp_path: Path) -> None:
    """On a small file system of our own, where the kernel lets us mount one; else the limit above must do."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", disk], capture_output=True, check=False
    )
    try:
        journaled = JournaledFile.create(disk / "run.h5", rows.build)
        k = 0
        (disk / "ballast").write_bytes(b"x" * 40_000)
        if mounted.returncode == 0:
            with pytest.raises(OSError) as caught:  # noqa: PT012
                while True:
                    rows.append(journaled, k)
                    k += 1
            assert caught.value.errno == errno.ENOSPC
            for _ in range(3):
                with pytest.raises(OSError):
                    rows.append(journaled, k)
        (disk / "ballast").unlink()
        rows.append(journaled, k)
        journaled.close()
        with h5py.File(disk / "run.h5") as file:
            assert rows.count(file) == k + 1
        if mounted.returncode == 0:
            (disk / "ballast").write_bytes(b"")
            with pytest.raises(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:  # noqa: PT012
                while True:
                    ballast.write(b"x" * 4096)
            with pytest.raises(RunFileError, match="full"):
                JournaledFile.create(disk / "other.h5", rows.build)
            assert not (disk / "other.h5").exists()
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", disk], check=True)


def test_every_call_of_opening_and_creating_may_fail(tmp_path: Path) -> None:
    """Each failure is a RunFileError with the path; nothing is left behind, nothing is lost."""
    n, refused = 0, "x"
    while refused:
        with campaign.fresh(tmp_path) as path:
            with refusing(n, errno.ENOSPC) as refusal:
                try:
                    journaled = JournaledFile.create(path, rows.build)
                except RunFileError as error:
                    said = str(error)
                else:
                    said = f"{path} full"
                    with suppress(OSError):
                        journaled.close()
            assert str(path) in said
            assert "full" in said
            refused = refusal.refused
            left = {p.name for p in path.parent.iterdir()}
            assert left <= {"run.h5", "run.h5.journal"} or refused == "unlink"
            journaled = JournaledFile(path) if path.exists() else JournaledFile.create(path, rows.build)
            rows.append(journaled, 0)
            with refusing(n, errno.EIO):
                try:
                    journaled.close()
                except OSError:
                    assert (path.parent / "run.h5.journal").exists()
            with refusing(n, errno.EIO) as refusal, suppress(RunFileError, OSError):
                JournaledFile(path).close()
            refused = refused or refusal.refused
            rows.check_and_go_on(path, 1, 1)
        n += 1
    assert n > 10
