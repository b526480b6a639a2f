"""Sixty steps straight, against forty, kill -9, and on from the checkpoint at 25: the same file, log and W&B rows.

Between the checkpoint and the kill lie rows that have to go, and the checkpoint is no scored step: what is live must be
that of step 24, though the file went on to 40. Each training is a process of its own, as a resumed one is.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from curvewatch import TokenSet, open_run
from tests.contract.test_resume import assert_equal_files
from tests.support.hosts import HOSTS, Watching, run
from tests.support.models import VOCABULARY
from tests.support.offline import rows
from tests.support.ranks import context
from tests.support.trainings import Training

# Epochs of 5 steps, at whose ends Lightning can go on.
TRAINING = Training(steps=60, rows=20, log_every=2, save_every=5, dropout=0.0, shuffle=False)
CHECKPOINT, KILLED = 25, 40
OF_THE_CLOCK = ("seconds", "time_share", "rows_behind")
AXES = {"trainer": "train/global_step", "lightning": "trainer/global_step", "loop": "curvewatch/watch/step"}
# Of the smoothed and of the raw state, and of the run's whole past.
STATEFUL = ("forgetting_events_total", "forgotten_share", "known_share", "acquired_share")


def train(host: str, folder: Path, name: str, resume: Any = None, kill: bool = False) -> None:
    """Trains with W&B, offline; what is logged besides stands in `<name>.jsonl`."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder / name), "WANDB_CONSOLE": "off"}
    os.environ |= {"WANDB_SILENT": "true", "WANDB_X_DISABLE_STATS": "true"}
    (folder / name).mkdir()
    import wandb

    home = folder / ("straight" if name == "straight" else "broken") / "run"
    # The very sequences that are trained on, or nothing would be learnt.
    tokens = TokenSet.from_sequences(TRAINING.data().ids.numpy(), per_sequence=None, seed=0, vocab_size=VOCABULARY)
    watching = Watching(tokens, home / "curves.h5")
    settings: dict[str, Any] = {} if resume is None else {"resume": resume}
    if host == "trainer":
        settings["report_to"] = "wandb"
    elif host == "lightning":
        from lightning.pytorch.loggers import WandbLogger

        settings["logger"] = WandbLogger(save_dir=folder / name, project="test", offline=True)
    else:
        wandb.init(project="test")

    with open(folder / f"{name}.jsonl", "w") as file:

        def log(scalars: dict[str, float], step: int) -> None:
            row = {key: value for key, value in scalars.items() if not key.endswith(OF_THE_CLOCK)}
            print(json.dumps({**row, "step": step}), file=file, flush=True)
            if kill and step == KILLED:
                assert watching.watch is not None
                assert watching.watch.flush(30)
                os.kill(os.getpid(), signal.SIGKILL)

        watching.settings["log"] = log
        run(host, TRAINING, home, watching, **settings)
    wandb.finish()


def in_a_process(*arguments: Any) -> int:
    process = context().Process(target=train, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def logged(folder: Path, name: str) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)), "logged twice, or out of order"
    return dict(zip(steps, lines, strict=True))


def in_wandb(host: str, folder: Path, name: str) -> dict[int, dict[str, Any]]:
    """Our rows by W&B's axis, but for the clock and W&B's own paths (the SHA-256 of what lies there stays)."""
    left_out = (*OF_THE_CLOCK, ".path")

    def without_path(value: Any) -> Any:  # W&B 0.19 keeps it within the value
        return {k: v for k, v in value.items() if k != "path"} if isinstance(value, dict) else value

    return {
        row[AXES[host]]: {
            key: without_path(value)
            for key, value in row.items()
            if key.startswith("curvewatch/") and not key.endswith(left_out)
        }
        for row in rows(folder / name)
        if "curvewatch/watch/step" in row
    }


@pytest.mark.parametrize("host", HOSTS)
def test_killed_and_resumed_equals_straight(host: str, tmp_path: Path) -> None:
    assert in_a_process(host, tmp_path, "straight") == 0
    assert in_a_process(host, tmp_path, "killed", None, True) == -signal.SIGKILL
    home = tmp_path / "broken" / "run"
    assert open_run(home / "curves.h5").steps.tolist() == list(range(0, KILLED + 1, 2))
    checkpoint: Any = CHECKPOINT
    if host == "trainer":
        checkpoint = str(home / "trainer" / f"checkpoint-{CHECKPOINT}")
    elif host == "lightning":
        (checkpoint,) = map(str, (home / "lightning").glob(f"*step={CHECKPOINT}.ckpt"))
    assert in_a_process(host, tmp_path, "resumed", checkpoint) == 0

    assert_equal_files(tmp_path / "straight" / "run", home)
    (first, second) = open_run(home / "curves.h5").sessions
    assert (first["from_step"], second["from_step"]) == (0, CHECKPOINT)
    assert (second["dropped_rows"], second["dropped_steps"]) == (8, [26, 40])

    straight, killed, resumed = (logged(tmp_path, name) for name in ("straight", "killed", "resumed"))
    assert list(straight) == list(range(0, 61, 2))
    assert killed == {step: straight[step] for step in range(0, KILLED + 1, 2)}
    assert resumed == {step: straight[step] for step in range(26, 61, 2)}
    for key in STATEFUL:
        values = {straight[step][f"curvewatch/eval/{key}"] for step in (24, 40)}
        assert len(values) == 2, f"{key} doesn't tell the state of step 24 from that of step 40"

    axis = {name: in_wandb(host, tmp_path, name) for name in ("straight", "resumed")}
    later = {at: row for at, row in axis["straight"].items() if row["curvewatch/watch/step"] > CHECKPOINT}
    assert axis["resumed"] == later
    assert len(later) == 18
