"""Planned steps that the host's counter jumps over: each ends as a row, or on record with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curvewatch import Schedule, Watch, open_run
from curvewatch.analysis.doctor import BAD, examine
from tests.support.models import PlainLM, random_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def skipped(path: Path) -> dict[int, str]:
    with open_run(path).group() as group:
        return dict(zip(group["skipped_step"][:].tolist(), group["skipped_why"].asstr()[:].tolist(), strict=True))


def settled(path: Path) -> None:
    """Each planned step has its row or its note, and doctor has nothing to say against it."""
    run = open_run(path)
    assert set(run.planned_steps.tolist()) <= {*run.steps.tolist(), *skipped(path), *stood_for(path)}
    assert [finding.text for finding in examine(path) if finding.level == BAD] == []


def stood_for(path: Path) -> list[int]:
    with open_run(path).group() as group:
        return group["due_step"][:].tolist() if "due_step" in group else []


def test_a_counter_that_goes_up_by_two(path: Path) -> None:
    model = PlainLM()
    with Watch(random_tokens(), path, max_steps=12, schedule=3) as watch:
        for step in range(0, 13, 2):
            assert (watch.observe(model, step) is not None) == (step in (0, 4, 6, 10, 12))
            assert not watch.due(step)
    assert open_run(path).steps.tolist() == [0, 4, 6, 10, 12]
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
    assert {step: why for step, why in skipped(path).items() if step in (2, 3, 4)} == dict.fromkeys(
        (2, 3, 4), "training passed it without stopping; the row of step 5 stands in"
    )
    settled(path)


def test_training_that_ends_early_says_so(path: Path) -> None:
    watch = Watch(random_tokens(), path, max_steps=20, schedule=5)
    for step in range(8):
        watch.observe(PlainLM(), step)
    watch.finish(PlainLM(), 7)
    assert open_run(path).steps.tolist() == [0, 5, 7]
    assert skipped(path) == dict.fromkeys((10, 15, 20), "training ended at step 7")
    settled(path)
    # It goes on after all: what was written off is scored.
    with Watch(random_tokens(), path, max_steps=20, schedule=5) as watch:
        for step in range(8, 21):
            watch.observe(PlainLM(), step)
    assert open_run(path).steps.tolist() == [0, 5, 7, 10, 15, 20]
    assert skipped(path) == {}
    settled(path)


def test_a_failure_says_nothing_of_what_is_to_come(path: Path) -> None:
    def train() -> None:
        with Watch(random_tokens(), path, max_steps=20, schedule=5) as watch:
            watch.observe(PlainLM(), 0)
            raise KeyError("boom")

    with pytest.raises(KeyError):
        train()
    assert skipped(path) == {}


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
    notes = skipped(path)
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
    assert {0, 3} <= set(skipped(path))
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
    assert trainer.global_step == 12
    assert open_run(path).steps.tolist() == [0, 4, 6, 10, 12]
    settled(path)
