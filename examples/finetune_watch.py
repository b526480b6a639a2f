"""Fine-tunes a small model with TRL and says what that cost: what it knew before, what it was to learn, and a skill.

    python examples/finetune_watch.py                       # all weights
    python examples/finetune_watch.py --lora 8              # LoRA of rank 8
    python examples/finetune_watch.py --model my/model      # any causal model of yours; its own text by --text

Without --model it first pretrains a GPT-2 on the text, for some minutes on a CPU, and keeps it for the next time. The
task is made here: sums of two numbers, asked in words. Three token sets are watched while it is learned: held-out text
("general"), minimal pairs ("skill"), and the answers to sums that are never trained on ("task").
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import SFTConfig, SFTTrainer

import text_data
from curvewatch import Live, Schedule, TokenSet, open_run
from curvewatch.analysis.against import in_words
from curvewatch.analysis.report import write_report
from curvewatch.integrations.transformers import CurveWatchCallback

CONTEXT = 128
SETS = ("general", "skill", "task")
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ONES = ("nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
SINGULAR = ("king", "man", "house", "city", "son", "servant", "priest", "prophet", "tree", "stone")


def main() -> None:
    """Trains, and tells."""
    options = parse()
    os.environ.setdefault("WANDB_MODE", "offline")
    set_seed(options.seed)
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = text_data.from_text(options.text, context=CONTEXT)
    path, tokenizer = options.model or pretrained(folder / "base", data, options), data.tokenizer
    if options.model:
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(path)

    rows = sums(options.seed)
    train, held_out = rows[:-200], rows[-200:]
    tokens = {
        "general": general(data, tokenizer, options.n_tokens),
        "skill": TokenSet.from_pairs(pairs(), tokenizer, label="about", bos=start_of(tokenizer)),
        "task": TokenSet.from_completions(
            held_out, tokenizer, prompt="prompt", answer="completion", bos=start_of(tokenizer)
        ),
    }
    run_file = folder / ("lora.h5" if options.lora else "full.h5")
    callback = CurveWatchCallback(
        tokens,
        run_file,
        schedule=Schedule.log(10) | Schedule.every(max(1, options.max_steps // 25)),
        live=Live(reference="first"),  # the row of step 0 is the model as it was
    )
    settings = SFTConfig(
        str(folder / "sft"),
        max_steps=options.max_steps,
        per_device_train_batch_size=16,
        learning_rate=3e-3 if options.lora else 5e-4,
        logging_steps=max(1, options.max_steps // 10),
        save_strategy="no",
        report_to="none",
        bf16=False,
        seed=options.seed,
    )
    adapters = LoraConfig(r=options.lora, lora_alpha=2 * options.lora, task_type="CAUSAL_LM") if options.lora else None
    SFTTrainer(
        model,
        args=settings,
        train_dataset=Dataset.from_list(train),
        processing_class=tokenizer,
        peft_config=adapters,
        callbacks=[callback],
    ).train()

    for name in SETS:
        run = open_run(run_file, name)
        print(f"\n{name}: {in_words(run.against())}")
        page = write_report([run], run_file.with_name(f"{run_file.stem}-{name}.html"), title=f"{run_file.stem}: {name}")
        print(f"{' ' * len(name)}  {page}")
    print(f"\ncurvewatch against {run_file} --set general      # by kind of token\ncurvewatch watch {run_file}")


def parse() -> argparse.Namespace:
    """The settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a causal model of transformers, by name or folder; default: pretrained here")
    parser.add_argument("--text", help="UTF-8 text file of what it knows; default: the King James Bible")
    parser.add_argument("--lora", type=int, default=0, help="rank of LoRA adapters; 0 trains all weights")
    parser.add_argument("--max-steps", type=int, default=200, help="of the fine-tune")
    parser.add_argument("--pretrain-steps", type=int, default=600)
    parser.add_argument("--n-tokens", type=int, default=2000, help="scored tokens of held-out text")
    parser.add_argument("--width", type=int, default=192, help="of the model that is pretrained here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", default="runs/finetune")
    return parser.parse_args()


def pretrained(folder: Path, data: text_data.TextData, options: argparse.Namespace) -> str:
    """The folder of a GPT-2 that is trained on the text, made if it is not there."""
    if not (folder / "config.json").exists():
        end = data.tokenizer.eos_token_id
        config = GPT2Config(vocab_size=len(data.tokenizer), n_positions=CONTEXT, n_layer=4, n_embd=options.width,
                            n_head=options.width // 32, bos_token_id=end, eos_token_id=end)  # fmt: skip
        settings = TrainingArguments(
            str(folder), max_steps=options.pretrain_steps, per_device_train_batch_size=16, learning_rate=2e-3,
            warmup_steps=20, lr_scheduler_type="cosine", logging_steps=max(1, options.pretrain_steps // 10),
            save_strategy="no", report_to="none", seed=options.seed,
        )  # fmt: skip
        trainer = Trainer(GPT2LMHeadModel(config), settings, train_dataset=data.train)
        trainer.train()
        trainer.save_model(str(folder))
    return str(folder)


def general(data: text_data.TextData, tokenizer: object, n_tokens: int) -> TokenSet:
    """Held-out text, with labels of what its tokens are."""
    if tokenizer is data.tokenizer:
        tokens = data.token_set(n_tokens=n_tokens, per_sequence=10, seed=0)
    else:
        tokens = TokenSet.from_text(data.held_out, tokenizer, n_tokens=n_tokens, context=CONTEXT, seed=0)
    return tokens.label("kind").label("piece")


def start_of(tokenizer: object) -> int:
    """The token before a text, so that its first one is scored, too."""
    first = tokenizer.bos_token_id
    return tokenizer.eos_token_id if first is None else first


def sums(seed: int) -> list[dict[str, str]]:
    """All sums below a hundred, in words, in an order of their own."""
    rows = [
        {
            "prompt": f"How many are {in_words_of(a)} and {in_words_of(b)}?",
            "completion": f" They are {in_words_of(a + b)}.",
        }
        for a in range(1, 99)
        for b in range(1, 100 - a)
    ]
    random.Random(seed).shuffle(rows)
    return rows


def in_words_of(n: int) -> str:
    """A number below a hundred in words."""
    return ONES[n] if n < 20 else TENS[n // 10] + (f" {ONES[n % 10]}" if n % 10 else "")


def pairs() -> list[dict[str, str]]:
    """Sentences that differ in what is grammatical."""
    rows = []
    for noun in SINGULAR:
        many = "men" if noun == "man" else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
        rows += [
            {"good": f"And the {noun} was great.", "bad": f"And the {noun} were great.", "about": "singular"},
            {"good": f"And the {many} were great.", "bad": f"And the {many} was great.", "about": "plural"},
            {"good": f"Then came the {noun} unto them.", "bad": f"Then came the {noun} unto they.", "about": "case"},
            {"good": f"He saw the {noun} of the land.", "bad": f"He saw the {noun} the of land.", "about": "order"},
        ]
    return rows


if __name__ == "__main__":
    main()
