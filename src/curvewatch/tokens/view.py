"""TokenView: one scored token as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curvewatch.display import card, marked

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet


@dataclass(frozen=True)
class TokenView:
    """One scored token as a person reads it: the text before it, and the token itself."""

    index: int
    sequence_index: int
    position: int
    context: str
    target: str

    def __str__(self) -> str:
        return f"{self.context}⟦{self.target}⟧"

    def _repr_html_(self) -> str:
        where = f"token {self.index:,}, sequence {self.sequence_index:,}, position {self.position:,}"
        return card(where, [], marked(self.context, self.target))


def view_of(tokens: TokenSet, i: int, width: int | None = None) -> TokenView:
    """Context and target of token `i`, as ids where the set has no texts.

    Raises:
        IndexError: If there is no token `i`.
    """
    if tokens.tokenizer is not None or tokens.vocabulary is not None:
        return tokens.show(i, width)
    if not -len(tokens) <= i < len(tokens):
        raise IndexError(f"i={i}: this token set has tokens 0 to {len(tokens) - 1}.")
    i %= len(tokens)
    s, p = int(tokens.sequence_index[i]), int(tokens.position[i])
    before = tokens.sequence(s)[max(0, p - width) if width is not None else 0 : p]
    return TokenView(i, s, p, "".join(f"⟨{t}⟩" for t in before), f"⟨{int(tokens.target[i])}⟩")
