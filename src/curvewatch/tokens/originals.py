"""Originals: the text that each sequence comes from, and where each of its tokens ends in it.

Bytes, labels by regular expression, and spans given in characters are all worked out from these. Suffixes: S sequences,
I tokens of all sequences (scored or not), N scored tokens, C characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.offsets import UNKNOWN, bytes_of_characters

CUT_BEFORE, CUT_BEHIND = 1, 2
"""Of `cut_S`: the text goes on before the sequence, or behind it."""
MOST_CHECKED = 200


class Scored(NamedTuple):
    """Which tokens of which sequences are scored; the fields are those of a `TokenSet`."""

    starts: NDArray[np.int64]
    sequence_index: NDArray[np.int32]
    position: NDArray[np.int32]


def every_token(starts: NDArray[np.int64]) -> Scored:
    """All tokens of all sequences, in their order.

    Args:
        starts: Where each sequence begins, and their end.
    """
    lengths = np.diff(starts)
    position = np.arange(int(starts[-1])) - np.repeat(starts[:-1], lengths)
    return Scored(starts, np.repeat(np.arange(len(lengths)), lengths).astype(np.int32), position.astype(np.int32))


@dataclass(frozen=True, eq=False)
class Originals:
    """The text of each sequence, and its tokens in it by the cover rule (`offsets`).

    Attributes:
        texts: One a sequence, without what only the tokenizer or `bos` puts there.
        ends_I: Where each token ends in its sequence's text, characters, int32; never less than the one before.
        cut_S: Whether the sequence was cut out of a longer text: bits of CUT_BEFORE and CUT_BEHIND, uint8.
        lossy: Whether decoding gives another text: the tokenizer drops or changes something (case, blanks, accents).
        exact: Whether they are the texts that were encoded. If not, they were put together from the tokens' own texts:
            good enough to look for words in, but not to count bytes.
    """

    texts: tuple[str, ...]
    ends_I: NDArray[np.int32]
    cut_S: NDArray[np.uint8]
    lossy: bool = False
    exact: bool = True

    @cached_property
    def lengths_S(self) -> NDArray[np.int64]:
        """Characters of each text."""
        return np.array([len(text) for text in self.texts], np.int64)

    @cached_property
    def _characters(self) -> NDArray[np.uint32]:
        joined = "".join(self.texts).encode("utf-32-le", "surrogatepass")
        return np.frombuffer(joined, "<u4")

    def ranges(self, tokens: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each of these tokens begins and ends in its sequence's text, characters, both shape [N]."""
        at = tokens.starts[tokens.sequence_index] + tokens.position
        before_N = np.where(tokens.position > 0, self.ends_I[np.maximum(at - 1, 0)], 0)
        return before_N.astype(np.int64), self.ends_I[at].astype(np.int64)

    def inked(self, tokens: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same without the blanks at either side, which the cover rule gives to the token behind them.

        A token of blanks alone keeps its range. The later pieces of a character that is split get that character.
        """
        starts_N, ends_N = self.ranges(tokens)
        base_N = np.concatenate([[0], np.cumsum(self.lengths_S)])[tokens.sequence_index]
        blank_C = blanks(self._characters)
        place_C = np.arange(len(blank_C) + 1)
        # The next character that is no blank, and the end of the last one before a place.
        next_C = np.minimum.accumulate(np.where(np.append(blank_C, False), len(blank_C), place_C)[::-1])[::-1]
        last_C = np.maximum.accumulate(np.concatenate([[0], np.where(blank_C, 0, place_C[1:])]))
        first_N, behind_N = next_C[base_N + starts_N] - base_N, last_C[base_N + ends_N] - base_N
        some_N = first_N < behind_N
        starts_N = np.where(starts_N == ends_N, np.maximum(ends_N - 1, 0), starts_N)
        return np.where(some_N, first_N, starts_N), np.where(some_N, behind_N, ends_N)

    def n_bytes(self, tokens: Scored) -> NDArray[np.int32]:
        """UTF-8 bytes of the text that each scored token covers, shape [N]."""
        starts_N, ends_N = self.ranges(tokens)
        base_N = np.concatenate([[0], np.cumsum(self.lengths_S)])[tokens.sequence_index]
        up_to_C = np.concatenate([[0], np.cumsum(bytes_of_characters("".join(self.texts)))])
        bytes_N: NDArray[np.int32] = (up_to_C[base_N + ends_N] - up_to_C[base_N + starts_N]).astype(np.int32)
        return bytes_N

    def all_scored(self, tokens: Scored) -> bool:
        """Whether every token that covers some of the texts is scored, but for a first one that nothing precedes."""
        scored_I = np.zeros(len(self.ends_I), bool)
        scored_I[tokens.starts[tokens.sequence_index] + tokens.position] = True
        scored_I[tokens.starts[:-1][np.diff(tokens.starts) > 0]] = True
        return bool(scored_I.all())


def blanks(characters_C: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which characters are white space, shape [C]."""
    unique, place_C = np.unique(characters_C, return_inverse=True)
    found: NDArray[np.bool_] = np.array([chr(c).isspace() for c in unique.tolist()], bool)[place_C]
    return found


def is_lossy(texts: Sequence[str], decoded: Sequence[str], cut: Sequence[int]) -> bool:
    """Whether decoded texts differ from the originals, by more than blanks in front and characters cut in two.

    Args:
        texts: The originals.
        decoded: What the tokenizer makes of their tokens.
        cut: As `Originals.cut_S`.
    """
    for text, again, how in zip(texts, decoded, cut, strict=True):
        inner = again.strip(UNKNOWN)
        if how and inner != again:  # a character was cut in two, and some decoders give up those beside it, too
            if inner.strip() not in text:
                return True
        elif text.lstrip() != again.lstrip():
            return True
    return False
