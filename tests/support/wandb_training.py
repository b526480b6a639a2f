"""A watched Trainer run that reports to W&B, as a process of its own: run file, steps, how to leave.

It stops at step 5 until a file `go` stands beside the run file, so that a test can act midway.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from curvewatch import Live, Prompts, TokenSet
from curvewatch.corpus import count_ngrams
from curvewatch.integrations.transformers import CurveWatchCallback


class Pause(TrainerCallback):
    """Waits in step 5."""

    def __init__(self, go: Path) -> None:
        self.go = go

    def on_step_begin(self, args, state, control, **kwargs):
        while state.global_step == 5 and not self.go.exists():
            time.sleep(0.05)


def main(path: Path, leave: str) -> None:
    """Trains ten steps."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=100, n_positions=32, n_layer=1, n_embd=16, n_head=2, bos_token_id=0, eos_token_id=0)
    )
    rng = np.random.default_rng(0)
    data = [{"input_ids": row, "labels": row} for row in torch.from_numpy(rng.zipf(1.5, (40, 16)) % 100)]
    tokens = TokenSet.from_sequences(rng.zipf(1.5, (9, 16)) % 100, per_sequence=5, vocab_size=100)
    live = Live(
        token_counts="training",
        ngrams=count_ngrams([item["input_ids"].numpy() for item in data], tokens),
        prompts=Prompts([[1], [2, 1]], max_new_tokens=4, eos=None),
    )
    callback = CurveWatchCallback(tokens, path, schedule=1, live=live)
    args = TrainingArguments(
        str(path.parent / "out"), max_steps=10, logging_steps=2, report_to=["wandb"], use_cpu=True,
        per_device_train_batch_size=4, save_strategy="no", disable_tqdm=True,
        learning_rate=3e-2,
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=data, callbacks=[callback, Pause(path.parent / "go")])
    began = time.monotonic()
    trainer.train()
    print(f"trained {time.monotonic() - began:.1f} s", flush=True)
    if leave == "at once":
        os._exit(0)  # W&B would go on trying to reach its server


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
