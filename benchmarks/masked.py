"""What scoring a masked model costs: beside one plain pass over the same sequences, and beside the plain way.

    python benchmarks/masked.py            # about two minutes on a CPU
    python benchmarks/masked.py --quick    # seconds: a smoke test, whose figures mean nothing

Random weights, sequences of 128. All ways take turns:

    one pass      the model once over the sequences, its head at the scored positions: what a causal set would cost
    10 of 128     `Scorer.score`, one mask for each of ten positions a sequence
    all           the same for every position
    7 masks       the approximation `masked_in_7`, for every position
    plain         full logits of one row for each of the ten positions, log_softmax, gather: without curvewatch
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import CONTEXT, Clock, machine, pick_device, settle, table
from transformers import BertConfig, BertForMaskedLM

from curvewatch import Scorer, TokenSet
from curvewatch.scoring import roads
from curvewatch.scoring.batches import Batches
from curvewatch.scoring.masked import MaskedBatches

SHAPES = {"BERT base (12 x 768)": (12, 768, 30_522), "small (4 x 256)": (4, 256, 30_522)}
QUICK = {"tiny (2 x 64)": (2, 64, 1_000)}


def main() -> None:
    """Prints a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model: does it run at all?")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--sequences", type=int, help="default: 2 on a CPU, 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    device = pick_device(options.device)
    settle(1)
    n_sequences = options.sequences or (64 if device.type == "cuda" else 2)
    print(machine(device))
    found = []
    for name, shape in (QUICK if options.quick else SHAPES).items():
        ways, rows = made_ready(shape, n_sequences, device, options.dtype)
        clock = Clock(device)
        for way in ways.values():
            way()
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, work in ways.items():
                times[way].append(clock.time(work))
        lines = []
        for way, seconds in times.items():
            ratios = [a / b for a, b in zip(seconds, times["one pass"], strict=True)]
            a_row = statistics.median(ratios) / rows[way] * rows["one pass"]
            figures = {"rows": rows[way], "seconds": statistics.median(seconds), "ratio": statistics.median(ratios)}
            found.append({"model": name, "dtype": options.dtype, "way": way, **figures})
            lines.append(
                [way, f"{rows[way]:,}", f"{figures['seconds']:.3f}", f"{figures['ratio']:.1f}", f"{a_row:.2f}"]
            )
        print(f"\n{name}, {options.dtype}, {n_sequences} sequences of {CONTEXT}; {clock.unit}, median of rounds")
        print(table(["way", "rows", "seconds", "x one pass", "x for each row"], lines))
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(device), "figures": found}, indent=2))


@torch.no_grad()
def made_ready(
    shape: tuple[int, int, int], n_sequences: int, device: torch.device, dtype: str
) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """The ways to be timed, and the rows that each feeds."""
    layers, width, vocabulary = shape
    torch.manual_seed(0)
    config = BertConfig(vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers,
                        num_attention_heads=max(1, width // 64), intermediate_size=4 * width)  # fmt: skip
    model = BertForMaskedLM(config).to(device, getattr(torch, dtype)).eval()
    ids = np.random.default_rng(0).integers(5, vocabulary, (n_sequences, CONTEXT))
    ten = TokenSet.from_sequences(ids, per_sequence=10).masked(mask=4)
    whole = TokenSet.from_sequences(ids)
    scorers = {"10 of 128": Scorer(ten), "all": Scorer(whole.masked(mask=4)),
               "7 masks": Scorer(whole.masked("masked_in_7", mask=4))}  # fmt: skip
    for scorer in scorers.values():
        scorer.prepare(model)
    road, size = getattr(roads, scorers["all"].prepared.road), int(scorers["all"].batch_size)
    causal = TokenSet.from_sequences(ids, per_sequence=10)
    once, of_ten = Batches(causal, size), MaskedBatches(ten, size)

    @torch.no_grad()
    def one_pass() -> None:
        for index in range(len(once)):
            road(model, once.build(index, device))

    @torch.no_grad()
    def plain() -> None:
        for index in range(len(of_ten)):
            batch = of_ten.build(index, device)
            log_p = model(batch.input_ids).logits.float().log_softmax(-1)[batch.keep]
            log_p.gather(1, batch.target[:, None]).cpu()

    ways: dict[str, Callable[[], object]] = {"one pass": one_pass}
    ways |= {name: (lambda scorer=scorer: scorer.score(model)) for name, scorer in scorers.items()}
    ways["plain"] = plain
    rows = {"one pass": n_sequences, "plain": len(ten)}
    for name, scorer in scorers.items():
        assert scorer.tokens.masking is not None
        rows[name] = scorer.tokens.masking.n_rows(scorer.tokens)
    return ways, rows


if __name__ == "__main__":
    main()
