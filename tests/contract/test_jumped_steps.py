"""Planned steps that the host's counter jumps over: each ends as a row, or on record with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curvewatch import Schedule, Watch, open_run
from curvewatch.analysis.doctor import BAD, examine
from tests.support.hosts import Watching, run
from tests.support.models import PlainLM, random_tokens
from tests.support.trainings import Training


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def settled(path: Path) -> None:
    """Each planned step has its row or its note, and doctor has nothing to say against it."""
    run = open_run(path)
    assert set(run.planned_steps.tolist()) <= {*run.due_steps.tolist(), *run.skipped}
    assert [finding.text for finding in examine(path) if finding.level == BAD] == []


def test_a_counter_that_goes_up_by_two(path: Path) -> None:
    model = PlainLM()
    with Watch(random_tokens(), path, max_steps=12, schedule=3) as watch:
        for step in range(0, 13, 2):
            assert (watch.observe(model, step) is not None) == (step in (0, 4, 6, 10, 12))
            assert not watch.due(step)
    run = open_run(path)
    assert run.steps.tolist() == [0, 4, 6, 10, 12]
    assert run.due_steps.tolist() == run.planned_steps.tolist() == [0, 3, 6, 9, 12]
    assert run.skipped == {}
    settled(path)


def test_several_planned_steps_in_one_jump(path: Path) -> None:
    model = PlainLM()
    with Watch(random_tokens(), path, max_steps=10, schedule=1) as watch:
        for step in (0, 1, 5, 10):
            with torch.no_grad():
                model.head.bias += step  # the row is of the model at its own step
            watch.observe(model, step)
    run = open_run(path)
    assert run.steps.tolist() == [0, 1, 5, 10]
    assert {step: why for step, why in open_run(path).skipped.items() if step in (2, 3, 4)} == dict.fromkeys(
        (2, 3, 4), "training passed it without stopping; the row of step 5 stands in"
    )
    settled(path)


def test_training_that_ends_early_says_so(path: Path) -> None:
    watch = Watch(random_tokens(), path, max_steps=20, schedule=5)
    for step in range(8):
        watch.observe(PlainLM(), step)
    watch.finish(PlainLM(), 7)
    assert open_run(path).steps.tolist() == [0, 5, 7]
    assert open_run(path).skipped == dict.fromkeys((10, 15, 20), "training ended at step 7")
    settled(path)
    # It goes on after all: what was written off is scored.
    with Watch(random_tokens(), path, max_steps=20, schedule=5) as watch:
        for step in range(8, 21):
            watch.observe(PlainLM(), step)
    assert open_run(path).steps.tolist() == [0, 5, 7, 10, 15, 20]
    assert open_run(path).skipped == {}
    settled(path)


def test_a_failure_says_nothing_of_what_is_to_come(path: Path) -> None:
    def train() -> None:
        with Watch(random_tokens(), path, max_steps=20, schedule=5) as watch:
            watch.observe(PlainLM(), 0)
            raise KeyError("boom")

    with pytest.raises(KeyError):
        train()
    assert open_run(path).skipped == {}


def test_a_failed_observation_writes_off_all_that_it_was_for(path: Path) -> None:
    def forward(model: Any, batch: Any) -> Any:
        if broken:
            raise RuntimeError("no weights today")
        return model(batch.input_ids)

    model = PlainLM()
    with Watch(random_tokens(), path, max_steps=9, schedule=3, forward=forward) as watch:
        broken = False
        watch.observe(model, 0)
        broken = True
        watch.observe(model, 7)
        broken = False
        watch.observe(model, 9)
    assert open_run(path).steps.tolist() == [0, 9]
    notes = open_run(path).skipped
    assert list(notes) == [3, 6]
    assert all(why.startswith("scoring failed") and "no weights today" in why for why in notes.values())
    settled(path)


def test_a_watch_that_begins_late(path: Path) -> None:
    watch = Watch(random_tokens(), path, max_steps=12, schedule=3)
    watch.start(PlainLM(), 7)
    for step in range(7, 13):
        watch.observe(PlainLM(), step)
    watch.finish(PlainLM(), 12)
    assert open_run(path).steps.tolist() == [7, 9, 12]
    assert open_run(path).due_steps.tolist() == [6, 9, 12]
    assert list(open_run(path).skipped) == [0, 3]
    settled(path)


def test_a_shorter_run_on_resume(path: Path) -> None:
    """`max_steps` is halved: the plan ends earlier, and its last step is scored."""
    for max_steps, steps in ((40, range(13)), (20, range(13, 21))):
        watch = Watch(random_tokens(), path, max_steps=max_steps, schedule=Schedule.every(8))
        for step in steps:
            watch.observe(PlainLM(), step)
        watch.finish(PlainLM(), steps[-1]) if max_steps == 20 else watch.close()
    run = open_run(path)
    assert run.planned_steps.tolist() == run.steps.tolist() == [0, 8, 16, 20]
    settled(path)


def test_two_optimizers_in_lightning(path: Path, tmp_path: Path) -> None:
    import lightning.pytorch as pl
    from integrations.lightning import CurveWatchCallback
    from torch.utils.data import DataLoader

    class TwoOptimizers(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.lm = PlainLM()
            self.automatic_optimization = False

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.lm(ids)

        def training_step(self, batch: torch.Tensor, _: int) -> None:
            for optimizer in self.optimizers():
                loss = self(batch).logsumexp(-1).mean()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.lm.embedding, self.lm.head)]

    data = DataLoader(torch.randint(0, 101, (12, 8)), batch_size=2)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
        callbacks=[CurveWatchCallback(random_tokens(), path, schedule=3)],
    )  # fmt: skip
    trainer.fit(TwoOptimizers(), data)
    assert trainer.global_step == open_run(path).max_steps == 12
    assert open_run(path).steps.tolist() == [0, 4, 6, 10, 12]
    settled(path)


@pytest.mark.parametrize(
    ("schedule", "epochs", "last"),
    [
        # 10 batches an epoch: all of them step, then every 4th and the last (3), in two epochs.
        ({1: 4}, 3, 16),
        ({0: 3}, 2, 8),
        ({0: 2, 5: 10}, 2, 10),
    ],
)
def test_accumulation_that_changes_between_epochs(
    schedule: dict[int, int], epochs: int, last: int, path: Path, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    watching = Watching(random_tokens(), path, schedule=Schedule.every(5))
    callbacks = (GradientAccumulationScheduler(schedule),)
    run("lightning", Training(epochs=epochs, rows=40, batch=4), tmp_path, watching, callbacks=callbacks)
    file = open_run(path)
    assert file.max_steps == last
    assert file.steps.tolist() == file.planned_steps.tolist() == sorted({*range(0, last, 5), last})
    settled(path)


def test_a_batch_size_that_the_trainer_finds_by_itself(path: Path, tmp_path: Path) -> None:
    """Each try goes on in the same file, which holds the rows of the last one alone."""
    from transformers import TrainerCallback

    class OutOfMemory(TrainerCallback):
        tries = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 4 and self.tries < 2:
                self.tries += 1
                raise RuntimeError("CUDA out of memory.")

    trouble = OutOfMemory()
    watching = Watching(random_tokens(), path, schedule=Schedule.every(3))
    training = Training(steps=7, rows=80, batch=16)
    run("trainer", training, tmp_path, watching, callbacks=(trouble,), auto_find_batch_size=True)
    assert trouble.tries == 2
    assert [one.name for one in tmp_path.glob("*.h5")] == ["curves.h5"]
    file = open_run(path)
    assert file.steps.tolist() == [0, 3, 6, 7]
    assert [session["dropped_rows"] for session in file.sessions] == [0, 2, 2]
    settled(path)


def test_a_second_training_is_not_taken_for_a_further_try(path: Path, tmp_path: Path) -> None:
    watching = Watching(random_tokens(), path, schedule=Schedule.every(3))
    run("trainer", Training(steps=4), tmp_path, watching, trainings=2, auto_find_batch_size=True)
    assert sorted(one.name for one in tmp_path.glob("*.h5")) == ["curves.1.h5", "curves.h5"]


@pytest.mark.parametrize(
    ("host", "settings", "named"),
    [
        ("trainer", {"logging_steps": 500}, "logging_steps=500"),
        ("lightning", {"log_every_n_steps": 50}, "log_every_n_steps=50"),
    ],
)
def test_a_host_that_logs_seldom_is_named(
    host: str, settings: dict[str, Any], named: str, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(host, Training(steps=4), tmp_path, Watching(random_tokens(), path), **settings)
    said = [record.getMessage() for record in caplog.records if "makes 2 rows in 4 steps" in record.getMessage()]
    assert len(said) == 1
    assert named in said[0]
    assert "take 5 in the last quarter" in said[0]
    assert open_run(path).steps.tolist() == [0, 4]


@pytest.mark.parametrize("settings", [{"schedule": 3}, {}])
def test_enough_rows_or_an_own_schedule_are_no_matter(
    settings: dict[str, Any], path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = 4 if settings else 20  # 16 to 20 are the last quarter
    run("trainer", Training(steps=steps, log_every=1), tmp_path, Watching(random_tokens(), path, **settings))
    assert "last quarter" not in caplog.text


def test_a_denser_schedule_on_resume(path: Path) -> None:
    """What it would have scored before is on record, in order, and nothing is scored for it any more."""
    first = Watch(random_tokens(), path, max_steps=12, schedule=4)
    for step in (0, 4, 9):
        first.observe(PlainLM(), step)
    first.close()
    second = Watch(random_tokens(), path, max_steps=12, schedule=2)
    for step in range(10, 13):
        second.observe(PlainLM(), step)
    second.finish(PlainLM(), 12)
    run = open_run(path)
    assert run.steps.tolist() == [0, 4, 9, 10, 12]
    assert run.due_steps.tolist() == [0, 4, 8, 10, 12]
    assert run.skipped == dict.fromkeys((2, 6), "no row of it; training was at step 9 when this was seen")
    settled(path)
