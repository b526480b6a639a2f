"""What curvewatch asks of a tokenizer, whichever library it comes from: encode, decode, size of the vocabulary.

Understood are the tokenizers of transformers, of `tokenizers`, and anything with `encode(str) -> ids` and
`decode(ids) -> str` (tiktoken, or twenty lines of your own).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import offsets

logger = logging.getLogger("curvewatch")

# Long texts are encoded piece by piece, so that no tokenizer has to hold a whole corpus at once.
PIECE_CHARACTERS = 1 << 20
# Each piece is encoded behind so much of the text before it, whose ids are taken off again.
BEFORE_CHARACTERS = 256


class Encoded(NamedTuple):
    """A text as a tokenizer has it.

    Attributes:
        ids: Shape [n].
        ends: Where each token ends in the text, in characters, shape [n]; None where they were not asked for, or the
            tokenizer can't tell. See `offsets`.
    """

    ids: NDArray[np.int64]
    ends: NDArray[np.int64] | None = None


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


def encode_with_ends(tokenizer: Any, text: str) -> Encoded:
    """Token ids of `text`, without special tokens, and where each token ends in it by the cover rule (`offsets`).

    Both come from the same calls of the tokenizer: ends that were worked out on the whole text would not fit the ids of
    pieces. Special cases as in `encode`.

    Args:
        tokenizer: See the module.
        text: Any length.
    """
    ids: list[NDArray[np.int64]] = []
    ends: list[NDArray[np.int64]] | None = []
    start = 0
    for piece, length in _encoded_pieces(tokenizer, _pieces(text), with_ends=True):
        ids.append(piece.ids)
        if piece.ends is None:
            ends = None
        elif ends is not None:
            ends.append(piece.ends + start)
        start += length
    if not ids:
        return Encoded(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Encoded(np.concatenate(ids), offsets.covering(np.concatenate(ends), len(text)) if ends is not None else None)


def encode_with_special(tokenizer: Any, text: str) -> list[int] | None:
    """Token ids of `text` with what the tokenizer puts around it; None where it is of no kind that says."""
    refuse_what_is_no_tokenizer(tokenizer)
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return [int(i) for i in tokenizer(text, verbose=False)["input_ids"]]
    return list(tokenizer.encode(text).ids) if hasattr(tokenizer, "get_vocab_size") else None


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
    for piece, _ in _encoded_pieces(tokenizer, pieces):
        yield piece.ids


def _encoded_pieces(tokenizer: Any, pieces: Iterable[str], *, with_ends: bool = False) -> Iterator[tuple[Encoded, int]]:
    """What `encode_pieces` gives, with each piece's length in characters; ends count from where the piece begins."""
    before, held = "", ""
    encoded: Encoded | None = None  # of `held`; None: to be encoded
    for piece in pieces:
        if held:
            end = _end(held)
            following = _behind(tokenizer, end, piece, with_ends)
            if following is None:
                held, encoded = held + piece, None
                continue
            yield _held(tokenizer, before, held, with_ends) if encoded is None else encoded, len(held)
            before, encoded = end, following
        held = piece
    if held:
        yield _held(tokenizer, before, held, with_ends) if encoded is None else encoded, len(held)


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


def _behind(tokenizer: Any, before: str, text: str, with_ends: bool) -> Encoded | None:
    """Ids of `text` where it stands behind `before`; None if a token reaches over the cut."""
    head = _encode_piece(tokenizer, before).ids
    whole = _encode_piece(tokenizer, before + text, with_ends)
    if not np.array_equal(whole.ids[: len(head)], head):
        return None
    ends = None if whole.ends is None else whole.ends[len(head) :] - len(before)
    return Encoded(whole.ids[len(head) :], ends)


def _held(tokenizer: Any, before: str, text: str, with_ends: bool) -> Encoded:
    found = _behind(tokenizer, before, text, with_ends) if before else _encode_piece(tokenizer, text, with_ends)
    if found is None:
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__}: its ids of a text change with what stands far behind them, or from "
            "call to call. Encode the text yourself and pass the rows to TokenSet.from_sequences."
        )
    return found


def _encode_piece(tokenizer: Any, text: str, with_ends: bool = False) -> Encoded:
    refuse_what_is_no_tokenizer(tokenizer)
    ids: Any
    pairs: Any = None  # where each token begins and ends
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        # A tokenizer in Python ignores the wish for offsets in silence, or raises.
        wish = {"return_offsets_mapping": True} if with_ends and getattr(tokenizer, "is_fast", False) else {}
        encoded = tokenizer(text, add_special_tokens=False, verbose=False, **wish)
        ids, pairs = encoded["input_ids"], encoded.get("offset_mapping")
    elif hasattr(tokenizer, "get_vocab_size"):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        ids, pairs = encoding.ids, encoding.offsets if with_ends else None
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
    found = found.astype(np.int64)
    if not with_ends:
        return Encoded(found)
    if pairs is not None:
        return Encoded(found, np.array(pairs, np.int64).reshape(-1, 2)[:, 1])
    if hasattr(tokenizer, "decode_tokens_bytes"):
        return Encoded(found, offsets.ends_of_bytes(tokenizer.decode_tokens_bytes(found.tolist()), text))
    try:
        ends = offsets.ends_of_texts(found, text, partial(decode, tokenizer), partial(token_texts, tokenizer))
    except Exception as error:  # a tokenizer of twenty lines may decode less than it encodes
        logger.info("%s can't decode all that it encodes (%r): bytes are not known", type(tokenizer).__name__, error)
        ends = None
    return Encoded(found, ends)


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
