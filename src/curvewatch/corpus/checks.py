"""What is said of a corpus that can't be right: where in it an id lies that can't be, that it is empty, or foreign."""

from __future__ import annotations

import warnings
from copy import copy

import numpy as np

from curvewatch.corpus.keys import Int64
from curvewatch.corpus.sources import Corpus
from curvewatch.tokens.tokenset import TokenSet


def name_of(source: Corpus) -> str:
    """How errors begin: with the corpus' file, where it has one."""
    return f"corpus={source.about['path']}" if "path" in source.about else "corpus"


class Place:
    """Where in a corpus a pass over it is, document and token counted from 0.

    Args:
        source: The corpus.
        known: Whether it begins at the corpus' beginning; else only the corpus is named.
    """

    def __init__(self, source: Corpus, *, known: bool = True) -> None:
        self._name, self._known = name_of(source), known
        self._document = self._token = 0

    def go_on(self, laid_M: Int64) -> None:
        """Goes on by a block of laid ids (see `counting`)."""
        ends = np.flatnonzero(laid_M == 0)
        self._document += len(ends)
        self._token = len(laid_M) - 1 - int(ends[-1]) if len(ends) else self._token + len(laid_M)

    def of_highest(self, laid_M: Int64) -> str:
        """The place of the highest id of the block that comes next, in words."""
        if not self._known:
            return self._name
        here = copy(self)
        here.go_on(laid_M[: int(laid_M.argmax())])
        return f"{self._name}, document {here._document:,}, token {here._token:,}"


def refuse_beyond(laid_M: Int64, size: int | None, place: Place) -> None:
    """Refuses a block with an id outside the vocabulary, saying where it lies.

    Args:
        laid_M: The block.
        size: Of the vocabulary; None where it is not known.
        place: Where the block begins.

    Raises:
        ValueError: If there is one.
    """
    if size is not None and int(laid_M.max(initial=0)) > size:
        raise ValueError(
            f"{place.of_highest(laid_M)}: token id {int(laid_M.max()) - 1} lies beyond vocab_size={size}. Was it made "
            "with another tokenizer than the token set?"
        )


def refuse_empty(token_counts_V: Int64, source: Corpus, *, read_once: bool = False) -> None:
    """Refuses a corpus without a token.

    Raises:
        ValueError: If that is so.
    """
    if not token_counts_V.any():
        more = " An iterator can be read only once; was it read before?" if read_once else ""
        raise ValueError(f"{name_of(source)}: it holds no token.{more}")


def warn_of_foreign(token_counts_V: Int64, tokens: TokenSet, source: Corpus) -> None:
    """Warns where none of the scored tokens occurs: such counts say nothing of the set."""
    inside = tokens.target[tokens.target < len(token_counts_V)]
    if not token_counts_V[inside].any():
        warnings.warn(
            f"{name_of(source)}: none of the set's {len(tokens):,} scored tokens occurs in it. Was it made with "
            "another tokenizer?",
            stacklevel=3,
        )
