"""What it costs to look for passages in a batch: beside counting its ids, for ever more passages.

    python benchmarks/exposures.py            # about two minutes
    python benchmarks/exposures.py --quick    # seconds: a smoke test, whose figures mean nothing

Rows of made-up words, as frequent as words are (Zipf), and passages of 20 of them, a hundred of which are put into
the batch (some over others). Both take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from measuring import machine, table

from curvewatch import Passages
from curvewatch.tokens.finding import PassageFinder

WORDS, LENGTH, ROUNDS = 32_000, 20, 15


class Numbers:
    """A tokenizer of words that are numbers."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: np.ndarray) -> str:
        return " ".join(map(str, ids))

    def __len__(self) -> int:
        return WORDS


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few passages: does it run at all?")
    counts = (10, 100) if parser.parse_args().quick else (1_000, 10_000, 100_000)
    rng, lines = np.random.default_rng(0), []
    for n in counts:
        texts = rng.zipf(1.3, (n, LENGTH)) % WORDS
        passages = Passages([" ".join(map(str, text)) for text in texts], Numbers())
        began = time.perf_counter()
        finder = PassageFinder(passages)
        built = time.perf_counter() - began
        for rows in (32, 512):
            batch = rng.zipf(1.3, (rows, 1024)) % WORDS
            for text, row in zip(texts[:100], rng.integers(0, rows, 100), strict=False):
                at = int(rng.integers(0, 1024 - LENGTH))
                batch[row, at : at + LENGTH] = text
            times: dict[str, list[float]] = {"count": [], "find": []}
            for _ in range(ROUNDS):
                began = time.perf_counter()
                np.bincount(batch.reshape(-1), minlength=WORDS)
                times["count"].append(1e3 * (time.perf_counter() - began))
                began = time.perf_counter()
                found = finder.find(batch)
                times["find"].append(1e3 * (time.perf_counter() - began))
            count, find = (statistics.median(one) for one in times.values())
            lines.append([f"{n:,}", f"{rows} x 1024", f"{count:.2f}", f"{find:.2f}", f"{find / count:.0f} x",
                          f"{len(found.passage):,}", f"{built:.1f}"])  # fmt: skip
    print(machine(torch.device("cpu")))
    print()
    print(table(["passages", "batch", "ms, one bincount", "ms, search", "relative", "found", "s, made ready"], lines))


if __name__ == "__main__":
    main()
