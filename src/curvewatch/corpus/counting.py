"""Counting: one pass over a corpus, block by block, in memory that depends on the evaluation set alone.

A block is ids *laid* behind one another: each id plus 1, and 0 behind each document's end, so that no n-gram of the set
is ever met across it. Documents may go on in the next block. Suffixes: M places of a block, K n-grams of one length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.grams import START, Grams, packed
from curvewatch.corpus.keys import Int64

MAX_VOCABULARY = 1 << 26  # half a gigabyte of counts; no tokenizer comes near it


class TokenCounter:
    """How often each token occurs.

    Args:
        vocab_size: Ids lie below it; None takes what comes.
        at_least: Size of the result where `vocab_size` is None.

    Attributes:
        laid_counts: Occurrences of each id plus 1; in front those of 0, which is no id.
    """

    def __init__(self, vocab_size: int | None, at_least: int = 0) -> None:
        self._vocab_size = vocab_size
        _check_size(vocab_size or at_least)
        self.laid_counts = np.zeros(1 + (vocab_size or at_least), np.int64)

    def update(self, laid_M: Int64) -> None:
        """Counts a block.

        Raises:
            ValueError: If an id lies outside the vocabulary.
        """
        top = int(laid_M.max(initial=0))
        if top >= len(self.laid_counts):
            self._grow(top)
        np.add.at(self.laid_counts, laid_M, 1)

    @property
    def counts_V(self) -> Int64:
        """Occurrences of each id so far, int64, shape [V]."""
        return self.laid_counts[1:]

    def _grow(self, top: int) -> None:
        if self._vocab_size is not None:
            raise ValueError(
                f"corpus: token id {top - 1} lies beyond vocab_size={self._vocab_size}. Was it made with another "
                "tokenizer than the token set?"
            )
        _check_size(top)
        grown = np.zeros(top + 1, np.int64)
        grown[: len(self.laid_counts)] = self.laid_counts
        self.laid_counts = grown


def _check_size(size: int) -> None:
    if size > MAX_VOCABULARY:
        raise ValueError(f"a vocabulary of {size:,}: at most {MAX_VOCABULARY:,} tokens can be counted. Are these ids?")


class GramCounter:
    """How often each of the set's n-grams occurs, and how often something follows it.

    Args:
        grams: The set's n-grams.
        vocab_size: Ids lie below it; None takes what comes.
        at_least: Size of `token_counts_V` where `vocab_size` is None.
    """

    def __init__(self, grams: Grams, vocab_size: int | None, at_least: int) -> None:
        self.grams = grams
        self._all = TokenCounter(vocab_size, at_least)
        self._final = TokenCounter(vocab_size, at_least)
        # Of n = 2 to n_max. A document's last n-gram is followed by nothing.
        self._seen = [np.zeros(len(keys_K), np.int64) for keys_K in grams.keys]
        self._last = [np.zeros(len(keys_K), np.int64) for keys_K in grams.keys[:-1]]
        self._before = np.zeros(grams.n_max, np.int64)

    def update(self, laid_M: Int64) -> None:
        """Counts a block.

        Raises:
            ValueError: If an id lies outside the vocabulary.
        """
        self._all.update(laid_M)
        n_before = len(self._before)
        laid = np.concatenate([self._before, laid_M])
        self._before = laid[-n_before:]
        self._count(laid, np.arange(n_before, len(laid)), self._seen)
        last = n_before - 1 + np.flatnonzero(laid_M == 0)
        self._final.update(laid[last])
        self._count(laid, last, self._last)

    def _count(self, laid: Int64, ends: NDArray[np.intp], counts: list[Int64]) -> None:
        """Adds the n-grams that end at `ends` to `counts`; only those that are in the set go on to the next n."""
        rank = laid.take(ends)
        outside = np.zeros(len(ends), bool) if self.grams.starts else None
        for n, (index, counts_K) in enumerate(zip(self.grams.indexes, counts, strict=False), 2):
            before = laid.take(ends - (n - 1))
            if outside is not None:
                # Before a document's first token stands its beginning, and nothing but that.
                before[outside] = START
                outside = before == START
            found, rank = index.find(packed(rank, before))
            np.add.at(counts_K, rank, 1)
            ends = ends.take(found)
            outside = None if outside is None else outside.take(found)

    @property
    def token_counts_V(self) -> Int64:
        """Occurrences of each id, shape [V]."""
        return self._all.counts_V

    def seen(self, n: int) -> Int64:
        """Occurrences of each n-gram by its rank (n = 1: by id plus 1)."""
        return self._all.laid_counts if n == 1 else self._seen[n - 2]

    def followed(self, n: int) -> Int64:
        """Occurrences that something follows in the same document, n below n_max."""
        if n > 1:
            return self._seen[n - 2] - self._last[n - 2]
        final = self._final.laid_counts
        counts = self._all.laid_counts.copy()
        counts[: len(final)] -= final
        return counts
