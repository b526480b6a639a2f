"""Word boundaries: which tokens of a vocabulary begin a word, and behind which one anything begins a word.

Tokenizers that put the space at the beginning of a word predict its end together with the next word's beginning. The
probability of a word, rather than of its pieces, so needs the mass of all tokens B that may come behind a whole word:
P(word | context) = prod P(its tokens) * P(B | context, word) / P(B | context). In bits that adds, for each token, how
much the surprisal of B changes over it, and over a word's tokens these changes add up to those at its edges. (Oh &
Schuler 2024, "Leading whitespaces of language models' subword vocabulary pose a confound for calculating word
probabilities"; Pimentel & Meister 2024, "How to compute the probability of a word".) Here B also holds line breaks and
the end of the text, without which it is no distribution. Suffix: V tokens of the vocabulary.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens import text as text_room

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
"""How vocabularies write a token of one byte."""
BEGINS, OPENS = 1, 2
"""Bits of a token's flags: it begins with a blank, or ends the text; it ends with a blank, or comes before all text."""


def boundaries_of(tokenizer: Any, vocab_size: int | None) -> NDArray[np.uint8]:
    """The flags of each token, shape [V].

    Args:
        tokenizer: As token sets take it.
        vocab_size: V; None takes the tokenizer's.

    Raises:
        ValueError: If the tokenizer does not say how large its vocabulary is, or its words do not begin with blanks.
    """
    size = vocab_size or text_room.vocabulary_size(tokenizer)
    if size is None:
        raise ValueError("vocab_size: the tokenizer does not say how large its vocabulary is; give it to the set.")
    known = min(size, text_room.vocabulary_size(tokenizer) or size)
    flags_V = np.zeros(size, np.uint8)
    special = set(special_ids(tokenizer))
    for i, text in enumerate(text_room.token_texts(tokenizer, range(known))):
        if i in special:
            flags_V[i] = BEGINS | OPENS
        else:
            flags_V[i] = BEGINS * text[:1].isspace() + OPENS * text[-1:].isspace()
    ordinary = np.delete(flags_V, [i for i in special if i < size])
    if not (ordinary & BEGINS).any():
        raise ValueError(
            'boundary="corrected": no token of this tokenizer begins with a blank, so that the end of a word can\'t be '
            "told from its middle. Leave it out."
        )
    return flags_V


def special_ids(tokenizer: Any) -> list[int]:
    """Ids of tokens that stand for no text: beginning, end, padding."""
    found = getattr(tokenizer, "all_special_ids", None)
    if found is not None:
        return [int(i) for i, name in zip(found, tokenizer.all_special_tokens, strict=True) if not BYTE.fullmatch(name)]
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        added = tokenizer.get_added_tokens_decoder().items()
        return [int(i) for i, token in added if token.special and not BYTE.fullmatch(token.content)]
    if hasattr(tokenizer, "_special_tokens"):  # tiktoken
        return [int(i) for i in tokenizer._special_tokens.values()]
    return []
