"""Each row is of the weights that train, also where a host puts others into the model at the end."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.optim.swa_utils import AveragedModel

from curvewatch import Schedule, Scorer, ScoringError, Watch, open_run
from curvewatch.integrations.lightning import CurveWatchCallback
from curvewatch.watch.weights import WeightProbe, training_weights
from tests.support.hosts import Watching, lightning_module, loader, run
from tests.support.models import gpt2, random_tokens
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

AVERAGES = pytest.mark.skipif(
    not hasattr(lightning_callbacks, "EMAWeightAveraging"), reason="this version of Lightning has no WeightAveraging"
)


def bits_of(weights: dict[str, torch.Tensor]) -> Any:
    model = gpt2()
    model.load_state_dict(weights)
    return Scorer(random_tokens()).score(model).surprisal_bits


class Weights(Callback):
    """Copies of the weights after each update, and at the very end."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.at: dict[int, dict[str, torch.Tensor]] = {}
        self.stop_at = stop_at

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.at[trainer.global_step] = {k: v.detach().clone() for k, v in pl_module.model.state_dict().items()}
        if self.stop_at is not None and trainer.global_step >= self.stop_at:
            trainer.should_stop = True


@AVERAGES
@pytest.mark.parametrize("first", ["averaging", "watch"])
@pytest.mark.parametrize("stop_at", [None, 4])
def test_lightning_averages_are_never_scored(first: str, stop_at: int | None, tmp_path: Path) -> None:
    training, weights = Training(dropout=0.0, shuffle=False), Weights(stop_at)
    # Step 6 is the last, and not planned by the rule; the averages are put into the model when training has ended.
    watch = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", schedule=Schedule.every(5))
    averaging = lightning_callbacks.WeightAveraging(avg_fn=lambda average, new, n: 0.9 * average + 0.1 * new)
    order = [averaging, watch] if first == "averaging" else [watch, averaging]
    trainer = LightningTrainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, max_steps=6, logger=False, callbacks=[weights, *order],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    module = lightning_module(training)
    trainer.fit(module, loader(training))
    file, last = open_run(tmp_path / "curves.h5"), stop_at or 6
    assert file.steps.tolist() == ([0, 4] if stop_at else [0, 5, 6])
    for step, row in zip(file.steps.tolist()[1:], file.surprisal[1:], strict=True):
        assert np.array_equal(row, bits_of(weights.at[step])), step
    averaged = bits_of(module.model.state_dict())
    assert np.abs(averaged - file.surprisal[-1]).max() > 1e-3, "nothing was averaged"
    assert last in weights.at


def test_schedule_free_averages_are_never_scored() -> None:
    import schedulefree

    model = gpt2()
    optimizer = schedulefree.AdamWScheduleFree(model.parameters(), lr=1e-2)
    optimizer.train()
    ids = torch.arange(32)[None] % 50
    for _ in range(4):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    trained = {k: v.clone() for k, v in model.state_dict().items()}
    probe = WeightProbe(model)
    mark = probe.take()
    optimizer.eval()
    shown = {k: v.clone() for k, v in model.state_dict().items()}
    assert not probe.matches(model, mark)
    with training_weights([optimizer]):
        assert probe.matches(model, mark)
        assert np.abs(Scorer(random_tokens()).score(model).surprisal_bits - bits_of(trained)).max() < 1e-4
    assert all(torch.equal(shown[k], v) for k, v in model.state_dict().items()), "not put back bit for bit"
    assert not optimizer.param_groups[0]["train_mode"]
    assert np.abs(bits_of(shown) - bits_of(trained)).max() > 1e-3, "the averages are the weights"


@pytest.mark.parametrize("host", ["trainer"])
def test_a_better_checkpoint_is_never_scored(host: str, tmp_path: Path) -> None:
    """Evaluated at 2, 4 and 6, the best is not the last; which row is the last is the training's."""
    from transformers import TrainerCallback

    at: dict[int, Any] = {}

    class Copies(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            at[state.global_step] = {k: v.clone() for k, v in kwargs["model"].state_dict().items()}
            if state.global_step == 4:
                control.should_training_stop = True

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            metrics["eval_loss"] = float(state.global_step)  # the first is the best

    training = Training(steps=8, evaluate_every=2, save_every=2, dropout=0.0)
    watching = Watching(random_tokens(), tmp_path / "curves.h5", schedule=Schedule.every(3))
    outcome = run(host, training, tmp_path, watching, callbacks=(Copies(),), load_best_model_at_end=True)
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0, 3, 4]
    for step, row in zip(file.steps.tolist()[1:], file.surprisal[1:], strict=True):
        assert np.array_equal(row, bits_of(at[step])), step
    del outcome


