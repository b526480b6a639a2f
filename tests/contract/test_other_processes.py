"""Launchers that start processes: callbacks go there, and a forked child neither hangs nor writes."""

from __future__ import annotations

import copy
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

import cloudpickle
import numpy as np
import pytest
import torch

from curvewatch import Live, Schedule, Watch, open_run, portable
from curvewatch.integrations import lightning, transformers
from curvewatch.live import refitter
from curvewatch.runfile.recorder import Recorder
from curvewatch.storage import filelock
from tests.support import spawning
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


def nameless(argument: str) -> Any:
    """A function that Python can't send by name, as a value of that argument."""
    return {
        "model": lambda module: module,
        "forward": lambda model, batch: model(batch.input_ids) + 0,
        "log": lambda scalars, step: None,
        "schedule": lambda step: step % 3 == 0,
    }[argument]


def given(watch: Watch, argument: str) -> Any:
    """What the watch has of that argument."""
    if argument == "schedule":
        assert watch.schedule is not None
        return watch.schedule._rules[0].scored
    return {"model": watch._choose, "forward": watch._forward, "log": watch._log}[argument]


@pytest.mark.parametrize("argument", ["model", "forward", "log", "schedule"])
def test_a_function_without_a_name_goes_as_code(argument: str, tmp_path: Path) -> None:
    """Under a launcher's own pickle, and under cloudpickle (Ray, notebooks); within a process it stays what it is."""
    function = nameless(argument)
    watch = Watch(random_tokens(), tmp_path / "curves.h5", **{argument: function})
    for there in (pickle.loads(pickle.dumps(watch)), pickle.loads(cloudpickle.dumps(watch))):
        assert given(there, argument) is not function
        assert given(there, argument).__code__ == function.__code__
    for there in (copy.copy(watch), copy.deepcopy(watch)):
        assert given(there, argument) is function


@pytest.mark.parametrize("argument", ["model", "forward", "log", "schedule"])
def test_a_function_that_can_go_nowhere_is_named(
    argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(random_tokens(), tmp_path / "curves.h5", **{argument: nameless(argument)})
    monkeypatch.setattr(portable, "_cloudpicklers", list)
    with pytest.raises(pickle.PicklingError, match=rf"^{argument}=<function .*top of a module, or install cloudpickle"):
        pickle.dumps(watch)
    assert given(pickle.loads(pickle.dumps(Watch(random_tokens(), watch.path, log=print))), "log") is print
    monkeypatch.undo()
    lock = threading.Lock()
    with pytest.raises(pickle.PicklingError, match=r"^log=<function .*top of a module\.$"):
        pickle.dumps(Watch(random_tokens(), watch.path, log=lambda scalars, step: lock.acquire()))


def test_lives_own_function_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(batch_ids=lambda batch: batch["tokens"])
    watch = pickle.loads(pickle.dumps(Watch(random_tokens(), tmp_path / "curves.h5", live=live)))
    assert watch.live.batch_ids({"tokens": 7}) == 7
    assert copy.deepcopy(live) == live
    monkeypatch.setattr(portable, "_cloudpicklers", list)
    with pytest.raises(pickle.PicklingError, match=r"^batch_ids=<function "):
        pickle.dumps(live)


def test_a_watch_that_has_started_goes_as_one_that_has_not(tmp_path: Path) -> None:
    path, model = tmp_path / "curves.h5", PlainLM()
    watch = Watch({"web": random_tokens()}, path, max_steps=2, schedule=1, batch_size=2, weights="training")
    watch.observe(model, 0)
    again = [pickle.loads(pickle.dumps(watch)), cloudpickle.loads(cloudpickle.dumps(watch)), copy.deepcopy(watch)]
    for step in (1, 2):
        watch.observe(model, step)
    watch.finish(model, 2)
    assert open_run(path).steps.tolist() == [0, 1, 2]
    for n, one in enumerate(again):
        assert one.plan is None
        assert one.showing is None
        one.path = str(tmp_path / f"{n}.h5")
        for step in range(3):
            one.observe(model, step)
        one.finish(model, 2)
        assert (open_run(one.path).surprisal[:] == open_run(path).surprisal[:]).all()


@pytest.mark.parametrize("host", ["lightning", "trainer"])
def test_a_callback_in_the_middle_of_its_training_goes_as_a_new_one(host: str, tmp_path: Path) -> None:
    taken: list[bytes] = []
    path, ids = tmp_path / "curves.h5", list(torch.arange(8).repeat(8, 1))
    live = Live(token_counts="training")
    if host == "trainer":
        import transformers as hf

        class Taking(hf.TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                taken.append(pickle.dumps(made))

        made: Any = transformers.CurveWatchCallback(random_tokens(), path, schedule=1, live=live)
        arguments = hf.TrainingArguments(
            str(tmp_path / "out"), max_steps=2, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True
        )
        data = [{"input_ids": one, "labels": one} for one in ids]
        trainer = hf.Trainer(gpt2(), arguments, train_dataset=data, callbacks=[Taking()])
        made.attach(trainer)
        trainer.train()
    else:
        from lightning.pytorch import Callback, Trainer
        from torch.utils.data import DataLoader

        class Pickling(Callback):
            def on_train_batch_end(self, *_: Any) -> None:
                taken.append(pickle.dumps(made))

        made = lightning.CurveWatchCallback(random_tokens(), path, schedule=1, live=live)
        Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            callbacks=[made, Pickling()],
        ).fit(spawning.Module(), DataLoader(ids, batch_size=2))  # fmt: skip
    assert len(taken) == 2
    assert open_run(path).steps.tolist() == [0, 1, 2]
    for one in map(pickle.loads, taken):
        assert one.watch.plan is None
        assert one.watch.path == made.watch.path
        assert list(vars(one)) == ["watch"]


def test_lightnings_spawned_ranks_write_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.spawning", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(WANDB_MODE="offline"))
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "curves.h5")
    assert run.steps.tolist() == [0, 3, 4]
    assert len(list(tmp_path.glob("*.h5"))) == 1


@pytest.mark.parametrize("loop", ["plain", "trainer"])
@pytest.mark.parametrize("launcher", ["debug_launcher", "notebook_launcher", "spawn"])
def test_launchers_ranks_write_the_file(launcher: str, loop: str, tmp_path: Path) -> None:
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
