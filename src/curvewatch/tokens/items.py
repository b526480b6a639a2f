"""Which spans make a pair or a question, and which of them is the right one. Suffixes: U spans, I items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.spans import Spans

RIGHT = ("good", "right")
"""Members that are to cost fewest bits."""


class ItemIndex:
    """The items of one kind of span.

    Args:
        spans: All of one kind.
        kind: For messages.

    Attributes:
        right_I: Index of the right member's span.
        group: What each item is counted under; I texts.
        chance: Share that guessing gets right.

    Raises:
        ValueError: If the spans make no items, or an item has not one right member and another.
    """

    def __init__(self, spans: Spans, kind: str) -> None:
        items, place_U = np.unique(spans.item[spans.item >= 0], return_inverse=True)
        if not items.size or (spans.item < 0).any():
            raise ValueError(
                f"unit={kind!r}: these spans belong to no pairs and questions; from_pairs and from_choices do."
            )
        right_U = np.isin(np.array(spans.member, object), np.array(RIGHT, object))
        n_I, n_right_I = np.bincount(place_U), np.bincount(place_U[right_U], minlength=len(items))
        if (n_right_I != 1).any() or (n_I < 2).any():
            i = int(items[np.flatnonzero((n_right_I != 1) | (n_I < 2))[0]])
            raise ValueError(f"item {i} of {kind!r}: one right member and at least one other are expected.")
        self.right_I = np.zeros(len(items), np.int64)
        self.right_I[place_U[right_U]] = np.flatnonzero(right_U)
        self.group = tuple(spans.group[u] for u in self.right_I.tolist())
        self.chance = float((1 / n_I).mean())
        # The others, item by item.
        others = np.flatnonzero(~right_U)
        self._others = others[np.argsort(place_U[others], kind="stable")]
        self._starts_I = np.concatenate([[0], np.cumsum(n_I - 1)])[:-1]

    def __len__(self) -> int:
        return len(self.right_I)

    def margins(self, bits_U: NDArray[Any]) -> NDArray[np.float64]:
        """By how much the right member lies below the lowest of the others, in the last axis; NaN where one is NaN."""
        lowest = np.minimum.reduceat(bits_U[..., self._others], self._starts_I, axis=-1)
        with np.errstate(invalid="ignore"):  # inf - inf
            margin: NDArray[np.float64] = lowest - bits_U[..., self.right_I]
        return margin
