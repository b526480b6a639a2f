"""The whole way to a W&B server (on loopback): rows arrive as they stand in the file; without it training goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curvewatch import open_run

from .support.keys import always, unknown
from .support.process import environment
from .support.wandb_server import serving

ROOT = Path(__file__).parents[1]


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
    rows = [row for _, row in sorted(server.history.items()) if "curvewatch/watch/step" in row]
    assert [row["train/global_step"] for row in rows] == run.steps.tolist() == list(range(11))
    means = [row["curvewatch/eval/surprisal_mean"] for row in rows]
    np.testing.assert_allclose(means, run.surprisal[:].astype(float).mean(axis=1), rtol=1e-12)
    accuracy = [row["curvewatch/eval/accuracy_top1"] for row in rows]
    np.testing.assert_allclose(accuracy, run.correct[:].mean(axis=1), rtol=1e-12)
    sent = {key for row in rows for key in row if key.startswith("curvewatch/")}
    # Nothing is acquired in ten steps, so there is no median step of acquisition yet.
    assert always(histograms=True) - sent <= {"curvewatch/eval/acquisition_step_median"}
    assert unknown(sent) == set()
    histogram = rows[-1]["curvewatch/eval/surprisal_histogram"]
    assert sum(histogram["values"]) == run.n_tokens
    assert server.summary["curvewatch/eval/surprisal_mean"] == means[-1]


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
