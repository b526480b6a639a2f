"""Forgetting events: how often a token that was known became unknown.

Both counters are streaming: `update` takes one observation, so that the value shown live at the last step and the one
computed from the run file are the same numbers from the same code. Suffixes: N scored tokens, T scored steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]

NOT_YET = np.int32(-1)
WALKED_VALUES = 1 << 18  # of smoothed curves looked at at a time
SHORT_ROW = 1 << 10  # tokens
BLOCK = 1 << 15  # tokens worked on at a time: what is in between stays in a core's cache


@dataclass
class Top1Forgetting:
    """Counts correct -> not correct transitions between successive observations.

    Source: Toneva et al. (2019), "An Empirical Study of Example Forgetting during Deep Neural Network Learning". The
    count depends on how often one looks: report `opportunities` beside it.

    Attributes:
        n_tokens: N.
        events_N: Forgetting events so far.
        opportunities: Number of successive pairs of observations, the most events a token can have.
    """

    n_tokens: int
    events_N: NDArray[np.int32] = field(init=False)
    _first_N: NDArray[np.int32] = field(init=False)
    _steps: list[float] = field(init=False, default_factory=list)
    opportunities: int = field(init=False, default=0)
    last_events: int = field(init=False, default=0)
    _previous_N: BoolArray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.events_N = np.zeros(self.n_tokens, np.int32)
        self._first_N = np.full(self.n_tokens, NOT_YET)

    @property
    def first_correct_step_N(self) -> NDArray[np.float64]:
        """Step of the first observation at which the target was the arg-max; NaN before that."""
        return _steps_of(self._first_N, self._steps)

    @property
    def previous_N(self) -> BoolArray | None:
        """Whether each target was the arg-max at the last observation; None before any."""
        return self._previous_N

    def update(self, step: int, correct_N: BoolArray) -> None:
        """Takes the next observation.

        Args:
            step: Training step, greater than every one before.
            correct_N: Whether each target was the arg-max.
        """
        correct_N = np.asarray(correct_N, bool)
        before_N, forgotten = self._previous_N, 0
        for part in _parts(self.n_tokens):
            correct_n, first_n = correct_N[part], self._first_N[part]
            learned_n = first_n == NOT_YET
            learned_n &= correct_n
            first_n[learned_n] = len(self._steps)
            if before_N is not None:
                forgotten_n = before_N[part] > correct_n
                self.events_N[part] += forgotten_n
                forgotten += int(np.count_nonzero(forgotten_n))
        self._steps.append(step)
        self.opportunities += before_N is not None
        self.last_events = forgotten
        self._previous_N = correct_N.copy()


@dataclass
class ThresholdForgetting:
    """Counts known -> forgotten transitions of the smoothed surprisal around a fixed threshold, with hysteresis.

    A token becomes *known* when its exponential moving average is at or below `threshold`, and *forgotten* when it
    rises above `threshold + margin`. The margin keeps noise around the threshold from counting, the average keeps a
    single odd observation from counting. The first step at which a token is known is its fixed-threshold age of
    acquisition; step 0, before any learning, never counts as one.

    A non-finite surprisal says nothing about the token: its average and state stay as they were.

    Afterwards, with the whole curve at hand, the same counter runs over the smoothed curve, with each token's halfway
    threshold and no average of its own: see `threshold_events`.

    Attributes:
        n_tokens: N.
        threshold: Bits; live, half of chance. One number, or one for each token.
        margin: Bits of hysteresis.
        decay: Weight of the past in the moving average (0: no smoothing).
        average_N: The moving average, bits; NaN before the first finite observation. float32, but float64 when the
            thresholds are an array of float64, so that no event hangs on rounding.
        known_N: Known now.
        events_N: Forgetting events so far.
        acquired_at: How many tokens have each step as their age of acquisition; steps increase, none has no token.
    """

    n_tokens: int
    threshold: float | FloatArray
    margin: float = 1.0
    decay: float = 0.8
    average_N: FloatArray = field(init=False)
    known_N: BoolArray = field(init=False)
    events_N: NDArray[np.int32] = field(init=False)
    _first_N: NDArray[np.int32] = field(init=False)
    acquired_at: dict[int, int] = field(init=False, default_factory=dict)
    last_events: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        wide = isinstance(self.threshold, np.ndarray) and self.threshold.dtype == np.float64
        self.average_N = np.full(self.n_tokens, np.nan, np.float64 if wide else np.float32)
        self.known_N = np.zeros(self.n_tokens, bool)
        self.events_N = np.zeros(self.n_tokens, np.int32)
        self._first_N = np.full(self.n_tokens, NOT_YET)

    @property
    def acquired_N(self) -> BoolArray:
        """Tokens that have been known at some time."""
        acquired_N: BoolArray = self._first_N != NOT_YET
        return acquired_N

    @property
    def first_known_step_N(self) -> NDArray[np.float64]:
        """Fixed-threshold age of acquisition as a step; NaN while not acquired."""
        return _steps_of(self._first_N, list(self.acquired_at))

    def update(self, step: int, surprisal_N: FloatArray) -> None:
        """Takes the next observation.

        Args:
            step: Training step, greater than every one before.
            surprisal_N: Bits.
        """
        surprisal_N = np.asarray(surprisal_N)
        self.last_events = acquired = 0
        for part in _parts(self.n_tokens):
            learned_n, forgotten_n = self._average(part, surprisal_N[part])
            if step <= 0:
                continue
            self.events_N[part] += forgotten_n
            self.last_events += int(np.count_nonzero(forgotten_n))
            first_n = self._first_N[part]
            new_n = first_n == NOT_YET
            new_n &= learned_n
            first_n[new_n] = len(self.acquired_at)
            acquired += int(np.count_nonzero(new_n))
            learned_n |= forgotten_n
            self.known_N[part] ^= learned_n
        if acquired:
            self.acquired_at[step] = acquired

    def _average(self, part: slice, surprisal_n: FloatArray) -> tuple[BoolArray, BoolArray]:
        """Moves the averages of some tokens; which of them this makes known, and which unknown."""
        average_n, known_n = self.average_N[part], self.known_N[part]
        dtype = average_n.dtype.type
        y_n = np.asarray(surprisal_n, dtype)
        if self.decay == 0:
            moved_n = y_n  # previous + (y - previous) would differ from y by a rounding
        else:
            # A NaN average (nothing seen yet) starts at the observation itself.
            previous_n = np.where(np.isnan(average_n), y_n, average_n)
            with np.errstate(invalid="ignore"):  # inf - inf, dropped by the finite check below
                moved_n = y_n - previous_n
                moved_n *= dtype(1 - self.decay)
                moved_n += previous_n
        np.copyto(average_n, moved_n, where=np.isfinite(y_n))
        threshold = self.threshold[part] if isinstance(self.threshold, np.ndarray) else self.threshold
        with np.errstate(invalid="ignore"):
            learned_n = average_n <= threshold
            forgotten_n = average_n > threshold + self.margin
        return np.greater(learned_n, known_n), forgotten_n & known_n


def threshold_events(
    smoothed_TN: FloatArray,
    threshold_N: NDArray[np.float64],
    *,
    margin: float = 1.0,
    rises_N: FloatArray | None = None,
) -> NDArray[np.int32]:
    """Returns how often each smoothed curve went from known to forgotten, shape [N].

    Known at or below the token's threshold, forgotten above it by more than `margin`.

    Args:
        smoothed_TN: Fitted curves at the fitted steps (without step 0), bits.
        threshold_N: Halfway from chance to the curve's minimum, bits.
        margin: Bits of hysteresis.
        rises_N: The curves' forgettability, bits, where it is known already. An event takes a rise of more than
            `margin`, which few curves have: only those are walked through step by step.
    """
    n_steps, n_tokens = smoothed_TN.shape
    events_N = np.zeros(n_tokens, np.int32)
    if rises_N is None:
        walked = np.arange(n_tokens)
    else:
        walked = np.flatnonzero(rises_N > margin - 1e-3)  # with room for rounding in the sum
    width = max(16, WALKED_VALUES // max(n_steps, 1))
    for start in range(0, walked.size, width):
        tokens = walked[start : start + width]
        events_N[tokens] = _events(smoothed_TN[:, tokens], threshold_N[tokens], margin)
    return events_N


def _events(smoothed_Tn: FloatArray, threshold_n: NDArray[np.float64], margin: float) -> NDArray[np.intp]:
    """Counts the events of some curves, all steps at once; in between the two levels nothing changes."""
    n_steps, n = smoothed_Tn.shape
    dtype = smoothed_Tn.dtype
    known_level_n, unknown_level_n = at_most(threshold_n, dtype), at_most(threshold_n + margin, dtype)
    finite_Tn = np.isfinite(smoothed_Tn)
    known_Tn = (smoothed_Tn <= known_level_n) & finite_Tn
    unknown_Tn = (smoothed_Tn > unknown_level_n) & finite_Tn
    # Token by token, the observations that say something, in order: an event is one of each kind in succession.
    said = np.flatnonzero((known_Tn | unknown_Tn).T)
    unknown = unknown_Tn.T.ravel()[said]
    token = said // max(n_steps, 1)
    event = (unknown[1:] > unknown[:-1]) & (token[1:] == token[:-1])
    return np.bincount(token[1:][event], minlength=n)


def at_most(level_N: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Returns the largest numbers of a precision up to some levels: its values compare with them as with the levels."""
    rounded_N: FloatArray = level_N.astype(dtype)
    np.copyto(rounded_N, np.nextafter(rounded_N, dtype.type(-np.inf)), where=rounded_N > level_N)
    return rounded_N


