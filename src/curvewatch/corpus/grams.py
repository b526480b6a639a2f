"""Grams: the n-grams of a token set whose counts are needed, each known by one 64-bit number.

Needed are, for each scored token, the n-gram that ends in it (n = 1 to n_max) and the one before it that is its context
(n = 1 to n_max - 1). An n-gram's key is the rank of its last n - 1 tokens among the set's (n-1)-grams, and the token
before those. So it stands for that n-gram and no other, and an n-gram is only looked for where its shorter end was
found. (Growing to the left, the n-grams of one token share one chain; growing to the right they would need n chains.)

Suffixes: N scored tokens, K n-grams of one length.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.keys import Int64, KeyIndex
from curvewatch.tokens.tokenset import TokenSet

START = 0
"""What stands before a sequence, and between the documents of a corpus, among ids plus 1."""


class Grams:
    """The n-grams of a token set, and which of them each scored token needs.

    Args:
        tokens: The set.
        n_max: The longest n-gram.
        starts: Whether the beginning of a sequence is a token, too, of which as many stand in front as are asked for.

    Attributes:
        keys: Of the n-grams of each length from 2 to n_max, ascending; an n-gram's rank is its place there. The rank
            of a single token is its id plus 1.
        targets: For each length from 1 to n_max the rank of the n-gram that ends in each scored token, shape [N];
            -1 where too few tokens stand before it.
        contexts: The same for the n-gram that ends right before it; from 1 to n_max - 1.
    """

    def __init__(self, tokens: TokenSet, n_max: int, *, starts: bool = False) -> None:
        self.n_max, self.starts = n_max, starts
        self.keys: list[Int64] = []
        n_tokens = len(tokens)
        target_N = tokens.starts[tokens.sequence_index] + tokens.position
        ends = np.concatenate([target_N, target_N - 1])
        room = np.concatenate([tokens.position + 1, tokens.position])
        laid = tokens.ids.astype(np.int64) + 1
        rank = laid[ends]
        self.targets, self.contexts = [rank[:n_tokens]], [rank[n_tokens:]]
        for n in range(2, n_max + 1):
            # The longest n-grams are nobody's context.
            here = np.flatnonzero((starts | (room >= n))[: None if n < n_max else n_tokens])
            before = np.where(room[here] >= n, laid[ends[here] - (n - 1)], START)
            keys_K, place = np.unique(packed(rank[here], before), return_inverse=True)
            rank = np.full(len(ends), -1, np.int64)
            rank[here] = place
            self.keys.append(keys_K)
            self.targets.append(rank[:n_tokens])
            self.contexts.append(rank[n_tokens:])
        self.contexts.pop()

    @cached_property
    def indexes(self) -> list[KeyIndex]:
        """For looking up `keys`."""
        return [KeyIndex(keys_K) for keys_K in self.keys]


def packed(rank: Int64, laid: Int64) -> NDArray[np.int64]:
    """A key: rank of the (n-1)-gram, and id plus 1 of the token before it. Both stay below 2^31."""
    return (rank << 32) | laid
