"""A watched training ends in the same weights, optimizer state and random streams, bit for bit, as an unwatched one.

Each case has a negative control: an intruder that does what careless callbacks do, and that the comparison must see.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from curvewatch import open_run
from tests.support.hosts import (
    HOSTS,
    Intruding,
    Intrusion,
    Watching,
    forward_in_training_mode,
    iterate_a_dataloader,
    leave_in_evaluation_mode,
    run,
    unfreeze,
)
from tests.support.models import random_tokens
from tests.support.trainings import Training

EPOCHS = Training(epochs=2, rows=12, steps=6, log_epochs=True)
CASES: dict[str, Training] = {
    "plain": Training(),
    "untied": Training(tied=False),
    "bf16": Training(bf16=True),
    "accumulation": Training(accumulate=3),
    "checkpointing-reentrant": Training(checkpointing="reentrant"),
    "checkpointing-non-reentrant": Training(checkpointing="non-reentrant"),
    "epochs": EPOCHS,
    "logging-first-step": Training(log_first=True),
    "eval-and-save-on-the-same-steps": Training(evaluate_every=3, save_every=3),
    "frozen-part": Training(freeze=True),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("case", CASES)
def test_bit_identical(host: str, case: str, tmp_path: Path) -> None:
    training = CASES[case]
    alone = run(host, training, tmp_path / "alone")
    watched = run(host, training, tmp_path / "watched", Watching(random_tokens(), tmp_path / "curves.h5"))
    disturbed = run(host, training, tmp_path / "disturbed", Intruding(forward_in_training_mode))
    assert alone.differences(watched) == []
    assert len(open_run(tmp_path / "curves.h5").steps) >= 3, "nothing was scored, so nothing was shown"
    # The control has power: losses and weights are seen to differ, not only the streams.
    assert {"losses", "optimizer state", "torch stream"} <= set(disturbed.differences(alone))


@pytest.mark.parametrize("host", HOSTS)
def test_dataloader_workers(host: str, tmp_path: Path) -> None:
    """Worker processes are forked beside an open run file and a recorder thread."""
    training = Training(epochs=2, rows=12, steps=6, log_every=2, workers=1)
    alone = run(host, training, tmp_path / "alone")
    watched = run(host, training, tmp_path / "watched", Watching(random_tokens(), tmp_path / "curves.h5"))
    assert alone.differences(watched) == []
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("host", HOSTS)
def test_iterating_a_dataloader_would_be_seen(host: str, tmp_path: Path) -> None:
    """The mistake of most evaluation callbacks: even without shuffling a loader draws from the global stream."""
    alone = run(host, Training(), tmp_path)
    assert "losses" in run(host, Training(), tmp_path, Intruding(iterate_a_dataloader)).differences(alone)


@pytest.mark.parametrize("host", ["lightning", "loop"])
@pytest.mark.parametrize("mistake", [unfreeze, leave_in_evaluation_mode])
def test_wrong_modes_would_be_seen(host: str, mistake: Intrusion, tmp_path: Path) -> None:
    """Hosts that don't call `train()` at every step depend on each submodule's mode being put back."""
    alone = run(host, Training(freeze=True), tmp_path)
    mistaken = run(host, Training(freeze=True), tmp_path, Intruding(mistake))
    assert {"losses", "modes during training"} <= set(mistaken.differences(alone))


@pytest.mark.parametrize("host", HOSTS)
def test_a_frozen_part_stays_in_evaluation_mode(host: str, tmp_path: Path) -> None:
    outcome = run(host, Training(freeze=True), tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    names = [name for name, _ in Training(freeze=True).model().named_modules()]
    for modes in outcome.modes:
        by_name = dict(zip(names, modes, strict=True))
        assert not any(mode for name, mode in by_name.items() if name.startswith("transformer.h.0"))
        assert all(mode for name, mode in by_name.items() if not name.startswith("transformer.h.0"))
    assert len(outcome.modes) == 7


def graphs() -> int:
    """Graphs compiled since the last call."""
    counters = torch._dynamo.utils.counters
    found = counters["stats"]["unique_graphs"]
    counters.clear()
    return found


@pytest.mark.parametrize("compiled", ["model", "blocks"])
@pytest.mark.parametrize("host", HOSTS)
def test_compiled_training(host: str, compiled: str, tmp_path: Path) -> None:
    """Scoring has other shapes than training: it must compile nothing, or it would use up the recompile limit."""
    training = Training(compiled=compiled, steps=4, log_every=2)
    graphs()
    alone = run(host, training, tmp_path / "alone")
    compiled_alone = graphs()
    watched = run(host, training, tmp_path / "watched", Watching(random_tokens(), tmp_path / "curves.h5"))
    assert compiled_alone > 0, "the training was not compiled"
    assert graphs() == compiled_alone
    assert alone.differences(watched) == []
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4]


def test_compiled_training_has_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(compiled="blocks", steps=4, log_every=2)
    graphs()
    alone = run("loop", training, tmp_path)
    compiled_alone = graphs()
    assert "losses" in run("loop", training, tmp_path, Intruding(forward_in_training_mode)).differences(alone)
    graphs()
    monkeypatch.setattr(torch.compiler, "set_stance", lambda stance: nullcontext())
    run("loop", training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"))
    assert graphs() > compiled_alone
