"""What labels and spans add to a live update: the training thread's time for one observation, with and without.

    python benchmarks/units.py            # a million tokens, about a minute
    python benchmarks/units.py --quick    # seconds: a smoke test, whose figures mean nothing

The same observations go to live sides of one token set, in turns: without annotations, with three labels (of 2, 5 and
10 values), and with these and a span for every four tokens (words). Smoothed curves are left out, which other threads
fit.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from measures import CHANCE
from measuring import machine, table

from curvewatch import Observation, TokenSet
from curvewatch.live.current import LiveMetrics
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.labels import Label
from curvewatch.tokens.spans import Spans

ROUNDS = 24


def token_set(n_tokens: int) -> TokenSet:
    """N tokens in sequences of 101, all of them scored but the first."""
    rng = np.random.default_rng(0)
    return TokenSet.from_sequences(rng.integers(0, 50_000, (n_tokens // 100, 101)), vocab_size=50_257)


def labelled(tokens: TokenSet) -> TokenSet:
    """With three labels."""
    rng = np.random.default_rng(1)
    labels = {
        f"of {k}": Label(rng.integers(0, k, len(tokens)).astype(np.int32), tuple(f"value {v}" for v in range(k)))
        for k in (2, 5, 10)
    }
    return tokens.with_annotations(Annotations(labels=labels))


def worded(tokens: TokenSet) -> TokenSet:
    """With a span of one to seven tokens for every four."""
    rng = np.random.default_rng(2)
    length = rng.integers(1, 8, len(tokens) // 4).astype(np.int32)
    first = np.concatenate([[0], np.cumsum(length)])[:-1].astype(np.int32)
    inside = first + length <= len(tokens)
    first, length = first[inside], length[inside]
    n, blank = len(first), ("",) * len(first)
    spans = Spans(first, length, ("word",) * n, blank, blank, np.full(n, -1, np.int32), blank, np.zeros(n, bool))
    return tokens.with_annotations(Annotations(labels=tokens.labels, spans=spans))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few tokens: does it run at all?")
    n_tokens = 10_000 if parser.parse_args().quick else 1_000_000
    plain = token_set(n_tokens)
    sets = {"nothing": plain, "three labels": labelled(plain), "three labels and words": worded(labelled(plain))}
    live = {name: LiveMetrics(len(tokens), CHANCE, 1000, tokens=tokens) for name, tokens in sets.items()}
    rng = np.random.default_rng(3)
    spent: dict[str, list[float]] = {name: [] for name in sets}
    for step in range(1, ROUNDS + 1):
        surprisal = rng.gamma(2.0, 3.0, n_tokens).astype(np.float32)
        observation = Observation(surprisal, rng.random(n_tokens) < 0.3, surprisal)
        names = list(sets)
        for name in names[step % 3 :] + names[: step % 3]:
            began = time.perf_counter()
            live[name].update(step, observation)
            spent[name].append(1e3 * (time.perf_counter() - began))
    base = statistics.median(spent["nothing"])
    rows = [
        [name, f"{min(times):.1f}", f"{statistics.median(times):.1f}", f"{statistics.median(times) / base:.2f} x"]
        for name, times in spent.items()
    ]
    print(machine(torch.device("cpu")))
    print(f"{n_tokens:,} tokens, {ROUNDS} observations; {len(sets['three labels and words'].spans):,} words\n")
    print(table(["annotations", "ms, shortest", "ms, median", "median, relative"], rows))


if __name__ == "__main__":
    main()
