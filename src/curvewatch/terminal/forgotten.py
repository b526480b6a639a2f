"""Which tokens were forgotten: the latest of them, and the most often forgotten. Suffix: N scored tokens."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from curvewatch.live import LiveMetrics
from curvewatch.live.forgotten import most_forgotten
from curvewatch.observation import Observation
from curvewatch.terminal.state import Forgotten, Often

KEPT = 60
PER_STEP = 12
"""Of one observation. Hundreds may be forgotten at once; those whose surprisal rose most tell most."""
OFTEN = 30


class ForgottenTokens:
    """Compares each observation with the one before it; keeps no more than that one.

    Attributes:
        latest: The latest first.
    """

    def __init__(self) -> None:
        self.latest: deque[Forgotten] = deque(maxlen=KEPT)
        self._last: Observation | None = None
        self._known_N: NDArray[np.bool_] | None = None

    def update(self, step: int, observation: Observation, live: LiveMetrics) -> None:
        """Takes the next observation; `live` has taken it already."""
        known_N = live.threshold.known_N.copy()
        if self._last is not None and self._known_N is not None:
            top1_N = self._last.correct & ~observation.correct
            unknown_N = self._known_N & ~known_N
            which_n = np.flatnonzero(top1_N | unknown_N)
            before_n, now_n = self._last.surprisal_bits[which_n], observation.surprisal_bits[which_n]
            with np.errstate(invalid="ignore"):  # inf - inf
                rise_n = np.nan_to_num(now_n - before_n, nan=-np.inf)
            for k in reversed(_largest(rise_n, PER_STEP)):
                i = int(which_n[k])
                self.latest.appendleft(
                    Forgotten(i, step, float(before_n[k]), float(now_n[k]), bool(top1_N[i]), bool(unknown_N[i]))
                )
        self._last, self._known_N = observation, known_N

    def often(self, live: LiveMetrics) -> list[Often]:
        """The tokens with most top-1 events; among equals those with most threshold events."""
        last = self._last
        if last is None:
            return []
        return [
            Often(
                i,
                int(live.top1.events_N[i]),
                int(live.threshold.events_N[i]),
                float(last.surprisal_bits[i]),
                bool(last.correct[i]),
            )
            for i in most_forgotten(live, OFTEN).tolist()
        ]


def _largest(values: NDArray[np.floating], n: int) -> list[int]:
    """Indices of the `n` largest values, the largest first."""
    which = np.argpartition(-values, n)[:n] if len(values) > n else np.arange(len(values))
    return [int(i) for i in which[np.argsort(-values[which], kind="stable")]]
