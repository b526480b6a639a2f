"""Launchers that start processes: callbacks go there, and a forked child neither hangs nor writes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Live, Schedule, Watch, open_run
from curvewatch.integrations import lightning, transformers
from curvewatch.live import refitter
from curvewatch.runfile.recorder import Recorder
from curvewatch.storage import filelock
from tests.support.files import row, start
from tests.support.models import PlainLM, gpt2, random_tokens
from tests.support.process import environment
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models


@pytest.mark.parametrize(
    "kind",
    [Watch, lightning.CurveWatchCallback, transformers.CurveWatchCallback],
    ids=["watch", "lightning", "trainer"],
)
@pytest.mark.parametrize("live", [None, Live(token_counts="training")], ids=["plain", "counting"])
def test_a_callback_goes_to_other_processes(kind: Any, live: Live | None, tmp_path: Path) -> None:
    made = kind({"web": random_tokens()}, tmp_path / "curves.h5", schedule=Schedule.log(3) | [7], live=live)
    again = pickle.loads(pickle.dumps(made))
    here, there = (one if kind is Watch else one.watch for one in (made, again))
    assert there.path == here.path
    assert there.tokens["web"].hash == here.tokens["web"].hash
    assert there.schedule.plan(100).steps().tolist() == here.schedule.plan(100).steps().tolist()
    assert (there.counts is None) == (live is None)


def test_lightnings_spawned_ranks_write_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.spawning", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(WANDB_MODE="offline"))
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "curves.h5")
    assert run.steps.tolist() == [0, 3, 4]
    assert len(list(tmp_path.glob("*.h5"))) == 1


@pytest.mark.parametrize("loop", ["plain", "trainer"])
@pytest.mark.parametrize("launcher", ["debug_launcher", "notebook_launcher"])
def test_accelerates_launchers_write_the_file(launcher: str, loop: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.launching", launcher, loop, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment(WANDB_MODE="offline"))
    assert done.returncode == 0, done.stderr
    taken = Snapshots()
    taken.weights = torch.load(tmp_path / "weights.pt")
    assert_rows_are_the_training_models(tmp_path / "curves.h5", taken, gpt2, random_tokens(), [0, 2, 4, 6])
    assert [one.name for one in tmp_path.glob("*curves*")] == ["curves.h5"], "closed well, and by one rank alone"


def in_a_fork(act: Callable[[], bool]) -> bool:
    """Whether `act` ended in a forked child, within seconds, and was true."""
    child = os.fork()
    if child == 0:
        os._exit(0 if act() else 1)
    for _ in range(100):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_hangs_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    one = Recorder(start(path))
    one.submit(row(0))
    assert one.flush(10)
    before = path.read_bytes()
    held, let = threading.Event(), threading.Event()

    def hold() -> None:
        with one._changed:
            held.set()
            let.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)

    def child() -> bool:
        refused = not one.submit(row(1))
        one.skip(2, "of a child")
        return refused and one.flush(1) and one.close(1)

    try:
        assert in_a_fork(child)
    finally:
        let.set()
        holder.join()
    assert path.read_bytes() == before
    # The parent goes on as if nothing had been.
    assert one.submit(row(3))
    assert one.close()
    assert open_run(path).steps.tolist() == [0, 3]


@pytest.mark.parametrize("kind", ["fork", "commit", "process", "workers"])
def test_children_leave_the_parents_file_and_lock_alone(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.forking", kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(WANDB_MODE="disabled"))
    assert done.returncode == 0, done.stderr
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 1, 2, 3, 4]
    assert [one.name for one in tmp_path.iterdir()] == ["curves.h5"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_the_thread_that_refits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refitter, "WAIT_TOKENS", 0)
    watch, model = Watch(random_tokens(), tmp_path / "curves.h5", schedule=1), PlainLM()
    watch.observe(model, 0)
    showing = watch.showing
    assert showing is not None
    busy = showing._refitter
    assert busy is not None
    assert busy._thread is not None
    holding = busy._changed
    holding.acquire()  # as its thread may, at the fork

    def child() -> bool:
        nonlocal showing, busy
        job = refitter.Job("eval", 1, np.zeros(35, np.float32), None, refit=True)
        for _ in range(5):
            busy.submit(job)
        watch.close()
        showing = busy = None
        gc.collect()
        return True

    try:
        assert in_a_fork(child)
    finally:
        holding.release()
    watch.observe(model, 1)
    watch.close()
    assert open_run(watch.path).steps.tolist() == [0, 1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_give_back_its_parents_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    mine, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)

    def leave() -> bool:
        return in_a_fork(lambda: bool(stack.close()) or True)

    with ExitStack() as stack:
        assert stack.enter_context(filelock.shared(mine, 0))
        assert leave()
        with filelock.exclusive(other, 0) as hold:
            assert not hold
    with filelock.exclusive(other, 0) as hold:
        assert hold
    os.close(mine)
    os.close(other)


def write_and_forget(path: Path) -> None:
    """A rank that does not close its watch."""
    recorder = Recorder(start(path))
    for step in range(20):
        recorder.submit(row(step))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_rank_that_forgets_to_close_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    rank = multiprocessing.get_context("fork").Process(target=write_and_forget, args=(path,))
    rank.start()
    rank.join(60)
    assert rank.exitcode == 0
    assert open_run(path).steps.tolist() == list(range(20))
    assert [one.name for one in tmp_path.iterdir()] == ["curves.h5"]