def count_top1(correct_TN: BoolArray, steps_T: NDArray[Any]) -> Top1Forgetting:
    """Returns the top-1 counter after all observations of a block.

    Args:
        correct_TN: Whether each target was the arg-max at each scored step.
        steps_T: The scored steps, increasing.
    """
    correct_TN = np.asarray(correct_TN, bool)
    n_steps, n = correct_TN.shape
    counter = Top1Forgetting(n)
    if n_steps != len(steps_T):
        raise ValueError(f"steps_T: {len(steps_T)} steps for {n_steps} observations.")
    if n > SHORT_ROW:
        for step, correct_N in zip(steps_T, correct_TN, strict=True):
            counter.update(step, correct_N)
        return counter
    if not n_steps:
        return counter
    # As so many updates: where rows are short, each costs more by itself than its work.
    ever_N = correct_TN.any(axis=0)
    counter._first_N[ever_N] = correct_TN.argmax(axis=0)[ever_N]
    rows = min(255, max(1, WALKED_VALUES // max(n, 1)))  # no more, so that a byte can count them
    for start in range(1, n_steps, rows):
        part = slice(start, min(start + rows, n_steps))
        forgotten_tN = correct_TN[part.start - 1 : part.stop - 1] > correct_TN[part]
        counter.events_N += np.add.reduce(forgotten_tN.view(np.uint8), axis=0, dtype=np.uint8)
        counter.last_events = int(np.count_nonzero(forgotten_tN[-1]))
    counter._steps = list(steps_T)
    counter.opportunities = n_steps - 1
    counter._previous_N = correct_TN[-1].copy()
    return counter


def _steps_of(number_N: NDArray[np.int32], steps: list[Any]) -> NDArray[np.float64]:
    """The steps with these numbers; NaN where there is none yet."""
    steps_N: NDArray[np.float64] = np.array([*steps, np.nan], np.float64)[number_N]
    return steps_N


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))
