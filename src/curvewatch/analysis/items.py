"""Items: pairs of sentences and questions with options, right where the right member costs fewest bits.

Suffixes: T rows, U units, I items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.forgetting import Top1Forgetting
from curvewatch.tokens.items import ItemIndex
from curvewatch.tokens.spans import Spans


class Items:
    """The pairs or questions of one kind.

    Attributes:
        group: What each item is counted under, I texts.
        names: Of the right member of each, I texts.
        chance: Share that guessing gets right.
        steps_T: Scored steps.
    """

    def __init__(
        self, kind: str, spans: Spans, steps_T: NDArray[Any], surprisal: Any, n_bytes_U: NDArray[np.int64] | None
    ) -> None:
        self._index = ItemIndex(spans, kind)
        self.group = self._index.group
        self.names = tuple(spans.name[u] for u in self._index.right_I.tolist())
        self.chance = self._index.chance
        self.steps_T = steps_T
        self._surprisal, self._bytes_U, self.kind = surprisal, n_bytes_U, kind

    def __len__(self) -> int:
        return len(self.group)

    def margin(self, *, per: str = "sum") -> NDArray[np.float64]:
        """By how many bits the right member is cheaper than the best of the others, shape [T, I].

        Args:
            per: "sum": all bits of a member; "byte": bits for each of its bytes, so that long options are not at a
                disadvantage.

        Raises:
            ValueError: If the bytes are not known, or there is no such way.
        """
        if per not in ("sum", "byte"):
            raise ValueError(f"per={per!r}: 'sum' or 'byte'.")
        values_TU = self._surprisal[:]
        if per == "byte":
            if self._bytes_U is None or not (self._bytes_U > 0).all():
                raise ValueError("per='byte': the bytes of these units are not known. Use per='sum'.")
            values_TU = values_TU / self._bytes_U
        return self._index.margins(values_TU)

    def margin_of(self, bits_U: NDArray[np.floating]) -> NDArray[np.float64]:
        """The same of any surprisal of the units, shape [I].

        Args:
            bits_U: Bits, shape [U].
        """
        return self._index.margins(bits_U)

    def right(self, *, per: str = "sum") -> NDArray[np.float64]:
        """1 where the right member costs fewest bits, 0.5 on a tie, 0 else, shape [T, I]; NaN where it is not known."""
        return right_of(self.margin(per=per))

    def accuracy(self, *, per: str = "sum", group: str | None = None) -> NDArray[np.float64]:
        """Share of the items that are right, at each step, shape [T].

        Args:
            per: As in `margin`.
            group: Of one group only.
        """
        right_TI = self.right(per=per)
        if group is not None:
            chosen_I = np.array([one == group for one in self.group], bool)
            if not chosen_I.any():
                raise ValueError(f"group={group!r}: there are {', '.join(map(repr, dict.fromkeys(self.group)))}.")
            right_TI = right_TI[:, chosen_I]
        known = np.isfinite(right_TI)
        count_T = known.sum(axis=1)
        total_T = np.where(known, right_TI, 0.0).sum(axis=1)
        accuracy_T: NDArray[np.float64] = np.where(count_T > 0, total_T / np.maximum(count_T, 1), np.nan)
        return accuracy_T

    def forgetting_events(self, *, per: str = "sum") -> NDArray[np.int32]:
        """How often each item was right at one observation and not at the next, shape [I]."""
        counter = Top1Forgetting(len(self))
        for step, right_I in zip(self.steps_T.tolist(), self.right(per=per), strict=True):
            counter.update(step, right_I == 1)
        return counter.events_N


def right_of(margin_TI: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins as right (1), tied (0.5) and wrong (0); NaN where a margin is."""
    right_TI = np.where(margin_TI > 0, 1.0, np.where(margin_TI < 0, 0.0, 0.5))
    right_TI[np.isnan(margin_TI)] = np.nan
    return right_TI
