"""Lightning's adapter: what its loggers get, which model is scored, and in which precision."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from curvewatch import Scorer, open_run
from curvewatch.integrations.lightning import CurveWatchCallback
from tests.support.hosts import Watching, adamw, loader, run
from tests.support.keys import always, unknown
from tests.support.models import PlainLM, gpt2, random_tokens
from tests.support.offline import rows
from tests.support.trainings import Training

TRAINING = Training(steps=5, log_every=2)
# No token is acquired in five steps, so there is no median of the steps at which it was.
MISSING = {"curvewatch/eval/acquisition_step_median"}


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_CONSOLE", "off")
    logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    run("lightning", TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), logger=logger)
    wandb.finish()
    found = rows(tmp_path)
    ours = [row for row in found if "curvewatch/watch/step" in row]
    assert [row["curvewatch/watch/step"] for row in ours] == [0, 2, 4, 5]
    # Lightning counts the update under way from 0: its loss after the 2nd update stands at 1, and so do we.
    assert [row["trainer/global_step"] for row in found if "loss" in row] == [1, 3]
    assert [row["trainer/global_step"] for row in ours] == [0, 1, 3, 4]
    keys = {key.rpartition(".")[0] if "histogram." in key else key for key in ours[-1]}
    assert always(histograms=True) - keys == MISSING
    assert unknown(keys) == set()


def test_csv_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [CSVLogger(tmp_path, "csv"), TensorBoardLogger(tmp_path, "board")]
    run("lightning", TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), logger=loggers)
    expected = open_run(tmp_path / "curves.h5").surprisal[:].mean(axis=1)
    with open(tmp_path / "csv" / "version_0" / "metrics.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["curvewatch/eval/surprisal_mean"]]
    assert [int(line["step"]) for line in lines] == [0, 1, 3, 4]
    assert [float(line["curvewatch/eval/surprisal_mean"]) for line in lines] == pytest.approx(expected, rel=1e-5)
    assert always() - set(lines[-1]) == MISSING
    board = EventAccumulator(str(tmp_path / "board" / "version_0"))
    board.Reload()
    scalars = board.scalars.Items("curvewatch/eval/surprisal_mean")
    assert [scalar.value for scalar in scalars] == pytest.approx(expected, rel=1e-5)


def test_early_stopping_stands_at_the_last_updates_place(tmp_path: Path) -> None:
    from lightning.pytorch import Callback

    class Stopping(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 3

    run(
        "lightning",
        Training(steps=50, log_every=2),
        tmp_path,
        Watching(random_tokens(), tmp_path / "curves.h5"),
        logger=CSVLogger(tmp_path, "csv"),
        callbacks=(Stopping(),),
    )
    with open(tmp_path / "csv" / "version_0" / "metrics.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines if line["curvewatch/eval/surprisal_mean"]] == [0, 1, 2]
    assert [int(line["step"]) for line in lines if line["loss"]] == [1, 2]


def test_scored_in_the_precision_of_training(tmp_path: Path) -> None:
    training = Training(steps=2, log_every=1, bf16=True)
    run("lightning", training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    file = open_run(tmp_path / "curves.h5")
    with file.group() as group:
        assert json.loads(group.attrs["scorer"])["compute_dtype"] == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16):
        expected = Scorer(random_tokens()).score(training.model()).surprisal_bits
    assert np.array_equal(file.surprisal[0], expected)


class Module(LightningModule):
    """A LightningModule whose own forward takes ids."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.plain(ids)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        logits = self(batch["input_ids"])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    def configure_optimizers(self) -> Any:
        return adamw(self)


def fit(tmp_path: Path, module: Any, **settings: Any) -> Any:
    callback = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", **settings)
    trainer = LightningTrainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, max_steps=2, log_every_n_steps=1, logger=False,
        callbacks=[callback], enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, loader(Training(shuffle=False)))
    return open_run(tmp_path / "curves.h5")


def test_a_module_without_a_transformers_model_is_called_itself(tmp_path: Path) -> None:
    file = fit(tmp_path, Module(plain=PlainLM(seed=4)))
    expected = Scorer(random_tokens()).score(PlainLM(seed=4)).surprisal_bits
    assert np.array_equal(file.surprisal[0], expected)


def test_forward_gets_the_lightning_module(tmp_path: Path) -> None:
    seen = []

    def forward(module: Any, batch: Any) -> Any:
        seen.append(type(module))
        return module.plain(batch.input_ids)

    fit(tmp_path, Module(plain=PlainLM(seed=4), student=gpt2(), teacher=gpt2()), forward=forward)
    assert set(seen) == {Module}


def test_hyperparameters_that_json_can_not_hold(tmp_path: Path) -> None:
    """They are for the record only, and no reason to refuse a training."""
    module = Module(plain=PlainLM())
    module.save_hyperparameters({"betas": {(0, 1): 0.9}, "rate": 0.1, "function": len})
    (session,) = fit(tmp_path, module).sessions
    assert session["host"]["hyperparameters"]["rate"] == 0.1
