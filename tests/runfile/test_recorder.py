"""The queue in front of the file: training never waits, order is kept, and what is given up is said."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curvewatch import open_run
from curvewatch.runfile import recorder
from curvewatch.runfile.recorder import Recorder, release
from tests.support.files import row, start


class Disk:
    """A run file whose appends can be made slow, or to fail."""

    def __init__(self, path: Path) -> None:
        self.file = start(path)
        self.path = self.file.path
        self.open = threading.Event()  # appends wait for it
        self.open.set()
        self.failure: Exception | None = None
        self.tried: list[int] = []  # the first step of each try

    def append_all(self, rows: list[Any]) -> None:
        assert self.open.wait(10)
        self.tried.append(rows[0].step)
        if self.failure is not None:
            raise self.failure
        self.file.append_all(rows)

    def rewrite_scorer(self, name: str, settings: dict[str, Any]) -> None:
        if self.failure is not None:
            raise self.failure
        self.file.rewrite_scorer(name, settings)

    def close(self) -> None:
        self.file.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "curves.h5")


@pytest.fixture
def made(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.02)
    one = Recorder(disk)
    yield one
    disk.open.set()
    one.close()


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def steps(disk: Disk) -> list[int]:
    return open_run(disk.path).steps.tolist()


def test_rows_reach_the_file_in_order(disk: Disk, made: Recorder) -> None:
    for step in range(20):
        assert made.submit(row(step))
    assert made.flush(10)
    assert steps(disk) == list(range(20))
    assert (made.behind, made.lost, made.error) == (0, 0, None)


def test_a_slow_disk_keeps_nobody_waiting(disk: Disk, made: Recorder) -> None:
    disk.open.clear()
    began = time.perf_counter()
    for step in range(5):
        assert made.submit(row(step))
    assert not made.flush(0.05)
    assert time.perf_counter() - began < 5
    assert made.behind == 5
    assert steps(disk) == []
    disk.open.set()
    assert made.flush(10)
    assert steps(disk) == [0, 1, 2, 3, 4]
    assert len(disk.tried) <= 2, "what waits is committed together"


def test_a_full_disk_and_room_again(disk: Disk, made: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    made.submit(row(0))
    made.flush(10)
    disk.failure = full()
    for step in (1, 2, 3):
        made.submit(row(step))
    deadline = time.monotonic() + 10
    while disk.tried.count(1) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert not made.flush(10), "it does not wait for a disk that refuses"
    assert made.error is disk.failure
    assert made.behind == 3
    assert steps(disk) == [0]
    assert {step for step in disk.tried if step > 0} == {1}, "in order: nothing overtakes"
    disk.failure = None
    while made.behind:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert made.flush(10)
    assert steps(disk) == [0, 1, 2, 3]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, "once when it fails, once when it works again"
    assert "step 1 could not be written" in said[0]
    assert "No space left" in said[0]
    assert "works again" in said[1]


def test_the_queue_is_bounded(
    disk: Disk, made: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A row of 35 tokens takes 9 bytes a token, 315, and 1,024 for itself: five of them fit in 7,000.
    monkeypatch.setattr(recorder, "WAITING_BYTES", 7_000)
    disk.open.clear()
    assert [made.submit(row(step)) for step in range(8)] == [True] * 5 + [False] * 3
    assert made.lost == 3
    assert "step 7 is not recorded (3 lost so far)" in caplog.text
    disk.open.set()
    made.flush(10)
    assert steps(disk) == [0, 1, 2, 3, 4], "what was taken is there"
    # Two may always wait, however large.
    monkeypatch.setattr(recorder, "WAITING_BYTES", 1)
    disk.open.clear()
    assert [made.submit(row(step)) for step in range(10, 13)] == [True, True, False]


def test_close_writes_what_is_queued(disk: Disk) -> None:
    one = Recorder(disk)
    for step in range(5):
        one.submit(row(step))
    assert one.close()
    assert one.close(), "again does nothing"
    assert steps(disk) == [0, 1, 2, 3, 4]


def test_close_tries_once_more_and_says_what_is_lost(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    one = Recorder(disk)
    disk.failure = full()
    one.submit(row(0))
    one.submit(row(1))
    one.flush(10)
    assert not one.close()
    assert disk.tried == [0, 0]
    assert "2 rows could not be written" in caplog.text


def test_close_does_not_wait_for_ever(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    one = Recorder(disk)
    disk.open.clear()
    one.submit(row(0))
    assert not one.close(timeout=0.05)
    assert "no answer from the disk" in caplog.text
    disk.open.set()
    assert one.close(), "and it can be closed when the disk answers"
    assert steps(disk) == [0]


def test_close_waits_while_there_is_progress(disk: Disk, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Ten rows, each in a transaction of 0.1 s, and a patience of 0.5 s for each."""
    monkeypatch.setattr(recorder, "TOGETHER_BYTES", 1)
    monkeypatch.setattr(recorder, "SAY_SECONDS", 0.2)
    append_all = disk.append_all
    monkeypatch.setattr(disk, "append_all", lambda rows: (time.sleep(0.1), append_all(rows)))
    one = Recorder(disk)
    for step in range(10):
        one.submit(row(step))
    assert one.close(timeout=0.5)
    assert steps(disk) == list(range(10))
    assert "the disk is slow; waiting for" in caplog.text


def test_a_closed_recorder_takes_nothing(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    one = Recorder(disk)
    one.close()
    assert not one.submit(row(0))
    assert one.lost == 1
    assert "is closed: step 0 is not recorded" in caplog.text


def test_notes_are_written_also_at_the_end(disk: Disk) -> None:
    one = Recorder(disk)
    disk.open.clear()
    one.submit(row(0))
    one.rewrite_scorer("eval", {"batch_size": 1})
    threading.Timer(0.05, disk.open.set).start()
    assert one.close()
    with open_run(disk.path).group() as group:
        assert group.attrs["scorer"] == '{"batch_size": 1}'


def test_notes_without_a_row(disk: Disk) -> None:
    one = Recorder(disk)
    one.rewrite_scorer("eval", {"batch_size": 1})
    assert one.close()
    with open_run(disk.path).group() as group:
        assert group.attrs["scorer"] == '{"batch_size": 1}'


def test_release(disk: Disk, tmp_path: Path) -> None:
    """What an interrupted training of this process left open is closed, and only that."""
    first = Recorder(disk)
    first.submit(row(0))
    release(str(disk.path))
    assert steps(disk) == [0]
    second = Recorder(start(disk.path, keep=0))
    first.close()  # the old one, once more: the new one is still known
    release(str(disk.path))
    assert not second.submit(row(5))
    release(str(tmp_path / "another.h5"))


def test_a_forked_child_leaves_the_file_alone(disk: Disk, made: Recorder) -> None:
    """A child that ends as an ordinary process closes what it has inherited; the parent must not feel it."""
    made.submit(row(0))
    made.flush(10)
    child = os.fork()
    if child == 0:
        try:
            made.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    made.submit(row(5))
    assert made.flush(10)
    assert steps(disk) == [0, 5]
