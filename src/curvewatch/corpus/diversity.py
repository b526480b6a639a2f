"""Contextual diversity: how many different tokens stand shortly before a token, anywhere in the training corpus.

Source: Chang, Tu & Bergen (2024). Of each type of the vocabulary the distinct context types are counted that stand at
least once among the `window` tokens before an occurrence, in the same document; the type itself counts. Since frequent
tokens meet more of everything, it is used as the residual of a smooth on log frequency.

One bit a pair of types is kept, so that parts of a corpus can be merged exactly. Suffixes: M places of a block, V
vocabulary, K context types.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.checks import Place, refuse_beyond, refuse_empty, warn_of_foreign
from curvewatch.corpus.counting import TokenCounter
from curvewatch.corpus.files import as_corpus
from curvewatch.corpus.keys import Int64
from curvewatch.corpus.marking import Marking, Progress
from curvewatch.corpus.resuming import Progressed, Resume, checksum_of
from curvewatch.corpus.sources import Corpus
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.tokens.boundaries import special_ids
from curvewatch.tokens.tokenset import TokenSet

WINDOW, CONTEXT_TYPES = 30, 10_000
MEMORY = 600 << 20
"""Bytes that the marks of pairs may take while they are made; beyond it the context types are gone through in parts."""


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
    resume: str | os.PathLike[str] | Resume | None = None,
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
        resume: Path of a file that keeps, once a minute, how far this has come. If it is there, as after a job was
            stopped, the work goes on from it, to the same bits as without a stop; what was read before is read again,
            to see that the corpus is the same, but not worked through. It is removed in the end. A `Resume` is left
            for the caller to remove, once the result is safe.

    Raises:
        ValueError: If the corpus is empty or of another vocabulary, or a setting makes no sense; or if `resume` is of
            other settings or another corpus.
        FileNotFoundError: If there is no folder for `resume`.
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
    if special is None:
        special = special_ids(tokens.tokenizer) if tokens.tokenizer is not None else ()
    special = sorted({int(i) for i in special})
    own_counts = counts_V is None
    kept = Resume(resume) if isinstance(resume, (str, os.PathLike)) else resume
    at = Progressed()
    if kept is not None:
        # A corpus may lie elsewhere when a job goes on; that it is the same is seen from its ids.
        about = {name: value for name, value in source.about.items() if name != "path"}
        given = None if counts_V is None else checksum_of(counts_V)
        at = kept.load(
            {"corpus": about, "column": column, "vocabulary": _size(tokens), "special": special, "window": window,
             "context_types": context_types, "max_tokens": max_tokens, "seed": seed, "paper": paper, "memory": memory,
             "counts_V": given},
        )  # fmt: skip
    if counts_V is None:
        counts_V = _counted(source, tokens, progress, kept, at)
    total = int(counts_V.sum())
    if not total:
        if kept is not None:
            kept.remove()
        refuse_empty(counts_V, source)
    warn_of_foreign(counts_V, tokens, source)
    special_S = np.array([i for i in special if 0 <= i < len(counts_V)], np.int64)
    types_K = _context_types(counts_V, special_S, context_types, paper=paper)
    share = 1.0 if max_tokens is None else min(1.0, max_tokens / total)
    rank_V = np.full(len(counts_V) + 1, len(types_K), np.int64)  # by id plus 1; what is no context type has rank K
    rank_V[types_K + 1] = np.arange(len(types_K))
    seen = at.arrays.setdefault("seen", np.zeros((len(counts_V), -(-len(types_K) // 8)), np.uint8))
    width = max(8, min(8 * seen.shape[1], memory // len(counts_V) // 8 * 8))
    # No document is longer than the corpus.
    marking = Marking(source, rank_V, min(window, total), share, seed, progress, kept, at)
    for stripe, first in enumerate(range(0, len(types_K), width)):
        if stripe >= at.done_passes - own_counts:
            marking.mark(first, min(width, len(types_K) - first))
    n_looked = at.counted["looked"]
    if isinstance(resume, (str, os.PathLike)) and kept is not None:
        kept.remove()
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


def _size(tokens: TokenSet) -> tuple[int | None, int]:
    """The vocabulary, and how large it is at least."""
    return tokens.vocab_size, int(tokens.ids.max()) + 1


def _counted(
    source: Corpus, tokens: TokenSet, progress: Progress | None, resume: Resume | None, at: Progressed
) -> Int64:
    counter = TokenCounter(*_size(tokens))
    counter.laid_counts = at.arrays.get("counts", counter.laid_counts)

    def keep() -> None:
        at.arrays["counts"] = counter.laid_counts

    if not at.done_passes:
        place = Place(source, known=not at.places)
        for laid_M, done in source.blocks() if resume is None else resume.blocks(source, at, keep):
            refuse_beyond(laid_M, tokens.vocab_size, place)
            counter.update(laid_M)
            place.go_on(laid_M)
            if progress is not None:
                progress(done, source.size)
        keep()
        at.next_pass()
        if resume is not None:
            resume.save(at)
    return counter.counts_V.copy()


def _context_types(counts_V: Int64, special_S: Int64, context_types: int, *, paper: bool) -> Int64:
    if paper or len(counts_V) <= context_types:
        return np.arange(min(context_types, len(counts_V)))
    left_V = counts_V.copy()
    left_V[special_S] = -1
    # The lower id first, among equals.
    return np.sort(np.argsort(-left_V, kind="stable")[:context_types])
