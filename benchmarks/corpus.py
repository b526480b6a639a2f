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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus import count_ngrams, count_tokens

SAMPLE = 200_000  # tokens for the dict, which would take gigabytes for all
PASSES = 3


def seconds(work: Callable[[], object], passes: int = PASSES) -> float:
    """Returns the least CPU seconds of several passes."""
    best = float("inf")
    for _ in range(passes):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def peak_mib(work: Callable[[], object]) -> float:
    """Returns the most memory that `work` holds, MiB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def count_in_a_dict(ids: NDArray[np.integer]) -> Counter[tuple[int, ...]]:
    """Returns how often each n-gram of the corpus occurs, n = 1 to 5."""
    listed = ids.tolist()
    counts: Counter[tuple[int, ...]] = Counter()
    for n in range(1, 6):
        counts.update(zip(*(listed[k:] for k in range(n)), strict=False))
    return counts


def report(name: str, n_tokens: int, work: Callable[[], object], passes: int = PASSES) -> None:
    """Prints one line."""
    rate = n_tokens / seconds(work, passes) / 1e6
    print(f"{name:45}  {rate:8.2f} M tokens/s  {peak_mib(work):8.1f} MiB")


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
        path = Path(folder) / "train.npy"
        np.save(path, np.tile(np.asarray(data.train.sequences, np.uint16), (options.repeat, 1)))
        ids = np.load(path, mmap_mode="r")
        print(f"{ids.size:,} tokens in sequences of {ids.shape[1]}")
        for n_tokens in options.tokens:
            tokens = data.token_set(n_tokens=n_tokens, per_sequence=None)
            report(f"count_ngrams, {n_tokens:,} scored tokens", ids.size, lambda s=tokens: count_ngrams(ids, s))
        report("count_tokens", ids.size, lambda: count_tokens(ids))
        sample = ids.ravel()[:SAMPLE]
        report(f"a dict of all n-grams, {len(sample):,} tokens", len(sample), lambda: count_in_a_dict(sample), 1)


if __name__ == "__main__":
    main()
