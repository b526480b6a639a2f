"""Pretrains a small masked model, and shows which parts of speech it learns when.

    python examples/masked_watch.py
    python examples/masked_watch.py --pos en_core_web_sm --text my.txt --max-steps 2000

Scored are held-out tokens, each behind a mask of its own, and beside them the control: the same tokens where another
sequence stands around them. The two part when the model begins to look at its context. Some minutes on a CPU.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import (
    DataCollatorForLanguageModeling,
    ModernBertConfig,
    ModernBertForMaskedLM,
    Trainer,
    TrainingArguments,
    set_seed,
)

import text_data
from curvewatch import Schedule, TokenSet, open_run
from curvewatch.analysis.report import write_report
from curvewatch.corpus import part_of_speech
from curvewatch.integrations.transformers import CurveWatchCallback

CONTEXT, BATCH = 32, 64
CLASSES = {
    "determiner": "the a an this that these those all every no any",
    "pronoun": "i me my mine thou thee thy thine ye you your he him his she her it its we us our they them their who "
    "whom whose which what himself themselves",
    "preposition": "of in to unto for with from by on upon at into against before after among over under through out "
    "off up down between without within toward concerning",
    "conjunction": "and but or nor for yea if when then because as that lest neither than though until while where",
    "auxiliary": "is are was were be been am art hath have had has shall shalt will wilt would should may might can "
    "could do did doth didst hast let",
}
"""Words by class, where no tagger is given; a word stands in the first that has it, and all others are open-class."""


def main() -> None:
    """Trains, and tells."""
    options = parse()
    os.environ.setdefault("WANDB_MODE", "offline")
    set_seed(options.seed)
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = text_data.from_text(options.text, vocab_size=2048, context=CONTEXT)
    tokenizer = data.tokenizer
    tokenizer.add_special_tokens({"mask_token": "[MASK]", "pad_token": tokenizer.eos_token})

    # A sequence's tokens each need a row of their own: few of each, from many sequences.
    start = tokenizer.bos_token_id
    tokens: TokenSet = data.token_set(n_tokens=options.n_tokens, per_sequence=4, bos=start).masked()
    tokens = part_of_speech(tokens, options.pos or closed_classes).label(tokens)
    sets = {"eval": tokens, "control": tokens.in_other_contexts(500)}
    run_file = folder / "masked.h5"
    schedule = Schedule.log(12) | Schedule.every(max(1, options.max_steps // 30))
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=options.width, num_hidden_layers=4,
        num_attention_heads=options.width // 32, intermediate_size=2 * options.width,
        max_position_embeddings=CONTEXT, global_attn_every_n_layers=1, pad_token_id=start, bos_token_id=start,
        eos_token_id=start, cls_token_id=start, sep_token_id=start,
    )  # fmt: skip
    settings = TrainingArguments(
        str(folder / "trainer"), max_steps=options.max_steps, per_device_train_batch_size=BATCH, learning_rate=3e-3,
        warmup_steps=options.max_steps // 10, adam_beta2=0.98, logging_steps=max(1, options.max_steps // 10),
        save_strategy="no", report_to="none", seed=options.seed,
    )  # fmt: skip
    Trainer(
        ModernBertForMaskedLM(config),
        settings,
        train_dataset=data.train,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.25),
        callbacks=[CurveWatchCallback(sets, run_file, schedule=schedule)],
    ).train()

    tell(run_file)
    run = open_run(run_file, "eval")
    figure = run.plot("accuracy:pos")
    figure.savefig(folder / "masked-accuracy.png", dpi=200)
    print(f"\n{write_report([run], folder / 'masked.html', title='a masked model')}\n{folder / 'masked-accuracy.png'}")


def tell(run_file: Path) -> None:
    """When the model began to look at its context, and when it learned which words."""
    own, control = open_run(run_file, "eval"), open_run(run_file, "control")
    bits = np.array([np.mean(own.surprisal[:], axis=1), np.mean(control.surprisal[:], axis=1)])
    looks = np.flatnonzero(bits[1] - bits[0] > 0.5)
    print(f"\nlast row: {bits[0, -1]:.2f} bits behind a mask, {bits[1, -1]:.2f} where another sequence stands around")
    if looks.size:
        print(f"it looks at its context (half a bit) from step {own.steps[looks[0]]:,} on")
    label, correct = own.tokens.labels["pos"], own.correct[:]
    print("\nclass            tokens   right at the end   half of that at step")
    for v in np.argsort(-label.sizes):
        if label.sizes[v] < 20:
            continue
        share_T = correct[:, label.codes == v].mean(axis=1)
        half = np.flatnonzero(share_T >= share_T[-1] / 2) if share_T[-1] > 0 else []
        at = f"{own.steps[half[0]]:,}" if len(half) else "-"
        print(f"{label.values[v]:15} {label.sizes[v]:7,} {share_T[-1]:18.1%} {at:>23}")


def closed_classes(text: str) -> Iterator[tuple[int, int, str]]:
    """Words, numbers and marks of a text with their class."""
    for match in re.finditer(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]", text):
        word = match[0].lower()
        found = next((name for name, words in CLASSES.items() if word in words.split()), "open class")
        kind = "number" if word.isdecimal() else "punctuation" if not word[0].isalnum() else found
        yield match.start(), match.end(), kind


def parse() -> argparse.Namespace:
    """The settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="UTF-8 text file; default: the King James Bible")
    parser.add_argument("--pos", help="a spaCy pipeline that is installed; default: lists of function words")
    parser.add_argument("--max-steps", type=int, default=800)
    parser.add_argument("--n-tokens", type=int, default=2000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", default="runs/masked")
    return parser.parse_args()


if __name__ == "__main__":
    main()
