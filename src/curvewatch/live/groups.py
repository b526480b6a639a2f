"""What is logged of groups: of the tokens of each label's values, of spans, of pairs and questions.

Suffixes: N scored tokens, U spans of a kind, I items, V values of a label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.metrics import mean
from curvewatch.measures.forgetting import ThresholdForgetting, Top1Forgetting
from curvewatch.observation import Observation
from curvewatch.tokens.items import ItemIndex
from curvewatch.tokens.labels import MANY_VALUES, Label
from curvewatch.tokens.names import unique_names
from curvewatch.tokens.spans import WORD, Spans

FLAGS = ("accuracy_top1", "known_share", "acquired_share", "forgotten_share", "forgetting_events")
"""Of each token, one bit each."""
_STATES = 1 << len(FLAGS)


class LabelMetrics:
    """The metrics of the tokens of each value of each label.

    Memory: four bytes a token and label.

    Args:
        labels: By name; of each the values with most tokens are shown.
    """

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._labels = {name: _Shown(label) for name, label in labels.items()}

    def update(self, surprisal_N: NDArray[np.float32], flags_N: NDArray[np.uint8]) -> dict[str, float]:
        """The metrics, keys as in `LABEL_METRICS`.

        Args:
            surprisal_N: Bits.
            flags_N: For each token the bits of `FLAGS`, the first the lowest.
        """
        found: dict[str, float] = {}
        finite_N = np.isfinite(surprisal_N)
        whole = bool(finite_N.all())
        bits_N = surprisal_N if whole else np.where(finite_N, surprisal_N, np.float32(0))
        for name, shown in self._labels.items():
            n_values = len(shown.names)
            # Each token is counted once, by its value and all of its flags together.
            counts = np.bincount(shown.shifted_N | flags_N, minlength=_STATES * (n_values + 1))
            counts_VS = counts.reshape(n_values + 1, _STATES)[:n_values]
            sums_V = np.bincount(shown.code_N, bits_N, n_values + 1)
            known_V = counts_VS.sum(axis=1) if whole else np.bincount(shown.code_N[finite_N], minlength=n_values + 1)
            states = np.arange(_STATES)
            for v, value in enumerate(shown.names):
                key, size = f"label/{name}/{value}", int(counts_VS[v].sum())
                if not size:
                    continue
                found[f"{key}/n_tokens"] = size
                if known_V[v]:
                    found[f"{key}/surprisal_mean"] = sums_V[v] / known_V[v]
                for bit, flag in enumerate(FLAGS):
                    count = int(counts_VS[v, (states >> bit & 1) == 1].sum())
                    found[f"{key}/{flag}"] = count if flag == "forgetting_events" else count / size
        return found


class _Shown:
    """The values of a label that are shown: codes from 0, and one behind them for all other tokens."""

    def __init__(self, label: Label) -> None:
        order = np.argsort(-label.sizes, kind="stable")[:MANY_VALUES]
        chosen = np.sort(order)
        self.names = unique_names([label.values[v] for v in chosen.tolist()])
        rank = np.full(len(label.values) + 1, len(chosen), np.int16)
        rank[chosen] = np.arange(len(chosen))
        rank[-1] = len(chosen)  # code -1: no value
        self.code_N: NDArray[np.int16] = rank[label.codes]
        self.shifted_N = (self.code_N << len(FLAGS)).astype(np.uint16)


def flags_of(
    correct_N: NDArray[np.bool_],
    known_N: NDArray[np.bool_],
    acquired_N: NDArray[np.bool_],
    forgotten_N: NDArray[np.bool_],
    event_N: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Puts what is known of each token into one byte, in the order of `FLAGS`."""
    flags_N = correct_N.astype(np.uint8)
    for bit, truth_N in enumerate((known_N, acquired_N, forgotten_N, event_N), start=1):
        flags_N |= truth_N.view(np.uint8) << np.uint8(bit)
    return flags_N


