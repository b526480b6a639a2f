"""Trains one seed, watched; goes on from its last checkpoint where it was stopped."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Data
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from curvewatch import Live, Prompts, Schedule, open_run
from curvewatch.errors import CurvewatchError
from curvewatch.integrations.transformers import CurveWatchCallback

PAPER_SPREAD = 250
"""The paper's last distance between checkpoints, by its first."""


class Sequences(Dataset[dict[str, Tensor]]):
    """Rows of ids as causal language models take them."""

    def __init__(self, rows: NDArray[np.uint16]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids = torch.from_numpy(self.rows[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def schedule(max_steps: int, rows: int) -> Schedule:
    """The paper's distances, scaled so that a training of `max_steps` has about `rows` of them."""
    last = max_steps * np.log(PAPER_SPREAD) / (rows * (1 - 1 / PAPER_SPREAD))
    return Schedule.paper(s0=last / PAPER_SPREAD, s1=last, t1=max_steps)


def train(data: Data, path: Path, seed: int, settings: dict[str, Any]) -> None:
    """Trains, or goes on training, until the last step is scored.

    Args:
        data: Sequences and tokens.
        path: The run file.
        seed: Of the weights and of the order of the data.
        settings: The model's, and `training`: those of `TrainingArguments`.
    """
    max_steps = int(settings["max_steps"])
    if finished(path, max_steps):
        return
    set_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(data.tokenizer),
            n_positions=data.train.shape[1],
            n_layer=settings["n_layer"],
            n_embd=settings["n_embd"],
            n_head=settings["n_head"],
            bos_token_id=data.tokenizer.bos_token_id,
            eos_token_id=data.tokenizer.eos_token_id,
        )
    )
    output = path.with_suffix("")
    arguments = TrainingArguments(
        str(output), max_steps=max_steps, seed=seed, report_to="none", save_total_limit=1,
        save_steps=int(settings["save_steps"]), dataloader_pin_memory=torch.cuda.is_available(), **settings["training"],
    )  # fmt: skip
    live = Live(
        smoothed=False, ngrams=data.ngrams, report=False,
        prompts=Prompts(settings["prompts"], data.tokenizer) if settings["prompts"] else None,
    )  # fmt: skip
    callback = CurveWatchCallback(data.tokens, path, schedule=schedule(max_steps, int(settings["rows"])), live=live)
    last = last_whole(output)
    if last is None and path.exists():
        os.replace(path, path.with_suffix(".stopped.h5"))  # before its first checkpoint: from the beginning again
    Trainer(model, arguments, train_dataset=Sequences(data.train), callbacks=[callback]).train(
        resume_from_checkpoint=last
    )
    shutil.rmtree(output, ignore_errors=True)


def last_whole(folder: Path) -> str | None:
    """The last checkpoint that was written to its end: the Trainer writes its state last."""
    there = sorted(folder.glob("checkpoint-*"), key=lambda one: int(one.name.split("-")[1]), reverse=True)
    for one in there:
        try:
            json.loads((one / TRAINER_STATE_NAME).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return str(one)
    return None


def finished(path: Path, max_steps: int) -> bool:
    """Whether the last step stands in the run file."""
    try:
        steps = open_run(path).steps
    except (FileNotFoundError, CurvewatchError):
        return False
    return bool(len(steps)) and int(steps[-1]) >= max_steps