def test_weights_that_were_swapped_unseen_cost_the_last_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = gpt2()
    watch = Watch(random_tokens(), tmp_path / "curves.h5", max_steps=9, schedule=Schedule.every(9))
    for step in range(4):
        watch.observe(model, step)
    with torch.no_grad():
        for p in model.parameters():
            p.data.mul_(0.9)  # not even the version counter tells
    watch.finish(model, 3)
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0]
    assert "last step, 3, is not scored: the model held other weights" in caplog.text


def test_weights_that_stay_give_the_last_row(tmp_path: Path) -> None:
    model = gpt2()
    watch = Watch(random_tokens(), tmp_path / "curves.h5", max_steps=9, schedule=Schedule.every(9))
    for step in range(4):
        watch.observe(model, step)
    watch.finish(model, 3)
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 3]


def test_the_epoch_of_stochastic_weight_averaging_has_no_rows(tmp_path: Path) -> None:
    training, weights = Training(rows=12, dropout=0.0, shuffle=False), Weights()
    watch = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", schedule=Schedule.every(1))
    swa = StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)
    trainer = LightningTrainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, max_epochs=3, logger=False,
        callbacks=[weights, swa, watch], enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(lightning_module(training), loader(training))
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist()[:2] == [0, 1]
    for step, row in zip(file.steps.tolist()[1:], file.surprisal[1:], strict=True):
        assert np.array_equal(row, bits_of(weights.at[step])), step


# ---------------------------------------------------------------------- rows of averages, where they are asked for


class Averages(Callback):
    """Copies of an averaging callback's averages after each update."""

    def __init__(self, keeper: Any) -> None:
        self.keeper = keeper
        self.at: dict[int, dict[str, torch.Tensor]] = {}
        self.apart = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        average = self.keeper._average_model
        module = getattr(average, "module", average)
        if int(getattr(average, "n_averaged", None) or getattr(self.keeper, "n_averaged", None) or 0) == 0:
            module = pl_module
        self.at[trainer.global_step] = {k: v.detach().clone() for k, v in module.model.state_dict().items()}
        if module is not pl_module:
            self.apart |= not all(map(torch.equal, module.parameters(), pl_module.parameters()))


def averaging(kind: str) -> Any:
    if kind == "SWA":
        return StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1)
    if kind == "EMA":
        return lightning_callbacks.EMAWeightAveraging(decay=0.8, update_every_n_steps=1, update_starting_at_step=2)
    return lightning_callbacks.WeightAveraging(avg_fn=lambda average, new, n: 0.9 * average + 0.1 * new)


