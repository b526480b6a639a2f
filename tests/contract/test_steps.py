"""Which steps are scored: the planned ones, which are those at which the host logs, the first, and the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import IterableDataset

from curvewatch import Schedule, open_run
from tests.support.hosts import HOSTS, Watching, run
from tests.support.models import random_tokens
from tests.support.trainings import Training

# Host, training, the host's own settings, the steps at which it will log, and the last one.
LOGGING: dict[str, tuple[str, Training, dict[str, Any], list[int], int]] = {
    "trainer": ("trainer", Training(steps=7), {}, [3, 6], 7),
    "trainer, accumulation": ("trainer", Training(steps=5, accumulate=4, log_every=2), {}, [2, 4], 5),
    # 0.25 of 8 steps is every 2nd.
    "trainer, ratio": ("trainer", Training(steps=8), {"logging_steps": 0.25}, [2, 4, 6, 8], 8),
    "trainer, first step": ("trainer", Training(steps=7, log_first=True), {}, [1, 3, 6], 7),
    # 10 rows make 3 batches (the last of 2 rows), which make 2 updates of 2 and 1 batches: 3 epochs end at 2, 4, 6.
    "trainer, epochs": (
        "trainer",
        Training(rows=10, epochs=3, accumulate=2, log_epochs=True),
        {},
        [2, 4, 6],
        6,
    ),
    "trainer, steps over epochs": ("trainer", Training(rows=10, epochs=3, accumulate=2, log_every=4), {}, [4], 6),
    # 5 steps are one epoch of 3 updates and two thirds of a second, whose end is logged all the same.
    "trainer, epochs cut short": ("trainer", Training(rows=12, steps=5, log_epochs=True), {}, [3, 5], 5),
    "trainer, no logging": ("trainer", Training(steps=4, log_every=None), {}, [], 4),
    "trainer, evaluation": ("trainer", Training(steps=6, evaluate_every=2), {"eval_on_start": True}, [3, 6], 6),
    "lightning": ("lightning", Training(steps=7), {}, [3, 6], 7),
    "lightning, accumulation": ("lightning", Training(steps=5, accumulate=4, log_every=2), {}, [2, 4], 5),
    # 10 rows make 3 batches, of which 2 make an update, and the last one of an epoch is an update by itself.
    "lightning, epochs": ("lightning", Training(rows=10, epochs=3, accumulate=2, log_every=2), {}, [2, 4, 6], 6),
    "lightning, every step": ("lightning", Training(steps=3, log_every=1), {}, [1, 2, 3], 3),
    "lightning, no logging": ("lightning", Training(steps=4, log_every=None), {}, [], 4),
    "lightning, validation": ("lightning", Training(steps=6, evaluate_every=2), {}, [3, 6], 6),
}


@pytest.mark.parametrize("case", LOGGING)
def test_scored_steps_are_the_planned_ones_and_those_that_the_host_logs(case: str, tmp_path: Path) -> None:
    host, training, settings, logged, last = LOGGING[case]
    outcome = run(host, training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), **settings)
    assert outcome.logged_steps == logged, "the test is wrong about its host"
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == sorted({0, *logged, last})
    assert file.planned_steps.tolist() == file.steps.tolist()
    assert file.max_steps == last


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule.every(2), [0, 2, 4, 6, 7]),
        (Schedule.every(2, first=False, last=False), [2, 4, 6]),
        ([1, 5, 100], [0, 1, 5, 7]),
        (lambda step: step in (2, 3), [0, 2, 3, 7]),
        # 10 ** (n / 3) = 1, 2.15, 4.64, 10: steps 1, 2, 5 below 7.
        (Schedule.log(3), [0, 1, 2, 5, 7]),
    ],
)
def test_other_schedules(host: str, schedule: Any, expected: list[int], tmp_path: Path) -> None:
    watching = Watching(random_tokens(), tmp_path / "curves.h5", schedule=schedule)
    run(host, Training(steps=7, accumulate=2), tmp_path, watching)
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == expected
    assert file.planned_steps.tolist() == expected


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_logging_steps_and_others(host: str, tmp_path: Path) -> None:
    schedule = Schedule.logging() | Schedule.steps([1, 2])
    run(host, Training(steps=7), tmp_path, Watching(random_tokens(), tmp_path / "curves.h5", schedule=schedule))
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 1, 2, 3, 6, 7]


class Stream(IterableDataset):
    """Rows without a known number."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return (self.rows[i] for i in range(len(self.rows)))


def test_epochs_of_unknown_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps can't be planned, but they are scored where the Trainer logs."""
    training = Training(rows=12, steps=7, log_epochs=True)
    stream = Stream(training.data())
    monkeypatch.setattr(Training, "data", lambda self: stream)
    outcome = run("trainer", training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    assert outcome.logged_steps == [3, 6, 7]
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0, 3, 6, 7]
    assert file.planned_steps.tolist() == [0, 7]


def test_every_adapter_writes_the_same_file_for_the_same_training(tmp_path: Path) -> None:
    training = Training(dropout=0.0, shuffle=False)
    outcomes, files = [], []
    for host in HOSTS:
        path = tmp_path / f"{host}.h5"
        outcomes.append(run(host, training, tmp_path / host, Watching(random_tokens(ragged=True), path)))
        files.append(open_run(path))
    for host, outcome, file in zip(HOSTS, outcomes, files, strict=True):
        weights = [outcome.weights[name].numpy() for name in outcome.weights]
        same = [outcomes[0].weights[name].numpy() for name in outcome.weights]
        assert all(map(np.array_equal, weights, same)), f"the test's training differs under {host}"
        assert np.array_equal(file.steps, files[0].steps)
        for curves in ("surprisal", "correct", "entropy"):
            assert np.array_equal(getattr(file, curves)[:], getattr(files[0], curves)[:]), (host, curves)
        assert np.array_equal(file.planned_steps, files[0].planned_steps)
        assert (file.chance, file.max_steps, file.set_hash) == (files[0].chance, 7, files[0].set_hash)
    assert not np.array_equal(files[0].surprisal[0], files[0].surprisal[-1]), "nothing was learned"
