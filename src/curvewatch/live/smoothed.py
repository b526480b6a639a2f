"""SmoothedMetrics: what the smoothed curves say so far, live. Suffixes: N tokens, D distinct targets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import CurvewatchError
from curvewatch.live.metrics import Histogram, Metrics, mean, percentile, plain, sorted_finite
from curvewatch.measures.frequency import TargetTypes, rank_correlations
from curvewatch.measures.recent import ReadRow, RecentSurprisal
from curvewatch.measures.smoother.growing import GrowingFit
from curvewatch.measures.so_far import Map, SoFar, measure_so_far
from curvewatch.measures.surprisal import FINAL_SHARE

logger = logging.getLogger("curvewatch")

MOST_TOKENS, SAMPLED, SEED = 2_000_000, 1_000_000, 0
"""With more tokens than the first, the smoothed curves of a random sample are kept: at a hundred million, those of all
would take 14 GB and minutes of a core at each refit."""
FORGETTABILITY_RANGE = 10.0  # bits; more is counted in the histogram's last bin


class SmoothedMetrics:
    """The running measures of one token set's smoothed curves.

    Memory: 135 bytes a token, up to 20 more for each of `ranked`, and a few MB for the blocks that are worked on. Of
    a set of more than `MOST_TOKENS` it is a random sample of `SAMPLED` tokens that all this is of.

    Args:
        n_tokens: N, of the set.
        chance: log2 of the number of the model's outputs, bits.
        last_step: Last planned step that is scored; None if open-ended.
        read_row: Surprisal at an earlier step, bits, from the run file.
        types: The distinct targets, for correlations with frequency; None for none.
        ranked: What else the measures are correlated with, by name, in order.

    Attributes:
        n_tokens: Tokens that are followed: all, or the sample.
        which_n: Indices of the sample, ascending; None where all are followed.
        so_far: The measures of every token that is followed at the last refit; None before the first.
    """

    def __init__(
        self,
        n_tokens: int,
        chance: float,
        last_step: int | None,
        read_row: ReadRow,
        types: TargetTypes | None = None,
        ranked: Mapping[str, TargetTypes] | None = None,
    ) -> None:
        self.which_n = sample_of(n_tokens)
        self.chance, self.n_tokens = chance, n_tokens if self.which_n is None else len(self.which_n)
        self.growing: GrowingFit | None = GrowingFit(self.n_tokens, last_step=last_step, centre=chance / 2)
        self.recent: RecentSurprisal | None = RecentSurprisal(self.n_tokens, lambda step: self._of(read_row(step)))
        self.so_far: SoFar | None = None
        self._types = self._of_types(types) if types is not None else None
        self._ranked = {name: self._of_types(one) for name, one in (ranked or {}).items()}
        self._last_decade = float(np.log10(last_step)) if last_step is not None and last_step > 1 else 7.0

    def advance(self, step: int, surprisal_N: NDArray[np.float32]) -> None:
        """Takes the next observation into the state.

        Args:
            step: Updates done, more than at any time before.
            surprisal_N: Surprisal, bits.

        Raises:
            CurvewatchError: If a row that leaves the last quarter can't be read again. The curves are in order; of
                the last quarter nothing is told any more.
        """
        surprisal_n = self._of(surprisal_N)
        self._grow(step, surprisal_n)
        if self.recent is not None:
            try:
                self.recent.update(step, surprisal_n)
            except Exception:
                self.recent = None
                raise

    def replay(self, step: int, surprisal_N: NDArray[np.float32], last_step: int) -> None:
        """Takes a row of the run file into the state.

        Args:
            step: Of the row.
            surprisal_N: Surprisal, bits.
            last_step: Of the last row to come. Of those before its last quarter none is read twice.
        """
        surprisal_n = self._of(surprisal_N)
        self._grow(step, surprisal_n)
        if self.recent is not None and step > FINAL_SHARE * last_step:
            self.recent.update(step, surprisal_n)

    def _of(self, values_N: NDArray[np.float32]) -> NDArray[np.float32]:
        return values_N if self.which_n is None else values_N[self.which_n]

    def _of_types(self, types: TargetTypes) -> TargetTypes:
        return types if self.which_n is None else TargetTypes(types.ids_D, types.index_N[self.which_n])

    def _grow(self, step: int, surprisal_n: NDArray[np.float32]) -> None:
        if self.growing is not None:
            try:
                self.growing.update(step, surprisal_n)
            except CurvewatchError as error:
                # A run that was planned otherwise is no failure, whatever `on_error` says.
                logger.warning("%s", error)
                self.growing = None

    def refit(
        self, step: int, surprisal_N: NDArray[np.float32], counts_D: NDArray[Any] | None = None, run: Map = map
    ) -> Metrics:
        """Fits all curves as they are now.

        Args:
            step: Of the last observation.
            surprisal_N: Its surprisal, bits.
            counts_D: Occurrences of each distinct target in the training text so far; None if they are not known.
            run: Applies a function to blocks of tokens, as `map` does.

        Returns:
            Keys as in `SMOOTHED_METRICS` and `SMOOTHED_HISTOGRAMS`; what can't be had yet is left out.
        """
        scalars: dict[str, Any] = {}
        histograms: dict[str, Histogram] = {}
        measures: dict[str, NDArray[Any]] = {"surprisal": self._of(surprisal_N)}
        if self.growing is not None and self.growing.can_fit:
            self.so_far = so_far = measure_so_far(self.growing, chance=self.chance, run=run)
            measures |= {"acquisition": so_far.age_N, "forgettability": so_far.forgettability_N}
            ages_n, rises_n = sorted_finite(so_far.age_N), sorted_finite(so_far.forgettability_N)
            scalars = {
                "smoothed/acquired_share": ages_n.size / so_far.age_N.size,
                "smoothed/acquisition_step_median": 10 ** percentile(ages_n, 50),
                "smoothed/forgettability_mean": mean(rises_n),
                "smoothed/forgettability_p90": percentile(rises_n, 90),
                "smoothed/forgetting_events_total": so_far.events_N.sum(dtype=np.int64),
            }
            histograms = {
                "smoothed/acquisition_histogram": Histogram.of_sorted(ages_n, 0.0, self._last_decade),
                "smoothed/forgettability_histogram": Histogram.of_sorted(rises_n, 0.0, FORGETTABILITY_RANGE),
            }
            del ages_n, rises_n  # what comes next needs the room
        if self.recent is not None and self.recent.rows:
            variability_N = self.recent.variability()
            measures["variability"] = variability_N
            scalars |= {
                "smoothed/last_quarter_surprisal_mean": mean(self.recent.mean()),
                "smoothed/within_run_variability_mean": mean(variability_N),
                "smoothed/last_quarter_rows": self.recent.rows,
            }
        predictors: dict[str, tuple[TargetTypes, NDArray[Any]]] = {}
        if self._types is not None and counts_D is not None and counts_D.any():
            predictors["frequency"] = (self._types, counts_D)
        predictors |= {name: (order, order.ids_D) for name, order in self._ranked.items()}
        if predictors:
            found = rank_correlations(predictors, measures, run)
            scalars |= {
                f"smoothed/{one}_{name}_correlation": found[one, name] for one in predictors for name in measures
            }
        if scalars and self.which_n is not None:
            scalars["smoothed/sampled_tokens"] = self.n_tokens
        numbers = plain(scalars)
        return Metrics({"smoothed/step": float(step), **numbers} if numbers else {}, histograms)


def sample_of(n_tokens: int) -> NDArray[np.int64] | None:
    """The tokens whose smoothed curves are followed live, ascending, always the same of a set; None for all."""
    if n_tokens <= MOST_TOKENS:
        return None
    chosen_n = np.random.default_rng(SEED).choice(n_tokens, SAMPLED, replace=False)
    found: NDArray[np.int64] = np.sort(chosen_n)
    return found
