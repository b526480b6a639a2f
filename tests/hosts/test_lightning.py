"""Lightning's own ways of training: by hand, with two optimizers, from its command line, with averages beside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks

from curvewatch import open_run
from curvewatch.integrations.lightning import CurveWatchCallback
from tests.support.hosts import Watching, adamw, lightning_module, loader
from tests.support.models import random_tokens
from tests.support.recomputing import FLOAT32_BITS, Snapshots, assert_rows_are_the_training_models, plain_bits
from tests.support.trainings import Training

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    **dict.fromkeys(("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False),
}
TRAINING = Training(steps=4, shuffle=False)


class ByHand(LightningModule):
    """Manual optimisation: the optimizers step one after another, each for its own part of the model."""

    def __init__(self, parts: Callable[[Any], list[Any]], scheduled: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = TRAINING.model().train()
        self.parts, self.scheduled = parts, scheduled

    def training_step(self, batch: Any, _: int) -> None:
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.zero_grad()
            self.manual_backward(self.model(**batch).loss)
            optimizer.step()
        if self.scheduled:
            self.lr_schedulers().step()

    def configure_optimizers(self) -> Any:
        optimizers = [adamw(part) for part in self.parts(self.model)]
        if not self.scheduled:
            return optimizers
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.9)]


def fit(module: Any, steps: int, beside: list[Any], folder: Path) -> dict[str, torch.Tensor]:
    """What the model's weights are when `module` has trained."""
    TRAINING.seed_everything()
    Trainer(max_steps=steps, callbacks=beside, default_root_dir=folder, **QUIET).fit(module, loader(TRAINING))
    weights: dict[str, torch.Tensor] = module.model.state_dict()
    return weights


def same(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, others[name]) for name, value in weights.items())


@pytest.mark.parametrize("scheduled", [False, True])
def test_by_hand(scheduled: bool, tmp_path: Path) -> None:
    """One optimizer, with and without a schedule of the learning rate."""
    tokens, snapshots, path = random_tokens(ragged=True), Snapshots(), tmp_path / "curves.h5"
    alone = fit(ByHand(lambda model: [model], scheduled), 4, [], tmp_path)
    watching = Watching(tokens, path, schedule=1)
    watched = fit(ByHand(lambda model: [model], scheduled), 4, [snapshots.lightning(), watching.lightning()], tmp_path)
    assert same(alone, watched)
    assert_rows_are_the_training_models(path, snapshots, TRAINING.model, tokens, range(5))


def test_two_optimizers_by_hand(tmp_path: Path) -> None:
    """Lightning counts each optimizer's step: its counter goes up by two, and jumps over planned steps."""

    def halves(model: Any) -> list[Any]:
        # The head is the embedding: a part that is no block's.
        return [model.transformer.h, torch.nn.ModuleList([model.transformer.wte, model.transformer.wpe])]

    tokens, snapshots, path = random_tokens(ragged=True), Snapshots(), tmp_path / "curves.h5"
    alone = fit(ByHand(halves, False), 12, [], tmp_path)
    watching = Watching(tokens, path, schedule=3)
    watched = fit(ByHand(halves, False), 12, [snapshots.lightning(), watching.lightning()], tmp_path)
    assert same(alone, watched)
    assert_rows_are_the_training_models(path, snapshots, TRAINING.model, tokens, [0, 4, 6, 10, 12])
    run = open_run(path)
    assert run.due_steps.tolist() == [0, 3, 6, 9, 12]
    assert run.skipped == {}


class FromTheCommandLine(LightningModule):
    """What `LightningCLI` makes from arguments."""

    def __init__(self, rate: float = 1e-2) -> None:
        super().__init__()
        self.model, self.rate = TRAINING.model().train(), rate

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch).loss
        return loss

    def train_dataloader(self) -> Any:
        return loader(TRAINING)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.rate)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LightningCLI` keeps the arguments in a file beside the run: a callback with a token set must not trouble it."""
    from lightning.pytorch.cli import LightningCLI

    def train(beside: list[Any], folder: Path) -> dict[str, torch.Tensor]:
        TRAINING.seed_everything()
        arguments = ["fit", "--trainer.max_steps=4", f"--trainer.default_root_dir={folder}", "--model.rate=0.02"]
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        cli = LightningCLI(
            FromTheCommandLine, seed_everything_default=TRAINING.seed, trainer_defaults={**QUIET, "callbacks": beside}
        )
        assert cli.model.rate == 0.02
        weights: dict[str, torch.Tensor] = cli.model.model.state_dict()
        return weights

    tokens, snapshots, path = random_tokens(ragged=True), Snapshots(), tmp_path / "curves.h5"
    alone = train([], tmp_path / "alone")
    watching = Watching(tokens, path, schedule=1)
    watched = train([snapshots.lightning(), watching.lightning()], tmp_path / "watched")
    assert same(alone, watched)
    assert_rows_are_the_training_models(path, snapshots, TRAINING.model, tokens, range(5))


class Averages(Callback):
    """Copies of an averaging callback's averages, after each update."""

    def __init__(self, keeper: Any, into: Snapshots) -> None:
        self.keeper, self.into = keeper, into

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.into.take(trainer.global_step, pl_module.model)  # nothing is averaged yet

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.into.take(trainer.global_step, self.keeper._average_model.module.model)


AVERAGING: dict[str, Callable[[], Any]] = {
    "WeightAveraging": lambda: callbacks.WeightAveraging(avg_fn=lambda average, new, n: 0.8 * average + 0.2 * new),
    "EMAWeightAveraging": lambda: callbacks.EMAWeightAveraging(decay=0.8),
}


@pytest.mark.skipif(
    not hasattr(callbacks, "EMAWeightAveraging"), reason="this version of Lightning has no WeightAveraging"
)
@pytest.mark.parametrize("kind", AVERAGING)
def test_averages_beside(kind: str, tmp_path: Path) -> None:
    """The training weights by default, and by name the averages: each recomputed from copies of its own."""
    tokens = random_tokens(ragged=True)
    alone = fit(lightning_module(TRAINING), 4, [AVERAGING[kind]()], tmp_path)
    copies, rows = {}, {}
    for weights in ("training", "averaged"):
        path, keeper, taken = tmp_path / f"{weights}.h5", AVERAGING[kind](), Snapshots()
        taking = taken.lightning() if weights == "training" else Averages(keeper, taken)
        watch = CurveWatchCallback(tokens, path, schedule=1, weights=weights)
        assert same(alone, fit(lightning_module(TRAINING), 4, [keeper, taking, watch], tmp_path))
        run = open_run(path)
        assert run.weights == weights
        assert_rows_are_the_training_models(path, taken, TRAINING.model, tokens, range(5))
        copies[weights], rows[weights] = taken, run.surprisal[:]
    # Else nothing was averaged, and either row would pass for the other.
    assert np.abs(rows["training"][-1] - rows["averaged"][-1]).max() > 100 * FLOAT32_BITS
    model = TRAINING.model().eval()
    model.load_state_dict(copies["averaged"].weights[4])
    assert np.abs(plain_bits(model, tokens) - rows["training"][-1]).max() > 100 * FLOAT32_BITS
