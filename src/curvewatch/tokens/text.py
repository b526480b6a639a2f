"""What curvewatch asks of a tokenizer, whichever library it comes from: encode, decode, size of the vocabulary.

Understood are the tokenizers of transformers, of `tokenizers`, and anything with `encode(str) -> ids` and
`decode(ids) -> str` (tiktoken, or twenty lines of your own).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief

# Long texts are encoded piece by piece, so that no tokenizer has to hold a whole corpus at once.
PIECE_CHARACTERS = 1 << 20
# Each piece is encoded behind so much of the text before it, whose ids are taken off again.
BEFORE_CHARACTERS = 256


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
    pieces = list(encode_pieces(tokenizer, _pieces(text)))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def encode_pieces(tokenizer: Any, pieces: Iterable[str]) -> Iterator[NDArray[np.int64]]:
    """Token ids of a text that comes in pieces: together those of the text encoded whole.

    A tokenizer may treat the beginning of what it is given in its own way (a space or a beginning-of-text token put
    in front). So a piece is encoded behind the end of the one before it. Where the ids of that end do not stand there
    as they would alone, a token reaches over the cut: the two pieces are then encoded as one.

    Args:
        tokenizer: See the module.
        pieces: The text, cut behind line breaks.

    Raises:
        TypeError: If nothing in `tokenizer` can encode.
        ValueError: If its ids depend on more than the text around them.
    """
    before, held = "", ""
    ids: NDArray[np.int64] | None = None  # of `held`; None: to be encoded
    for piece in pieces:
        if held:
            end = _end(held)
            following = _behind(tokenizer, end, piece)
            if following is None:
                held, ids = held + piece, None
                continue
            yield _held(tokenizer, before, held) if ids is None else ids
            before, ids = end, following
        held = piece
    if held:
        yield _held(tokenizer, before, held) if ids is None else ids


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
    """The highest id that `tokenizer` knows, added tokens included, plus 1; None if it does not say.

    Ids may have holes (tokens taken out, added ones put at round numbers), so their number alone would not do.
    """
    refuse_what_is_no_tokenizer(tokenizer)
    size = _told_size(tokenizer)
    if hasattr(tokenizer, "get_vocab"):
        vocabulary = tokenizer.get_vocab()
        if isinstance(vocabulary, Mapping) and vocabulary:
            return max(size or 0, 1 + max(int(i) for i in vocabulary.values()))
    return size


def _told_size(tokenizer: Any) -> int | None:
    if hasattr(tokenizer, "get_vocab_size"):
        return int(tokenizer.get_vocab_size())
    if hasattr(tokenizer, "n_vocab"):
        return int(tokenizer.n_vocab)
    try:
        return len(tokenizer)
    except TypeError:
        size = getattr(tokenizer, "vocab_size", None)
        size = size() if callable(size) else size
        return int(size) if size is not None else None


def refuse_what_is_no_tokenizer(tokenizer: Any) -> None:
    """Refuses a tokenizer's name or class: a `str`, too, has `encode` and a length.

    Raises:
        TypeError: Naming it.
    """
    if isinstance(tokenizer, (str, bytes, type)):
        what = tokenizer.__name__ if isinstance(tokenizer, type) else brief(tokenizer)
        raise TypeError(
            f"tokenizer={what}: a {type(tokenizer).__name__} is no tokenizer. Pass the tokenizer itself, for example "
            "AutoTokenizer.from_pretrained(...)."
        )


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


def _end(text: str) -> str:
    """The end of `text`, not blank if there is more: a tokenizer may drop blanks that stand first."""
    return text[max(0, len(text.rstrip()) - BEFORE_CHARACTERS) :]


def _behind(tokenizer: Any, before: str, text: str) -> NDArray[np.int64] | None:
    """Ids of `text` where it stands behind `before`; None if a token reaches over the cut."""
    head, whole = _encode_piece(tokenizer, before), _encode_piece(tokenizer, before + text)
    return whole[len(head) :] if np.array_equal(whole[: len(head)], head) else None


def _held(tokenizer: Any, before: str, text: str) -> NDArray[np.int64]:
    found = _behind(tokenizer, before, text) if before else _encode_piece(tokenizer, text)
    if found is None:
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__}: its ids of a text change with what stands far behind them, or from "
            "call to call. Encode the text yourself and pass the rows to TokenSet.from_sequences."
        )
    return found


def _encode_piece(tokenizer: Any, text: str) -> NDArray[np.int64]:
    refuse_what_is_no_tokenizer(tokenizer)
    ids: Any
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    elif hasattr(tokenizer, "get_vocab_size"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
    elif hasattr(tokenizer, "encode_ordinary"):
        # tiktoken: its `encode` raises where the text holds a special token's name; in a corpus that is text.
        ids = tokenizer.encode_ordinary(text)
    elif hasattr(tokenizer, "encode"):
        ids = tokenizer.encode(text)
    else:
        raise TypeError(
            f"tokenizer={type(tokenizer).__name__}: it has no encode(text). Pass a tokenizer of transformers or "
            "`tokenizers`, or an object with encode(text) -> ids and decode(ids) -> text."
        )
    found = np.asarray(ids)
    if found.ndim != 1 or (found.size and not np.issubdtype(found.dtype, np.integer)):
        raise TypeError(
            f"tokenizer={type(tokenizer).__name__}: its encode(text) gives {brief(ids)}; a list of ids (integers) is "
            "expected."
        )
    return found.astype(np.int64)


def _pieces(text: str) -> Iterable[str]:
    """Cuts behind a line break that another line follows, where tokenizers of words do not join across."""
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
