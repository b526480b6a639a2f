"""State: what is known of a run at one moment. Suffix: T observations read so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Forgotten:
    """A token that was forgotten between two observations.

    Attributes:
        token: Its index in the set.
        step: Of the observation at which it was forgotten.
        before: Surprisal at the observation before, bits.
        now: Surprisal at that observation, bits.
        top1: It was the model's first choice, and is not.
        known: It was known (smoothed surprisal at or below half of chance), and is not.
        context: The text before it, as it is: not yet made fit for a terminal.
        target: Its own text.
    """

    token: int
    step: int
    before: float
    now: float
    top1: bool
    known: bool
    context: str = ""
    target: str = ""


@dataclass(frozen=True)
class Often:
    """A token that was forgotten often.

    Attributes:
        token: Its index in the set.
        events: Top-1 forgetting events so far.
        threshold_events: Threshold forgetting events so far.
        now: Surprisal at the last observation, bits.
        correct: The model's first choice now.
        context: The text before it.
        target: Its own text.
    """

    token: int
    events: int
    threshold_events: int
    now: float
    correct: bool
    context: str = ""
    target: str = ""


def _ints() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


def _floats() -> NDArray[np.float64]:
    return np.empty(0)


@dataclass(frozen=True)
class State:
    """What a `Follower` knows.

    Attributes:
        path: Of the run file.
        version: Grows whenever anything else here changes.
        there: Whether the file is there.
        open: Whether a journal stands beside it: its writer has it open, or was killed.
        set_name: Token set that is followed; "" before the file has been read.
        sets: All token sets of the file.
        run_id: Random id of the run; "" before the file has been read.
        n_tokens: N.
        chance: Bits.
        max_steps: Planned last step; None if open-ended.
        steps_T: Scored steps.
        seconds_T: Wall time of scoring all sets, s.
        time_T: When each was scored, Unix time.
        behind: Observations in the file that were not yet read.
        planned: Steps planned to be scored, ascending; empty if open-ended.
        skipped: Planned steps that were not scored, and why not.
        scalars: The live metrics by key, each with shape [T]; NaN where there was none.
        latest: Tokens forgotten last, the latest first; of one step those whose surprisal rose most first.
        often: Tokens forgotten most often.
        notice: What happened to the file meanwhile, in words: a resume, another run in its place.
    """

    path: Path
    version: int = 0
    there: bool = False
    open: bool = False
    set_name: str = ""
    sets: tuple[str, ...] = ()
    run_id: str = ""
    n_tokens: int = 0
    chance: float = float("nan")
    max_steps: int | None = None
    steps_T: NDArray[np.int64] = field(default_factory=_ints)
    seconds_T: NDArray[np.float64] = field(default_factory=_floats)
    time_T: NDArray[np.float64] = field(default_factory=_floats)
    behind: int = 0
    planned: NDArray[np.int64] = field(default_factory=_ints)
    skipped: tuple[tuple[int, str], ...] = ()
    scalars: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    latest: tuple[Forgotten, ...] = ()
    often: tuple[Often, ...] = ()
    notice: str = ""

    def now(self, key: str) -> float:
        """The last value of a metric; NaN if there is none."""
        values = self.scalars.get(key)
        return float(values[-1]) if values is not None and len(values) else float("nan")

    def change(self, key: str) -> float:
        """How much a metric changed since the observation before; NaN if that is not known."""
        values = self.scalars.get(key)
        return float(values[-1] - values[-2]) if values is not None and len(values) > 1 else float("nan")
