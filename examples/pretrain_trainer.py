"""Pretrains a GPT-2 with the Hugging Face Trainer, watched.

    python examples/pretrain_trainer.py configs/trainer/demo.yaml
    python examples/pretrain_trainer.py configs/trainer/demo.yaml --text my.txt --max_steps 2000

Every key of the YAML file can also be given on the command line, which wins. Under torchrun it runs on many devices.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    HfArgumentParser,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

import text_data
from curvewatch import Live, Prompts, Schedule
from curvewatch.integrations.transformers import CurveWatchCallback
from story import story
from summary import print_summary


@dataclass
class DataArguments:
    """Where the text comes from."""

    text: str | None = field(default=None, metadata={"help": "UTF-8 text file; default: the King James Bible"})
    dataset: str | None = field(default=None, metadata={"help": "packed dataset on disk, instead of text"})
    tokenizer: str | None = field(default=None, metadata={"help": "folder of the dataset's tokenizer"})
    vocab_size: int = field(default=4096, metadata={"help": "of the tokenizer that is trained on the text"})
    context: int = field(default=128, metadata={"help": "tokens in a sequence"})


@dataclass
class ModelArguments:
    """The GPT-2."""

    n_layer: int = 4
    n_embd: int = 192
    n_head: int = 6
    model_vocab_size: int | None = field(default=None, metadata={"help": "outputs; default: the tokenizer's size"})


@dataclass
class WatchArguments:
    """What is watched."""

    run_file: str = field(default="runs/demo/curves.h5", metadata={"help": "the run file (HDF5)"})
    n_tokens: int = field(default=2000, metadata={"help": "scored tokens"})
    per_sequence: int = field(default=10, metadata={"help": "scored positions in a sequence"})
    tokens_seed: int = field(default=0, metadata={"help": "for the choice of tokens"})
    schedule: str = field(default="log+logging", metadata={"help": "log+logging, logging or paper"})
    ngrams: str = field(
        default="count", metadata={"help": "n-gram models: count them in the training text, none, or a file of them"}
    )
    prompts: list[str] = field(
        default_factory=list,
        metadata={"help": "texts that the model continues at steps 0, 1, 10, 100, ... and at last"},
    )


SCHEDULES = {
    "log+logging": Schedule.log(10) | Schedule.logging(),
    "logging": Schedule.logging(),
    "paper": Schedule.paper(),
}


def main() -> None:
    """Reads the settings, trains, and says what there is to see."""
    data_args, model_args, watch_args, training_args = parse(sys.argv[1:])
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_QUIET", "true")  # no summary of W&B's at the end: there is `print_summary`
    os.environ.setdefault("WANDB_DIR", training_args.output_dir)
    os.environ.setdefault("WANDB_PROJECT", "curvewatch")
    Path(training_args.output_dir).mkdir(parents=True, exist_ok=True)
    set_seed(training_args.seed)

    if data_args.dataset is not None:
        data = text_data.from_saved(data_args.dataset, data_args.tokenizer or data_args.dataset)
    else:
        data = text_data.from_text(data_args.text, data_args.vocab_size, data_args.context)
    tokens = data.token_set(
        n_tokens=watch_args.n_tokens, per_sequence=watch_args.per_sequence, seed=watch_args.tokens_seed
    )
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=model_args.model_vocab_size or len(data.tokenizer),
            n_positions=data_args.context,
            n_layer=model_args.n_layer,
            n_embd=model_args.n_embd,
            n_head=model_args.n_head,
            bos_token_id=data.tokenizer.bos_token_id,
            eos_token_id=data.tokenizer.eos_token_id,
        )
    )
    ngrams = data.ngrams(tokens, watch_args.ngrams)
    live = Live(
        token_counts="training",  # bands of frequency, from the batches as they are trained on
        ngrams=ngrams,
        prompts=Prompts(watch_args.prompts, data.tokenizer) if watch_args.prompts else None,
    )
    callback = CurveWatchCallback(
        tokens, watch_args.run_file, schedule=SCHEDULES[watch_args.schedule], live=live, log=story()
    )
    trainer = Trainer(model, training_args, train_dataset=data.train, callbacks=[callback])
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(Bar)
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)

    if trainer.is_world_process_zero():
        print_summary(watch_args.run_file, ngrams)


class Bar(ProgressCallback):
    """The progress bar alone: the lines in the terminal are the story's."""

    def on_log(self, *_args, **_kwargs) -> None:
        """Prints nothing."""


def parse(arguments: list[str]) -> tuple[DataArguments, ModelArguments, WatchArguments, TrainingArguments]:
    """Settings from an optional YAML file, overridden by the command line."""
    parser = HfArgumentParser((DataArguments, ModelArguments, WatchArguments, TrainingArguments))
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        settings = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
        parser.parse_dict(settings)  # refuses unknown keys
        parser.set_defaults(**settings)
        arguments = arguments[1:]
    return parser.parse_args_into_dataclasses(arguments)


if __name__ == "__main__":
    main()
