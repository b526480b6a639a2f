"""Which row is the last, and of which weights, however training ends; each row is worked out a second time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from curvewatch import Schedule, Watch, open_run
from tests.support.hosts import HOSTS, Watching, adamw, loader, run
from tests.support.models import random_tokens
from tests.support.ranks import context
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models
from tests.support.trainings import Training

TOKENS = random_tokens()
# Two updates an epoch. Evaluation gets worse from the first time on, at step 2, so patience ends at step 4.
TRAINING = Training(steps=12, rows=8, evaluate_every=2, save_every=2, shuffle=False)
STOPPED = 4
STOPPED_ROWS = [0, STOPPED]  # of the plan 0, 5, 10, 12
# Before version 5 the best model is loaded ahead of the Trainer's summary, the first event after an epoch's evaluation.
SUMMARY_COMES_FIRST = int(transformers.__version__.split(".")[0]) >= 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def watched(path: Path, every: int = 5, **settings: Any) -> Watching:
    return Watching(TOKENS, path, schedule=Schedule.every(every), **settings)


def assert_rows(path: Path, snapshots: Snapshots, steps: list[int]) -> None:
    assert_rows_are_the_training_models(path, snapshots, TRAINING.model, TOKENS, steps)


def assert_closed(path: Path) -> None:
    """Nobody holds the file: another watch goes on in it, rather than beside it."""
    watch = Watch(TOKENS, path, schedule=Schedule.every(5))
    watch.start(TRAINING.model(), open_run(path).steps.tolist()[-1])
    watch.close()
    assert [one.name for one in path.parent.glob("*.h5")] == [path.name]


# ---------------------------------------------------------------------- the HF Trainer


def worse_each_time() -> Any:
    """Evaluation's loss is the step, so that the first one is the best."""

    class Worse(transformers.TrainerCallback):
        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            metrics["eval_loss"] = float(state.global_step)

    return Worse()


BEST: dict[str, Any] = {
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
}


@pytest.mark.parametrize("by", ["steps", "epoch"])
@pytest.mark.parametrize("saved", ["all", "best"])
@pytest.mark.parametrize("first", ["stopping", "watch"])
def test_early_stopping_and_the_best_model_in_the_trainer(first: str, saved: str, by: str, path: Path) -> None:
    snapshots, watching = Snapshots(), watched(path)
    both = [transformers.EarlyStoppingCallback(early_stopping_patience=1), watching.trainer()]
    callbacks = (snapshots.trainer(), worse_each_time(), *(both if first == "stopping" else both[::-1]))
    saving = by if saved == "all" else "best"
    settings = {"eval_strategy": by, "save_strategy": saving, **BEST}
    outcome = run("trainer", TRAINING, path.parent, callbacks=callbacks, **settings)
    assert max(snapshots.weights) == STOPPED, "it was not stopped early"
    assert all(torch.equal(snapshots.weights[2][name], value) for name, value in outcome.weights.items())
    assert not torch.equal(outcome.weights["lm_head.weight"], snapshots.weights[STOPPED]["lm_head.weight"])
    told_too_late = not SUMMARY_COMES_FIRST and (first, saved, by) == ("watch", "best", "epoch")
    assert_rows(path, snapshots, [0] if told_too_late else STOPPED_ROWS)
    assert (STOPPED in open_run(path).skipped) == told_too_late
    assert_closed(path)


def test_the_best_model_after_all_the_steps(path: Path) -> None:
    snapshots, watching = Snapshots(), watched(path)
    callbacks = (snapshots.trainer(), worse_each_time())
    outcome = run("trainer", TRAINING, path.parent, watching, callbacks=callbacks, save_strategy="best", **BEST)
    assert all(torch.equal(snapshots.weights[2][name], value) for name, value in outcome.weights.items())
    assert_rows(path, snapshots, [0, 5, 10, 12])
    assert_closed(path)


# ---------------------------------------------------------------------- Lightning


