"""The HF Trainer's adapter: what its reporters get, and in which precision is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from curvewatch import Scorer, open_run
from curvewatch.integrations.transformers import CurveWatchCallback
from tests.support.hosts import Watching, run, run_trainer
from tests.support.keys import always, unknown
from tests.support.models import gpt2, random_tokens
from tests.support.offline import rows
from tests.support.trainings import Training

TRAINING = Training(steps=5, log_every=2)


@pytest.fixture
def wandb_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import wandb

    wandb.teardown()  # it reads its settings once in the life of a process
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    return tmp_path


def test_wandb(wandb_folder: Path) -> None:
    import wandb

    watching = Watching(random_tokens(), wandb_folder / "curves.h5")
    run("trainer", TRAINING, wandb_folder, watching, report_to="wandb")
    wandb.finish()
    found = rows(wandb_folder)
    ours = [row for row in found if "curvewatch/watch/step" in row]
    assert [row["train/global_step"] for row in ours] == [row["curvewatch/watch/step"] for row in ours] == [0, 2, 4, 5]
    losses = [row for row in found if "train/loss" in row]
    assert [row["train/global_step"] for row in losses] == [2, 4], "the Trainer's own rows are as ever"
    keys = {key.rpartition(".")[0] if "histogram." in key else key for key in ours[-1]}
    # No token is acquired in five steps, so there is no median of the steps at which it was.
    assert always(histograms=True) - keys == {"curvewatch/eval/acquisition_step_median"}
    assert unknown(keys) == set()
    file = open_run(wandb_folder / "curves.h5")
    for row, surprisal in zip(ours, file.surprisal[:], strict=True):
        assert row["curvewatch/eval/surprisal_mean"] == pytest.approx(surprisal.mean(), rel=1e-5)


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    # transformers before 5 takes the folder from an argument that later ones warn about.
    where = {} if int(transformers.__version__.split(".")[0]) >= 5 else {"logging_dir": str(tmp_path / "board")}
    run("trainer", TRAINING, tmp_path, watching, report_to="tensorboard", **where)
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    scalars = board.scalars.Items("train/curvewatch/eval/surprisal_mean")
    assert [scalar.step for scalar in scalars] == [0, 2, 4, 5]
    expected = open_run(tmp_path / "curves.h5").surprisal[:].mean(axis=1)
    assert [scalar.value for scalar in scalars] == pytest.approx(expected, rel=1e-5)
    assert [scalar.step for scalar in board.scalars.Items("train/loss")] == [2, 4]


def test_a_subclass_finds_the_reporters_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Mine(CurveWatchCallback):
        def on_train_begin(self, *arguments: Any, **keywords: Any) -> None:
            super().on_train_begin(*arguments, **keywords)

    callback = Mine(random_tokens(), tmp_path / "curves.h5")
    run("trainer", TRAINING, tmp_path, callbacks=(callback,))
    assert "was not found" not in caplog.text


def test_checkpoints_know_nothing_of_the_watch(tmp_path: Path) -> None:
    """Its metrics are not in the Trainer's state, which is written as JSON into each checkpoint and printed."""
    training = Training(steps=4, log_every=2, save_every=2)
    run("trainer", training, tmp_path / "watched", Watching(random_tokens(), tmp_path / "curves.h5"))
    run("trainer", training, tmp_path / "alone")
    states = []
    for name in ("watched", "alone"):
        state = json.loads((tmp_path / name / "trainer" / "checkpoint-4" / "trainer_state.json").read_text())
        assert "curvewatch" not in json.dumps(state["log_history"]).lower()
        states.append(state)
    assert states[0]["log_history"] == states[1]["log_history"]


def test_scored_in_the_precision_of_training(tmp_path: Path) -> None:
    training = Training(steps=2, log_every=1, bf16=True)
    run("trainer", training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    file = open_run(tmp_path / "curves.h5")
    with file.group() as group:
        assert json.loads(group.attrs["scorer"])["compute_dtype"] == "bfloat16"
    model = training.model()
    with torch.autocast("cpu", torch.bfloat16):
        expected = Scorer(random_tokens()).score(model).surprisal_bits
    assert np.array_equal(file.surprisal[0], expected)
    assert not np.array_equal(file.surprisal[0], Scorer(random_tokens()).score(model).surprisal_bits)


def test_best_model_loaded_at_the_end(tmp_path: Path) -> None:
    """The model is an earlier one by then: it must not be scored as the last step's."""
    training = Training(steps=5, log_every=2, evaluate_every=2, save_every=2)
    watching = Watching(random_tokens(), tmp_path / "curves.h5", schedule=[1])
    run("trainer", training, tmp_path, watching, load_best_model_at_end=True, metric_for_best_model="loss")
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 1, 5]


def test_what_is_known_of_the_session(tmp_path: Path) -> None:
    run("trainer", TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    (session,) = open_run(tmp_path / "curves.h5").sessions
    assert session["host"]["name"] == "transformers.Trainer"
    assert session["host"]["arguments"]["per_device_train_batch_size"] == 4
    assert session["model"]["config"]["n_embd"] == 32
    assert {"torch", "transformers", "curvewatch"} <= set(session["versions"])


def test_several_sets(tmp_path: Path) -> None:
    logged: dict[int, dict[str, float]] = {}
    sets = {"web": random_tokens(), "code": random_tokens(3, seed=8)}
    run_trainer(
        TRAINING,
        tmp_path,
        Watching(sets, tmp_path / "curves.h5", log=lambda scalars, step: logged.update({step: scalars})),
        model=gpt2(0.1),
    )
    assert {"curvewatch/web/surprisal_mean", "curvewatch/code/surprisal_mean"} <= set(logged[5])
    assert open_run(tmp_path / "curves.h5", "code").surprisal.shape == (4, 15)
