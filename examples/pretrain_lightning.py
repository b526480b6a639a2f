"""Pretrains a GPT-2 with Lightning, watched. The settings are LightningCLI's own YAML.

python examples/pretrain_lightning.py fit --config configs/lightning/demo.yaml
python examples/pretrain_lightning.py fit --config configs/lightning/demo.yaml --data.text my.txt
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, get_scheduler

import text_data
from curvewatch import Live, Prompts, Schedule
from curvewatch.integrations.lightning import CurveWatchCallback
from story import story
from summary import print_summary


class TextModule(pl.LightningDataModule):
    """Training sequences; see `text_data`.

    Args:
        text: UTF-8 text file; None takes the King James Bible.
        dataset: Packed dataset on disk, instead of text.
        tokenizer: Folder of the dataset's tokenizer.
        vocab_size: Of the tokenizer that is trained on the text.
        context: Tokens in a sequence.
        batch_size: Sequences in a batch.
    """

    def __init__(
        self,
        text: str | None = None,
        dataset: str | None = None,
        tokenizer: str | None = None,
        vocab_size: int = 4096,
        context: int = 128,
        batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        if dataset is not None:
            self.source = text_data.from_saved(dataset, tokenizer or dataset)
        else:
            self.source = text_data.from_text(text, vocab_size, context)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches of `input_ids` and `labels`."""
        return DataLoader(self.source.train, self.batch_size, shuffle=True, drop_last=True)


class GPT2(pl.LightningModule):
    """A GPT-2 and how it is trained.

    Args:
        vocab_size: Outputs of the model.
        context: Tokens in a sequence.
        n_layer: Layers.
        n_embd: Width.
        n_head: Attention heads.
        learning_rate: After warm-up.
        warmup_steps: Steps of linear warm-up.
        decay: Shape of the learning rate after warm-up, as transformers names it.
        adam_epsilon: Of AdamW.
        weight_decay: Of AdamW.
    """

    def __init__(
        self,
        vocab_size: int = 4096,
        context: int = 128,
        n_layer: int = 4,
        n_embd: int = 192,
        n_head: int = 6,
        learning_rate: float = 2e-3,
        warmup_steps: int = 20,
        decay: str = "cosine",
        adam_epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        config = GPT2Config(vocab_size=vocab_size, n_positions=context, n_layer=n_layer, n_embd=n_embd, n_head=n_head,
                            bos_token_id=0, eos_token_id=0)  # fmt: skip
        self.model = GPT2LMHeadModel(config)

    def training_step(self, batch: dict[str, torch.Tensor], _index: int) -> torch.Tensor:
        """Mean loss of the batch, nat."""
        loss = self.model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> dict:
        """AdamW with warm-up and decay over the whole run."""
        h = self.hparams
        optimizer = torch.optim.AdamW(
            self.parameters(), h.learning_rate, eps=h.adam_epsilon, weight_decay=h.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = get_scheduler(h.decay, optimizer, h.warmup_steps, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@dataclass
class Watch:
    """What is watched.

    Attributes:
        run_file: The run file (HDF5).
        n_tokens: Scored tokens.
        per_sequence: Scored positions in a sequence.
        tokens_seed: For the choice of tokens.
        schedule: log+logging, logging or paper.
        ngrams: n-gram models: count them in the training text, none, or a file of them.
        prompts: Texts that the model continues at steps 0, 1, 10, 100, ... and at last.
    """

    run_file: str = "runs/lightning/curves.h5"
    n_tokens: int = 2000
    per_sequence: int = 10
    tokens_seed: int = 0
    schedule: str = "log+logging"
    ngrams: str = "count"
    prompts: list[str] = field(default_factory=list)


SCHEDULES = {
    "log+logging": Schedule.log(10) | Schedule.logging(),
    "logging": Schedule.logging(),
    "paper": Schedule.paper(),
}


class WatchedCLI(LightningCLI):
    """LightningCLI with a section `watch`."""

    def add_arguments_to_parser(self, parser) -> None:
        """Adds the section."""
        parser.add_class_arguments(Watch, "watch")

    def before_fit(self) -> None:
        """What watches the run: the callback joins the Trainer's."""
        watch, source = self.config.fit.watch, self.datamodule.source
        tokens = source.token_set(n_tokens=watch.n_tokens, per_sequence=watch.per_sequence, seed=watch.tokens_seed)
        self.ngrams = source.ngrams(tokens, watch.ngrams)
        live = Live(
            token_counts="training",  # bands of frequency, from the batches as they are trained on
            ngrams=self.ngrams,
            prompts=Prompts(watch.prompts, source.tokenizer) if watch.prompts else None,
        )
        schedule = SCHEDULES[watch.schedule]
        self.trainer.callbacks.append(
            CurveWatchCallback(tokens, watch.run_file, schedule=schedule, live=live, log=story())
        )

    def after_fit(self) -> None:
        """Says what there is to see."""
        if self.trainer.is_global_zero:
            print_summary(self.config.fit.watch.run_file, self.ngrams)


def main() -> None:
    """Trains as the command line says."""
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_QUIET", "true")  # no summary of W&B's at the end: there is `print_summary`
    WatchedCLI(GPT2, TextModule, save_config_callback=None, seed_everything_default=0)


if __name__ == "__main__":
    main()
