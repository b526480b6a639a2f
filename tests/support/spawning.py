"""A Lightning training on two ranks that Lightning spawns itself; a program, as spawned processes import it again.

Usage: python -m tests.support.spawning FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader
from transformers import GPT2LMHeadModel

from curvewatch import Schedule
from curvewatch.integrations.lightning import CurveWatchCallback
from tests.support.models import gpt2, random_tokens

STEPS = 4


class Module(LightningModule):
    """A tiny GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        # Not the tests' own subclass, which is local to a function and can't be pickled.
        self.model = GPT2LMHeadModel(gpt2().config)

    def training_step(self, batch: Any, _index: int) -> Any:
        return self.model(input_ids=batch, labels=batch).loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder: Path) -> None:
    """Trains, scoring steps 0, 3 and 4."""
    ids = list(torch.arange(8).repeat(4 * STEPS, 1))
    Trainer(
        max_steps=STEPS, accelerator="cpu", devices=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, strategy=DDPStrategy(start_method="spawn", process_group_backend="gloo"),
        callbacks=[CurveWatchCallback(random_tokens(), folder / "curves.h5", schedule=Schedule.every(3))],
    ).fit(Module(), DataLoader(ids, batch_size=2))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
