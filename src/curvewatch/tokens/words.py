"""Words: spans of a text's words, and what is needed to score them as words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens.boundaries import boundaries_of
from curvewatch.tokens.originals import CUT_BEFORE, CUT_BEHIND, Originals
from curvewatch.tokens.spans import WORD, Spans, Wish, place

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

WORDS = r"\S+"
CORRECTED = "corrected"


def words_of(tokens: TokenSet, pattern: str, boundary: str) -> tuple[Spans, NDArray[np.uint8] | None]:
    """A set's words, and which tokens of the vocabulary begin one where that is asked for; see `TokenSet.words`.

    Raises:
        ValueError: If the expression is none, or the set lacks what is needed.
    """
    if boundary not in ("none", CORRECTED):
        raise ValueError(f'boundary={brief(boundary)}: "none" or "corrected" is expected.')
    originals, corrected = tokens.annotations.originals, boundary == CORRECTED
    if corrected and tokens.masking is not None:
        raise ValueError('boundary="corrected": a masked model sees where a word ends. Leave it out.')
    if corrected and pattern != WORDS:
        raise ValueError(
            f'boundary="corrected" with pattern={pattern!r}: the correction is for words between blanks. Leave pattern '
            "out, or boundary."
        )
    if originals is None:
        raise ValueError("words: this token set does not know its texts. Build it with from_texts, or from_text.")
    if corrected and tokens.tokenizer is None:
        raise ValueError(
            'boundary="corrected": this token set has no tokenizer, which alone can tell the tokens that begin a word. '
            "Build it with from_text or from_texts."
        )
    if corrected and originals.lossy:
        raise ValueError(
            'boundary="corrected": the tokenizer of this set does not keep the text as it is, and the blanks of its '
            "tokens are not those of the text. Leave it out."
        )
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern={pattern!r}: not a regular expression ({error}).") from error
    found = place(originals, tokens.scored, list(words_in(originals, compiled)), strict=False)
    return found, boundaries_of(tokens.tokenizer, tokens.vocab_size) if corrected else None


def words_in(originals: Originals, pattern: re.Pattern[str]) -> Iterator[Wish]:
    """The words of texts, without those that a sequence's edge may have cut.

    Args:
        originals: The texts.
        pattern: Of one word.
    """
    for s, text in enumerate(originals.texts):
        cut = int(originals.cut_S[s])
        for match in pattern.finditer(text):
            if match.start() == match.end():
                continue
            if (match.start() == 0 and cut & CUT_BEFORE) or (match.end() == len(text) and cut & CUT_BEHIND):
                continue
            yield Wish(s, match.start(), match.end(), kind=WORD)
