"""LiveMetrics: the running measures that need no more than each observation and a few numbers a token.

The maths is in `measures`, the same code that the analysis uses. The state can always be rebuilt from the run file.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log10
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.live.against import AgainstMetrics
from curvewatch.live.frequency import BandMetrics
from curvewatch.live.groups import LabelMetrics, SpanMetrics, flags_of
from curvewatch.live.metrics import Histogram, Metrics, mean, median_of_counts, percentile, plain, sorted_finite
from curvewatch.live.resemblance import NgramResemblance
from curvewatch.measures.events import EventDetector
from curvewatch.measures.forgetting import ThresholdForgetting, Top1Forgetting
from curvewatch.measures.frequency import TargetTypes
from curvewatch.measures.kinds import RunningRho1, RunningTrends
from curvewatch.observation import Observation
from curvewatch.tokens.annotations import bits_per_byte, why_no_bits_per_byte
from curvewatch.tokens.tokenset import TokenSet

KINDS = {"H->L": "falling", "L->H": "rising", "L->L": "low", "H->H": "high"}


class LiveMetrics:
    """The running measures of one token set.

    Memory: 42 bytes a token, five more with frequency bands, eight for each order of n-grams.

    Args:
        n_tokens: N.
        chance: log2 of the number of the model's outputs, bits.
        max_steps: Planned last step, for the range of the histogram of acquisition; None if open-ended.
        types: The distinct targets, for metrics by frequency; None for none.
        n_bands: Frequency bands.
        ngram_surprisal_nN: Surprisal of n-gram models for n = 1, 2, ..., bits, shape [n, N]; None for none.
        tokens: The set itself, for metrics of what its tokens mean (bytes, labels, spans); None for none.
        trends_from: Step from which on trends are told, at 48 bytes a token; None for none.
    """

    def __init__(
        self,
        n_tokens: int,
        chance: float,
        max_steps: int | None = None,
        *,
        types: TargetTypes | None = None,
        n_bands: int = 3,
        ngram_surprisal_nN: ArrayLike | None = None,
        tokens: TokenSet | None = None,
        trends_from: int | None = None,
    ) -> None:
        self.chance = chance
        self.top1 = Top1Forgetting(n_tokens)
        # While the run lasts a token's minimum is not known, so the threshold is fixed: half of chance.
        self.threshold = ThresholdForgetting(n_tokens, threshold=chance / 2)
        self.bands = BandMetrics(types, n_bands) if types is not None else None
        self._ngrams = NgramResemblance(ngram_surprisal_nN) if ngram_surprisal_nN is not None else None
        self.events = EventDetector(n_tokens)
        self._kinds = RunningRho1(n_tokens)
        self._trends = RunningTrends(n_tokens, trends_from) if trends_from is not None else None
        self._labels = LabelMetrics(tokens.labels) if tokens is not None and tokens.labels else None
        self._spans = SpanMetrics(tokens.spans, chance) if tokens is not None and len(tokens.spans) else None
        notes = tokens.annotations if tokens is not None else None
        self._against = (
            AgainstMetrics(notes.reference, notes.labels, notes.spans)
            if notes is not None and notes.reference is not None
            else None
        )
        self._text = tokens if tokens is not None and why_no_bits_per_byte(tokens) is None else None
        self._last_decade = float(np.log10(max_steps)) if max_steps is not None and max_steps > 1 else 7.0

    def replay(self, rows: Iterable[tuple[int, Observation]]) -> None:
        """Rebuilds the state from the rows of a run file."""
        for step, observation in rows:
            self.advance(step, observation)

    def advance(self, step: int, observation: Observation) -> None:
        """Takes the next observation into the state.

        Args:
            step: Updates done, more than at any time before.
            observation: All N tokens.
        """
        self.top1.update(step, observation.correct)
        self.threshold.update(step, observation.surprisal_bits)
        self.last_event = self.events.update(step, observation.surprisal_bits)
        self._kinds.update(observation.surprisal_bits)
        if self._trends is not None:
            self._trends.update(step, observation.surprisal_bits)
        if self._spans is not None:
            self._spans.advance(step, observation)
        if self._against is not None:
            self._against.advance(observation)

    def update(self, step: int, observation: Observation, counts_D: NDArray[Any] | None = None) -> Metrics:
        """Takes the next observation.

        Args:
            step: Updates done, more than at any time before.
            observation: All N tokens.
            counts_D: Occurrences of each distinct target in the training text so far; None if they are not known.

        Returns:
            The metrics now, keys as in `METRICS`, `TEXT_SET_METRICS`, `BAND_METRICS`, `LABEL_METRICS`, `SPAN_METRICS`,
            `ITEM_METRICS`, `DROPOUT_METRICS`, `NGRAM_METRICS` and `HISTOGRAMS`.
        """
        before_N = self.top1.previous_N
        self.advance(step, observation)
        y_N = observation.surprisal_bits
        finite_n = sorted_finite(y_N)
        acquired_at = self.threshold.acquired_at
        forgotten_N = self.top1.events_N > 0
        p10, median, p90 = (percentile(finite_n, p) for p in (10, 50, 90))
        scalars = {
            "surprisal_mean": mean(finite_n),
            "surprisal_median": median,
            "surprisal_p10": p10,
            "surprisal_p90": p90,
            "accuracy_top1": np.count_nonzero(observation.correct) / len(y_N),
            "entropy_mean": mean(observation.entropy_bits),
            "forgetting_events": self.top1.last_events,
            "forgetting_events_total": self.top1.events_N.sum(dtype=np.int64),
            "forgotten_share": np.count_nonzero(forgotten_N) / len(y_N),
            "known_share": np.count_nonzero(self.threshold.known_N) / len(y_N),
            "threshold_forgetting_events": self.threshold.last_events,
            "threshold_forgetting_events_total": self.threshold.events_N.sum(dtype=np.int64),
            "acquired_share": sum(acquired_at.values()) / len(y_N),
            "acquisition_step_median": median_of_counts(acquired_at),
            "nonfinite_tokens": y_N.size - finite_n.size,
        }
        if np.isfinite(self.events.up_share):
            scalars |= {
                "events": len(self.events.events),
                "jumped_up_share": self.events.up_share,
                "jumped_down_share": self.events.down_share,
            }
        scalars |= {f"kind/{KINDS[name]}_share": share for name, share in self._kinds.shares().items()}
        if self._trends is not None:
            scalars |= {f"kind/{name}_share": share for name, share in self._trends.shares().items()}
        if self.bands is not None and counts_D is not None and counts_D.any():
            scalars |= self.bands.update(counts_D, y_N, self.threshold.acquired_N, forgotten_N)
        if self._text is not None:
            scalars["bits_per_byte"] = bits_per_byte(self._text, y_N)
        if self._labels is not None:
            correct_N = observation.correct
            event_N = before_N > correct_N if before_N is not None else np.zeros(y_N.size, bool)
            known_N, acquired_N = self.threshold.known_N, self.threshold.acquired_N
            scalars |= self._labels.update(y_N, flags_of(correct_N, known_N, acquired_N, forgotten_N, event_N))
        if self._spans is not None:
            scalars |= self._spans.update()
        if self._against is not None:
            scalars |= self._against.update()
        if observation.dropout_sd_bits is not None:
            scalars["dropout_sd_mean"] = mean(observation.dropout_sd_bits)
        if self._ngrams is not None:
            scalars |= self._ngrams.update(y_N)
        histograms = {
            "surprisal_histogram": Histogram.of_sorted(finite_n, 0.0, 1.5 * self.chance),
            "acquisition_histogram": Histogram.of_counts(
                {log10(step): count for step, count in acquired_at.items()}, 0.0, self._last_decade
            ),
        }
        return Metrics(plain(scalars), histograms)
