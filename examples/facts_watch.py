"""Teaches a small model made-up facts while it learns a language, and follows when it saw each and what it kept.

    python examples/facts_watch.py
    python examples/facts_watch.py --text my.txt --max-steps 2000

A GPT-2 is trained on text. In the second third of the steps made-up sentences stand in some of its batches: a third of
them once, a third three times, a third ten times. What is asked of the model (the last words of each sentence, in the
words that it was taught with, and in others) is scored at each step around an exposure. Some minutes on a CPU.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

import text_data
from curvewatch import Live, Passages, Schedule, TokenSet, open_run
from curvewatch.analysis.report import write_report
from curvewatch.integrations.transformers import CurveWatchCallback

CONTEXT, BATCH = 128, 16
TIMES = (1, 3, 10)
"""How often facts are seen, each third of them."""
WORDINGS = {
    "same words": ("And the river {name} riseth in the hills of {place}", "."),
    "other words": ("For the hills of {place} are the head of the river {name}", ""),
}
SYLLABLES = ("ba", "dor", "el", "gim", "ha", "ish", "ka", "lu", "mar", "na", "oth", "pel", "ra", "sho", "tum", "zi")


def main() -> None:
    """Trains, and tells."""
    options = parse()
    os.environ.setdefault("WANDB_MODE", "offline")
    set_seed(options.seed)
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    data = text_data.from_text(options.text, context=CONTEXT)
    facts = made_up(options.n_facts, options.seed)
    shown = plan(facts, options.max_steps // 3, options.max_steps * 2 // 3, options.seed)
    train = Taught(data.train, options.max_steps * BATCH, shown, data.tokenizer)

    start = data.tokenizer.bos_token_id
    probes = {
        name: TokenSet.from_completions(rows, data.tokenizer, label="fact", bos=start)
        for name, rows in questions(facts).items()
    }
    run_file = folder / "facts.h5"
    end = data.tokenizer.eos_token_id
    config = GPT2Config(vocab_size=len(data.tokenizer), n_positions=CONTEXT, n_layer=4, n_embd=options.width,
                        n_head=options.width // 32, bos_token_id=end, eos_token_id=end)  # fmt: skip
    callback = CurveWatchCallback(
        probes,
        run_file,
        schedule=Schedule.after_exposures(50) | Schedule.every(max(1, options.max_steps // 60)),
        live=Live(exposures=Passages({name: fact["text"] for name, fact in facts.items()}, data.tokenizer)),
    )
    settings = TrainingArguments(
        str(folder / "trainer"), max_steps=options.max_steps, per_device_train_batch_size=BATCH, learning_rate=1e-3,
        warmup_steps=20, lr_scheduler_type="constant_with_warmup", logging_steps=max(1, options.max_steps // 10),
        train_sampling_strategy="sequential", save_strategy="no", report_to="none", seed=options.seed,
    )  # fmt: skip
    Trainer(GPT2LMHeadModel(config), settings, train_dataset=train, callbacks=[callback]).train()

    for name in probes:
        run = open_run(run_file, name)
        found = run.exposures()
        print(f"\n{name}: {found}")
        tell(found, facts)
        found.plot("answer").savefig(folder / f"facts-{name.replace(' ', '-')}.png", dpi=200)
        print(f"  {write_report([run], folder / f'facts-{name.split()[0]}.html', title=f'facts: {name}')}")
    print(f"\ncurvewatch exposures {run_file} --set 'same-words' --unit answer")


def tell(found: object, facts: dict[str, dict[str, str]]) -> None:
    """What one exposure brings, and what is left of it, by how often a fact was seen."""
    effects, retained = found.effects("answer"), found.retention("answer")
    for times in TIMES:
        of = {name for name, fact in facts.items() if fact["times"] == times}
        gained = effects[effects["passage"].isin(of)]["effectivity"]
        shares = [one.retainability_K[-1] for u, one in zip(retained.unit_P, retained.by_probe, strict=True)
                  if len(one.retainability_K) and found.run.tokens.spans.group[u] in of]  # fmt: skip
        left = f"{statistics.median(shares):4.0%} left at the end (median)" if shares else "nothing gained"
        print(f"  seen {times:2} times: {gained.mean():5.2f} bits an exposure, {left}")
    print(f"  decay constant {retained.decay.constant:.3f}")


def made_up(n: int, seed: int) -> dict[str, dict[str, str]]:
    """Facts by name: of rivers that nobody knows."""
    rng = random.Random(seed)
    names = [first + second + third for first in SYLLABLES for second in SYLLABLES for third in SYLLABLES]
    rng.shuffle(names)
    facts = {}
    for i in range(n):
        name, place = (names.pop().capitalize() for _ in range(2))
        before, behind = WORDINGS["same words"]
        text = before.format(name=name, place=place) + behind
        facts[name] = {"name": name, "place": place, "text": text, "times": TIMES[i % len(TIMES)]}
    return facts


def questions(facts: dict[str, dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Prompts and answers: the place in the words of the fact, the river in others."""
    found = {}
    for wording, (text, _) in WORDINGS.items():
        asked = "place" if wording == "same words" else "name"
        rows = []
        for name, fact in facts.items():
            whole = text.format(**fact)
            cut = whole.rindex(" ")
            rows.append({"prompt": whole[:cut], "answer": whole[cut:], "fact": name})
            assert whole.endswith(fact[asked])
        found[wording.replace(" ", "-")] = rows
    return found


def plan(facts: dict[str, dict[str, str]], first: int, last: int, seed: int) -> dict[int, list[str]]:
    """The facts of each update from `first` to `last`; all are seen for the last time close to `last`."""
    rng, shown = random.Random(seed), {}
    apart = (last - first) // max(TIMES)
    for fact in facts.values():
        end = last - rng.randrange(apart)
        for k in range(fact["times"]):
            shown.setdefault(end - k * apart, []).append(fact["text"])
    if max(map(len, shown.values())) > BATCH:
        raise SystemExit(f"--n-facts {len(facts)}: over {BATCH} of them in one batch. Take fewer, or more steps.")
    return shown


class Taught(Dataset[dict[str, Tensor]]):
    """Sequences of a text, in a random order, some of which begin with a fact.

    Args:
        text: The sequences.
        n: How many of them; they begin anew if there are fewer.
        shown: Facts by update, counted from 1.
        tokenizer: Of the text.
    """

    def __init__(
        self, text: Dataset[dict[str, Tensor]], n: int, shown: dict[int, list[str]], tokenizer: object
    ) -> None:
        self.text, self.n, self.order = text, n, torch.randperm(len(text)).tolist()
        self.facts = {
            (update - 1) * BATCH + k: torch.tensor(tokenizer(f"\n{fact}\n")["input_ids"])
            for update, facts in shown.items()
            for k, fact in enumerate(facts)
        }

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids = self.text[self.order[index % len(self.order)]]["input_ids"]
        if index in self.facts:
            ids = torch.cat([self.facts[index], ids])[:CONTEXT]
        return {"input_ids": ids, "labels": ids}


def parse() -> argparse.Namespace:
    """The settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="UTF-8 text file; default: the King James Bible")
    parser.add_argument("--max-steps", type=int, default=600)
    parser.add_argument("--n-facts", type=int, default=30)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", default="runs/facts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
