"""A token set as people read it: its tokens in their contexts, its ids as text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from curvewatch.display import shown
from curvewatch.tokens import text as text_room
from curvewatch.tokens.card import set_card
from curvewatch.tokens.view import TokenView, view_by


class InWords:
    """What a `TokenSet` shows."""

    def show(self, i: int, width: int | None = None) -> TokenView:
        """Context and target of scored token `i` as text.

        Args:
            i: Index of the token, 0 to N - 1; negative counts from the end.
            width: Show at most this many tokens of context; None shows all.

        Raises:
            IndexError: If there is no token `i`.
            ValueError: If the set knows no tokenizer.
        """
        return view_by(self, i, width, self.decode)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, by the tokenizer or by the texts kept in the file.

        Raises:
            ValueError: If the set knows neither.
        """
        tokens: Any = self
        if tokens.tokenizer is not None:
            return text_room.decode(tokens.tokenizer, ids)
        if tokens.vocabulary is not None:
            return "".join(tokens.vocabulary.get(int(i), f"<{int(i)}>") for i in ids)
        raise ValueError("tokenizer: this token set has none, so ids can't be shown as text. Build it with tokenizer=.")

    def texts(self) -> dict[int, str] | None:
        """Text of every token id that occurs in the set; None without a tokenizer."""
        tokens: Any = self
        if tokens.tokenizer is None:
            return dict(tokens.vocabulary) if tokens.vocabulary is not None else None
        unique = np.unique(tokens.ids if tokens.encoder is None else np.concatenate([tokens.ids, tokens.encoder.ids]))
        return dict(zip(unique.tolist(), text_room.token_texts(tokens.tokenizer, unique), strict=True))

    def _repr_html_(self) -> str:
        tokens: Any = self
        return shown(partial(set_card, tokens), "TokenSet")
