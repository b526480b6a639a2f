"""What the hosts' trackers have in the end: our values at the host's steps, and the host's own as without us."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import TrainerCallback

from curvewatch import Live, open_run
from tests.support import trackers
from tests.support.hosts import Watching, run
from tests.support.models import random_tokens
from tests.support.offline import records
from tests.support.trackers import Points, finished_wandb, into
from tests.support.trainings import Training

TRAINING = Training(steps=5, log_every=2)
PLANNED = [0, 2, 4, 5]
OURS = "curvewatch/eval/surprisal_mean"
FITTED = "curvewatch/eval/smoothed/step"
# Measured by the clock.
TIMES = ("runtime", "per_second", "seconds", "time_share")


@pytest.fixture(autouse=True)
def no_run_is_left_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import mlflow
    import wandb

    into(tmp_path, monkeypatch)
    yield
    wandb.finish()
    assert mlflow.active_run() is None


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trackio reads its folder when it is imported."""
    os.environ["TRACKIO_DIR"] = str(tmp_path_factory.mktemp("trackio"))
    import trackio.utils

    return Path(trackio.utils.TRACKIO_DIR)


# By the Trainer's name of it: what reads it, and what the Trainer puts before a key.
REPORTERS: dict[str, tuple[Callable[[Path, Path], Points], str]] = {
    "tensorboard": (lambda folder, _: trackers.tensorboard(folder / "board"), "train/"),
    "mlflow": (lambda folder, _: trackers.mlflow((folder / "mlruns").as_uri()), ""),
    "trackio": (lambda folder, shared: trackers.trackio(shared / f"{folder.name}.db"), "train/"),
    "wandb": (lambda folder, _: finished_wandb(folder, "train/global_step"), ""),
}
if not hasattr(transformers.TrainingArguments, "project"):
    del REPORTERS["trackio"]  # before transformers 5 there is none


def train(reporter: str, folder: Path, training: Training = TRAINING, beside: Any = None, **settings: Any) -> None:
    if reporter == "trackio":
        settings["project"] = folder.name
    if reporter == "tensorboard" and int(transformers.__version__.split(".")[0]) < 5:
        settings["logging_dir"] = str(folder / "board")  # before version 5 it takes the folder from here
    run("trainer", training, folder, beside, report_to=reporter, **settings)


def of_host(points: Points) -> Points:
    """What is not ours, but for what a clock has measured."""
    return {
        key: values
        for key, values in points.items()
        if "curvewatch" not in key and not any(part in key for part in TIMES)
    }


def means(path: Path) -> list[float]:
    return open_run(path).surprisal[:].astype(float).mean(axis=1).tolist()


