"""Annotations: what the tokens of a set mean. Never part of the set's hash, and always replaceable.

Suffixes: N scored tokens, S sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.labels import Label
from curvewatch.tokens.originals import Originals
from curvewatch.tokens.reference import Reference
from curvewatch.tokens.spans import Spans

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is known of the tokens besides their ids.

    Attributes:
        originals: The texts, and the tokens in them; None where only ids were given.
        n_bytes: UTF-8 bytes of the text that each scored token covers, int32, shape [N]; None where it is not known.
        labels: By name.
        spans: Runs of scored tokens that belong together, of all kinds.
        boundary: Which tokens of the vocabulary begin a word (`boundaries`), uint8, shape [vocabulary]. With it words
            are scored as words: the surprisal of their boundaries is measured beside that of their tokens.
        reference: What a base model says of the tokens; None where there is none.
    """

    originals: Originals | None = None
    n_bytes: NDArray[np.int32] | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    spans: Spans = field(default_factory=Spans)
    boundary: NDArray[np.uint8] | None = None
    reference: Reference | None = None

    def __bool__(self) -> bool:
        return self.originals is not None or self.n_bytes is not None or bool(self.labels) or len(self.spans) > 0

    def differ_from(self, other: Annotations) -> list[str]:
        """What is not the same in another's, by name."""
        found = []
        if (self.n_bytes is None) != (other.n_bytes is None) or (
            self.n_bytes is not None and other.n_bytes is not None and not np.array_equal(self.n_bytes, other.n_bytes)
        ):
            found.append("n_bytes")
        for name in {**self.labels, **other.labels}:
            mine, theirs = self.labels.get(name), other.labels.get(name)
            if mine is None or theirs is None or not mine.same_as(theirs):
                found.append(f"label {name!r}")
        if not self.spans.same_as(other.spans):
            found.append("spans")
        if self.reference is not None and not self.reference.same_as(other.reference):
            found.append("reference")
        return found

    def check(self, tokens: TokenSet) -> None:
        """Makes sure that they fit the set.

        Raises:
            ValueError: Naming what does not.
        """
        n = len(tokens)
        if self.n_bytes is not None and self.n_bytes.shape != (n,):
            raise ValueError(f"n_bytes: shape {self.n_bytes.shape}; the set has {n:,} scored tokens.")
        if self.originals is not None:
            of, sizes = self.originals, (tokens.n_sequences, len(tokens.ids))
            if (len(of.texts), len(of.ends_I)) != sizes or len(of.cut_S) != sizes[0]:
                raise ValueError(
                    f"originals: {len(of.texts):,} texts with {len(of.ends_I):,} tokens; the set has {sizes[0]:,} "
                    f"sequences with {sizes[1]:,}."
                )
        for name, label in self.labels.items():
            if label.codes.shape != (n,):
                raise ValueError(
                    f"label {name!r}: {label.codes.size:,} values; the set has {n:,} scored tokens, and each needs one."
                )
        self.spans.check(n)
        if self.reference is not None:
            self.reference.check(n)


def bits_per_byte(tokens: TokenSet, surprisal_N: NDArray[np.floating]) -> float:
    """Bits that the text costs for each of its bytes: the number that tokenizers can be compared by.

    Args:
        tokens: A set for which `why_no_bits_per_byte` says nothing.
        surprisal_N: Bits.

    Returns:
        NaN where a surprisal is not finite.
    """
    n_bytes = tokens.annotations.n_bytes
    assert n_bytes is not None
    total = int(n_bytes.sum(dtype=np.int64))
    return float(surprisal_N.sum(dtype=np.float64) / total) if total else float("nan")


def why_no_bits_per_byte(tokens: TokenSet) -> str | None:
    """Why bits per byte of this set would mislead; None if they do not."""
    if tokens.masking is not None:
        return "bits of a masked model add up to no code of the text"
    known, originals = tokens.annotations.n_bytes, tokens.annotations.originals
    if known is None or originals is None or not originals.exact:
        return "the bytes of its tokens are not known; build it from text"
    if originals.lossy:
        return (
            "its tokenizer does not keep the text as it is (case, blanks or accents are lost), so that some bytes cost "
            "nothing"
        )
    if not originals.all_scored(tokens.scored):
        return "only some of its positions are scored; build it with per_sequence=None"
    if not known.any():
        return "its tokens cover no text"
    return None
