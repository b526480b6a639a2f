"""Pretrains a GPT-2 in a plain PyTorch loop, watched.

python examples/pretrain_loop.py
python examples/pretrain_loop.py --text my.txt --max-steps 2000
"""

from __future__ import annotations

import argparse

import torch
import wandb
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

import text_data
from curvewatch import Live, Prompts, Watch
from story import story
from summary import print_summary

PROMPTS = ["In the beginning", "And the LORD said unto", "The king"]


def main() -> None:
    """Trains, and says what there is to see."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="UTF-8 text file; default: the King James Bible")
    parser.add_argument("--run-file", default="runs/loop/curves.h5", help="the run file (HDF5)")
    parser.add_argument("--max-steps", type=int, default=500)
    parser.add_argument("--n-tokens", type=int, default=2000, help="scored tokens")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--width", type=int, default=192, help="of the model")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = text_data.from_text(options.text)
    config = GPT2Config(vocab_size=len(data.tokenizer), n_positions=128, n_layer=4, n_embd=options.width,
                        n_head=options.width // 32, bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = GPT2LMHeadModel(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=options.max_steps)

    tokens = data.token_set(n_tokens=options.n_tokens)
    ngrams = data.ngrams(tokens)
    live = Live(token_counts="training", ngrams=ngrams, prompts=Prompts(PROMPTS, data.tokenizer))
    wandb.init(project="curvewatch", mode="offline", settings=wandb.Settings(quiet=True))
    with Watch(tokens, options.run_file, max_steps=options.max_steps, live=live, log=story()) as watch:
        watch.observe(model, 0)  # before the first update
        batches = endless(DataLoader(data.train, options.batch_size, shuffle=True, drop_last=True))
        for step in range(1, options.max_steps + 1):
            batch = next(batches)
            watch.count(batch["input_ids"])  # what is trained on, for what is shown by frequency
            loss = model(input_ids=batch["input_ids"].to(device), labels=batch["labels"].to(device)).loss
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            watch.observe(model, step)  # `step` updates are done; scores only when the schedule says so
            if step % 10 == 0:
                wandb.log({"loss": loss.item()}, step=step)
    print_summary(options.run_file, ngrams)


def endless(loader: DataLoader):
    """Batches, epoch after epoch."""
    while True:
        yield from loader


if __name__ == "__main__":
    main()
