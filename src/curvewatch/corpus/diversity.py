"""Contextual diversity: how many different tokens stand shortly before a token, anywhere in the training corpus.

Source: Chang, Tu & Bergen (2024). Of each type of the vocabulary the distinct context types are counted that stand at
least once among the `window` tokens before an occurrence, in the same document; the type itself counts. Since frequent
tokens meet more of everything, it is used as the residual of a smooth on log frequency.

One bit a pair of types is kept, so that parts of a corpus can be merged exactly. Suffixes: M places of a block, V
vocabulary, K context types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.counting import TokenCounter
from curvewatch.corpus.files import as_corpus
from curvewatch.corpus.keys import SPREAD, Int64
from curvewatch.corpus.sources import Corpus
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.tokens.boundaries import special_ids
from curvewatch.tokens.tokenset import TokenSet

WINDOW, CONTEXT_TYPES = 30, 10_000
MEMORY = 600 << 20
"""Bytes that the marks of pairs may take while they are made; beyond it the context types are gone through in parts."""
STRETCH = 1024
"""Tokens that are chosen, or left out, together where a corpus is sampled."""
Progress = Callable[[int, "int | None"], None]


def contextual_diversity(
    corpus: Any,
    tokens: TokenSet,
    *,
    window: int = WINDOW,
    context_types: int = CONTEXT_TYPES,
    max_tokens: int | None = 100_000_000,
    seed: int = 0,
    paper: bool = False,
    memory: int = MEMORY,
    column: str = "input_ids",
    special: Iterable[int] | None = None,
    counts_V: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> ContextualDiversity:
    """Contextual diversity of every type of the vocabulary.

    Diversity grows with the corpus: never compare values of corpora, or samples, of different sizes.

    Args:
        corpus: As `count_ngrams` takes it, but read several times: no iterator.
        tokens: A set of this vocabulary; it says what the special tokens are.
        window: Tokens before an occurrence that are its context.
        context_types: K, how many types count as context: the most frequent ones of the corpus without special tokens
            (all, where the vocabulary has no more).
        max_tokens: Look at a sample of about so many occurrences, in stretches of 1,024 tokens drawn by `seed`; None
            takes all. The share is put on record. Frequencies are always of the whole corpus.
        seed: For that draw.
        paper: As the released code: context types are the ids below K, whatever their frequency, special ones included.
        memory: Bytes for the marks of pairs while they are made.
        column: The column of token ids.
        special: Ids of tokens that stand for no text; None takes the tokenizer's.
        counts_V: How often each token occurs in the whole corpus, and so of a corpus of which this is a part: then the
            context types are the same for all parts, which `merge_diversity` needs. None: counted here, in a pass of
            its own.
        progress: Called now and then with how much of the present pass is done, and of how much (None: not known).

    Raises:
        ValueError: If the corpus is empty or of another vocabulary, or a setting makes no sense.
        TypeError: If `corpus` is nothing that holds token ids, or can be read only once.
    """
    for name, value in (("window", window), ("context_types", context_types), ("memory", memory)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}: a whole number of at least 1 is expected.")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens}: at least 1 is expected, or None.")
    if hasattr(corpus, "__next__"):
        raise TypeError("corpus: an iterator can be read only once. Give what it iterates over, a dataset or a path.")
    source = as_corpus(corpus, column, tokens.tokenizer)
    own_counts = counts_V is None
    if counts_V is None:
        counts_V = _counted(source, tokens, progress)
    total = int(counts_V.sum())
    if not total:
        raise ValueError("corpus: it holds no token.")
    if special is None:
        special = special_ids(tokens.tokenizer) if tokens.tokenizer is not None else ()
    special_S = np.unique(np.array([i for i in special if 0 <= i < len(counts_V)], np.int64))
    types_K = _context_types(counts_V, special_S, context_types, paper=paper)
    share = 1.0 if max_tokens is None else min(1.0, max_tokens / total)
    rank_V = np.full(len(counts_V) + 1, len(types_K), np.int64)  # by id plus 1; what is no context type has rank K
    rank_V[types_K + 1] = np.arange(len(types_K))
    seen = np.zeros((len(counts_V), -(-len(types_K) // 8)), np.uint8)
    width = max(8, min(8 * seen.shape[1], memory // len(counts_V) // 8 * 8))
    n_looked = 0
    for first in range(0, len(types_K), width):
        marks, n_looked = _marked(
            source, rank_V, first, min(width, len(types_K) - first), window, share, seed, progress
        )
        packed = np.packbits(marks, axis=1)
        seen[:, first // 8 : first // 8 + packed.shape[1]] = packed
    return ContextualDiversity(
        seen_VK=seen,
        types_K=types_K,
        token_counts_V=counts_V,
        special_S=special_S,
        made_by={"corpus": dict(source.about), "window": window, "context_types": context_types, "paper": paper,
                 "share": share, "seed": seed, "occurrences": n_looked, "whole_counts": own_counts},
    )  # fmt: skip


def merge_diversity(parts: Iterable[ContextualDiversity]) -> ContextualDiversity:
    """The diversity of a corpus that was gone through in parts: that of all at once, exactly.

    Args:
        parts: What `contextual_diversity` gave for each part, each with the same `counts_V` of the whole corpus.

    Raises:
        ValueError: If there is none, or they were made with different settings or context types.
    """
    found = list(parts)
    if not found:
        raise ValueError("parts: there is none to merge.")
    first = found[0]
    settings = [{k: v for k, v in one.made_by.items() if k not in ("corpus", "occurrences")} for one in found]
    for k, one in enumerate(found):
        same = np.array_equal(one.types_K, first.types_K) and np.array_equal(one.token_counts_V, first.token_counts_V)
        if not same or settings[k] != settings[0]:
            raise ValueError(
                f"parts[{k}]: other settings, or other counts, than the first part's. Count the tokens of all parts "
                "(count_tokens), and give their sum to each as counts_V=."
            )
    seen = first.seen_VK.copy()
    for one in found[1:]:
        seen |= one.seen_VK
    made_by = {
        **first.made_by,
        "corpus": {"kind": "parts", "parts": [one.made_by.get("corpus") for one in found]},
        "occurrences": sum(int(one.made_by.get("occurrences", 0)) for one in found),
    }
    return ContextualDiversity(seen, first.types_K, first.token_counts_V, first.special_S, made_by)


def _counted(source: Corpus, tokens: TokenSet, progress: Progress | None) -> Int64:
    counter = TokenCounter(tokens.vocab_size, int(tokens.ids.max()) + 1)
    for laid_M, done in source.blocks():
        counter.update(laid_M)
        if progress is not None:
            progress(done, source.size)
    return counter.counts_V.copy()


def _context_types(counts_V: Int64, special_S: Int64, context_types: int, *, paper: bool) -> Int64:
    if paper or len(counts_V) <= context_types:
        return np.arange(min(context_types, len(counts_V)))
    left_V = counts_V.copy()
    left_V[special_S] = -1
    # The lower id first, among equals.
    return np.sort(np.argsort(-left_V, kind="stable")[:context_types])


def _marked(
    source: Corpus,
    rank_V: Int64,
    first: int,
    width: int,
    window: int,
    share: float,
    seed: int,
    progress: Progress | None,
) -> tuple[NDArray[np.uint8], int]:
    """Which of some context types stand before each type, [V, width], and how many occurrences were looked at."""
    n_types = len(rank_V) - 1
    marks = np.zeros(n_types * width, np.uint8)
    before = np.zeros(window, np.int64)
    n_before = n_looked = 0
    for laid_M, done in source.blocks():
        laid = np.concatenate([before, laid_M])
        if int(laid_M.max(initial=0)) > n_types:
            raise ValueError(
                f"corpus: token id {int(laid_M.max()) - 1} lies beyond the {n_types:,} types that were counted. Was it "
                "made with another tokenizer than the token set?"
            )
        place = np.arange(len(laid))
        # How many tokens stand before each one in its document, as far as the window reaches.
        since = place - np.maximum.accumulate(np.where(laid == 0, place, -1)) - 1
        here = window + np.flatnonzero(laid_M)
        if share < 1:
            here = here[_chosen(n_before + np.arange(len(here)), share, seed)]
        n_before += int(np.count_nonzero(laid_M))
        n_looked += len(here)
        row, since_here = (laid[here] - 1) * width, since[here]
        rank = rank_V[laid] - first
        rank[(rank < 0) | (rank >= width)] = -1
        for distance in range(1, window + 1):
            context = rank[here - distance]
            inside = (context >= 0) & (since_here >= distance)
            marks[row[inside] + context[inside]] = 1
        before = laid[-window:]
        if progress is not None:
            progress(done, source.size)
    return marks.reshape(n_types, width), n_looked


def _chosen(index: Int64, share: float, seed: int) -> NDArray[np.bool_]:
    """Which tokens are looked at, by their number in the corpus: whole stretches, the same however blocks are cut."""
    mixed = ((index // STRETCH).astype(np.uint64) + np.uint64(1)) * SPREAD + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.bool_] = (mixed ^ (mixed >> np.uint64(31))) < np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
    return found
