"""What the code on the documentation's pages finds: a folder of small files, and names that its reader has, too.

A page says `trainer = Trainer(model, args, ...)` and `open_run("curves.h5")`. Here a tiny model is trained once in a
process, by two seeds; each page then works on its own copy of that folder, with its own model.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from .tokenizers import bert_with_edges, t5_with_end

CONTEXT = 128
STEPS = 40
NOUNS = [
    "cat",
    "dog",
    "king",
    "river",
    "stone",
    "bread",
    "garden",
    "letter",
    "winter",
    "road",
    "horse",
    "window",
    "child",
    "song",
    "ship",
]
VERBS = ["sees", "finds", "follows", "carries", "leaves", "breaks", "paints", "hears", "builds", "loses"]
HOME = Path.cwd()


def text(n_sentences: int, seed: int) -> str:
    """Sentences of a small grammar."""
    rng = random.Random(seed)
    said = [
        f"the {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)} and the cat {rng.choice(VERBS)} a dog ."
        for _ in range(n_sentences)
    ]
    return " ".join(said)


def tokenizer_of_words() -> Any:
    """A tokenizer of transformers, one token for each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<|endoftext|>", *sorted({"the", "and", "a", ".", *NOUNS, *VERBS})]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|endoftext|>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def tiny_model(vocabulary: int, seed: int = 0) -> Any:
    """A GPT-2 of one layer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=vocabulary, n_positions=CONTEXT, n_layer=1, n_embd=16, n_head=2,
                            bos_token_id=0, eos_token_id=0)  # fmt: skip
        return GPT2LMHeadModel(config)


def packed(tokenizer: Any, words: str, n_rows: int) -> Any:
    """Rows of token ids, int64 [n_rows, 32]."""
    import torch

    return torch.tensor(tokenizer(words, verbose=False)["input_ids"][: 32 * n_rows]).view(n_rows, 32)


@lru_cache(maxsize=1)
def template() -> Path:
    """The folder that every page gets a copy of."""
    import numpy as np
    import torch

    from curvewatch import Live, TokenSet, Watch

    folder = Path(tempfile.mkdtemp(prefix="curvewatch-pages-"))
    atexit.register(shutil.rmtree, folder)
    tokenizer = tokenizer_of_words()
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "heldout.txt").write_text(text(12_000, seed=1))
    (folder / "domain.txt").write_text(text(3_000, seed=3))
    (folder / "train.txt").write_text(text(1_000, seed=2))
    rows = packed(tokenizer, (folder / "train.txt").read_text(), 300)
    np.save(folder / "train.npy", rows.numpy())
    heldout = (folder / "heldout.txt").read_text()[:50_000]
    tokens = TokenSet.from_text(heldout, tokenizer, n_tokens=300, context=64, seed=0)
    tokens.save(folder / "tokens.npz")
    for seed in (0, 1):
        model = tiny_model(len(tokenizer), seed)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-2)
        with Watch(tokens, folder / f"seed{seed}.h5", max_steps=STEPS, schedule=1, live=Live(smoothed=False)) as watch:
            watch.observe(model, 0)
            for step in range(1, STEPS + 1):
                batch = rows[4 * step : 4 * step + 4]
                model(input_ids=batch, labels=batch).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                watch.observe(model, step)
                if seed == 0 and step % 10 == 0:
                    model.save_pretrained(folder / "out" / f"checkpoint-{step}")
    shutil.copy(folder / "seed0.h5", folder / "curves.h5")
    return folder


def names() -> dict[str, Any]:
    """What a page may take for granted: the reader's own model, data and settings."""
    import lightning
    import torch
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    import curvewatch

    class LightningModule(lightning.LightningModule):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _index: int) -> Any:
            return self.model(**batch).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    tokenizer = tokenizer_of_words()
    rows = packed(tokenizer, Path("train.txt").read_text(), 300)
    model = tiny_model(len(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    train_dataset = [{"input_ids": row, "labels": row} for row in rows]

    def training_step(model: Any) -> None:
        optimizer.zero_grad()
        model(input_ids=rows[:4], labels=rows[:4]).loss.backward()
        optimizer.step()

    return {
        "curvewatch": curvewatch,
        "tokenizer": tokenizer,
        "bert_tokenizer": bert_with_edges(),
        "t5_tokenizer": t5_with_end(),
        "tokens": curvewatch.TokenSet.load("tokens.npz"),
        "model": model,
        "train_dataset": train_dataset,
        "train_sequences": rows.numpy(),
        "train_dataloader": DataLoader(train_dataset, 2),
        "training_step": training_step,
        "max_steps": 4,
        "args": TrainingArguments("out/trainer", max_steps=4, logging_steps=2, report_to=[], use_cpu=True,
                                  save_strategy="no", disable_tqdm=True),
        "Trainer": Trainer,
        "lightning": lightning,
        "lightning_module": LightningModule(model),
        "load": lambda step: tiny_model(len(tokenizer), step),
    }  # fmt: skip


def open_page(namespace: dict[str, Any]) -> None:
    """Before a page's first block."""
    folder = Path(tempfile.mkdtemp(prefix="curvewatch-page-"))
    shutil.copytree(template(), folder, dirs_exist_ok=True)
    os.chdir(folder)
    namespace.update(names())


def close_page(namespace: dict[str, Any]) -> None:
    """Behind its last one."""
    folder = Path.cwd()
    os.chdir(HOME)
    shutil.rmtree(folder)
    namespace.clear()


def run_commands(example: Any) -> None:
    """Evaluates a block of shell: each line is a `curvewatch` command, run by its own entry point."""
    import shlex

    from typer.testing import CliRunner

    from curvewatch.cli.app import app

    for line in example.parsed.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if not program:
            continue
        assert program == "curvewatch", (
            f"{line!r} is not run by the tests: put a skip with its reason before the block."
        )
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