def stopping_in_lightning(by: str) -> list[Any]:
    """Lightning's EarlyStopping, at validation or at the end of an epoch, and what it monitors."""
    from lightning.pytorch import Callback
    from lightning.pytorch.callbacks import EarlyStopping

    class Worse(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.trainer = trainer

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("worse", float(trainer.global_step))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("worse_still", float(trainer.global_step))

    monitor = "worse" if by == "validation" else "worse_still"
    return [Worse(), EarlyStopping(monitor, patience=1, mode="min", check_on_train_epoch_end=by == "epoch")]


@pytest.mark.parametrize("by", ["validation", "epoch"])
@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("first", ["others", "watch"])
def test_early_stopping_in_lightning(first: str, averaged: bool, by: str, path: Path) -> None:
    from lightning.pytorch import callbacks as lightnings

    snapshots, watching = Snapshots(), watched(path)
    others = stopping_in_lightning(by)
    if averaged:
        if not hasattr(lightnings, "WeightAveraging"):
            pytest.skip("this version of Lightning has no WeightAveraging")
        others.append(lightnings.WeightAveraging(avg_fn=lambda average, new, n: 0.9 * average + 0.1 * new))
    best = lightnings.ModelCheckpoint(path.parent, "best", monitor="worse", mode="min", save_top_k=1)
    watch = watching.lightning()
    order = [*others, watch] if first == "others" else [watch, *others]
    callbacks = (snapshots.lightning(), *order, best)
    outcome = run("lightning", TRAINING, path.parent, callbacks=callbacks)
    assert max(snapshots.weights) == STOPPED, "it was not stopped early"
    same = all(torch.equal(snapshots.weights[STOPPED][name], value) for name, value in outcome.weights.items())
    assert same == (not averaged)
    ours = [one for one in others[0].trainer.callbacks if "curvewatch" in type(one).__module__]
    assert ours == [watch], "the Trainer's list is not as it was"
    assert best.best_model_path == str(path.parent / "best.ckpt")
    assert_rows(path, snapshots, STOPPED_ROWS)
    assert open_run(path).skipped == dict.fromkeys((5, 10, 12), f"training ended at step {STOPPED}")
    assert_closed(path)


# ---------------------------------------------------------------------- a loop


def loop(watch: Watch, snapshots: Snapshots, end: Callable[[Watch, Any, dict[str, Any]], None]) -> None:
    """Stops early; the best weights are then those of step 2."""
    TRAINING.seed_everything()
    model = TRAINING.model().train()
    optimizer = adamw(model)
    batches = [batch for _ in range(STOPPED) for batch in loader(TRAINING)]
    for step, batch in enumerate(batches[: STOPPED + 1]):
        snapshots.take(step, model)
        watch.observe(model, step)
        if step == STOPPED:
            break
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    end(watch, model, snapshots.weights[2])


def finished_first(watch: Watch, model: Any, best: dict[str, Any]) -> None:
    watch.finish(model, STOPPED)
    model.load_state_dict(best)


def best_first(watch: Watch, model: Any, best: dict[str, Any]) -> None:
    model.load_state_dict(best)
    watch.finish(model, STOPPED)


def left(watch: Watch, model: Any, best: dict[str, Any]) -> None:
    watch.close()


@pytest.mark.parametrize(
    ("end", "steps", "noted"),
    [(finished_first, STOPPED_ROWS, [5, 10, 12]), (best_first, [0], [4, 5, 10, 12]), (left, [0], [])],
)
def test_early_stopping_in_a_loop(end: Any, steps: list[int], noted: list[int], path: Path) -> None:
    snapshots = Snapshots()
    loop(Watch(TOKENS, path, max_steps=12, schedule=Schedule.every(5)), snapshots, end)
    assert_rows(path, snapshots, steps)
    assert sorted(open_run(path).skipped) == noted
    assert_closed(path)


# ---------------------------------------------------------------------- exceptions


class Boom(Exception):
    """The script's own trouble."""


def at_step(host: str, step: int, then: Callable[[], None]) -> dict[str, Any]:
    """Settings of `run` with which `then` is called where `step` updates are done and seen, and the next begins."""
    if host == "trainer":

        class Before(transformers.TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == step:
                    then()

        return {"callbacks": (Before(),)}
    if host == "lightning":
        from lightning.pytorch import Callback

        class BeforeToo(Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == step:
                    then()

        return {"callbacks": (BeforeToo(),)}

    def after(done: int, _model: Any) -> None:
        if done == step + 1:  # before it is seen
            then()

    return {"after": after}


@pytest.mark.parametrize("error", [Boom("of the script"), KeyboardInterrupt()])
@pytest.mark.parametrize("host", HOSTS)
def test_an_exception(host: str, error: BaseException, path: Path) -> None:
    """The last row is of the last planned step before it: of a model in trouble nothing is scored."""

    def trouble() -> None:
        raise error

    snapshots, watching = Snapshots(), watched(path, every=3)
    settings = snapshots.settings(host, TRAINING, at_step(host, 5, trouble))
    # Lightning answers Ctrl-C by shutting down and leaving the process, with SIGINT ignored.
    leaves = host == "lightning" and isinstance(error, KeyboardInterrupt)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit if leaves else type(error)) as caught:
            run(host, TRAINING, path.parent, watching, **settings)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert caught.value is error or leaves
    assert watching.watch is not None
    if host != "lightning":  # which has an event for it; otherwise the file closes with the process, or by hand
        watching.watch.close()
    assert_rows(path, snapshots, [0, 3])
    assert open_run(path).skipped == {}, "who resumes has not missed what was to come"
    assert_closed(path)


# ---------------------------------------------------------------------- SIGTERM


def terminated(host: str, path: Path) -> None:
    """A training whose process is told to end by the cluster, after its fifth update."""
    watching = watched(path, every=3)

    def tell() -> None:
        assert watching.watch is not None
        assert watching.watch.flush(30)
        os.kill(os.getpid(), signal.SIGTERM)

    run(host, TRAINING, path.parent, watching, **at_step(host, 5, tell))


# Lightning ends after the batch under way, which is update 6, and planned; elsewhere the process is gone at once.
@pytest.mark.parametrize(
    ("host", "steps", "code"),
    [("trainer", [0, 3], -signal.SIGTERM), ("lightning", [0, 3, 6], 0), ("loop", [0, 3], -signal.SIGTERM)],
)
def test_sigterm(host: str, steps: list[int], code: int, path: Path) -> None:
    process = context().Process(target=terminated, args=(host, path))
    process.start()
    # The same training, undisturbed: its copies are the weights that the other one had.
    snapshots = Snapshots()
    run(host, TRAINING, path.parent / "alone", **snapshots.settings(host, TRAINING))
    process.join(60)
    assert process.exitcode == code
    assert_rows(path, snapshots, steps)
    assert open_run(path).skipped == {}
    assert_closed(path)
