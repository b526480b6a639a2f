"""Forgetting events: how often a token that was known became unknown.

Both counters are streaming: `update` takes one observation, so that the value shown live at the last step and the one
computed from the run file are the same numbers from the same code. Suffixes: N scored tokens, T scored steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]


@dataclass
class Top1Forgetting:
    """Counts correct -> not correct transitions between successive observations.

    Source: Toneva et al. (2019), "An Empirical Study of Example Forgetting during Deep Neural Network Learning". The
    count depends on how often one looks: report `opportunities` beside it.

    Attributes:
        n_tokens: N.
        events_N: Forgetting events so far.
        first_correct_step_N: Step of the first observation at which the target was the arg-max; NaN before that.
        opportunities: Number of successive pairs of observations, the most events a token can have.
    """

    n_tokens: int
    events_N: NDArray[np.int32] = field(init=False)
    first_correct_step_N: NDArray[np.float64] = field(init=False)
    opportunities: int = field(init=False, default=0)
    last_events: int = field(init=False, default=0)
    _previous_N: BoolArray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.events_N = np.zeros(self.n_tokens, np.int32)
        self.first_correct_step_N = np.full(self.n_tokens, np.nan)

    def update(self, step: int, correct_N: BoolArray) -> None:
        """Takes the next observation.

        Args:
            step: Training step, greater than every one before.
            correct_N: Whether each target was the arg-max.
        """
        correct_N = np.asarray(correct_N, bool)
        self.last_events = 0
        if self._previous_N is not None:
            forgotten_N = self._previous_N & ~correct_N
            self.events_N += forgotten_N
            self.last_events = int(np.count_nonzero(forgotten_N))
            self.opportunities += 1
        self.first_correct_step_N[correct_N & np.isnan(self.first_correct_step_N)] = step
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
        first_known_step_N: Fixed-threshold age of acquisition as a step; NaN while not acquired.
    """

    n_tokens: int
    threshold: float | FloatArray
    margin: float = 1.0
    decay: float = 0.8
    average_N: FloatArray = field(init=False)
    known_N: BoolArray = field(init=False)
    events_N: NDArray[np.int32] = field(init=False)
    first_known_step_N: NDArray[np.float64] = field(init=False)
    last_events: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        wide = isinstance(self.threshold, np.ndarray) and self.threshold.dtype == np.float64
        self.average_N = np.full(self.n_tokens, np.nan, np.float64 if wide else np.float32)
        self.known_N = np.zeros(self.n_tokens, bool)
        self.events_N = np.zeros(self.n_tokens, np.int32)
        self.first_known_step_N = np.full(self.n_tokens, np.nan)

    def update(self, step: int, surprisal_N: FloatArray) -> None:
        """Takes the next observation.

        Args:
            step: Training step, greater than every one before.
            surprisal_N: Bits.
        """
        dtype = self.average_N.dtype.type
        y_N = np.asarray(surprisal_N, dtype)
        if self.decay == 0:
            moved_N = y_N  # previous + (y - previous) would differ from y by a rounding
        else:
            # A NaN average (nothing seen yet) starts at the observation itself.
            previous_N = np.where(np.isnan(self.average_N), y_N, self.average_N)
            with np.errstate(invalid="ignore"):  # inf - inf, dropped by the finite check below
                moved_N = previous_N + dtype(1 - self.decay) * (y_N - previous_N)
        np.copyto(self.average_N, moved_N, where=np.isfinite(y_N))
        with np.errstate(invalid="ignore"):
            learned_N = ~self.known_N & (self.average_N <= self.threshold)
            forgotten_N = self.known_N & (self.average_N > self.threshold + self.margin)
        if step > 0:
            self.known_N ^= learned_N | forgotten_N
            self.first_known_step_N[learned_N & np.isnan(self.first_known_step_N)] = step
            self.events_N += forgotten_N
        self.last_events = int(np.count_nonzero(forgotten_N)) if step > 0 else 0


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
    events_N = np.zeros(smoothed_TN.shape[1], np.int32)
    if rises_N is None:
        walked = np.arange(events_N.size)
    else:
        walked = np.flatnonzero(rises_N > margin - 1e-3)  # with room for rounding in the sum
    if walked.size:
        counter = ThresholdForgetting(walked.size, threshold_N[walked], margin, decay=0.0)
        for t, surprisal_N in enumerate(smoothed_TN[:, walked]):
            counter.update(t + 1, surprisal_N)  # any step > 0: only the order matters here
        events_N[walked] = counter.events_N
    return events_N


def count_top1(correct_TN: BoolArray, steps_T: NDArray[Any]) -> Top1Forgetting:
    """Returns the top-1 counter after all observations of a block.

    Args:
        correct_TN: Whether each target was the arg-max at each scored step.
        steps_T: The scored steps, increasing.
    """
    counter = Top1Forgetting(correct_TN.shape[1])
    for step, correct_N in zip(steps_T, correct_TN, strict=True):
        counter.update(step, correct_N)
    return counter
