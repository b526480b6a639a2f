"""What it costs to ask what predicts learning: contextual diversity of a large corpus, and regressions of many tokens.

    python benchmarks/predict.py            # about ten minutes; a file of 200 MB for as long
    python benchmarks/predict.py --quick    # seconds: a smoke test, whose figures mean nothing

Random ids, as frequent as words are (Zipf), in sequences of 1,024; random predictors and classes. Each part in a
process of its own. Beside it the released code's way where it can run: a matrix of counts filled window by window, on a
part of the corpus, and statsmodels on the same tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import in_fresh_process, machine, table

from curvewatch import TokenSet
from curvewatch.analysis.predict.prediction import regressed
from curvewatch.analysis.predict.predictors import Predictors
from curvewatch.analysis.predict.targets import Targets
from curvewatch.corpus import contextual_diversity

WINDOW, CONTEXT_TYPES, LENGTH = 30, 10_000, 1024
CLASSES = ("ADJ", "ADP", "ADV", "AUX", "DET", "NOUN", "NUM", "PRON", "PROPN", "PUNCT", "VERB", "X", "[UNMATCHED]")


def corpus_at(path: str, n_tokens: int, vocabulary: int) -> None:
    """Writes ids, block by block."""
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, "w+", np.uint16, (n_tokens // LENGTH, LENGTH))
    for first in range(0, len(out), 4096):
        rows = min(4096, len(out) - first)
        out[first : first + rows] = (rng.zipf(1.2, (rows, LENGTH)) - 1) % vocabulary
    out.flush()


def diversity(path: str, vocabulary: int, max_tokens: int | None) -> dict[str, float]:
    """Seconds, and peak memory added."""
    tokens = TokenSet.from_sequences([[1, 2, 3]], vocab_size=vocabulary)
    before, began = peak(), time.perf_counter()
    found = contextual_diversity(np.load(path, mmap_mode="r"), tokens, max_tokens=max_tokens)
    return {"seconds": time.perf_counter() - began, "mib": peak() - before,
            "looked": float(found.made_by["occurrences"])}  # fmt: skip


def window_by_window(path: str, vocabulary: int, n_tokens: int) -> dict[str, float]:
    """The released code's way: int32 counts of each pair, a window at a time."""
    rows = np.load(path, mmap_mode="r")[: n_tokens // LENGTH]
    before, began = peak(), time.perf_counter()
    counts = np.zeros((vocabulary, CONTEXT_TYPES), np.int32)
    for row in rows:
        for i, one in enumerate(row):
            around = np.unique(row[max(0, i - WINDOW) : i])
            counts[one, around[around < CONTEXT_TYPES]] += 1
    (counts > 0).sum(axis=1)
    return {"seconds": time.perf_counter() - began, "mib": peak() - before, "looked": float(rows.size)}


def made_up(n: int) -> tuple[Predictors, Targets, np.ndarray]:
    """Five numbers, two classes, five targets, ten tokens a sequence."""
    rng = np.random.default_rng(0)
    names = ("unigram", "ngram", "context_loglen", "context_logprob", "contextual_div")
    numbers = {name: rng.normal(size=n) for name in names}
    classes = {"pos": rng.choice(CLASSES, n), "pos_bilu": rng.choice(list("BILU"), n)}
    targets = {name: numbers["unigram"] + rng.normal(size=n) for name in
               ("surprisal", "var_steps", "aoa", "forgettability", "var_runs")}  # fmt: skip
    return Predictors(numbers, classes), Targets(targets, {}, 5, ()), np.arange(n) // 10


def regressions(n: int) -> dict[str, float]:
    """All models of all five targets, with the bootstrap."""
    given = made_up(n)
    before, began = peak(), time.perf_counter()
    regressed(*given)
    return {"seconds": time.perf_counter() - began, "mib": peak() - before}


def by_statsmodels(n: int) -> dict[str, float]:
    """The seven nested models of one target alone."""
    import pandas as pd
    import statsmodels.formula.api as smf

    predictors, targets, _ = made_up(n)
    frame = pd.DataFrame({**predictors.numbers, **predictors.classes, "y": targets.values["surprisal"]})
    terms = [*predictors.numbers, "pos + pos_bilu", " + ".join(
        f"{a}:{b}" for k, a in enumerate(predictors.numbers) for b in list(predictors.numbers)[k + 1 :]
    )]  # fmt: skip
    before, began = peak(), time.perf_counter()
    for k in range(1, len(terms) + 1):
        smf.ols("y ~ " + " + ".join(terms[:k]), frame).fit()
    return {"seconds": time.perf_counter() - began, "mib": peak() - before}


def peak() -> float:
    """Peak memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    n_corpus, vocabulary, plain = (1 << 18, 2000, 1 << 14) if options.quick else (100_000_000, 50_257, 1 << 20)
    sizes = (2000,) if options.quick else (100_000, 1_000_000)
    found: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    print(found["machine"])
    with tempfile.TemporaryDirectory(prefix="curvewatch-benchmark-") as folder:
        path = f"{folder}/corpus.npy"
        corpus_at(path, n_corpus, vocabulary)
        parts = {"all of it": (diversity, (path, vocabulary, None)),
                 "a tenth of it": (diversity, (path, vocabulary, n_corpus // 10)),
                 "window by window, a part": (window_by_window, (path, vocabulary, plain))}  # fmt: skip
        lines = []
        for name, (work, arguments) in parts.items():
            one = found[name] = in_fresh_process(work, *arguments)
            rate = one["looked"] / one["seconds"] / 1e6
            lines.append([name, f"{one['looked']:,.0f}", f"{one['seconds']:.1f}", f"{rate:.2f}", f"{one['mib']:,.0f}"])
    print(f"\ncontextual diversity: {n_corpus:,} tokens, vocabulary {vocabulary:,}, window {WINDOW}")
    print(table(["", "tokens looked at", "s", "million a second", "MiB added"], lines))
    lines = []
    for n in sizes:
        for name, work in (("five targets, bootstrap", regressions), ("statsmodels, one target", by_statsmodels)):
            one = found[f"{name}, {n}"] = in_fresh_process(work, n)
            lines.append([f"{n:,}", name, f"{one['seconds']:.1f}", f"{one['mib']:,.0f}"])
    print("\nregressions")
    print(table(["tokens", "", "s", "MiB added"], lines))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
