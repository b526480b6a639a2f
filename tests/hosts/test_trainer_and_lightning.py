"""The HF Trainer and Lightning's, in the ways in which people train with them."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from curvewatch import open_run
from tests.support.hosts import Watching, run
from tests.support.models import random_tokens
from tests.support.recomputing import BFLOAT16_BITS, FLOAT32_BITS, Snapshots, assert_rows_are_the_training_models
from tests.support.trainings import Training

CASES: dict[str, Training] = {
    "plain": Training(steps=4),
    "bf16": Training(steps=4, bf16=True),
    "accumulation": Training(steps=4, accumulate=3),
    "checkpointing-reentrant": Training(steps=4, checkpointing="reentrant"),
    "checkpointing-non-reentrant": Training(steps=4, checkpointing="non-reentrant"),
}
# Under Lightning compiling takes half a minute.
HOSTS_AND_CASES = [*product(("trainer", "lightning"), CASES), ("trainer", "compiled")]
CASES["compiled"] = Training(steps=4, compiled="model")


@pytest.mark.parametrize(("host", "case"), HOSTS_AND_CASES)
def test_rows(host: str, case: str, tmp_path: Path) -> None:
    training, tokens, snapshots = CASES[case], random_tokens(ragged=True), Snapshots()
    taking = getattr(snapshots, host)()
    alone = run(host, training, tmp_path / "alone")
    watching = Watching(tokens, tmp_path / "curves.h5", schedule=1)
    watched = run(host, training, tmp_path / "watched", watching, callbacks=(taking,))
    assert alone.differences(watched) == []
    precision: dict[str, Any] = {"bits": FLOAT32_BITS}
    if training.bf16:
        precision = {"bits": BFLOAT16_BITS, "around": partial(torch.autocast, "cpu", torch.bfloat16)}
    path = tmp_path / "curves.h5"
    assert_rows_are_the_training_models(path, snapshots, training.model, tokens, range(5), **precision)


GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
if not hasattr(TrainingArguments, "train_sampling_strategy"):
    GROUPED = {"group_by_length": True}


@pytest.mark.parametrize(
    "arguments",
    [GROUPED, {"max_grad_norm": 1.0, "lr_scheduler_type": "cosine"}],
    ids=["group_by_length", "clipping-and-cosine"],
)
def test_arguments_of_the_trainer(arguments: dict[str, Any], tmp_path: Path) -> None:
    training, tokens, snapshots = Training(steps=4), random_tokens(ragged=True), Snapshots()
    alone = run("trainer", training, tmp_path / "alone", **arguments)
    watching = Watching(tokens, tmp_path / "curves.h5", schedule=1)
    watched = run("trainer", training, tmp_path / "watched", watching, callbacks=(snapshots.trainer(),), **arguments)
    assert alone.differences(watched) == []
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, training.model, tokens, range(5))


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_resume(host: str, tmp_path: Path) -> None:
    """Rows up to the checkpoint are the first session's, later ones the second's."""
    training, tokens, snapshots = (
        Training(steps=4, save_every=2, shuffle=False),
        random_tokens(ragged=True),
        Snapshots(),
    )
    path = tmp_path / "curves.h5"

    def two_sessions(folder: Path, watched: bool) -> Any:
        for resume in (None, _checkpoint(host, folder)):
            # Of what was copied after the checkpoint a resumed training is the other continuation.
            snapshots.weights = {step: kept for step, kept in snapshots.weights.items() if step <= 2}
            beside = Watching(tokens, path, schedule=1) if watched else None
            taking = (getattr(snapshots, host)(),) if watched else ()
            outcome = run(host, training, folder, beside, callbacks=taking, resume=resume)
        return outcome

    alone = two_sessions(tmp_path / "alone", watched=False)
    assert alone.differences(two_sessions(tmp_path / "watched", watched=True)) == []
    assert_rows_are_the_training_models(path, snapshots, training.model, tokens, range(5))
    assert len(open_run(path).sessions) == 2


def _checkpoint(host: str, folder: Path) -> str:
    return str(
        folder / "trainer" / "checkpoint-2" if host == "trainer" else folder / "lightning" / "epoch=0-step=2.ckpt"
    )


def test_load_best_model_at_end(tmp_path: Path) -> None:
    """The best model is loaded when training has ended: no row is its."""
    training, tokens, snapshots = Training(steps=4, evaluate_every=1, save_every=1), random_tokens(), Snapshots()
    best: dict[str, Any] = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": False}
    alone = run("trainer", training, tmp_path / "alone", **best)
    watching = Watching(tokens, tmp_path / "curves.h5", schedule=1)
    watched = run("trainer", training, tmp_path / "watched", watching, callbacks=(snapshots.trainer(),), **best)
    assert alone.differences(watched) == []
    # Else the test has no power: at this rate of learning the loss of evaluation soon rises.
    assert any(not torch.equal(snapshots.weights[4][name], value) for name, value in watched.weights.items())
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, training.model, tokens, range(5))


def test_iterable_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset without a length."""
    from torch.utils.data import IterableDataset

    training, tokens, snapshots = Training(steps=4, shuffle=False), random_tokens(ragged=True), Snapshots()

    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return (rows[i] for i in range(len(rows)))

    rows = training.data()
    monkeypatch.setattr(Training, "data", lambda self: Stream())
    alone = run("trainer", training, tmp_path / "alone")
    watching = Watching(tokens, tmp_path / "curves.h5", schedule=1)
    watched = run("trainer", training, tmp_path / "watched", watching, callbacks=(snapshots.trainer(),))
    assert alone.differences(watched) == []
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, training.model, tokens, range(5))
