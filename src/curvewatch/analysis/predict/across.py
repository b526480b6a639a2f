"""Runs beside each other: what of the measures depends on the seed, and when the model is like which n-gram model.

Suffixes: T rows, N tokens, P pairs of runs, n orders of n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.compare import Comparison
from curvewatch.analysis.frames import need
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.short_names import short_name
from curvewatch.corpus import NgramSurprisals
from curvewatch.measures.agreement import (
    Reliability,
    ngram_correlations,
    rank_of_same,
    raw_pair_distances,
    reliability,
)
from curvewatch.measures.correlation import pearson
from curvewatch.runfile.reader import Reader

Float64 = NDArray[np.float64]
QUERIES = 2000
MOST_VALUES = 1 << 27
"""Of two runs' curves together, for what takes them whole."""
BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class AcrossRuns:
    """What is the same in several runs of one token set.

    Attributes:
        comparison: Their measures, pair by pair.
        reliability: Of variability across runs, between sets of runs; None below four runs.
        smoothed_vs_raw: Correlation over tokens of distances of smoothed curves with those of raw ones: "pairs" (of
            runs and tokens), "variability" (means over pairs). Empty where schedules differ, or curves are too many.
        ranks: How many tokens of the other run are nearer to a token's curve than its own: "median", "mean", "first"
            (share of tokens that are nearest to themselves), "first_percent" (share among the nearest 1 %), "queries".
    """

    comparison: Comparison
    reliability: Reliability | None
    smoothed_vs_raw: Mapping[str, float]
    ranks: Mapping[str, float]


def across_runs(
    runs: Sequence[Reader],
    comparison: Comparison,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> AcrossRuns:
    """How far runs agree, token by token.

    Args:
        runs: At least two, of one token set.
        comparison: Of them, with `keep_pairs`.
        seed: For the tokens that are looked for in other runs, where there are many.
        progress: Called with the pairs of runs done and in all, while tokens are looked for.
    """
    cross = comparison.cross
    pair_PN = cross.pair_variability_PN
    found = None if pair_PN is None else reliability(pair_PN, cross.pairs, len(runs))
    smoothed_vs_raw: dict[str, float] = {}
    ranks: dict[str, float] = {}
    moments = [Moment.now(run) for run in runs]
    n = runs[0].n_tokens
    if cross.same_schedule and pair_PN is not None and 2 * n * len(moments[0]) <= MOST_VALUES:
        raw_PN = np.stack([_raw(moments, pair) for pair in cross.pairs])
        smoothed_vs_raw = {
            "pairs": pearson(pair_PN.ravel(), raw_PN.ravel()),
            "variability": pearson(pair_PN.mean(axis=0), raw_PN.mean(axis=0)),
        }
        queries = np.arange(n)
        if n > QUERIES:
            queries = np.sort(np.random.default_rng(seed).choice(n, QUERIES, replace=False))
        ranks = _ranks(moments, queries, n, progress)
    return AcrossRuns(comparison, found, smoothed_vs_raw, ranks)


def _raw(moments: Sequence[Moment], pair: tuple[int, int]) -> Float64:
    curves = [np.asarray(moments[k].surprisal[:], np.float64) for k in pair]
    found: Float64 = raw_pair_distances(curves, [(0, 1)])[0]
    return found


def _ranks(
    moments: Sequence[Moment], queries: NDArray[np.int64], n: int, progress: Callable[[int, int], None] | None
) -> dict[str, float]:
    ranks = []
    pairs = list(combinations(range(len(moments)), 2))
    for k, (i, j) in enumerate(pairs, 1):
        mine, theirs = (np.asarray(moments[k].surprisal[:], np.float64) for k in (i, j))
        known: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(mine) & np.isfinite(theirs), axis=0)
        place = np.cumsum(known) - 1
        asked = queries[known[queries]]
        if asked.size:  # else a run without one finite curve
            ranks.append(rank_of_same(mine[:, known], theirs[:, known], place[asked]))
        if progress is not None:
            progress(k, len(pairs))
    if not ranks:
        return {}
    every = np.concatenate(ranks)
    return {
        "median": float(np.median(every)), "mean": float(every.mean()), "first": float((every == 0).mean()),
        "first_percent": float((every < 0.01 * n).mean()), "queries": float(len(queries)),
    }  # fmt: skip


