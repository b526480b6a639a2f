"""Events: steps at which more tokens jump at once than the run's own past explains.

A token jumps when its surprisal changes by more than three times what it usually does from one observation to the next
(and by half a bit). An event is an observation at which the share of tokens that jump in one direction lies far above
the shares of the observations before, by a robust z: the median of the past, its median absolute deviation, and no less
than the error of a share of so many tokens or a quarter of the usual one. All of it is streaming: what is shown live is
what the file gives again. Suffix: N tokens, n those of an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

JUMP = 3.0
"""How many times its usual change (a moving average of the absolute one) a token's change must be."""
LEAST_BITS = 0.5
WARM = 8
"""Changes before the first event can be told; until then a token's usual change is not known."""
PAST = 16
FAR = 8.0
"""The robust z from which on a share is an event. In made-up runs of 2,000 tokens, 80 rows and noise that tokens share,
quiet rows reached 9.6 once in 40 runs, and a tenth of the tokens that moved by 2.5 bits 11 to 29."""
LEAST_SPREAD = 0.25
"""Of the usual share: no spread is believed that is smaller."""
LEAST_SHARE = 0.01
LEAST_TOKENS = 10
KEEP = 0.8
NORMAL_MAD = 1.4826
HALF = 0.5
FOLLOWED = 16
"""Events whose healing is followed at a time."""


@dataclass
class Event:
    """A step at which many tokens jumped.

    Attributes:
        step: The observation at which they had jumped.
        before: The step of the observation before.
        up: Whether their surprisal rose.
        tokens_n: Indices of the tokens that jumped in this direction, int64.
        bits_n: By how much, bits.
        share: Of all tokens.
        usual_share: The median of the observations before.
        z: How far above that it lies.
        healed: The step at which half of those tokens had come back by half of their jump; None if not so far.
    """

    step: int
    before: int
    up: bool
    tokens_n: NDArray[np.int64]
    bits_n: NDArray[np.float32]
    share: float
    usual_share: float
    z: float
    healed: int | None = None

    @property
    def mean_bits(self) -> float:
        """Mean jump of its tokens, bits."""
        return float(self.bits_n.mean(dtype=np.float64))

    def in_words(self, over: Sequence[object] = (), *, now: bool = False) -> str:
        """One line for a person.

        Args:
            over: What its tokens are, as texts; the first three are said.
            now: It has only just happened, so that healing is not spoken of.
        """
        said = (
            f"step {self.step:,}: {self.share:.1%} of the tokens {'rose' if self.up else 'fell'} at once since step "
            f"{self.before:,} (usually {self.usual_share:.1%}), by {abs(self.mean_bits):.2f} bits on average"
        )
        if over:
            said += f"; over-represented: {', '.join(map(str, over[:3]))}"
        if now:
            return said
        return said + (f"; healed at step {self.healed:,}" if self.healed is not None else "; not healed so far")


@dataclass
class EventDetector:
    """Finds events in one observation after another. About 8 bytes a token.

    Attributes:
        events: So far.
        up_share: Share of tokens that jumped up at the last observation; NaN until that can be told.
        down_share: Of those that jumped down.
    """

    n_tokens: int
    events: list[Event] = field(init=False, default_factory=list)
    up_share: float = field(init=False, default=float("nan"))
    down_share: float = field(init=False, default=float("nan"))
    _previous_N: NDArray[np.float32] | None = field(init=False, default=None)
    _usual_N: NDArray[np.float32] = field(init=False)
    _step: int = field(init=False, default=0)
    _changes: int = field(init=False, default=0)
    _past: dict[bool, deque[float]] = field(init=False)
    _open: list[tuple[Event, NDArray[np.float32]]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._usual_N = np.zeros(self.n_tokens, np.float32)
        self._past = {True: deque(maxlen=PAST), False: deque(maxlen=PAST)}

    def update(self, step: int, surprisal_N: NDArray[Any]) -> Event | None:
        """Takes the next observation.

        Args:
            step: Later than all before.
            surprisal_N: Bits; a token that is not finite, now or before, does not jump.

        Returns:
            The event that this step is, if it is one.
        """
        now_N = np.array(surprisal_N, np.float32)
        before_N, self._previous_N = self._previous_N, now_N
        before, self._step = self._step, int(step)
        self._heal(now_N)
        if before_N is None:
            return None
        with np.errstate(invalid="ignore"):
            change_N = now_N - before_N
        unknown_N = ~np.isfinite(change_N)
        change_N[unknown_N] = 0
        found = None
        size_N = np.abs(change_N)
        if self._changes >= WARM:
            limit_N = np.maximum(JUMP * self._usual_N, np.float32(LEAST_BITS))
            jumped_N = size_N > limit_N
            up_N = jumped_N & (change_N > 0)
            n_up = int(np.count_nonzero(up_N))
            n_down = int(np.count_nonzero(jumped_N)) - n_up
            self.up_share, self.down_share = n_up / self.n_tokens, n_down / self.n_tokens
            judged = {up: self._judge(up, n) for up, n in ((True, n_up), (False, n_down))}
            up = judged[True][0] >= judged[False][0]
            z, usual = judged[up]
            if np.isfinite(z) and z >= FAR:
                tokens_n = np.flatnonzero(up_N if up else jumped_N & ~up_N)
                share = self.up_share if up else self.down_share
                found = Event(self._step, before, up, tokens_n, change_N[tokens_n], share, usual, z)
                self.events.append(found)
                self._open = [*self._open[1 - FOLLOWED :], (found, before_N[tokens_n])]
            # A jump is no usual change: it counts as much as the largest that is none.
            np.minimum(size_N, limit_N, out=size_N)
        if unknown_N.any():
            size_N[unknown_N] = self._usual_N[unknown_N]
        keep = np.float32(min(KEEP, self._changes / (self._changes + 1)))
        self._usual_N *= keep
        self._usual_N += (1 - keep) * size_N
        self._changes += 1
        return found

    def _judge(self, up: bool, n: int) -> tuple[float, float]:
        """The robust z of a share, -inf where it is no event whatever its z, and the usual share."""
        past, share = self._past[up], n / self.n_tokens
        if len(past) < WARM // 2:
            past.append(share)
            return float("-inf"), float("nan")
        usual = float(np.median(past))
        spread = NORMAL_MAD * float(np.median(np.abs(np.array(past) - usual)))
        error = float(np.sqrt(max(usual, 1 / self.n_tokens) * (1 - usual) / self.n_tokens))
        spread = max(spread, error, LEAST_SPREAD * usual)
        z = (share - usual) / spread
        # What an event adds is not usual, and must not hide the next one.
        past.append(min(share, usual + FAR * spread))
        if n < LEAST_TOKENS or share - usual < LEAST_SHARE:
            return float("-inf"), usual
        return z, usual

    def _heal(self, now_N: NDArray[np.float32]) -> None:
        still = []
        for event, before_n in self._open:
            with np.errstate(invalid="ignore"):
                left_n = (now_N[event.tokens_n] - before_n) / event.bits_n
            if float(np.mean(left_n <= HALF)) >= HALF:
                event.healed = self._step
            else:
                still.append((event, before_n))
        self._open = still
