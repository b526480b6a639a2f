"""Runs of W&B that a script begins around a plain loop: late, one after the other, again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curvewatch import open_run
from tests.support.hosts import Watching, run
from tests.support.models import random_tokens
from tests.support.offline import records
from tests.support.trackers import finished_wandb, into
from tests.support.trainings import Training

OURS = "curvewatch/eval/surprisal_mean"


@pytest.fixture(autouse=True)
def no_run_is_left_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import wandb

    into(tmp_path, monkeypatch)
    yield
    wandb.finish()


LOOP = Training(steps=6, log_every=2, save_every=4)


def begin(folder: Path, **settings: Any) -> None:
    import wandb

    folder.mkdir()
    wandb.init(project="test", dir=str(folder), **settings)


def check_loop(folder: Path, steps: list[int]) -> None:
    """A run has our values at `steps`, on the axis that it was told of, and what the watch is."""
    points = finished_wandb(folder, "curvewatch/watch/step")
    assert [step for step, _ in points[OURS]] == steps
    declared = {one.get("name") or one.get("glob_name") for one in records(folder, "metric")}
    assert {"curvewatch/watch/step", "curvewatch/*"} <= declared
    assert "set_hash" in str(records(folder, "config"))


def test_a_run_of_wandb_begun_while_training(tmp_path: Path) -> None:
    """It has what is observed from then on, the run file has all."""
    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    run("loop", LOOP, tmp_path, watching, after=lambda step, _: begin(tmp_path / "late") if step == 3 else None)
    check_loop(tmp_path / "late", [4, 6])
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4, 6]


def test_two_runs_of_wandb_in_one_training(tmp_path: Path) -> None:
    def another(step: int, _: Any) -> None:
        import wandb

        if step == 3:
            wandb.finish()
            begin(tmp_path / "second")

    begin(tmp_path / "first")
    run("loop", LOOP, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), after=another)
    check_loop(tmp_path / "second", [4, 6])
    check_loop(tmp_path / "first", [0, 2])


def test_two_trainings_in_one_process(tmp_path: Path) -> None:
    for name in ("first", "second"):
        begin(tmp_path / name)
        run("loop", LOOP, tmp_path, Watching(random_tokens(), tmp_path / f"{name}.h5"))
        check_loop(tmp_path / name, [0, 2, 4, 6])


def test_a_run_of_wandb_that_is_resumed(tmp_path: Path) -> None:
    """Each session has its own steps: on the axis, and whatever row W&B begins with."""
    same = {"id": "the-same", "resume": "allow", "group": "sessions"}
    begin(tmp_path / "first", **same)
    run("loop", LOOP, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), until=4)
    check_loop(tmp_path / "first", [0, 2, 4])
    begin(tmp_path / "second", **same)
    run("loop", LOOP, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), resume=4)
    check_loop(tmp_path / "second", [6])
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4, 6]
