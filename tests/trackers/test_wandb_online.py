"""The whole way to a W&B server (on loopback): rows arrive as they stand in the file; without it training goes on."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Run, open_run
from curvewatch.measures import MeasureWarning
from tests.support.keys import always, unknown
from tests.support.process import environment
from tests.support.wandb_server import WandbServer, serving

ROOT = Path(__file__).parents[2]


def train(path: Path, url: str, leave: str) -> subprocess.Popen[str]:
    settings = environment(
        WANDB_MODE="online", WANDB_BASE_URL=url, WANDB_API_KEY="a" * 40, WANDB_DIR=str(path.parent),
        WANDB_SILENT="true", HOME=str(path.parent),
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.support.wandb_training", str(path), leave]
    return subprocess.Popen(
        command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_rows_arrive_as_they_stand_in_the_file(tmp_path):
    path = tmp_path / "curves.h5"
    (tmp_path / "go").touch()
    with serving() as server:
        training = train(path, server.url, "in order")
        output, _ = training.communicate(timeout=240)
        assert training.returncode == 0, output[-3000:]
    run = open_run(path)
    history = [row for _, row in sorted(server.history.items())]
    rows = [row for row in history if "curvewatch/watch/step" in row]
    assert [row["train/global_step"] for row in rows] == run.steps.tolist() == list(range(11))
    means = [row["curvewatch/eval/surprisal_mean"] for row in rows]
    np.testing.assert_allclose(means, run.surprisal[:].astype(float).mean(axis=1), rtol=1e-12)
    accuracy = [row["curvewatch/eval/accuracy_top1"] for row in rows]
    np.testing.assert_allclose(accuracy, run.correct[:].mean(axis=1), rtol=1e-12)
    sent = {key for row in history for key in row if key.startswith("curvewatch/")}
    assert always(histograms=True) <= sent
    assert unknown(sent) == set()
    histogram = rows[-1]["curvewatch/eval/surprisal_histogram"]
    assert sum(histogram["values"]) == run.n_tokens
    assert server.summary["curvewatch/eval/surprisal_mean"] == means[-1]
    own = {key for key in sent if "/smoothed/" in key} - {"curvewatch/eval/smoothed/step"}
    assert {server.axes.get(key) for key in own} == {"curvewatch/eval/smoothed/step"}, "by name: patterns may lose"
    check_smoothed(rows, run)
    check_files(server, history, path.with_suffix(".report.html").read_bytes())


def check_smoothed(rows: list[dict[str, Any]], run: Run) -> None:
    """So small a set is fitted at once: each row has its own step's values, the last row those of the whole file."""
    assert [row["curvewatch/eval/smoothed/step"] for row in rows] == run.steps.tolist()
    with pytest.warns(MeasureWarning):  # eleven rows are few
        measures = run.measures()
    last = {key.removeprefix("curvewatch/eval/smoothed/"): value for key, value in rows[-1].items()}
    assert last["forgettability_mean"] == pytest.approx(measures["forgettability"].mean(), rel=1e-5)
    acquired = np.isin(measures["acquisition_status"], ["learned", "left_censored"])
    assert last["acquired_share"] == pytest.approx(acquired.mean())
    assert last["forgetting_events_total"] == measures["forgetting_events_threshold"].sum()
    for row in rows:
        step = row["curvewatch/eval/smoothed/step"]
        recent = (run.steps > 0.75 * step) & (run.steps <= step)
        if step == 0:
            recent[0] = True
        mean = run.surprisal[:][recent].mean(dtype=float)
        assert row["curvewatch/eval/smoothed/last_quarter_surprisal_mean"] == pytest.approx(mean, rel=1e-6)
        assert row["curvewatch/eval/smoothed/last_quarter_rows"] == recent.sum()


def check_files(server: WandbServer, history: list[dict[str, Any]], report: bytes) -> None:
    """What rows and summary name as files has been put, whole."""
    named = [
        (key, value) for row in (*history, server.summary) for key, value in row.items() if "path" in _parts(value)
    ]
    assert {key for key, _ in named} == {
        "curvewatch/eval/watched_curves", "curvewatch/eval/most_forgotten", "curvewatch/text/samples",
        "curvewatch/eval/report",
    }  # fmt: skip
    for key, value in named:
        assert hashlib.sha256(server.uploads[value["path"]]).hexdigest() == value["sha256"], key
    assert server.uploads[server.summary["curvewatch/eval/report"]["path"]] == report
    assert b"<table>" in server.uploads[server.summary["curvewatch/eval/most_forgotten"]["path"]]


def _parts(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@pytest.mark.parametrize("when", ["midway", "from the start"])
def test_training_goes_on_when_the_server_dies(when, tmp_path):
    path = tmp_path / "curves.h5"
    with serving() as server:
        if when == "from the start":
            # It answers log-in and run creation, and nothing after.
            take = server.take
            server.take = lambda files: (server.dead.set(), take(files))
            (tmp_path / "go").touch()
        training = train(path, server.url, "at once")
        if when == "midway":
            assert server.arrived.wait(120), "the first rows arrive"
            server.dead.set()
            (tmp_path / "go").touch()
        output, _ = training.communicate(timeout=240)
    assert training.returncode == 0, output[-3000:]
    seconds = float(output.split("trained ")[1].split()[0])
    assert open_run(path).steps.tolist() == list(range(11)), "nothing is lost from the file"
    assert seconds < 100, "training does not wait for a server that is gone"
