"""What the watch costs of a run's wall time: measured, kept within a budget, and told beforehand."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from curvewatch.errors import brief
from curvewatch.speaking import announce
from curvewatch.tokens.tokenset import TokenSet

logger = logging.getLogger("curvewatch")

# A forecast is made once there is something to forecast from.
FORECAST_OBSERVATIONS = 3
FORECAST_STEPS = 10
# Without a budget, a plan is remarked on from this share of the wall time on.
REMARKABLE_SHARE = 0.25
ROW_BYTES = 9  # a token's surprisal, correctness and entropy
FILE_BYTES = 1 << 20


class Cost:
    """Wall time that training waited for the watch, since the watch began.

    Args:
        max_share: Budget, as a share of the wall time since then; None for no limit.

    Raises:
        ValueError: Unless `max_share` lies between 0 and 1.
    """

    def __init__(self, max_share: float | None = None) -> None:
        if max_share is not None and not (isinstance(max_share, int | float) and 0 < max_share < 1):
            raise ValueError(f"max_overhead={brief(max_share)}: a share of the wall time between 0 and 1, or None.")
        self.max_share = max_share
        self._began = time.perf_counter()
        self._waited = 0.0
        self._last = 0.0
        self._observations = 0
        self._forecast_made = False

    def add(self, seconds: float) -> None:
        """Takes what an observation took, s."""
        self._waited += seconds
        self._last = seconds
        self._observations += 1

    def share(self, under_way: float = 0.0) -> float:
        """Share of the wall time since the beginning; `under_way` are seconds not yet added."""
        elapsed = time.perf_counter() - self._began
        return min(1.0, (self._waited + under_way) / max(elapsed, 1e-9))

    def affordable(self) -> bool:
        """Whether one more observation like the last one would stay within the budget."""
        if self.max_share is None:
            return True
        elapsed = time.perf_counter() - self._began
        return self._waited + self._last <= self.max_share * (elapsed + self._last)

    def can_forecast(self, steps_done: int) -> bool:
        """Whether there is enough to forecast from, and it was not done yet."""
        enough = self._observations >= FORECAST_OBSERVATIONS and steps_done >= FORECAST_STEPS
        return enough and not self._forecast_made

    def forecast(self, steps_done: int, steps_left: int, observations_left: int) -> None:
        """Says, once, if the rest of the plan will cost more than the budget, or remarkably much.

        Args:
            steps_done: Training steps since the beginning.
            steps_left: Training steps to come.
            observations_left: Planned observations to come.
        """
        self._forecast_made = True
        training = time.perf_counter() - self._began - self._waited
        scoring = self._waited + observations_left * self._last
        share = scoring / max(scoring + training * (1 + steps_left / steps_done), 1e-9)
        if self.max_share is not None and share > self.max_share:
            logger.warning(
                "the planned observations would take %.0f %% of the wall time, max_overhead allows %.0f %%: some "
                "will be skipped. Score fewer tokens or fewer steps, or allow more.",
                100 * share, 100 * self.max_share,
            )  # fmt: skip
        elif self.max_share is None and share > REMARKABLE_SHARE:
            logger.warning(
                "at this rate the planned observations will take %.0f %% of the wall time. Fewer tokens, fewer steps, "
                "or max_overhead= would lower that.",
                100 * share,
            )


def tell_rows(sets: Mapping[str, TokenSet]) -> None:
    """Says beforehand what sets for a masked model cost: it is fed a row for each scored token."""
    for name, tokens in sets.items():
        if tokens.masking is None:
            continue
        n_rows = tokens.masking.n_rows(tokens)
        announce(
            "set %r: a masked model is fed %s rows of up to %d tokens at each observation, %.3g times its %s sequences",
            name, f"{n_rows:,}", tokens.context, n_rows / tokens.n_sequences, f"{tokens.n_sequences:,}",
        )  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """What watching a run will cost.

    Attributes:
        seconds_per_observation: Scoring time on this machine, with this model.
        observations: Planned ones; 0 if the run is open-ended.
        n_tokens: Scored tokens in all sets.
    """

    seconds_per_observation: float
    observations: int
    n_tokens: int

    @property
    def total_seconds(self) -> float:
        """Scoring time of the whole run, s."""
        return self.seconds_per_observation * self.observations

    @property
    def file_bytes(self) -> int:
        """Size of the run file at the end, bytes; about."""
        return FILE_BYTES + ROW_BYTES * self.n_tokens * self.observations

    def share(self, seconds_per_step: float, max_steps: int) -> float:
        """Share of the wall time, given how long a training step takes."""
        return self.total_seconds / (self.total_seconds + seconds_per_step * max_steps)

    def __str__(self) -> str:
        return (
            f"{self.n_tokens:,} tokens: {self.seconds_per_observation:.2f} s an observation, {self.observations:,} "
            f"observations, {self.total_seconds / 60:,.1f} min of scoring, run file about "
            f"{self.file_bytes / 1e6:,.0f} MB"
        )
