"""The examples run as a user would run them, in a few steps, and leave a run file that can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curvewatch import open_run

from .support.process import environment

ROOT = Path(__file__).parents[1]
TINY = {
    "pretrain_trainer.py": [
        str(ROOT / "configs/trainer/demo.yaml"), "--max_steps", "6", "--logging_steps", "3", "--n_tokens", "60",
        "--n_layer", "1", "--n_embd", "32", "--n_head", "2", "--per_device_train_batch_size", "2",
        "--output_dir", "out", "--run_file", "curves.h5", "--text", "text.txt", "--vocab_size", "400",
    ],
    "pretrain_lightning.py": [
        "fit", "--config", str(ROOT / "configs/lightning/demo.yaml"), "--trainer.max_steps", "6",
        "--trainer.log_every_n_steps", "3", "--watch.n_tokens", "60", "--watch.run_file", "curves.h5",
        "--model.n_layer", "1", "--model.n_embd", "32", "--model.n_head", "2", "--model.vocab_size", "400",
        "--data.vocab_size", "400", "--data.batch_size", "2", "--data.text", "text.txt",
        "--trainer.default_root_dir", "out", "--trainer.logger.init_args.save_dir", "out",
    ],
    "pretrain_loop.py": [
        "--max-steps", "6", "--n-tokens", "60", "--width", "32", "--batch-size", "2", "--run-file", "curves.h5",
        "--text", "text.txt",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def text() -> str:
    """A few hundred paragraphs of the default text."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import text_data
    finally:
        sys.path.pop(0)
    return "\n".join(text_data.read(None).splitlines()[:800])


@pytest.mark.parametrize("script", TINY)
def test_example_runs(script, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *TINY[script]],
        cwd=tmp_path,
        env=environment(WANDB_MODE="offline"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = open_run(tmp_path / "curves.h5")
    assert run.steps.tolist() == [0, 1, 2, 3, 4, 5, 6]  # ten a decade: every step at first
    assert run.n_tokens == 60
    assert abs(run.surprisal[0].mean() - run.chance) < 0.3, "untrained, the model guesses"
    assert np.isfinite(run.surprisal[:]).all()
    assert run.surprisal[-1].mean() < run.surprisal[0].mean()
    assert "Try next:" in done.stdout
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")[:500]
    assert list(tmp_path.glob("**/run-*.wandb")), "an offline W&B run"


def test_the_same_settings_watch_the_same_tokens(text, tmp_path):
    """Trainer and Lightning draw the same evaluation set from the same text, so their runs can be compared."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import text_data
    finally:
        sys.path.pop(0)
    (tmp_path / "text.txt").write_text(text)
    first, second = (
        text_data.from_text(str(tmp_path / "text.txt"), 400, 128).token_set(n_tokens=60, per_sequence=20, seed=0)
        for _ in range(2)
    )
    assert first.hash == second.hash
    assert "\ufffd" not in first.show(5).context
