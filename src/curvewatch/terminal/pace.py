"""How a run gets on: what scoring costs, how long it will take, and whether it still moves. Suffix: T observations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curvewatch.terminal.state import State

QUIET_S = 60.0
QUIET_TIMES = 3.0
"""A run is called quiet when the next observation is late by so much: so many seconds and times the expected wait."""

WAITING, READING, TRAINING, QUIET, FINISHED, STOPPED, GONE = (
    "waiting", "reading", "training", "quiet", "finished", "stopped", "gone",
)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """How a run gets on, as far as its file tells; NaN where it doesn't.

    Attributes:
        phase: "waiting" (no file, or no observation yet), "reading" (more observations in the file than read so far),
            "training", "quiet" (the next observation is late), "finished", "stopped" (closed before the planned last
            step), "gone" (the file was deleted or moved).
        observed: Observations so far.
        expected: Observations there will be in the end: those so far and those to come. The first if open-ended.
        share_done: Of the planned steps; NaN if open-ended.
        since_last_s: Since the last observation.
        step_s: A training step, without scoring.
        scoring_s: An observation's scoring.
        scoring_share: Of the wall time between the first and the last observation. A pause counts as wall time.
        left_s: Until the planned last step.
    """

    phase: str
    observed: int
    expected: int
    share_done: float
    since_last_s: float
    step_s: float
    scoring_s: float
    scoring_share: float
    left_s: float

    @classmethod
    def of(cls, state: State, now: float) -> Pace:
        """The pace of a run at the Unix time `now`."""
        steps_T, seconds_T, time_T = state.steps_T, state.seconds_T, state.time_T
        last = int(steps_T[-1]) if len(steps_T) else -1
        to_come = state.planned[(state.planned > last) & ~np.isin(state.planned, [step for step, _ in state.skipped])]
        scoring = float(seconds_T.mean()) if len(seconds_T) else math.nan
        step = _step_seconds(state)
        since = max(0.0, now - float(time_T[-1])) if len(time_T) else math.nan
        span = float(time_T[-1] - time_T[0]) if len(time_T) > 1 else math.nan
        # The first observation was scored before its own time was taken, so it lies outside the span.
        share = float(seconds_T[1:].sum()) / span if span > 0 else math.nan
        left = math.nan
        if state.max_steps is not None and last >= 0:
            left = step * (state.max_steps - last) + scoring * len(to_come)
            left = max(0.0, left - since)
        late = _late(state, to_come, since, step, scoring)
        done = min(1.0, last / state.max_steps) if state.max_steps and last >= 0 else math.nan
        return cls(
            phase=_phase(state, last, late),
            observed=len(steps_T),
            expected=len(steps_T) + len(to_come),
            share_done=done,
            since_last_s=since,
            step_s=step,
            scoring_s=scoring,
            scoring_share=min(1.0, share),
            left_s=left,
        )


def _step_seconds(state: State) -> float:
    """Seconds a step: the median over the steps of the latter half, so that a pause between sessions counts little."""
    gaps_t = np.diff(state.steps_T)
    if not len(gaps_t):
        return math.nan
    rate_t = np.maximum(np.diff(state.time_T) - state.seconds_T[1:], 0.0) / gaps_t
    recent_t = state.steps_T[1:] > state.steps_T[-1] / 2
    rate_t, gaps_t = rate_t[recent_t], gaps_t[recent_t]
    order = np.argsort(rate_t)
    steps_so_far = np.cumsum(gaps_t[order])
    return float(rate_t[order][np.searchsorted(steps_so_far, steps_so_far[-1] / 2)])


def _late(state: State, to_come: np.ndarray, since: float, step: float, scoring: float) -> bool:
    if not len(state.steps_T) or math.isnan(step):
        return since > 10 * QUIET_S
    if len(to_come):
        wait = step * float(to_come[0] - state.steps_T[-1]) + scoring
    else:
        wait = float(np.diff(state.time_T)[-10:].max())
    return since > QUIET_S + QUIET_TIMES * wait


def _phase(state: State, last: int, late: bool) -> str:
    if not state.there:
        return GONE if state.run_id else WAITING
    if state.behind:
        return READING
    if not len(state.steps_T):
        return WAITING
    if state.max_steps is not None and last >= state.max_steps:
        return FINISHED
    if not state.open:
        return STOPPED if state.max_steps is not None else FINISHED
    return QUIET if late else TRAINING
