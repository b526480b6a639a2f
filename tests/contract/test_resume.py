"""A run that was interrupted and resumed from an earlier checkpoint leaves the same file as one that never was."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from curvewatch import Schedule, TokenSetMismatchError, open_run
from curvewatch.errors import RunFileError
from curvewatch.runfile import layout
from tests.support.hosts import HOSTS, Watching, run
from tests.support.models import random_tokens
from tests.support.trainings import Outcome, Training

# Checkpoints at 4, 8 and 12, where epochs of 16 rows end, since Lightning does not restore a place within an epoch.
TRAINING = Training(steps=12, rows=16, log_every=2, save_every=4, dropout=0.0, shuffle=False)
# What depends on the clock.
OF_THE_CLOCK = ("seconds", "time_share", "rows_behind")


class Boom(Exception):
    """What ends a training in these tests."""


class Log:
    """Notes what the watch logs."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    def __call__(self, scalars: dict[str, float], step: int) -> None:
        assert step not in self.rows, "logged twice"
        self.rows[step] = {key: value for key, value in scalars.items() if not key.endswith(OF_THE_CLOCK)}


def many_tokens() -> Any:
    """600 of them: a few are right by chance at one observation and wrong at the next."""
    return random_tokens(40, per_sequence=None)


def watch(folder: Path, tokens: Any = None, **settings: Any) -> tuple[Watching, Log]:
    log = Log()
    return Watching(tokens or many_tokens(), folder / "curves.h5", log=log, **settings), log


