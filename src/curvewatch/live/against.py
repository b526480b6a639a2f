"""What is logged against a base: of all tokens, of each label's values, of pairs and questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.metrics import mean
from curvewatch.measures.against import AgainstBase, item_transitions
from curvewatch.observation import Observation
from curvewatch.tokens.items import ItemIndex
from curvewatch.tokens.labels import MANY_VALUES, Label
from curvewatch.tokens.names import unique_names
from curvewatch.tokens.reference import Reference
from curvewatch.tokens.spans import Spans


class AgainstMetrics:
    """Follows a set against its reference.

    Args:
        reference: The base.
        labels: By name; of each the values with most tokens are shown.
        spans: Those that make pairs or questions are followed as such.
    """

    def __init__(self, reference: Reference, labels: Mapping[str, Label], spans: Spans) -> None:
        self._base = AgainstBase(reference.surprisal_N, reference.correct_N)
        self._values = [
            (f"label/{name}/{value}", chosen_N)
            for name, label in labels.items()
            for value, chosen_N in _largest(label).items()
        ]
        self._kl_N: NDArray[np.float32] | None = None
        self._items: dict[str, _Items] = {}
        for kind in spans.kinds:
            of_kind = spans.of_kind(kind)
            if (of_kind.item >= 0).all():
                self._items[unique_names([kind])[0]] = _Items(kind, of_kind, reference)

    def advance(self, observation: Observation) -> None:
        """Takes the next observation into the state."""
        self._base.update(observation.surprisal_bits, observation.correct)
        self._kl_N = observation.kl_bits
        for items in self._items.values():
            items.advance(observation)

    def update(self) -> dict[str, float]:
        """The metrics after the last observation, keys as in `BASE_METRICS`."""
        found = {f"base/{name}": value for name, value in self._base.shares().items()}
        kl_N = self._kl_N
        if kl_N is not None:
            found["base/kl_mean"] = mean(kl_N)
        for prefix, chosen_N in self._values:
            of_value = self._base.shares(chosen_N)
            found |= {f"{prefix}/base_{name}": of_value[name] for name in _OF_VALUES if name in of_value}
            if kl_N is not None:
                found[f"{prefix}/base_kl_mean"] = mean(kl_N[chosen_N])
        for kind, items in self._items.items():
            found |= {f"item/{kind}/base_{name}": value for name, value in items.metrics().items()}
        return found


_OF_VALUES = ("change_mean", "lost_share", "gained_share")


def _largest(label: Label) -> dict[str, NDArray[np.bool_]]:
    order = np.sort(np.argsort(-label.sizes, kind="stable")[:MANY_VALUES]).tolist()
    names = unique_names([label.values[v] for v in order])
    return {name: label.codes == v for name, v in zip(names, order, strict=True) if label.sizes[v]}


class _Items:
    def __init__(self, kind: str, spans: Spans, reference: Reference) -> None:
        self._spans, self._index = spans, ItemIndex(spans, kind)
        self._before_I: NDArray[np.float64] | None = None
        self._now_I: NDArray[np.float64] = np.zeros(0)
        if reference.surprisal_N is not None:
            self._before_I = self._right(reference.surprisal_N)

    def _right(self, bits_N: NDArray[Any]) -> NDArray[np.float64]:
        return self._index.margins(self._spans.sums(bits_N))

    def advance(self, observation: Observation) -> None:
        self._now_I = self._right(observation.surprisal_bits)
        if self._before_I is None:
            self._before_I = self._now_I

    def metrics(self) -> dict[str, float]:
        assert self._before_I is not None
        return item_transitions(self._before_I, self._now_I, self._index.chance)
