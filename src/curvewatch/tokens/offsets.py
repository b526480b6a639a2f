"""Where each token ends in the text that it comes from, in characters, and how many bytes it stands for.

The cover rule: a token covers the text from the end of the one before it to its own. So the tokens of a text together
cover all of it, once: blanks that belong to no token go to the next one, what follows the last token to the last, and
a character that is split over several tokens to the first of them (the others cover nothing). Offsets as tokenizers
give them do none of this: GPT-2's leave out blanks and overlap inside characters, so that the bytes "of the tokens" add
up to 0.82 of an English text, or to nearly twice one of emoji.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

# Prefixes of growing length are decoded for texts of so many tokens at most: the work grows with their square.
MOST_PREFIXES = 4096
UNKNOWN = "\ufffd"
_LONE = re.compile("[\ud800-\udfff]")


def covering(ends: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The ends of tokens by the cover rule, shape [n].

    Args:
        ends: As the tokenizer has them, shape [n].
        length: Of the text, characters.
    """
    found = np.maximum.accumulate(np.clip(ends, 0, length))
    if found.size:
        found[-1] = length
    return found


def ends_of_bytes(pieces: Sequence[bytes], text: str) -> NDArray[np.int64] | None:
    """Ends of tokens whose bytes are known (tiktoken); None if they are not the text's bytes."""
    text = _LONE.sub(UNKNOWN, text)  # which tiktoken does, too
    if b"".join(pieces) != text.encode():
        return None
    byte_ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(bytes_of_characters(text))])[:-1]
    # A character counts from its first byte on.
    return np.searchsorted(starts, byte_ends, side="left").astype(np.int64)


def ends_of_texts(
    ids: NDArray[np.int64],
    text: str,
    decode: Callable[[Sequence[int]], str],
    token_texts: Callable[[NDArray[np.int64]], list[str]],
) -> NDArray[np.int64] | None:
    """Ends of the tokens of a tokenizer that can only decode; None where what it decodes is not the text.

    Args:
        ids: Of the text, shape [n].
        text: The text.
        decode: Gives the text of some ids.
        token_texts: Gives the text that each id adds inside a sentence.
    """
    unique, place = np.unique(ids, return_inverse=True)
    texts = token_texts(unique)
    if "".join([texts[i] for i in place]) == text:
        return np.cumsum(np.array([len(one) for one in texts], np.int64)[place])
    id_list = ids.tolist()
    if len(id_list) > MOST_PREFIXES or decode(id_list) != text:
        return None
    ends = np.zeros(len(id_list), np.int64)
    for i in range(len(id_list)):
        prefix = decode(id_list[: i + 1])
        common = next((c for c, (a, b) in enumerate(zip(prefix, text, strict=False)) if a != b), len(prefix))
        common = min(common, len(text))
        # A character of which only the first bytes are there counts already.
        ends[i] = common + (prefix[common:].startswith(UNKNOWN) and common < len(text))
    return ends


def bytes_of_characters(text: str) -> NDArray[np.int64]:
    """UTF-8 bytes of each character of `text`, shape [characters]."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