@pytest.mark.parametrize("reporter", REPORTERS)
def test_trainer(reporter: str, tmp_path: Path, trackio_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, prefix = REPORTERS[reporter]
    train(reporter, tmp_path, beside=Watching(random_tokens(), tmp_path / "curves.h5"))
    points = read(tmp_path, trackio_folder)
    assert [step for step, _ in points[prefix + OURS]] == PLANNED == open_run(tmp_path / "curves.h5").steps.tolist()
    assert [value for _, value in points[prefix + OURS]] == pytest.approx(means(tmp_path / "curves.h5"), rel=1e-6)
    assert points[f"{prefix}curvewatch/watch/step"] == [(step, step) for step in PLANNED]
    assert any(f"{prefix}curvewatch/eval/watched/" in key for key in points), "names of tokens are taken"
    alone = into(tmp_path / f"{tmp_path.name}-alone", monkeypatch)
    train(reporter, alone)
    expected = of_host(read(alone, trackio_folder))
    assert [step for step, _ in expected["loss" if reporter == "mlflow" else "train/loss"]] == [2, 4]
    assert of_host(points) == expected


class StopAt9(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = control.should_training_stop or state.global_step == 9


@pytest.mark.parametrize("reporter", REPORTERS)
def test_last_metrics_come_before_the_run_ends(reporter: str, tmp_path: Path, trackio_folder: Path) -> None:
    """Of a training that is stopped early, the last smoothed curves are only known when it has ended."""
    read, prefix = REPORTERS[reporter]
    watching = Watching(random_tokens(), tmp_path / "curves.h5", live=Live(refit_every=4))
    train(reporter, tmp_path, Training(steps=20, log_every=1), watching, callbacks=(StopAt9(),))
    points = read(tmp_path, trackio_folder)
    assert points[prefix + FITTED] == [(3, 3), (7, 7), (9, 9)]
    assert [step for step, _ in points[prefix + OURS]] == list(range(10))


def test_counting_input_tokens_is_not_the_end(tmp_path: Path) -> None:
    """With it the Trainer gives each of its rows a run time, as it does the summary."""
    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    train("tensorboard", tmp_path, beside=watching, include_num_input_tokens_seen=True)
    assert [step for step, _ in trackers.tensorboard(tmp_path / "board")["train/" + OURS]] == PLANNED


def test_what_only_looks_like_the_summary_is_not_the_end(tmp_path: Path) -> None:
    """A subclass may log what it likes: its rows must not end the watch."""

    def as_the_summary(trainer: Any) -> None:
        log = trainer.log
        trainer.log = lambda logs, *rest: log(
            {"train_runtime": 1.0, "train_loss": 0.0, "total_flos": 0.0, **logs}, *rest
        )

    watching = Watching(random_tokens(), tmp_path / "curves.h5", live=Live(refit_every=4))
    train("tensorboard", tmp_path, Training(steps=9, log_every=2), watching, before=as_the_summary)
    points = trackers.tensorboard(tmp_path / "board")
    assert [step for step, _ in points["train/train_loss"]][:2] == [2, 4]
    assert [step for step, _ in points["train/" + OURS]] == [0, 2, 4, 6, 8, 9]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4, 6, 8, 9]


@pytest.mark.parametrize("reporter", [one for one in ("mlflow", "trackio") if one in REPORTERS])
def test_each_training_has_its_run(reporter: str, tmp_path: Path, trackio_folder: Path) -> None:
    """These reporters begin another run at the second `train()`: it has that training's rows, and no run has both."""
    train(reporter, tmp_path, beside=Watching(random_tokens(), tmp_path / "curves.h5"), trainings=2)
    if reporter == "mlflow":
        runs = trackers.mlflow_runs((tmp_path / "mlruns").as_uri())
    else:
        runs = trackers.trackio_runs(trackio_folder / f"{tmp_path.name}.db")
    for points, file in zip(runs, ("curves.1.h5", "curves.h5"), strict=True):
        ours = points[REPORTERS[reporter][1] + OURS]
        assert [step for step, _ in ours] == PLANNED
        assert [value for _, value in ours] == pytest.approx(means(tmp_path / file), rel=1e-6)


def test_trainers_reporter_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers.integrations.integration_utils import TensorBoardCallback

    class Full(TensorBoardCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **keywords: Any) -> None:
            if any("curvewatch" in key for key in logs):
                raise OSError(28, "No space left on device")
            super().on_log(args, state, control, logs=logs, **keywords)

    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    train("mlflow", tmp_path, beside=watching, callbacks=(Full(),))
    assert caplog.text.count("logging through Full failed at step 0: [Errno 28]") == 1
    points = trackers.mlflow((tmp_path / "mlruns").as_uri())
    assert [step for step, _ in points[OURS]] == PLANNED, "each reporter by itself"
    assert [step for step, _ in points["loss"]] == [2, 4]


@pytest.mark.parametrize("reports", [True, False], ids=["the Trainer reports to it", "it does not"])
def test_trainer_and_a_run_of_the_scripts(reports: bool, tmp_path: Path) -> None:
    """Begun before the Trainer. Where that does not report to it, nobody else has given the run an axis."""
    import wandb

    begun = wandb.init(project="test", group="pair", job_type="train")
    train("wandb" if reports else "none", tmp_path, beside=Watching(random_tokens(), tmp_path / "curves.h5"))
    assert wandb.run is begun
    axis = "train/global_step" if reports else "curvewatch/watch/step"
    points = finished_wandb(tmp_path, axis)
    assert [step for step, _ in points[OURS]] == PLANNED
    assert [value for _, value in points[OURS]] == pytest.approx(means(tmp_path / "curves.h5"), rel=1e-6)
    assert ("train/loss" in points) == reports
    declared = {one.get("name") or one.get("glob_name") for one in records(tmp_path, "metric")}
    assert {axis, "*" if reports else "curvewatch/*"} <= declared


def lightning_loggers(folder: Path) -> list[Any]:
    from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

    return [
        CSVLogger(folder, "csv"),
        TensorBoardLogger(folder, "board"),
        MLFlowLogger("test", tracking_uri=(folder / "mlruns").as_uri()),
        WandbLogger(save_dir=folder, project="test", offline=True),
    ]


def lightning_points(folder: Path) -> dict[str, Points]:
    return {
        "csv": trackers.lightning_csv(folder / "csv" / "version_0" / "metrics.csv"),
        "tensorboard": trackers.tensorboard(folder / "board" / "version_0"),
        "mlflow": trackers.mlflow((folder / "mlruns").as_uri()),
        "wandb": finished_wandb(folder, "trainer/global_step"),
    }


def test_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning counts the update under way from 0: its loss after the 2nd update stands at 1, and so do we."""
    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    run("lightning", TRAINING, tmp_path, watching, logger=lightning_loggers(tmp_path))
    found = lightning_points(tmp_path)
    alone = into(tmp_path / "alone", monkeypatch)
    run("lightning", TRAINING, alone, logger=lightning_loggers(alone))
    expected = lightning_points(alone)
    for name, points in found.items():
        assert [step for step, _ in points[OURS]] == [0, 1, 3, 4], name
        assert [value for _, value in points[OURS]] == pytest.approx(means(tmp_path / "curves.h5"), rel=1e-6), name
        assert [step for step, _ in expected[name]["loss"]] == [1, 3], name
        assert of_host(points) == of_host(expected[name]), name


def test_lightning_last_metrics_come_before_the_run_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import CSVLogger

    class Full(CSVLogger):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            if any("curvewatch" in key for key in metrics):
                raise OSError(28, "No space left on device")
            super().log_metrics(metrics, step)

    class Stopping(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.should_stop or trainer.global_step == 9

    watching = Watching(random_tokens(), tmp_path / "curves.h5", live=Live(refit_every=4))
    loggers = [Full(tmp_path, "full"), *lightning_loggers(tmp_path)]
    training = Training(steps=20, log_every=1)
    run("lightning", training, tmp_path, watching, logger=loggers, callbacks=(Stopping(),))
    for name, points in lightning_points(tmp_path).items():
        assert points[FITTED] == [(2, 3), (6, 7), (8, 9)], name
    assert caplog.text.count("logging through Full failed at step 0: [Errno 28]") == 1
    own = trackers.lightning_csv(tmp_path / "full" / "version_0" / "metrics.csv")
    assert [step for step, _ in own["loss"]] == list(range(9))
