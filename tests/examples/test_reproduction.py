"""The reproduction in a small form: stopped in the middle of a seed, it goes on to the same curves and results."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import open_run
from tests.examples.test_examples import ROOT, module
from tests.support.process import environment

STEPS = 60
SMALL = ["--vocab_size", "500", "--n_tokens", "200", "--seeds", "2", "--max_steps", str(STEPS), "--save_steps", "20",
         "--n_layer", "1", "--n_embd", "32", "--n_head", "2", "--rows", "40"]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(module("text_data").read(None), "utf-8")
    return path


def command(text: Path, folder: Path, *more: str) -> list[str]:
    script, config = ROOT / "examples/reproduction/reproduce.py", ROOT / "configs/reproduction/desk.yaml"
    return [sys.executable, str(script), str(config), "--text", str(text), "--folder", str(folder), *SMALL, *more]


def run(text: Path, folder: Path, *more: str) -> str:
    done = subprocess.run(
        command(text, folder, *more), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_killed_in_the_middle_of_a_seed_it_goes_on_to_the_same_results(text: Path, tmp_path: Path) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    run(text, straight, "--only", "data")
    shutil.copytree(straight, stopped)
    run(text, straight, "--only", "seeds", "--seed", "0")
    going = subprocess.Popen(command(text, stopped), env=environment(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    end = time.monotonic() + 200
    while not (stopped / "seed0/checkpoint-40/trainer_state.json").exists():
        assert going.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(going.pid, signal.SIGKILL)
    going.wait()
    data_made = (stopped / "data/ngrams.npz").stat().st_mtime_ns
    said = run(text, stopped)
    assert "200 watched in 10 sequences" in said
    assert (stopped / "data/ngrams.npz").stat().st_mtime_ns == data_made
    assert not (stopped / "seed0").exists(), "checkpoints go when a seed is finished"
    expected, found = (open_run(folder / "seed0.h5") for folder in (straight, stopped))
    assert found.steps.tolist() == expected.steps.tolist()
    assert 20 <= len(found.steps) <= 45
    assert found.steps[-1] == STEPS
    np.testing.assert_array_equal(found.surprisal[:], expected.surprisal[:])
    assert found.surprisal[-1].mean() != open_run(stopped / "seed1.h5").surprisal[-1].mean()
    results = stopped / "results"
    assert "## 1. " in (results / "paper/paper.md").read_text("utf-8")
    assert json.loads((results / "predict/prediction.json").read_text("utf-8"))["runs"] == 2
    assert (results / "compare.csv").read_text().startswith("measure,r,lowest,highest,tokens\nfinal_surprisal,0.")
    record = json.loads((results / "settings.json").read_text("utf-8"))
    digest = hashlib.sha256((stopped / "seed1.h5").read_bytes()).hexdigest()
    assert record["sha256"]["seed1.h5"] == digest
    assert record["settings"]["max_steps"] == STEPS


@pytest.fixture(scope="module")
def data() -> Any:
    """The module that makes the data."""
    sys.path.insert(0, str(ROOT / "examples/reproduction"))
    try:
        return importlib.import_module("data")
    finally:
        sys.path.pop(0)


def settings(text: Path, **others: Any) -> dict[str, Any]:
    return {"text": str(text), "vocab_size": 500, "context": 128, "n_tokens": 200, "per_sequence": 10,
            "tokens_seed": 0, "pos": None} | others  # fmt: skip


def test_each_sequence_begins_anew_and_nothing_held_out_is_trained_on(data: Any, text: Path, tmp_path: Path) -> None:
    made = data.made(tmp_path, settings(text))
    train, held_out = (np.load(tmp_path / f"{name}.npy") for name in ("train", "held_out"))
    assert (train[:, 0] == made.tokenizer.bos_token_id).all()
    assert (train[:, 1:] != made.tokenizer.bos_token_id).all()
    assert len(held_out) > 100
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in held_out}
    assert made.tokens.position.min() >= 1
    assert made.tokenizer.decode(train[0, 1:12]).startswith("In the beginning")
    with pytest.raises(ValueError, match=r"made with vocab_size=500, not 600\. Give another --folder"):
        data.made(tmp_path, settings(text, vocab_size=600))
    with pytest.raises(ValueError, match="--n_tokens 9000000: they need 900,000 held-out sequences"):
        data.made(tmp_path / "few", settings(text, n_tokens=9_000_000))


def test_a_text_that_is_none_is_refused(data: Any, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a few words\n")
    with pytest.raises(ValueError, match="no document of it has 127 tokens"):
        data.made(tmp_path / "x", settings(tmp_path / "short.txt"))
    with pytest.raises(FileNotFoundError, match="missing"):
        data.made(tmp_path / "y", settings(tmp_path / "missing.txt"))


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/reproduction"))
    last_whole = importlib.import_module("seeds").last_whole
    assert last_whole(tmp_path / "none") is None
    for step, text in ((20, "{}"), (100, '{"epoch": 1'), (40, "{}")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-120").mkdir()
    assert last_whole(tmp_path) == str(tmp_path / "checkpoint-40")