@dataclass(frozen=True)
class NgramHump:
    """When surprisal is most like that of each n-gram model.

    Attributes:
        steps_T: Steps that every run scored.
        mean_Tn: Pearson correlation over tokens, mean over runs.
        sd_Tn: Over runs, population SD.
        peak_n: For each n the step at which the mean is highest.
    """

    steps_T: NDArray[np.int64]
    mean_Tn: Float64
    sd_Tn: Float64
    peak_n: NDArray[np.int64]


def ngram_hump(runs: Sequence[Reader], ngrams: NgramSurprisals) -> NgramHump:
    """Correlation of surprisal with that of 1 to n-gram models, step by step, over one run or several.

    Args:
        runs: Of one token set.
        ngrams: Of that set.

    Raises:
        TokenSetMismatchError: If it is of another set.
        ValueError: If no step was scored in every run.
    """
    ngrams.check_set(runs[0].tokens, "ngrams")
    moments = [Moment.now(run) for run in runs]
    steps = moments[0].steps_T
    for moment in moments[1:]:
        steps = np.intersect1d(steps, moment.steps_T, assume_unique=True)
    if not len(steps):
        raise ValueError("runs: no step was scored in every one of them.")
    models = ngrams.surprisal_bits_nN
    r_RTn = np.empty((len(runs), len(steps), len(models)))
    block = max(1, BLOCK_VALUES // max(1, runs[0].n_tokens))
    for r, moment in enumerate(moments):
        rows = np.searchsorted(moment.steps_T, steps)
        for first in range(0, len(rows), block):
            chosen = rows[first : first + block]
            curves = moment.surprisal[int(chosen[0]) : int(chosen[-1]) + 1][chosen - chosen[0]]
            r_RTn[r, first : first + len(chosen)] = ngram_correlations(curves, models)
    mean_Tn = r_RTn.mean(axis=0)
    best = np.argmax(np.nan_to_num(mean_Tn, nan=-2.0), axis=0)
    return NgramHump(steps, mean_Tn, r_RTn.std(axis=0), steps[best])


def tables_of_runs(found: AcrossRuns | None, hump: NgramHump) -> dict[str, Any]:
    """By name a pandas DataFrame: across_runs, reliability, same_token, ngram_peaks."""
    pandas = need("pandas", "predict")
    tables: dict[str, Any] = {}
    if found is not None:
        upper = np.triu_indices(len(found.comparison.names), 1)
        rows = []
        for name, r_RR in found.comparison.cross.measure_correlation.items():
            known = np.isfinite(r_RR[upper])
            r_P = r_RR[upper][known]
            counts = found.comparison.cross.measure_count[name][upper][known]
            values = [r_P.mean(), _sd(r_P), r_P.min(), r_P.max()] if len(r_P) else [np.nan] * 4
            rows.append((short_name(name), *values, int(counts.min()) if len(counts) else 0, len(r_P)))
        names = ["measure", "r", "sd", "lowest", "highest", "tokens", "pairs"]
        tables["across_runs"] = pandas.DataFrame(rows, columns=names).set_index("measure")
        tables |= _reliability_table(found)
        if found.ranks:
            tables["same_token"] = pandas.DataFrame([found.ranks], index=pandas.Index(["nearer tokens"], name="rank"))
    peaks = {
        "peak_step": hump.peak_n, "r_there": hump.mean_Tn.max(axis=0), "r_at_the_end": hump.mean_Tn[-1],
    }  # fmt: skip
    index = pandas.Index([f"{n}-gram" for n in range(1, len(hump.peak_n) + 1)], name="model")
    tables["ngram_peaks"] = pandas.DataFrame(peaks, index=index)
    return tables


def _sd(of: Float64) -> float:
    """Population SD; of one value there is none."""
    return float(of.std()) if len(of) > 1 else float("nan")


def _reliability_table(found: AcrossRuns) -> dict[str, Any]:
    pandas = need("pandas", "predict")
    rows = []
    if found.reliability is not None:
        rows.append(("between disjoint halves of the runs", found.reliability.disjoint))
        rows += [
            (f"between sets of {size} runs, which share pairs", r) for size, r in found.reliability.overlapping.items()
        ]
    rows += [(f"smoothed with raw, {name}", np.array([r])) for name, r in found.smoothed_vs_raw.items()]
    if not rows:
        return {}
    made = [(name, r.mean(), _sd(r), r.min(), r.max(), len(r)) for name, r in rows]
    columns = ["variability across runs", "r", "sd", "lowest", "highest", "comparisons"]
    return {"reliability": pandas.DataFrame(made, columns=columns).set_index("variability across runs")}
