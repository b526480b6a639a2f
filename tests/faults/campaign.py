"""The fault campaign: each function tries one kind of fault many times and returns what it counted.

None returns normally if a single committed row is lost, changed or half visible, or a file can't be gone on with.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from unittest import mock

import h5py

from curvewatch.storage import journal
from curvewatch.storage.journal import JournaledFile, snapshot
from tests.faults import rows
from tests.faults.kill import arm, in_child
from tests.faults.power import Recorder, cut, rebuild
from tests.faults.refuse import refusing

Tally = Counter[str]


@contextmanager
def fresh(directory: Path) -> Iterator[Path]:
    """Yield the path of a run file that isn't there yet, alone in its directory."""
    home = directory / "case"
    home.mkdir()
    yield home / "run.h5"
    shutil.rmtree(home)  # left standing when something went wrong


def kill_at_random(directory: Path, trials: int, seed: int = 0) -> Tally:
    """Kill a child that creates or recovers, and then appends; its successor too, up to three times."""
    rng = random.Random(seed)
    tally: Tally = Counter()
    for _ in range(trials):
        with fresh(directory) as path:
            rows_there = 0
            for _ in range(rng.randint(1, 3)):
                there = path.exists()
                _, said = in_child(lambda fd: _write_until_killed(path, fd), 0.15 * rng.random() ** 2)
                phase = "appending" if b"o" in said else "recovering" if there else "creating"
                tally[f"killed while {phase}"] += 1
                if path.exists():
                    rows_there = _between(path, rows_there + said.count(b"."))
                else:
                    assert b"o" not in said
            if not path.exists():
                JournaledFile.create(path, rows.build).close()
            rows.check_and_go_on(path, rows_there, rows_there)
            tally["rows checked"] += rows_there
        tally["trials"] += 1
    return tally


def _write_until_killed(path: Path, fd: int) -> None:
    """Say `b` at the beginning, `o` when the file is open, and `.` after each commit."""
    os.write(fd, b"b")
    journaled = JournaledFile(path) if path.exists() else JournaledFile.create(path, rows.build)
    with snapshot(path) as file:
        k = int(file.attrs["rows"])
    os.write(fd, b"o")
    while True:
        rows.append(journaled, k)
        os.write(fd, b".")
        k += 1


def _between(path: Path, announced: int) -> int:
    with snapshot(path) as file:
        found = rows.count(file)
    assert announced <= found <= announced + 1, f"{announced} rows announced, {found} found"
    return found


def kill_at_every_call(directory: Path, before: int = 3, more: int = 5, every: int = 1) -> Tally:
    """Kill a writer at its 1st, 2nd, ... system call; then a second one that recovers, at each of its calls in turn.

    With `every`, only at each so-many-th call.
    """
    tally: Tally = Counter()

    def life(path: Path, fd: int) -> None:
        with JournaledFile(path) if path.exists() else JournaledFile.create(path, rows.build) as journaled:
            with snapshot(path) as file:
                first = int(file.attrs["rows"])
            for k in range(first, before + more):
                rows.append(journaled, k)
                os.write(fd, b".")

    for begin, phase in ((0, "creating and appending"), (before, "opening and appending")):
        killed, n = True, 0
        while killed:
            with fresh(directory) as path:
                if begin:
                    with JournaledFile.create(path, rows.build) as journaled:
                        for k in range(begin):
                            rows.append(journaled, k)
                killed, said = in_child(lambda fd: (arm(n), life(path, fd))[1])  # noqa: B023
                announced = begin + said.count(b".")
                if path.exists():
                    there = _between(path, announced)
                    # The successor of this one is killed too, somewhere else each time.
                    _, said = in_child(lambda fd: (arm(n * 7 % 31), life(path, fd))[1])  # noqa: B023
                    rows.check_and_go_on(path, there + said.count(b"."), there + said.count(b".") + 1)
                else:
                    assert killed
                    assert not announced
            n += every
            tally[f"killed at each call while {phase}"] += killed
    return tally