def train_until_boom(host: str, folder: Path, watching: Watching, at: int) -> None:
    """Trains up to step `at`, where the script fails."""
    if host == "trainer":
        from transformers import TrainerCallback

        class Failing(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == at:
                    raise Boom

        callbacks = {"callbacks": (Failing(),)}
    elif host == "lightning":
        from lightning.pytorch import Callback

        class FailingToo(Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == at:
                    raise Boom

        callbacks = {"callbacks": (FailingToo(),)}
    else:
        run(host, TRAINING, folder, watching, until=at)
        return
    with pytest.raises(Boom):
        run(host, TRAINING, folder, watching, **callbacks)
    assert watching.watch is not None
    watching.watch.close()


def resume(host: str, folder: Path, watching: Watching, at: int) -> Outcome:
    """Goes on from the checkpoint of step `at`."""
    checkpoint: Any = at
    if host == "trainer":
        checkpoint = str(folder / "trainer" / f"checkpoint-{at}")
    elif host == "lightning":
        (checkpoint,) = map(str, (folder / "lightning").glob(f"*step={at}.ckpt"))
    return run(host, TRAINING, folder, watching, resume=checkpoint)


def assert_equal_files(a: Path, b: Path) -> None:
    one, other = open_run(a / "curves.h5"), open_run(b / "curves.h5")
    assert one.steps.tolist() == other.steps.tolist()
    for curves in ("surprisal", "correct", "entropy"):
        assert np.array_equal(getattr(one, curves)[:], getattr(other, curves)[:]), curves
    assert one.planned_steps.tolist() == other.planned_steps.tolist()


# Checkpoint, and the step at which training broke off: 1, 3 and 0 rows of the file are later than the checkpoint.
@pytest.mark.parametrize(("checkpoint", "broke_off"), [(8, 10), (4, 11), (8, 9)])
@pytest.mark.parametrize("host", HOSTS)
def test_resumed_equals_straight(
    host: str, checkpoint: int, broke_off: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (straight, straight_log), (first, _), (second, second_log) = (
        watch(tmp_path / "straight"),
        watch(tmp_path / "broken"),
        watch(tmp_path / "broken"),
    )
    uninterrupted = run(host, TRAINING, tmp_path / "straight", straight)
    train_until_boom(host, tmp_path / "broken", first, broke_off)
    before = open_run(tmp_path / "broken" / "curves.h5").steps.tolist()
    assert before == [step for step in range(0, 13, 2) if step <= broke_off]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "curvewatch"):
        resumed = resume(host, tmp_path / "broken", second, checkpoint)
    assert {name: tensor.tolist() for name, tensor in resumed.weights.items()} == {
        name: tensor.tolist() for name, tensor in uninterrupted.weights.items()
    }, "the test's training does not resume"
    assert_equal_files(tmp_path / "straight", tmp_path / "broken")
    forgotten = straight_log.rows[checkpoint]["curvewatch/eval/forgetting_events_total"]
    assert forgotten > 0, "there is no state that could be lost"
    assert second_log.rows == {step: row for step, row in straight_log.rows.items() if step > checkpoint}
    dropped = sum(step > checkpoint for step in before)
    said = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert len(said) == (dropped > 0)
    sessions = open_run(tmp_path / "broken" / "curves.h5").sessions
    assert [(s["from_step"], s["dropped_rows"]) for s in sessions] == [(0, 0), (checkpoint, dropped)]


@pytest.mark.parametrize("host", HOSTS)
def test_resumed_without_the_file(host: str, tmp_path: Path) -> None:
    """Another machine has the checkpoint but not the file: the curves begin where training goes on."""
    first, _ = watch(tmp_path)
    train_until_boom(host, tmp_path, first, 6)
    (tmp_path / "curves.h5").unlink()
    second, log = watch(tmp_path)
    resume(host, tmp_path, second, 4)
    # The hosts' Trainers tell when training begins; a loop's first word is that of the step after, which stands in.
    expected = [5 if host == "loop" else 4, 6, 8, 10, 12]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == expected
    assert list(log.rows) == expected


@pytest.mark.parametrize("host", HOSTS)
def test_resumed_with_another_set_is_refused_before_training(host: str, tmp_path: Path) -> None:
    first, _ = watch(tmp_path)
    train_until_boom(host, tmp_path, first, 6)
    before = (tmp_path / "curves.h5").read_bytes()
    other = random_tokens(seed=4)
    second, _ = watch(tmp_path, other)
    with pytest.raises(TokenSetMismatchError) as caught:
        resume(host, tmp_path, second, 4)
    assert many_tokens().hash[:16] in str(caught.value)
    assert other.hash[:16] in str(caught.value)
    assert (tmp_path / "curves.h5").read_bytes() == before


@pytest.mark.parametrize("host", HOSTS)
def test_resumed_with_a_newer_file_is_refused_before_training(host: str, tmp_path: Path) -> None:
    """Before any step: the refusal must not come from the first observation, when hours may have gone by."""
    first, _ = watch(tmp_path)
    train_until_boom(host, tmp_path, first, 6)
    with h5py.File(tmp_path / "curves.h5", "r+") as file:
        file.attrs["format_version"] = layout.FORMAT_VERSION + 1
    before = (tmp_path / "curves.h5").read_bytes()
    second, log = watch(tmp_path)
    newer, known = layout.FORMAT_VERSION + 1, layout.FORMAT_VERSION
    said = rf"written in format {newer}, .* formats up to {known}\. Upgrade curvewatch"
    with pytest.raises(RunFileError, match=said):
        resume(host, tmp_path, second, 4)
    assert not log.rows
    assert (tmp_path / "curves.h5").read_bytes() == before


@pytest.mark.parametrize("host", HOSTS)
def test_resumed_with_another_schedule(host: str, tmp_path: Path) -> None:
    """Allowed: rows that are there stay, and the plan on record is the new one."""
    first, _ = watch(tmp_path)
    train_until_boom(host, tmp_path, first, 9)
    second, _ = watch(tmp_path, schedule=Schedule.every(3))
    resume(host, tmp_path, second, 4)
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0, 2, 4, 6, 9, 12]
    assert file.planned_steps.tolist() == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("host", HOSTS)
def test_started_anew_keeps_the_old_file(host: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = watch(tmp_path)
    run(host, TRAINING, tmp_path, first)
    old = open_run(tmp_path / "curves.h5").surprisal[:]
    second, _ = watch(tmp_path)
    with caplog.at_level(logging.WARNING, "curvewatch"):
        run(host, TRAINING, tmp_path, second)
    assert "kept as curves.1.h5" in caplog.text
    assert np.array_equal(open_run(tmp_path / "curves.1.h5").surprisal[:], old)
    assert np.array_equal(open_run(tmp_path / "curves.h5").surprisal[:], old)  # the same training, scored again
    assert open_run(tmp_path / "curves.h5").run_id != open_run(tmp_path / "curves.1.h5").run_id
