"""Contextual diversity that is stopped anywhere and goes on: the same bits, never with another corpus or settings."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import TokenSet
from curvewatch.cli.app import app
from curvewatch.corpus import ContextualDiversity, contextual_diversity, count_tokens, load_diversity, resuming
from curvewatch.corpus import sources as sources_room

V = 40
SETTINGS: dict[str, Any] = {"window": 6, "context_types": 20, "memory": 8 * V, "max_tokens": 2000}
"""Three stripes of context types, so four passes."""


def rows(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.minimum(rng.geometric(0.12, n) - 1, V - 1) for n in rng.integers(1, 60, 100)]


def tokens() -> TokenSet:
    return TokenSet.from_sequences([[1, 2, 3, 4, 5, 36]], vocab_size=V)


class Stopped(Exception):
    """As a job that is preempted."""


def stopping(after: int) -> Any:
    calls = 0

    def progress(done: int, of: int | None) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise Stopped

    return progress


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, and the file is written after each."""
    monkeypatch.setattr(sources_room, "BLOCK", 300)
    monkeypatch.setattr(resuming, "SECONDS", 0.0)


def same(one: ContextualDiversity, other: ContextualDiversity) -> bool:
    arrays = ("seen_VK", "types_K", "token_counts_V", "special_S")
    return one.made_by == other.made_by and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.mark.parametrize("given_counts", [False, True])
def test_stopped_at_every_place(given_counts: bool, tmp_path: Path) -> None:
    settings = dict(SETTINGS, counts_V=count_tokens(rows(), V) if given_counts else None)
    whole = contextual_diversity(rows(), tokens(), **settings)
    assert whole.made_by["occurrences"] < sum(map(len, rows())), "the sample is part of what is kept"
    calls: list[int] = []
    contextual_diversity(rows(), tokens(), progress=lambda done, of: calls.append(done), **settings)
    assert len(calls) >= 30
    for after in range(1, len(calls) + 1):
        path = tmp_path / f"{after}.part"
        with pytest.raises(Stopped):
            contextual_diversity(rows(), tokens(), progress=stopping(after), resume=path, **settings)
        again: list[int] = []
        found = contextual_diversity(
            rows(), tokens(), progress=lambda done, of, seen=again: seen.append(done), resume=path, **settings
        )
        assert same(found, whole), after
        # A block whose progress was told is done again, for it was not written yet.
        assert len(again) == len(calls) - after + 1
        assert not path.exists()


def test_stopped_again_and_again_with_other_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, path = contextual_diversity(rows(), tokens(), **SETTINGS), tmp_path / "state"
    for block in (300, 1, 77, 1000, 3):
        monkeypatch.setattr(sources_room, "BLOCK", block)
        with pytest.raises(Stopped):
            contextual_diversity(rows(), tokens(), progress=stopping(4), resume=path, **SETTINGS)
    assert same(contextual_diversity(rows(), tokens(), resume=path, **SETTINGS), whole)


def test_another_corpus_or_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    calls: list[int] = []
    contextual_diversity(rows(), tokens(), progress=lambda done, of: calls.append(done), **SETTINGS)
    for after in (3, len(calls) - 3):
        with pytest.raises(Stopped):
            contextual_diversity(rows(), tokens(), progress=stopping(after), resume=path, **SETTINGS)
        changed = rows()
        changed[2] = changed[2] + 1  # among what was read
        with pytest.raises(ValueError, match=r"resume=.*state: the corpus is not the one.*remove the file"):
            contextual_diversity(changed, tokens(), resume=path, **SETTINGS)
        with pytest.raises(ValueError, match=r"of another corpus.*'rows': 100} there.*'rows': 99} here"):
            contextual_diversity(rows()[1:], tokens(), resume=path, **SETTINGS)
        with pytest.raises(ValueError, match=r"window: 6 there, 7 here.*Give those again to go on, or remove the file"):
            contextual_diversity(rows(), tokens(), resume=path, **{**SETTINGS, "window": 7})
        with pytest.raises(ValueError, match="vocabulary"):
            contextual_diversity(rows(), TokenSet.from_sequences([[1, 2]], vocab_size=V + 1), resume=path, **SETTINGS)
        path.unlink()
    # What changed behind the place where it was stopped is seen at the end of the pass.
    with pytest.raises(Stopped):
        contextual_diversity(rows(), tokens(), progress=stopping(len(calls) - 3), resume=path, **SETTINGS)
    changed = rows()
    changed[-1] = (changed[-1] + 1) % V
    with pytest.raises(ValueError, match="the corpus is not the one"):
        contextual_diversity(changed, tokens(), resume=path, **SETTINGS)
    path.write_bytes(b"no state")
    with pytest.raises(ValueError, match=r"resume=.*state: not the state of such a job, or damaged"):
        contextual_diversity(rows(), tokens(), resume=path, **SETTINGS)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        contextual_diversity(rows(), tokens(), resume=tmp_path / "none/state", **SETTINGS)


KILLED = """
import os, signal, sys
from curvewatch.cli import predict
from curvewatch.cli.app import app
from curvewatch.corpus import diversity, resuming, sources

sources.BLOCK, resuming.SECONDS, diversity.MEMORY = 300, 0.0, 8 * 40
left = int(sys.argv.pop(1))

class Killing:
    def __enter__(self):
        return self.tick
    def __exit__(self, *args):
        pass
    def tick(self, done, of):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

predict.progressing = lambda what: Killing()
app()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_the_command_is_killed_and_goes_on(tmp_path: Path) -> None:
    np.save(tmp_path / "corpus.npy", np.concatenate(rows()))
    tokens().save(tmp_path / "tokens.npz")
    output, part = tmp_path / "d.npz", tmp_path / "d.npz.part"
    command = ["diversity", "-c", str(tmp_path / "corpus.npy"), "-t", str(tmp_path / "tokens.npz"), "-o", str(output),
               "--window", "6", "--context-types", "20"]  # fmt: skip
    for after in (5, 12):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(after), *command], capture_output=True, text=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert part.exists()
        assert not output.exists()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "100000", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"going on from {part}" in " ".join(done.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.npy", "d.npz", "tokens.npz"]
    whole = contextual_diversity(np.concatenate(rows()), tokens(), window=6, context_types=20)
    assert np.array_equal(load_diversity(output).seen_VK, whole.seen_VK)
    part.write_bytes(b"of something else")
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert f"error: {part}: not the state of such a job, or damaged" in " ".join(refused.output.split())
    part.unlink()
    fresh = CliRunner().invoke(app, command)
    assert fresh.exit_code == 0, fresh.output
    assert "going on" not in fresh.output
