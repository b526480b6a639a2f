"""What each token of a vocabulary adds to a text: bytes, and words between blanks.

Suffix: V tokens of the vocabulary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens import text as text_room
from curvewatch.tokens.boundaries import BYTE, special_ids

BYTE_MARK = "\u0120"
"""How vocabularies of bytes write a blank; in them each character stands for one byte."""
_BEGINNING = re.compile(r"\s\S")


@dataclass(frozen=True)
class VocabularyUnits:
    """Of each token, for counting what batches hold.

    Attributes:
        bytes_V: UTF-8 bytes of its text, int64, shape [V]; special tokens have none.
        words_V: Words that begin in it behind a blank of its own, int64, shape [V].
        solid_V: Whether it begins with anything but a blank, so that behind a blank it begins a word, bool, shape [V].
        opens_V: Whether it ends with a blank, or is no text, bool, shape [V].
    """

    bytes_V: NDArray[np.int64]
    words_V: NDArray[np.int64]
    solid_V: NDArray[np.bool_]
    opens_V: NDArray[np.bool_]


def vocabulary_units(tokenizer: Any, vocab_size: int) -> VocabularyUnits:
    """Looks a tokenizer's vocabulary through; a second or so for 50,000 tokens.

    Args:
        tokenizer: As token sets take it.
        vocab_size: V; ids beyond the tokenizer's stand for nothing.
    """
    known = min(vocab_size, text_room.vocabulary_size(tokenizer) or vocab_size)
    texts = text_room.token_texts(tokenizer, range(known))
    sizes = _byte_sizes(tokenizer, texts)
    bytes_V, words_V = np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64)
    solid_V, opens_V = np.zeros(vocab_size, bool), np.zeros(vocab_size, bool)
    special = set(special_ids(tokenizer))
    for i, (text, size) in enumerate(zip(texts, sizes, strict=True)):
        if i in special:
            opens_V[i] = True
            continue
        bytes_V[i] = size
        words_V[i] = len(_BEGINNING.findall(text))
        # A part of a character may show as no text at all, and is not blank.
        solid_V[i] = size > 0 and not text[:1].isspace()
        opens_V[i] = text[-1:].isspace()
    return VocabularyUnits(bytes_V, words_V, solid_V, opens_V)


def _byte_sizes(tokenizer: Any, texts: list[str]) -> list[int]:
    """Bytes of each token; a token that is part of a character has fewer than what is shown for it."""
    if hasattr(tokenizer, "decode_single_token_bytes"):  # tiktoken
        return [_tiktoken_bytes(tokenizer, i) for i in range(len(texts))]
    names = _names(tokenizer, len(texts))
    if names is None:
        return [len(text.encode(errors="replace")) for text in texts]
    if any(BYTE_MARK in name for name in names):
        return [len(name) for name in names]
    return [
        1 if BYTE.fullmatch(name) or _is_byte(name, text) else len(text.encode(errors="replace"))
        for name, text in zip(names, texts, strict=True)
    ]


def _is_byte(name: str, text: str) -> bool:
    """Whether a token is one byte of a character, which by itself is no text (ByT5)."""
    return len(name) == 1 and 0x80 <= ord(name) <= 0xFF and text != name


def _names(tokenizer: Any, n: int) -> list[str] | None:
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return [name or "" for name in tokenizer.convert_ids_to_tokens(list(range(n)))]
    if hasattr(tokenizer, "id_to_token"):
        return [tokenizer.id_to_token(i) or "" for i in range(n)]
    return None


def _tiktoken_bytes(tokenizer: Any, i: int) -> int:
    try:
        return len(tokenizer.decode_single_token_bytes(i))
    except KeyError:  # a hole in the vocabulary
        return 0
