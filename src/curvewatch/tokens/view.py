"""TokenView: one scored token as a person reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curvewatch.display import card, marked

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet


@dataclass(frozen=True)
class TokenView:
    """One scored token as a person reads it: the text before it, and the token itself.

    Attributes:
        index: Of the token.
        sequence_index: Its sequence.
        position: Its position there.
        context: The text before it; of an encoder-decoder model the encoder's, an arrow, and the decoder's.
        target: The token's own text.
        behind: The text behind it, where a masked model predicts it from that, too.
    """

    index: int
    sequence_index: int
    position: int
    context: str
    target: str
    behind: str = ""

    def __str__(self) -> str:
        return f"{self.context}⟦{self.target}⟧{self.behind}"

    def _repr_html_(self) -> str:
        where = f"token {self.index:,}, sequence {self.sequence_index:,}, position {self.position:,}"
        return card(where, [], marked(self.context, self.target, self.behind))


def view_of(tokens: TokenSet, i: int, width: int | None = None) -> TokenView:
    """Context and target of token `i`, as ids where the set has no texts.

    Raises:
        IndexError: If there is no token `i`.
    """
    known = tokens.tokenizer is not None or tokens.vocabulary is not None
    return view_by(tokens, i, width, tokens.decode if known else _as_ids)


def view_by(tokens: Any, i: int, width: int | None, decode: Callable[[Iterable[int]], str]) -> TokenView:
    """Context and target of token `i`, as `decode` makes text of ids; see `TokenSet.show`.

    Raises:
        IndexError: If there is no token `i`.
    """
    if not -len(tokens) <= i < len(tokens):
        raise IndexError(f"i={i}: this token set has tokens 0 to {len(tokens) - 1}.")
    i %= len(tokens)
    s, p = int(tokens.sequence_index[i]), int(tokens.position[i])
    row = tokens.sequence(s)
    context = decode(row[max(0, p - width) if width is not None else 0 : p])
    behind = ""
    if tokens.encoder is not None:
        context = f"{decode(tokens.encoder.sequence(s)[:width])} → {context}"
    if tokens.masking is not None:
        behind = decode(row[p + 1 : p + 1 + width if width is not None else None])
    return TokenView(i, s, p, context, decode([int(tokens.target[i])]), behind)


def _as_ids(ids: Iterable[int]) -> str:
    return "".join(f"⟨{int(i)}⟩" for i in ids)
