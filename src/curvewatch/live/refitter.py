"""Refitter: keeps the smoothed metrics up to date without letting training wait for it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.forks import tell_in_child
from curvewatch.live.metrics import Metrics
from curvewatch.live.smoothed import SmoothedMetrics

logger = logging.getLogger("curvewatch")

# Up to here a refit takes some ten milliseconds: training waits for it, and its values stand in the observation's own
# row. Beyond, another thread does it beside training, and they come with the next row; `smoothed/step` tells of which.
WAIT_TOKENS = 20_000
# An observation that waits for its turn takes memory. If refits take longer than training between observations, it is
# training that has to wait; that takes a very small model and a very large token set.
WAITING = 2


@dataclass(frozen=True)
class Job:
    """One observation of one set.

    Attributes:
        name: Of the set.
        step: Updates done.
        surprisal_N: Bits.
        counts_D: Occurrences of each distinct target in the training text so far; None if not known.
        refit: Whether the curves are to be fitted now.
        new: Whether the observation is yet to be taken into the state.
    """

    name: str
    step: int
    surprisal_N: NDArray[np.float32]
    counts_D: NDArray[Any] | None
    refit: bool
    new: bool = True


class Refitter:
    """Takes observations in order, and gives metrics back when they are there.

    Args:
        smoothed: By name of the set; used by nobody else until `close`.
    """

    def __init__(self, smoothed: Mapping[str, SmoothedMetrics]) -> None:
        self._smoothed = dict(smoothed)
        self._jobs: deque[Job] = deque()
        self._done: list[tuple[str, Metrics]] = []
        self._failures: list[tuple[int, Exception]] = []
        self._changed = threading.Condition()
        self._closing = False
        n_tokens = sum(one.n_tokens for one in self._smoothed.values())
        self._thread: threading.Thread | None = None
        if n_tokens > WAIT_TOKENS:
            self._thread = threading.Thread(target=self._work, name="curvewatch-refitter", daemon=True)
            self._thread.start()
            tell_in_child(self)

    def submit(self, job: Job) -> None:
        """Takes the next observation of a set; waits only if the last ones are not done yet."""
        if self._thread is None:
            self._do(job)
            return
        with self._changed:
            self._changed.wait_for(lambda: len(self._jobs) < WAITING * len(self._smoothed) or self._closing)
            self._jobs.append(job)
            self._changed.notify_all()

    def take(self) -> list[tuple[str, Metrics]]:
        """Metrics that came since the last time, by set and in order."""
        with self._changed:
            done, self._done = self._done, []
        return done

    def failures(self) -> list[tuple[int, Exception]]:
        """Failures since the last time, with their step."""
        with self._changed:
            failures, self._failures = self._failures, []
        return failures

    def stop(self) -> None:
        """Lets the thread end by itself once it has done what is waiting; waits for nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, timeout: float = 60.0) -> bool:
        """Finishes what is waiting; `take` has the last results afterwards.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether all is done.
        """
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def forsake(self) -> None:
        """In a forked child: what waits is done by the parent's thread, which does not exist here."""
        self._changed = threading.Condition()
        self._jobs.clear()
        self._thread, self._closing = None, True

    def _work(self) -> None:
        # One thread: a second one makes a refit a tenth faster and takes a quarter more from training's cores.
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job = self._jobs[0]
            self._do(job)
            with self._changed:
                self._jobs.popleft()
                self._changed.notify_all()

    def _do(self, job: Job) -> None:
        smoothed = self._smoothed[job.name]
        metrics = Metrics()
        try:
            if job.new:
                smoothed.advance(job.step, job.surprisal_N)
        except Exception as error:
            self._failed(job.step, error)
        try:
            if job.refit:
                metrics = smoothed.refit(job.step, job.surprisal_N, job.counts_D)
        except Exception as error:
            self._failed(job.step, error)
        with self._changed:
            self._done.append((job.name, metrics))

    def _failed(self, step: int, error: Exception) -> None:
        with self._changed:
            self._failures.append((step, error))
