"""Hosts of models that have no surprisal of a next token: refused before the first update, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curvewatch import ScoringError
from curvewatch.integrations.transformers import CurveWatchCallback
from tests.hosts.test_trl import arguments, preferences, tokenizer
from tests.support.models import VOCABULARY, random_tokens
from tests.support.recomputing import Snapshots


def seq2seq(folder: Path, callbacks: list[Any]) -> Any:
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, T5Config, T5ForConditionalGeneration

    shape = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "vocab_size": VOCABULARY}
    model = T5ForConditionalGeneration(T5Config(**shape, decoder_start_token_id=0, pad_token_id=0))
    rows = [{"input_ids": [3, 4, 5], "labels": [6, 7, 8]}] * 8
    return Seq2SeqTrainer(model, Seq2SeqTrainingArguments(**arguments(folder)), train_dataset=rows, callbacks=callbacks)


def reward(folder: Path, callbacks: list[Any]) -> Any:
    from transformers import GPT2Config, GPT2ForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    shape = {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2ForSequenceClassification(GPT2Config(**shape, num_labels=1, pad_token_id=0))
    config = RewardConfig(**arguments(folder), max_length=32)
    data = preferences()
    return RewardTrainer(model, args=config, train_dataset=data, processing_class=tokenizer(), callbacks=callbacks)


@pytest.mark.parametrize("make", [seq2seq, reward])
def test_refused_before_the_first_update(make: Any, tmp_path: Path) -> None:
    snapshots = Snapshots()
    watching = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5", schedule=1)
    trainer = make(tmp_path / "out", [snapshots.trainer(), watching])
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(ScoringError) as refused:
        trainer.train()
    assert type(trainer.model).__name__ in str(refused.value)
    assert list(snapshots.weights) == [0]
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert not (tmp_path / "curves.h5").exists()


@pytest.mark.parametrize("make", [seq2seq, reward])
def test_without_the_watch_they_train(make: Any, tmp_path: Path) -> None:
    """So the refusal is the watch's, not the host's."""
    snapshots = Snapshots()
    make(tmp_path, [snapshots.trainer()]).train()
    assert list(snapshots.weights) == [0, 1, 2, 3]
