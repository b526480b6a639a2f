"""Rows in W&B, read back from offline runs: ours stand at their steps, and the script's are as without us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch.live import Histogram, Metrics
from curvewatch.trackers.sinks import HostAxisWandb, OwnAxisWandb, Sink, active_wandb_run, function_sink
from tests.support.offline import records, rows

STEPS = 13


def metrics(step: int) -> Metrics:
    return Metrics(
        {"curvewatch/eval/surprisal_mean": 100.0 + step, "curvewatch/watch/step": float(step)},
        {"curvewatch/eval/surprisal_histogram": Histogram.of(np.array([1.0, 2.0]), 0.0, 10.0)},
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    import wandb

    settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_machine_info=True)
    made = wandb.init(project="test", mode="offline", dir=str(tmp_path), settings=settings)
    yield made
    made.finish()


# What a script logs at a step, and the rows that it must find again: by step.
SCRIPTS: dict[str, tuple[Callable[[Any, int], None], Callable[[int], bool], bool]] = {
    "every step": (lambda run, s: run.log({"loss": float(s)}), lambda s: True, False),
    "every step, step=": (lambda run, s: run.log({"loss": float(s)}, step=s), lambda s: True, True),
    "rarely": (lambda run, s: run.log({"loss": float(s)}), lambda s: s % 5 == 0, False),
    "rarely, step=": (lambda run, s: run.log({"loss": float(s)}, step=s), lambda s: s % 5 == 0, True),
    "in parts": (lambda run, s: (run.log({"a": 1}, commit=False), run.log({"loss": float(s)})), lambda s: True, False),
    "in parts, step=": (
        lambda run, s: (run.log({"a": 1}, step=s), run.log({"loss": float(s)}, step=s)),
        lambda s: True,
        True,
    ),
    "once at the end": (lambda run, s: run.log({"loss": float(s)}), lambda s: s == STEPS - 1, False),
}


@pytest.mark.parametrize(("ours_every", "ours_first"), [(1, True), (3, False)])
@pytest.mark.parametrize("script", SCRIPTS)
def test_beside_a_script_that_logs(script: str, ours_every: int, ours_first: bool, run: Any, tmp_path: Path) -> None:
    log, logs_at, by_step = SCRIPTS[script]
    sink = OwnAxisWandb()
    for step in range(STEPS):
        if ours_first and step % ours_every == 0:
            sink(metrics(step), step)
        if logs_at(step):
            log(run, step)
        if not ours_first and step % ours_every == 0:
            sink(metrics(step), step)
    run.finish()
    found = rows(tmp_path)
    # The script's rows: all of them, in order, and at its own steps where it names them.
    theirs = [row for row in found if "loss" in row]
    assert [row["loss"] for row in theirs] == [step for step in range(STEPS) if logs_at(step)]
    if by_step:
        assert [row["_step"] for row in theirs] == [row["loss"] for row in theirs]
    # Ours: one at each of our steps, with the axis and the value of that step.
    ours = [row for row in found if "curvewatch/watch/step" in row]
    assert [row["curvewatch/watch/step"] for row in ours] == list(range(0, STEPS, ours_every))
    assert all(row["curvewatch/eval/surprisal_mean"] == 100 + row["curvewatch/watch/step"] for row in ours)
    assert len({row["_step"] for row in found}) == len(found)


def test_own_axis_is_declared(run: Any, tmp_path: Path) -> None:
    OwnAxisWandb()(metrics(0), 0)
    run.finish()
    declared = records(tmp_path, "metric")
    assert any(m.get("name") == "curvewatch/watch/step" for m in declared)
    assert any(m.get("glob_name") == "curvewatch/*" for m in declared)


def test_histograms_keep_their_bins(run: Any, tmp_path: Path) -> None:
    OwnAxisWandb()(metrics(0), 0)
    run.finish()
    (row,) = rows(tmp_path)
    histogram = {
        key.removeprefix("curvewatch/eval/surprisal_histogram."): value
        for key, value in row.items()
        if "histogram" in key
    }
    assert sum(histogram["values"]) == 2
    assert (histogram["bins"][0], histogram["bins"][-1]) == (0, 10)


def test_host_axis(run: Any, tmp_path: Path) -> None:
    """The host logs its loss at every step and does its evaluation in rows of its own, so that rows run ahead."""
    sink = HostAxisWandb("train/global_step")
    for step in range(1, 6):
        run.log({"train/loss": float(step), "train/global_step": step})
        run.log({"eval/loss": float(step), "train/global_step": step})
        if step % 2 == 0:
            sink(metrics(step), step)
    run.finish()
    found = rows(tmp_path)
    ours = [row for row in found if "curvewatch/watch/step" in row]
    assert [row["train/global_step"] for row in ours] == [2, 4]
    assert [row["curvewatch/eval/surprisal_mean"] for row in ours] == [102, 104]
    assert [row["train/loss"] for row in found if "train/loss" in row] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("sink", [OwnAxisWandb(), HostAxisWandb("train/global_step")])
def test_without_a_run(sink: Sink) -> None:
    assert active_wandb_run() is None
    sink(metrics(0), 0)  # nothing happens, and no run is begun
    assert active_wandb_run() is None


def test_a_function_gets_scalars_only() -> None:
    got: list[Any] = []
    function_sink(lambda scalars, step: got.append((scalars, step)))(metrics(3), 3)
    assert got == [({"curvewatch/eval/surprisal_mean": 103.0, "curvewatch/watch/step": 3.0}, 3)]