def power_cuts(directory: Path, states: int, seed: int = 0) -> Tally:
    """Cut the power at random calls of several lives of a file, a recovery among them."""
    rng = random.Random(seed)
    tally: Tally = Counter()
    small = mock.patch.multiple(journal, READER_WAIT_S=0.005, JOURNAL_LIMIT_BYTES=3000)
    forced = mock.patch.multiple(journal, READER_WAIT_S=0.005, PENDING_LIMIT_BYTES=9000)
    for name, setting, reader, disk_full in (
        ("plain", nullcontext(), False, False),
        ("journal emptied often", small, False, False),
        ("a reader inside", small, True, False),
        ("copied under a reader", forced, True, False),
        ("the disk full now and then", small, True, True),
    ):
        with setting, fresh(directory) as path:
            recorder = _record_life(path, reader, disk_full)
        for n in range(states // 5):
            home = directory / "cut"
            at = rng.randrange(len(recorder.ops) + 1)
            files, promised = cut(recorder, at, rng)
            rebuild(home, files)
            least = promised.count("row")
            if not (home / "run.h5").exists():
                assert "created" not in promised
                tally["states before there was a file"] += 1
            elif n % 3:
                rows.check_and_go_on(home / "run.h5", least, least + 1)
            else:
                _cut_again(directory, home, least, rng)
                tally["cut again while recovering"] += 1
            shutil.rmtree(home)
            tally[f"states: {name}"] += 1
    return tally


def _record_life(path: Path, reader: bool, disk_full: bool) -> Recorder:
    recorder = Recorder(path.parent)
    with recorder.recording():
        journaled = JournaledFile.create(path, rows.build)
        recorder.mark("created")
        for k in range(11):
            if reader and k == 3:
                inside = h5py.File(path)
            if reader and k == 7:
                inside.close()
            if disk_full:
                with suppress(OSError), refusing(5 + 4 * k, errno.ENOSPC, lasting=k % 2 == 0):
                    with journaled.transaction() as file:
                        rows.add(file, k)
                    recorder.mark("row")
                    continue
            rows.append(journaled, k)
            recorder.mark("row")
        journaled.close()
    return recorder


def _cut_again(directory: Path, home: Path, least: int, rng: random.Random) -> None:
    recorder = Recorder(home)
    with recorder.recording(), JournaledFile(home / "run.h5") as journaled:
        with snapshot(home / "run.h5") as file:
            found = rows.count(file)
        assert least <= found <= least + 1
        recorder.mark("open")
        rows.append(journaled, found)
        recorder.mark("row")
    files, promised = cut(recorder, rng.randrange(len(recorder.ops) + 1), rng)
    rebuild(directory / "again", files)
    if "open" in promised:
        least = found
    rows.check_and_go_on(directory / "again" / "run.h5", least + promised.count("row"), found + 1)
    shutil.rmtree(directory / "again")


def disk_full(directory: Path, starts: tuple[int, ...] = (0, 1, 4), errors: tuple[int, ...] = (errno.ENOSPC,)) -> Tally:
    """Let every system call of a transaction fail in turn, once or until further notice; then there is room again."""
    tally: Tally = Counter()
    for start in starts:
        for error in errors:
            for lasting in (False, True):
                refused, n = "x", 0
                while refused:
                    with fresh(directory) as path:
                        refused, failed = _one_refusal(path, start, n, error, lasting)
                    tally[f"{refused} refused: {'rolled back' if failed else 'survived'}"] += bool(refused)
                    n += 1
    return tally


def _one_refusal(path: Path, start: int, n: int, error: int, lasting: bool) -> tuple[str, bool]:
    journaled = JournaledFile.create(path, rows.build)
    for k in range(start):
        rows.append(journaled, k)
    have, failed = start, False
    with refusing(n, error, lasting) as refusal:
        try:
            rows.append(journaled, have)
            have += 1
        except OSError as caught:
            failed = caught.errno == error
            if not failed:
                raise
        if lasting and refusal.refused:
            with suppress(OSError):
                rows.append(journaled, have)
                have += 1
    with snapshot(path) as file:
        assert rows.count(file) == have
    crashed = path.parent / "crashed"
    crashed.mkdir()
    for name in (path.name, path.name + ".journal"):
        shutil.copy(path.parent / name, crashed / name)
    rows.check_and_go_on(crashed / path.name, have, have)
    shutil.rmtree(crashed)
    for k in range(have, have + 3):
        rows.append(journaled, k)
    journaled.close()
    with h5py.File(path) as file:
        assert rows.count(file) == have + 3
    return refusal.refused, failed