class SpanMetrics:
    """The metrics of all kinds of spans, and of the pairs and questions that some of them make.

    Args:
        spans: All of them.
        chance: Of one token, bits.
    """

    def __init__(self, spans: Spans, chance: float) -> None:
        self._kinds = {kind: _Kind(kind, spans.of_kind(kind), chance) for kind in spans.kinds}

    def advance(self, step: int, observation: Observation) -> None:
        """Takes the next observation into the state."""
        for kind in self._kinds.values():
            kind.advance(step, observation)

    def update(self) -> dict[str, float]:
        """The metrics after the last observation, keys as in `SPAN_METRICS` and `ITEM_METRICS`."""
        found: dict[str, float] = {}
        for kind in self._kinds.values():
            found |= kind.metrics()
        return found


class _Kind:
    def __init__(self, kind: str, spans: Spans, chance: float) -> None:
        self.key, self.spans = unique_names([kind])[0], spans
        self._corrected = kind == WORD
        self.top1 = Top1Forgetting(len(spans))
        self.threshold = ThresholdForgetting(len(spans), (spans.length * (chance / 2)).astype(np.float32))
        self.bits_U: NDArray[np.float64] = np.full(len(spans), np.nan)
        self.correct_U = np.zeros(len(spans), bool)
        self.items = _Items(ItemIndex(spans, kind)) if (spans.item >= 0).all() else None

    def advance(self, step: int, observation: Observation) -> None:
        bits_N = observation.surprisal_bits
        if self._corrected and observation.boundary_bits is not None:
            bits_N = bits_N + observation.boundary_bits
        self.bits_U = self.spans.sums(bits_N)
        self.correct_U = self.spans.all_of(observation.correct)
        self.top1.update(step, self.correct_U)
        self.threshold.update(step, self.bits_U.astype(np.float32))
        if self.items is not None:
            self.items.advance(step, self.bits_U)

    def metrics(self) -> dict[str, float]:
        n = len(self.spans)
        found = {
            "n_spans": n,
            "surprisal_mean": mean(self.bits_U),
            "accuracy_top1": np.count_nonzero(self.correct_U) / n,
            "known_share": np.count_nonzero(self.threshold.known_N) / n,
            "acquired_share": np.count_nonzero(self.threshold.acquired_N) / n,
            "forgotten_share": np.count_nonzero(self.top1.events_N) / n,
            "forgetting_events": self.top1.last_events,
        }
        of_items = self.items.metrics() if self.items is not None else {}
        return {f"span/{self.key}/{name}": value for name, value in found.items()} | {
            f"item/{self.key}/{name}": value for name, value in of_items.items()
        }


class _Items:
    def __init__(self, index: ItemIndex) -> None:
        self.index = index
        self.top1 = Top1Forgetting(len(index))
        self.margin_I: NDArray[np.float64] = np.full(len(index), np.nan)
        groups = [group for group in dict.fromkeys(index.group) if group]
        groups = sorted(groups, key=lambda group: -index.group.count(group))[:MANY_VALUES]
        of_I = np.array(index.group, object)
        self.groups = dict(zip(unique_names(groups), [of_I == group for group in groups], strict=True))

    def advance(self, step: int, bits_U: NDArray[np.float64]) -> None:
        self.margin_I = self.index.margins(bits_U)
        self.top1.update(step, self.margin_I > 0)

    def metrics(self) -> dict[str, float]:
        found = self._of(np.ones(len(self.index), bool))
        found |= {
            "forgetting_events": self.top1.last_events,
            "forgotten_share": np.count_nonzero(self.top1.events_N) / len(self.index),
            "chance": self.index.chance,
        }
        for group, chosen_I in self.groups.items():
            found |= {f"{group}/{name}": value for name, value in self._of(chosen_I).items()}
        return found

    def _of(self, chosen_I: NDArray[np.bool_]) -> dict[str, float]:
        margin_i = self.margin_I[chosen_I]
        known_i = margin_i[~np.isnan(margin_i)]
        right = np.count_nonzero(known_i > 0) + 0.5 * np.count_nonzero(known_i == 0)
        return {
            "n_items": len(margin_i),
            "accuracy": right / len(known_i) if len(known_i) else float("nan"),
            "margin_mean": mean(margin_i),
        }
