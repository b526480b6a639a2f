"""Run files from checkpoints: equal to the watched run, resumable, and never mixed with others."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from curvewatch import RunFileError, TokenSet, Watch, open_run
from curvewatch.cli.app import app
from curvewatch.watch.checkpoints import CheckpointError, find_checkpoints, load_tokens, score_checkpoints

STEPS = (0, 3, 6, 9, 12)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TokenSet]:
    """A folder with a run watched live (`live.h5`), its checkpoints, and its token set (`set.npz`)."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    rng = np.random.default_rng(0)
    tokens = TokenSet.from_sequences(rng.integers(0, 50, (12, 16)), per_sequence=5, vocab_size=50)
    tokens.save(folder / "set.npz")
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    watch = Watch(tokens, folder / "live.h5", max_steps=12, schedule=list(STEPS), on_error="raise")
    for step in range(13):
        if step:
            ids = torch.from_numpy(rng.integers(0, 50, (4, 16)))
            model(ids, labels=ids).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        watch.observe(model, step)
        if step in STEPS:
            model.save_pretrained(folder / "out" / f"checkpoint-{step}")
    watch.close()
    return folder, tokens


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["score", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_scored_afterwards_equals_watched_live(trained: tuple[Path, TokenSet], tmp_path: Path) -> None:
    folder, _ = trained
    call("-c", folder / "out", "-t", folder / "set.npz", "-o", tmp_path / "scored.h5")
    live, scored = open_run(folder / "live.h5"), open_run(tmp_path / "scored.h5")
    assert scored.steps.tolist() == list(STEPS) == live.steps.tolist()
    assert scored.set_hash == live.set_hash
    assert scored.chance == live.chance
    np.testing.assert_allclose(scored.surprisal[:], live.surprisal[:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(scored.entropy[:], live.entropy[:], rtol=0, atol=1e-2)
    assert np.array_equal(scored.correct[:], live.correct[:])


def test_it_goes_on_where_it_stopped(trained: tuple[Path, TokenSet], tmp_path: Path) -> None:
    folder, tokens = trained
    folders, loaded = find_checkpoints([folder / "out"]), []

    def load(step: int) -> Any:
        if step == 9 and 9 not in loaded:
            loaded.append(9)
            raise KeyboardInterrupt
        loaded.append(step)
        return GPT2LMHeadModel.from_pretrained(folders[step])

    with pytest.raises(KeyboardInterrupt):
        score_checkpoints(load, folders, tokens, tmp_path / "s.h5")
    assert open_run(tmp_path / "s.h5").steps.tolist() == [0, 3, 6]
    seen: list[tuple[int, int]] = []
    run = score_checkpoints(load, folders, tokens, tmp_path / "s.h5", progress=lambda *n: seen.append(n))
    assert loaded == [0, 3, 6, 9, 9, 12]
    assert seen[0] == (3, 5)
    assert seen[-1] == (5, 5)
    np.testing.assert_allclose(run.surprisal[:], open_run(folder / "live.h5").surprisal[:], rtol=0, atol=1e-5)
    score_checkpoints(load, folders, tokens, tmp_path / "s.h5")
    assert len(loaded) == 6


def test_what_does_not_belong_together_is_refused(trained: tuple[Path, TokenSet], tmp_path: Path) -> None:
    folder, tokens = trained
    folders = find_checkpoints([folder / "out"])
    load = lambda step: GPT2LMHeadModel.from_pretrained(folders[step])  # noqa: E731
    with pytest.raises(RunFileError, match="watched live"):
        score_checkpoints(load, folders, tokens, folder / "live.h5")
    score_checkpoints(load, [6, 9], tokens, tmp_path / "s.h5", source="a")
    with pytest.raises(RunFileError, match="other checkpoints"):
        score_checkpoints(load, folders, tokens, tmp_path / "s.h5", source="b")
    with pytest.raises(RunFileError, match="lie before that"):
        score_checkpoints(load, folders, tokens, tmp_path / "s.h5", source="a")
    other = TokenSet.from_sequences(np.zeros((2, 8), int), vocab_size=50)
    with pytest.raises(RunFileError, match=tokens.hash):
        score_checkpoints(load, [6, 9, 12], other, tmp_path / "s.h5", source="a")


def test_a_broken_checkpoint_is_named_and_the_rest_is_kept(trained: tuple[Path, TokenSet], tmp_path: Path) -> None:
    folder, _ = trained
    for step in (3, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for file in (folder / "out" / f"checkpoint-{step}").iterdir():
            (tmp_path / f"checkpoint-{step}" / file.name).write_bytes(file.read_bytes()[: None if step == 3 else 50])
    text = call("-c", tmp_path, "-t", folder / "live.h5", "-o", tmp_path / "s.h5", code=1)
    assert "checkpoint-6" in text.replace("\n", "")
    assert open_run(tmp_path / "s.h5").steps.tolist() == [3]


def test_code_that_lies_in_a_checkpoint_is_not_run_nor_asked_about(
    trained: tuple[Path, TokenSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks "Do you wish to run the custom code? [y/N]", and here somebody would say yes."""
    folder, _ = trained
    evil = tmp_path / "out" / "checkpoint-3"
    shutil.copytree(folder / "out" / "checkpoint-3", evil)
    config = json.loads((evil / "config.json").read_text())
    places = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}
    (evil / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": places}))
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with suppress(Exception):  # the control: asked for nothing, transformers runs it
        AutoConfig.from_pretrained(evil)
    assert (tmp_path / "executed").exists()
    (tmp_path / "executed").unlink()
    call("--checkpoints", tmp_path / "out", "--tokens", folder / "set.npz", "-o", tmp_path / "s.h5", code=1)
    assert not (tmp_path / "executed").exists()


def test_finding_checkpoints(tmp_path: Path) -> None:
    for name in ("checkpoint-20", "checkpoint-100", "step_7", "logs"):
        (tmp_path / name).mkdir()
    assert list(find_checkpoints([tmp_path])) == [7, 20, 100]
    assert list(find_checkpoints([tmp_path / "checkpoint-20", tmp_path / "step_7"])) == [7, 20]
    (tmp_path / "step_20").mkdir()
    with pytest.raises(CheckpointError, match="both of step 20"):
        find_checkpoints([tmp_path])
    with pytest.raises(CheckpointError, match="no checkpoint found"):
        find_checkpoints([tmp_path / "logs"])
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoints([tmp_path / "nowhere"])


def test_tokens_come_from_a_saved_set_or_a_run(trained: tuple[Path, TokenSet], tmp_path: Path) -> None:
    folder, tokens = trained
    assert load_tokens(folder / "set.npz").hash == load_tokens(folder / "live.h5").hash == tokens.hash
    (tmp_path / "x.npz").write_text("no")
    with pytest.raises(ValueError, match="not a token set"):
        load_tokens(tmp_path / "x.npz")
