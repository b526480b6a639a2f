"""How fast n-grams are counted, and in how much memory, beside a dict of every n-gram of the corpus.

    python benchmarks/corpus.py                                        # the default text, about a minute
    python benchmarks/corpus.py --text my.txt --tokens 10000 100000

The text is tokenised as in the examples (byte-level BPE, 4,096 tokens), one block of paragraphs in twenty held out; the
scored tokens are held-out ones. The corpus is repeated, as a longer one would be, to make the pass long beside the
preparation of the token set. Seconds are CPU time of one thread, the best of three passes. Memory is what Python and
NumPy hold at the peak, above what was there before; the corpus itself is memory-mapped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from curvewatch import TokenSet
from curvewatch.corpus import count_ngrams, count_tokens

SAMPLE = 200_000  # tokens for the dict, which would take gigabytes for all
PASSES = 3


def measured(work: Callable[[], object], passes: int = PASSES) -> tuple[float, float]:
    """Returns the least CPU seconds of several passes, and the most memory that one holds, MiB."""
    best = float("inf")
    for _ in range(passes):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return best, peak / 2**20


def measure_ngrams(ids: Path, tokens: Path) -> tuple[float, float]:
    """Returns what `measured` does, for counting n-grams."""
    token_set = TokenSet.load(tokens)
    return measured(lambda: count_ngrams(np.load(ids, mmap_mode="r"), token_set))


def measure_tokens(ids: Path) -> tuple[float, float]:
    """Returns what `measured` does, for counting tokens."""
    return measured(lambda: count_tokens(np.load(ids, mmap_mode="r")))


def measure_dict(ids: Path) -> tuple[float, float]:
    """Returns what `measured` does, for a dict of every n-gram of the first tokens, n = 1 to 5."""
    listed = np.load(ids, mmap_mode="r").ravel()[:SAMPLE].tolist()

    def work() -> None:
        counts: Counter[tuple[int, ...]] = Counter()
        for n in range(1, 6):
            counts.update(zip(*(listed[k:] for k in range(n)), strict=False))

    return measured(work, 1)


def report(name: str, n_tokens: int, measure: Callable[..., tuple[float, float]], *arguments: Path) -> None:
    """Prints one line, measured in a process of its own: the heap of one that has tokenised a text slows all down."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seconds, mib = pool.submit(measure, *arguments).result()
    print(f"{name:45}  {n_tokens / seconds / 1e6:8.2f} M tokens/s  {mib:8.1f} MiB")


def main() -> None:
    """Tokenises, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="a UTF-8 file")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000, 10_000], help="scored tokens")
    parser.add_argument("--repeat", type=int, default=10, help="times that the corpus is repeated")
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import text_data

    data = text_data.from_text(options.text)
    with tempfile.TemporaryDirectory() as folder:
        ids, saved = Path(folder) / "train.npy", Path(folder) / "tokens.npz"
        sequences = np.tile(np.asarray(data.train.sequences, np.uint16), (options.repeat, 1))
        np.save(ids, sequences)
        print(f"{sequences.size:,} tokens in sequences of {sequences.shape[1]}")
        for n_tokens in options.tokens:
            data.token_set(n_tokens=n_tokens, per_sequence=None).save(saved)
            report(f"count_ngrams, {n_tokens:,} scored tokens", sequences.size, measure_ngrams, ids, saved)
        report("count_tokens", sequences.size, measure_tokens, ids)
        report(f"a dict of all n-grams, {SAMPLE:,} tokens", SAMPLE, measure_dict, ids)


if __name__ == "__main__":
    main()