@pytest.mark.parametrize(
    "kind", [pytest.param("WeightAveraging", marks=AVERAGES), pytest.param("EMA", marks=AVERAGES), "SWA"]
)
def test_lightning_averages_by_name(kind: str, tmp_path: Path) -> None:
    training = Training(rows=12, dropout=0.1, shuffle=False)
    ends, seen = [], None
    for watched in (False, True):
        keeper = averaging(kind)
        seen = Averages(keeper)
        own = [CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", schedule=1, weights="averaged")]
        trainer = LightningTrainer(
            default_root_dir=tmp_path, accelerator="cpu", devices=1, max_epochs=3, logger=False,
            callbacks=[keeper, seen, *(own if watched else [])], enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        module = lightning_module(training)
        training.seed_everything()
        trainer.fit(module, loader(training))
        ends.append([*module.state_dict().values(), *keeper._average_model.state_dict().values()])
    assert all(map(torch.equal, *ends)), "training or its averages are not as without a watch"
    file = open_run(tmp_path / "curves.h5")
    assert file.weights == "averaged"
    assert len(file.steps) >= 7
    assert seen is not None
    assert seen.apart, "the averages were the weights all the time"
    for step, row in zip(file.steps.tolist()[1:], file.surprisal[1:], strict=True):
        assert np.array_equal(row, bits_of(seen.at[step])), step


@AVERAGES
def test_averages_that_come_after_the_watch_are_refused(tmp_path: Path) -> None:
    watch = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", weights="averaged")
    trainer = LightningTrainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, max_steps=2, logger=False,
        callbacks=[watch, averaging("EMA")], enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    training = Training()
    with pytest.raises(ValueError, match=r"EMAWeightAveraging stands behind this callback.*before"):
        trainer.fit(lightning_module(training), loader(training))


@pytest.mark.parametrize("weights", ["training", "averaged"])
def test_schedule_free_in_the_trainer(weights: str, tmp_path: Path) -> None:
    """Evaluation leaves the optimizer showing its averages; epochs are logged, and training ends, after it."""
    from transformers import TrainerCallback

    at: dict[int, Any] = {}

    class Copies(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            model, optimizer = kwargs["model"], kwargs["optimizer"].optimizer
            before = [(p, p.detach().clone()) for p in model.parameters()]
            if weights == "averaged":
                optimizer.eval()
            at[state.global_step] = {k: v.clone() for k, v in model.state_dict().items()}
            if weights == "averaged":
                optimizer.train()
                with torch.no_grad():
                    for parameter, value in before:
                        parameter.copy_(value)

    training = Training(rows=12, epochs=2, log_epochs=True, evaluate_every=3, dropout=0.0)
    settings = {"optim": "schedule_free_adamw", "lr_scheduler_type": "constant"}
    alone = run("trainer", training, tmp_path / "alone", **settings)
    watching = Watching(random_tokens(), tmp_path / "curves.h5", weights=weights)
    watched = run("trainer", training, tmp_path / "watched", watching, **settings)
    assert alone.differences(watched) == []
    copied = Watching(random_tokens(), tmp_path / "copied.h5", weights=weights)
    run("trainer", training, tmp_path / "copied", copied, callbacks=(Copies(),), **settings)
    file = open_run(tmp_path / "copied.h5")
    assert file.steps.tolist() == [0, 3, 6]
    assert file.weights == weights
    for step, row in zip(file.steps.tolist()[1:], file.surprisal[1:], strict=True):
        assert np.abs(row - bits_of(at[step])).max() < 1e-4, step
    other = "averaged" if weights == "training" else "training"
    run("trainer", training, tmp_path / "o", Watching(random_tokens(), tmp_path / "o.h5", weights=other), **settings)
    assert np.abs(open_run(tmp_path / "o.h5").surprisal[-1] - file.surprisal[-1]).max() > 1e-3


def test_an_averaged_model_in_a_loop(tmp_path: Path) -> None:
    model = gpt2(seed=1)
    average = AveragedModel(model)
    with pytest.raises(ScoringError, match="weights='averaged'"):
        Watch(random_tokens(), tmp_path / "refused.h5", max_steps=3).observe(average, 0)
    with Watch(random_tokens(), tmp_path / "curves.h5", max_steps=1, weights="averaged") as watch:
        watch.observe(average, 0)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.9)
        average.update_parameters(model)
        average.update_parameters(model)
        watch.observe(average, 1)
    file = open_run(tmp_path / "curves.h5")
    assert np.array_equal(file.surprisal[0], bits_of(gpt2(seed=1).state_dict()))
    assert np.array_equal(file.surprisal[1], bits_of(average.module.state_dict()))


def test_averages_that_nobody_keeps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing is averaged.*WeightAveraging.*schedule-free"):
        Watch(random_tokens(), tmp_path / "curves.h5", max_steps=3, weights="averaged").observe(gpt2(), 0)
    with pytest.raises(ValueError, match="weights='ema': one of 'training', 'averaged'"):
        Watch(random_tokens(), tmp_path / "curves.h5", weights="ema")
    assert not (tmp_path / "curves.h5").exists()


def averages_that_do_not_fit(folder: Path) -> str:
    """On rank 1 alone the copy of the weights fails; both ranks hear of it, and training goes on."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    average, now = AveragedModel(gpt2()), [0]

    @contextmanager
    def averages() -> Any:
        if dist.get_rank() == 1 and now == [2]:
            raise torch.OutOfMemoryError("only here")
        yield

    watch = Watch(random_tokens(), folder / "curves.h5", max_steps=4, schedule=1, weights="averaged")
    watch.start(average, averages=averages)
    for step in range(5):
        now[0] = step
        watch.observe(average, step)
    watch.close()
    return "done"


def test_averages_that_do_not_fit_on_one_rank(tmp_path: Path) -> None:
    assert on_ranks(2, averages_that_do_not_fit, tmp_path) == ["done", "done"]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 1, 3, 4]
