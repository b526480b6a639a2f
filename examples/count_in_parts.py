"""Counts a large corpus in parts, by several processes or jobs, and puts them together: as if counted at once.

    python examples/count_in_parts.py corpus/ --tokens tokens.npz --to counted/ --parts 16 --processes 8

`corpus/` was written by `datasets`' save_to_disk. A part that lies in `counted/` is not counted again, so it goes on
where it was stopped; jobs of a cluster that share the folder count a part each (`--only 3`, say), and one without
`--only` puts all together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset, load_from_disk

from curvewatch import TokenSet
from curvewatch.corpus import (
    contextual_diversity,
    count_ngrams,
    load_diversity,
    load_ngrams,
    merge_diversity,
    merge_ngrams,
)


def main() -> None:
    """Counts n-grams of all parts, then contextual diversity, which takes the counts of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokens", type=Path, required=True, help="the evaluation set")
    parser.add_argument("--to", type=Path, default=Path("counted"), help="a folder for this corpus and set alone")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="count n-grams of this part alone, from 0")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    tokens, parts = TokenSet.load(options.tokens), range(options.parts)
    given = {"folder": options.corpus, "n_parts": options.parts, "tokens": tokens, "to": options.to}
    if options.only is not None:
        ngrams_of(options.only, **given)
        return
    for work in (ngrams_of, diversity_of):
        # Rows are numbers of parts: each process opens the corpus by itself, and nothing large is sent.
        Dataset.from_dict({"part": list(parts)}).map(
            work, input_columns="part", fn_kwargs=given, num_proc=min(options.processes, options.parts),
            load_from_cache_file=False, desc=work.__name__.replace("_of", ""),
        )  # fmt: skip
    merge_ngrams((load_ngrams(ngram_file(options.to, k, options.parts), tokens) for k in parts), tokens).save(
        options.to / "ngrams.npz"
    )
    merge_diversity(load_diversity(diversity_file(options.to, k, options.parts)) for k in parts).save(
        options.to / "diversity.npz"
    )
    print(f"{options.to}/ngrams.npz, {options.to}/diversity.npz: of {options.parts} parts")


def ngrams_of(part: int, folder: Path, n_parts: int, tokens: TokenSet, to: Path) -> None:
    """Counts n-grams of one part."""
    path = ngram_file(to, part, n_parts)
    if not path.exists():
        count_ngrams(load_from_disk(str(folder)).shard(n_parts, part, contiguous=True), tokens).save(path)


def diversity_of(part: int, folder: Path, n_parts: int, tokens: TokenSet, to: Path) -> None:
    """Looks through one part; the most frequent tokens are those of all parts."""
    path = diversity_file(to, part, n_parts)
    if not path.exists():
        every = [load_ngrams(ngram_file(to, k, n_parts), tokens).token_counts_V for k in range(n_parts)]
        counts_V = np.sum([np.pad(one, (0, max(map(len, every)) - len(one))) for one in every], axis=0)
        corpus = load_from_disk(str(folder)).shard(n_parts, part, contiguous=True)
        contextual_diversity(corpus, tokens, counts_V=counts_V, max_tokens=None).save(path)


def ngram_file(to: Path, part: int, n_parts: int) -> Path:
    """Where the n-grams of a part lie."""
    return to / f"ngrams-{part:05d}-of-{n_parts:05d}.npz"


def diversity_file(to: Path, part: int, n_parts: int) -> Path:
    """Where the diversity of a part lies."""
    return to / f"diversity-{part:05d}-of-{n_parts:05d}.npz"


if __name__ == "__main__":
    main()
