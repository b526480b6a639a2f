"""What curvewatch asks of a tokenizer, whichever library it comes from: encode, decode, size of the vocabulary.

Understood are the tokenizers of transformers, of `tokenizers`, and anything with `encode(str) -> ids` and
`decode(ids) -> str` (tiktoken, or twenty lines of your own).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Long texts are encoded piece by piece, so that no tokenizer has to hold a whole corpus at once.
PIECE_CHARACTERS = 1 << 20


def encode(tokenizer: Any, text: str) -> NDArray[np.int64]:
    """Token ids of `text`, without special tokens.

    Args:
        tokenizer: See the module.
        text: Any length.

    Returns:
        Ids, shape [n].

    Raises:
        TypeError: If nothing in `tokenizer` can encode.
    """
    pieces = [np.asarray(_encode_piece(tokenizer, piece), np.int64) for piece in _pieces(text)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def decode(tokenizer: Any, ids: Iterable[int]) -> str:
    """The text of `ids`, special tokens shown and spaces as they stand.

    Args:
        tokenizer: See the module.
        ids: Token ids.
    """
    id_list = [int(i) for i in ids]
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return str(tokenizer.decode(id_list, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    if hasattr(tokenizer, "get_vocab_size"):
        return str(tokenizer.decode(id_list, skip_special_tokens=False))
    return str(tokenizer.decode(id_list))


def vocabulary_size(tokenizer: Any) -> int | None:
    """Number of ids that `tokenizer` knows, added tokens included; None if it does not say."""
    if hasattr(tokenizer, "get_vocab_size"):
        return int(tokenizer.get_vocab_size())
    if hasattr(tokenizer, "n_vocab"):
        return int(tokenizer.n_vocab)
    try:
        return len(tokenizer)
    except TypeError:
        size = getattr(tokenizer, "vocab_size", None)
        return int(size) if size is not None else None


def token_texts(tokenizer: Any, ids: Sequence[int] | NDArray[np.integer]) -> list[str]:
    """The text that each id adds when it stands inside a sentence.

    Some tokenizers drop the space of a word that stands first, so each id is decoded behind another one and that
    one's text is taken off again. A character that is split over several tokens shows as U+FFFD in each of them.

    Args:
        tokenizer: See the module.
        ids: Token ids, shape [n].

    Returns:
        n strings.
    """
    if len(ids) == 0:
        return []
    anchor = int(ids[0])
    prefix = decode(tokenizer, [anchor])
    texts = []
    for i in ids:
        behind = decode(tokenizer, [anchor, int(i)])
        texts.append(behind[len(prefix) :] if behind.startswith(prefix) else decode(tokenizer, [int(i)]))
    return texts


def _encode_piece(tokenizer: Any, text: str) -> Sequence[int]:
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        ids: Sequence[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids
    if hasattr(tokenizer, "get_vocab_size"):
        encoded: Sequence[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return encoded
    if hasattr(tokenizer, "encode"):
        plain: Sequence[int] = tokenizer.encode(text)
        return plain
    raise TypeError(
        f"tokenizer={type(tokenizer).__name__}: it has no encode(text). Pass a tokenizer of transformers or "
        "`tokenizers`, or an object with encode(text) -> ids and decode(ids) -> text."
    )


def _pieces(text: str) -> Iterable[str]:
    """Cuts behind a line break that another line follows, where no tokenizer of words joins across."""
    start = 0
    while start < len(text):
        end = start + PIECE_CHARACTERS
        if end < len(text):
            end = text.find("\n", end)
            end = len(text) if end < 0 else end
            while end < len(text) and text[end] == "\n":
                end += 1
        yield text[start:end]
        start = end
