"""LiveMetrics: what a person watches while the model trains, from one observation after another.

The maths is in `measures`, the same code that the analysis uses. The state can always be rebuilt from the run file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.forgetting import ThresholdForgetting, Top1Forgetting
from curvewatch.observation import Observation

BINS = 64

# Key (behind "curvewatch/<set>/") -> unit and meaning. The README's table is held against this one.
METRICS = {
    "surprisal_mean": ("bit", "mean surprisal of all tokens"),
    "surprisal_median": ("bit", "median surprisal"),
    "surprisal_p10": ("bit", "10th percentile: the best predicted tokens"),
    "surprisal_p90": ("bit", "90th percentile: the worst predicted tokens"),
    "accuracy_top1": ("share", "tokens that are the model's first choice"),
    "entropy_mean": ("bit", "mean entropy of the predicted distributions"),
    "forgetting_events": ("count", "tokens that were the first choice at the last observation and are not now"),
    "forgetting_events_total": ("count", "such events so far"),
    "forgotten_share": ("share", "tokens with at least one such event"),
    "known_share": ("share", "tokens known now: smoothed surprisal at or below half of chance"),
    "threshold_forgetting_events": (
        "count",
        "known tokens whose smoothed surprisal rose 1 bit above the threshold",
    ),
    "threshold_forgetting_events_total": ("count", "such events so far"),
    "acquired_share": ("share", "tokens that have been known at some time"),
    "acquisition_step_median": ("step", "median fixed-threshold age of acquisition of the acquired tokens"),
    "nonfinite_tokens": ("count", "tokens whose surprisal is NaN or infinite"),
    "seconds": ("s", "wall time of scoring this set"),
}
HISTOGRAMS = {
    "surprisal_histogram": ("bit", "distribution of surprisal now"),
    "acquisition_histogram": ("log10 step", "distribution of the fixed-threshold age of acquisition so far"),
}
# Key (behind "curvewatch/watch/"): what the watch as a whole costs and how it fares.
WATCH_METRICS = {
    "step": ("step", "updates done: the step under which the row stands in the run file"),
    "seconds": ("s", "wall time that training waited for this observation"),
    "time_share": ("share", "wall time that training waited for the watch, of all since it started"),
    "rows_behind": ("count", "earlier observations not yet committed to the run file"),
    "rows_lost": ("count", "observations given up because the file could not be written"),
    "failures": ("count", "planned observations whose scoring failed"),
    "stepped_aside": ("0 or 1", "1 once the watch has given up, after three failures in a row"),
}


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width; values beyond the ends are counted in the end bins.

    Attributes:
        counts: Shape [BINS].
        edges: Shape [BINS + 1].
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.floating], low: float, high: float) -> Histogram:
        """The histogram of the finite `values` from `low` to `high`."""
        finite = values[np.isfinite(values)]
        counts, edges = np.histogram(np.clip(finite, low, high), BINS, (low, high))
        return cls(counts.astype(np.int64), edges)


@dataclass(frozen=True)
class Metrics:
    """What is logged at one observation.

    Attributes:
        scalars: By key; those without a value yet (no token acquired, say) are left out.
        histograms: By key.
    """

    scalars: dict[str, float]
    histograms: dict[str, Histogram]

    def prefixed(self, prefix: str) -> Metrics:
        """The same with `prefix/` before each key."""
        return Metrics(
            {f"{prefix}/{key}": value for key, value in self.scalars.items()},
            {f"{prefix}/{key}": value for key, value in self.histograms.items()},
        )


class LiveMetrics:
    """The running measures of one token set.

    Memory: 26 bytes a token.

    Args:
        n_tokens: N.
        chance: log2(vocabulary size), bits.
        max_steps: Planned last step, for the range of the histogram of acquisition; None if open-ended.
    """

    def __init__(self, n_tokens: int, chance: float, max_steps: int | None = None) -> None:
        self.chance = chance
        self.top1 = Top1Forgetting(n_tokens)
        # While the run lasts a token's minimum is not known, so the threshold is fixed: half of chance.
        self.threshold = ThresholdForgetting(n_tokens, threshold=chance / 2)
        self._last_decade = np.log10(max_steps) if max_steps is not None and max_steps > 1 else 7.0

    def replay(self, rows: Iterable[tuple[int, Observation]]) -> None:
        """Rebuilds the state from the rows of a run file."""
        for step, observation in rows:
            self._advance(step, observation)

    def update(self, step: int, observation: Observation) -> Metrics:
        """Takes the next observation.

        Args:
            step: Updates done, more than at any time before.
            observation: All N tokens.

        Returns:
            The metrics now, keys as in `METRICS` and `HISTOGRAMS`.
        """
        self._advance(step, observation)
        y_N = observation.surprisal_bits
        finite_n = y_N[np.isfinite(y_N)]
        acquired_N = self.threshold.first_known_step_N
        acquired_n = acquired_N[np.isfinite(acquired_N)]
        p10, median, p90 = np.percentile(finite_n, (10, 50, 90)) if finite_n.size else (np.nan,) * 3
        entropy_n = observation.entropy_bits[np.isfinite(observation.entropy_bits)]
        scalars = {
            "surprisal_mean": finite_n.mean(dtype=np.float64) if finite_n.size else np.nan,
            "surprisal_median": median,
            "surprisal_p10": p10,
            "surprisal_p90": p90,
            "accuracy_top1": observation.correct.mean(),
            "entropy_mean": entropy_n.mean(dtype=np.float64) if entropy_n.size else np.nan,
            "forgetting_events": self.top1.last_events,
            "forgetting_events_total": self.top1.events_N.sum(dtype=np.int64),
            "forgotten_share": np.count_nonzero(self.top1.events_N) / len(y_N),
            "known_share": self.threshold.known_N.mean(),
            "threshold_forgetting_events": self.threshold.last_events,
            "threshold_forgetting_events_total": self.threshold.events_N.sum(dtype=np.int64),
            "acquired_share": acquired_n.size / len(y_N),
            "acquisition_step_median": np.median(acquired_n) if acquired_n.size else np.nan,
            "nonfinite_tokens": y_N.size - finite_n.size,
        }
        histograms = {
            "surprisal_histogram": Histogram.of(y_N, 0.0, 1.5 * self.chance),
            "acquisition_histogram": Histogram.of(np.log10(acquired_n), 0.0, self._last_decade),
        }
        # Plain Python numbers: hosts put what they are given into JSON.
        return Metrics({key: float(value) for key, value in scalars.items() if np.isfinite(value)}, histograms)

    def _advance(self, step: int, observation: Observation) -> None:
        self.top1.update(step, observation.correct)
        self.threshold.update(step, observation.surprisal_bits)
