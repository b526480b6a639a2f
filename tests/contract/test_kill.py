"""kill -9 in the middle of training: what was announced as committed is there, and a checkpoint goes on from it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import open_run
from tests.support.hosts import Watching, run
from tests.support.models import random_tokens
from tests.support.ranks import context
from tests.support.trainings import Training

# Epochs of 4 steps, at whose ends both hosts can go on (see test_resume).
TRAINING = Training(steps=16, rows=16, log_every=1, save_every=4, dropout=0.0, shuffle=False)


def train(host: str, training: Training, folder: Path, pipe: Any) -> None:
    """Trains, and announces each step that `flush` says is committed."""
    os.setsid()  # so that the test can find its workers
    watching = Watching(random_tokens(), folder / "curves.h5")

    def log(scalars: dict[str, float], step: int) -> None:
        assert watching.watch is not None
        if watching.watch.flush(30):
            pipe.send(step)

    watching.settings["log"] = log
    run(host, training, folder, watching)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("host", "workers"), [("trainer", 0), ("lightning", 1), ("loop", 1)])
def test_kill(host: str, workers: int, tmp_path: Path) -> None:
    training = replace(TRAINING, workers=workers)
    mine, theirs = context().Pipe(duplex=False)
    process = context().Process(target=train, args=(host, training, tmp_path, theirs))
    process.start()
    theirs.close()
    announced: list[int] = []
    assert process.pid is not None
    while 9 not in announced:
        assert mine.poll(60), "it hangs"
        announced.append(mine.recv())
    time.sleep(0.003)  # wherever it then is
    os.kill(process.pid, signal.SIGKILL)
    while _lives(process.pid):
        time.sleep(0.001)
    # Not until the pipe ends: the killed process's workers hold it, too, and outlive it by seconds.
    try:
        while mine.poll(0.05):
            announced.append(mine.recv())
    except EOFError:
        pass
    assert announced == list(range(len(announced)))
    assert 10 <= len(announced) <= 16
    killed = open_run(tmp_path / "curves.h5")
    assert set(announced) <= set(killed.steps.tolist())
    assert np.isfinite(killed.surprisal[:]).all()

    straight = tmp_path / "straight"
    run(host, TRAINING, straight, Watching(random_tokens(), straight / "curves.h5"))
    expected = open_run(straight / "curves.h5")
    rows = len(killed)
    assert np.array_equal(killed.surprisal[:], expected.surprisal[:rows])

    checkpoint: Any = 4
    if host == "trainer":
        checkpoint = str(tmp_path / "trainer" / "checkpoint-4")
    elif host == "lightning":
        (checkpoint,) = map(str, (tmp_path / "lightning").glob("*step=4.ckpt"))
    # The killed process's workers still live, and must not keep the file to themselves.
    run(host, TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), resume=checkpoint)
    resumed = open_run(tmp_path / "curves.h5")
    assert resumed.steps.tolist() == list(range(17))
    for curves in ("surprisal", "correct", "entropy"):
        assert np.array_equal(getattr(resumed, curves)[:], getattr(expected, curves)[:])
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
