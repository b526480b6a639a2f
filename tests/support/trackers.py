"""What trackers have kept, read back from their own files: by key, pairs of a step and a value."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .offline import rows

Points = dict[str, list[tuple[int, float]]]


def tensorboard(folder: Path) -> Points:
    """Scalars of the one run whose event file lies in `folder`: whoever logs after its end begins another file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (_,) = folder.glob("events.*")
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    keys = board.Tags()["scalars"]
    return {key: [(point.step, point.value) for point in board.scalars.Items(key)] for key in keys}


def lightning_csv(file: Path) -> Points:
    """Lightning's `metrics.csv`."""
    found: Points = defaultdict(list)
    with open(file, newline="") as lines:
        for line in csv.DictReader(lines):
            for key, value in line.items():
                if key != "step" and value:
                    found[key].append((int(line["step"]), float(value)))
    return dict(found)


def mlflow(uri: str) -> Points:
    """Metrics of the one run in the file store at `uri`."""
    (run,) = mlflow_runs(uri)
    return run


def mlflow_runs(uri: str) -> list[Points]:
    """Metrics of each run in the file store at `uri`, the first begun first; all must have ended."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
    assert {run.info.status for run in found} == {"FINISHED"}
    return [
        {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        for run in sorted(found, key=lambda run: run.info.start_time)
    ]


def trackio(database: Path) -> Points:
    """Metrics of the one run in a project's database, on the axis that the Trainer gives them."""
    (run,) = trackio_runs(database)
    return run


def trackio_runs(database: Path) -> list[Points]:
    """Metrics of each run in a project's database, the first begun first."""
    with closing(sqlite3.connect(database)) as connection:
        lines = connection.execute("SELECT run_name, metrics FROM metrics ORDER BY id").fetchall()
    by_run: dict[str, list[dict[str, Any]]] = {}
    for name, metrics in lines:
        by_run.setdefault(name, []).append(json.loads(metrics))
    return [on_axis(run, "train/global_step") for run in by_run.values()]


def on_axis(lines: list[dict[str, Any]], axis: str) -> Points:
    """Numbers of rows that name their step by a key of their own, as W&B's do."""
    found: Points = defaultdict(list)
    for line in lines:
        for key, value in line.items():
            if key not in (axis, "_step") and isinstance(value, (int, float)):
                found[key].append((line[axis], value))
    return dict(found)


def finished_wandb(folder: Path, axis: str) -> Points:
    """Numbers in the one offline run of W&B in `folder`, once it is ended."""
    import wandb

    wandb.finish()
    return on_axis(rows(folder), axis)


def into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets trackers keep what they are told in `folder`."""
    import wandb

    folder.mkdir(exist_ok=True)
    wandb.teardown()  # it reads its settings once in the life of a process
    for key, value in {
        "DIR": str(folder),
        "CONSOLE": "off",
        "X_DISABLE_STATS": "true",
        "X_SAVE_REQUIREMENTS": "false",
    }.items():
        monkeypatch.setenv(f"WANDB_{key}", value)
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(folder / "board"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    if find_spec("mlflow"):  # the tests of W&B alone do without
        import mlflow

        mlflow.set_tracking_uri((folder / "mlruns").as_uri())  # once set it comes before the environment
    return folder
