"""Findings: everything that the report and the figures show of one run or several, gathered once.

Suffixes: R runs, T rows, N tokens, M measures.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.compare import Comparison, check_comparable, compare, run_names
from curvewatch.analysis.moment import BLOCK_VALUES, Moment
from curvewatch.analysis.summary import StepSummary, summarise
from curvewatch.measures import MeasureTable, MeasureWarning, final_window
from curvewatch.runfile.reader import Reader

Float64 = NDArray[np.float64]

# What is correlated with what, in this order, and how it is called where space is short.
CORRELATED = {
    "final_surprisal": "final surprisal",
    "within_run_variability": "within-run variability",
    "age_of_acquisition": "age of acquisition",
    "forgettability": "forgettability",
    "forgetting_events_top1": "forgetting events",
}
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RunFindings:
    """What was found about one run.

    Attributes:
        name: Short name.
        run: The run.
        moment: The rows that all this rests on.
        summary: Step by step.
        measures: Token by token.
        confidence_N: Mean probability of the token over the last quarter of training; NaN where there is none.
        unsteadiness_N: Population standard deviation of that probability.
        correlation_MM: Pearson correlation of the measures `CORRELATED`; age of acquisition of learned tokens only.
        notes: What to know before reading the numbers.
    """

    name: str
    run: Reader
    moment: Moment
    summary: StepSummary
    measures: MeasureTable
    confidence_N: Float64
    unsteadiness_N: Float64
    correlation_MM: Float64
    notes: tuple[str, ...]

    @property
    def age_N(self) -> Float64:
        """Age of acquisition, log10 step, of the tokens whose status is `learned`; NaN for the others."""
        learned_N = self.measures["acquisition_status"] == "learned"
        return np.where(learned_N, self.measures["age_of_acquisition"], np.nan)

    def acquired_share(self) -> tuple[Float64, Float64]:
        """log10 steps, and the share of all tokens acquired by each; those known at once count from the first."""
        status_N = self.measures["acquisition_status"]
        known_N = (status_N == "learned") | (status_N == "left_censored")
        ages_n = np.sort(self.measures["age_of_acquisition"][known_N])
        steps_T = self.moment.steps_T[self.moment.steps_T > 0]
        if not len(steps_T):
            return np.zeros(0), np.zeros(0)
        x = np.linspace(np.log10(steps_T[0]), np.log10(steps_T[-1]), 200)
        return x, np.searchsorted(ages_n, x + 1e-12, side="right") / max(1, len(status_N))


@dataclass(frozen=True)
class Findings:
    """What was found about all runs.

    Attributes:
        runs: Each by itself.
        comparison: Between them; None for a single run.
    """

    runs: tuple[RunFindings, ...]
    comparison: Comparison | None


def gather_findings(runs: Sequence[Reader], say: Say | None = None, *, keep_pairs: bool = False) -> Findings:
    """Reads and measures runs of one token set.

    Args:
        runs: One or more.
        say: Called with what is being done, how much of it is done, and how much there is.
        keep_pairs: Whether the comparison keeps the variability of each pair of runs; see `compare`.

    Raises:
        ValueError: If one run stands there twice.
        TokenSetMismatchError: If their token sets differ.
    """
    if not runs:
        raise ValueError("runs: none given. Give at least one run file.")
    if len(runs) > 1:
        check_comparable(runs)
    names = run_names(runs)
    found = tuple(_one(name, run, say) for name, run in zip(names, runs, strict=True))
    comparison = None
    if len(runs) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasureWarning)  # they are in its notes
            comparison = compare(runs, keep_pairs=keep_pairs, progress=about(say, "comparing runs"))
    return Findings(found, comparison)


def _one(name: str, run: Reader, say: Say | None) -> RunFindings:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasureWarning)  # they are in `info.warnings`
        table = measures_of(run, progress=about(say, f"{name}: measuring"))
    moment = Moment.now(run)
    if len(moment) != table.info.n_steps:
        # The file grew in between; the rows that were measured count.
        t = table.info.n_steps
        curves = (moment.surprisal.first(t), moment.correct.first(t), moment.entropy.first(t))
        moment = Moment(run, moment.steps_T[:t], moment.times_T[:t], *curves)
    summary = summarise(moment, about(say, f"{name}: steps"))
    confidence_N, unsteadiness_N = dataset_map(moment, table)
    notes = list(table.info.warnings)
    lost = int((table["acquisition_status"] == "unfitted").sum())
    if table.info.n_fitted_steps and lost and lost < run.n_tokens:
        notes.append(f"{lost:,} tokens have a NaN or an infinity in their curve and no smoothed curve.")
    if run.max_steps and len(moment) and moment.steps_T[-1] < run.max_steps:
        notes.append(f"The run stands at step {moment.steps_T[-1]:,} of {run.max_steps:,}: all values are provisional.")
    return RunFindings(
        name, run, moment, summary, table, confidence_N, unsteadiness_N, measure_correlation(table), tuple(notes)
    )


def dataset_map(moment: Moment, table: MeasureTable) -> tuple[Float64, Float64]:
    """Mean and standard deviation of each token's probability over the last quarter of training, shape [N] each.

    With measures of the released code it is the last 11 rows, as for them.

    Source: Swayamdipta et al. (2020), as Chang, Tu & Bergen (2024) use it.
    """
    window = final_window(moment.steps_T, table.info.max_steps or 0.0, paper=table.info.paper)
    n_tokens = moment.run.n_tokens
    total_N, square_N = np.zeros(n_tokens), np.zeros(n_tokens)
    n = window.stop - window.start
    if n == 0:
        return np.full(n_tokens, np.nan), np.full(n_tokens, np.nan)
    block = max(1, BLOCK_VALUES // n_tokens)
    for start in range(window.start, window.stop, block):
        for y_N in moment.surprisal[start : min(start + block, window.stop)]:
            p_N = np.exp2(-y_N.astype(np.float64))
            total_N += p_N
            square_N += p_N**2
    mean_N = total_N / n
    return mean_N, np.sqrt(np.maximum(square_N / n - mean_N**2, 0.0))


def measure_correlation(table: MeasureTable) -> Float64:
    """Pearson correlation of the measures in `CORRELATED`, over the tokens that have both, shape [M, M]."""
    columns = {name: np.asarray(table[name], np.float64) for name in CORRELATED}
    learned_N = table["acquisition_status"] == "learned"
    columns["age_of_acquisition"] = np.where(learned_N, columns["age_of_acquisition"], np.nan)
    values_MN = list(columns.values())
    r_MM = np.full((len(values_MN), len(values_MN)), np.nan)
    for a, x_N in enumerate(values_MN):
        for b, y_N in enumerate(values_MN[: a + 1]):
            both_N = np.isfinite(x_N) & np.isfinite(y_N)
            if both_N.sum() > 2 and np.ptp(x_N[both_N]) > 0 and np.ptp(y_N[both_N]) > 0:
                r_MM[a, b] = r_MM[b, a] = np.corrcoef(x_N[both_N], y_N[both_N])[0, 1]
    return r_MM


def mean_known(values: Sequence[NDArray[np.float64]]) -> Float64:
    """Mean of arrays of one shape over those that have a value; NaN where none has."""
    stacked = np.asarray(values, np.float64)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    mean: Float64 = np.where(count > 0, np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return mean


def about(say: Say | None, what: str) -> Callable[[int, int], None] | None:
    """What a function that tells how far it is calls, so that `say` hears of what; None where nobody listens."""
    if say is None:
        return None
    return lambda done, of: say(what, done, of)
