"""Which tokens the page holds, where there are more than fit: the extremes of each measure, and a random sample.

Suffixes: N tokens, n chosen tokens, R runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.findings import Findings, mean_known

EXTREMES = 150
SEED = 0


def ranked(findings: Findings) -> dict[str, NDArray[np.float64]]:
    """The value of each token in each list, mean over runs, shape [N]; NaN where there is none."""
    lists = {
        "forgettability": mean_known([one.measures["forgettability"] for one in findings.runs]),
        "forgetting_events_top1": mean_known([one.measures["forgetting_events_top1"] for one in findings.runs]),
        "age_of_acquisition": mean_known([one.age_N for one in findings.runs]),
        "within_run_variability": mean_known([one.measures["within_run_variability"] for one in findings.runs]),
        "final_surprisal": mean_known([one.measures["final_surprisal"] for one in findings.runs]),
    }
    if findings.comparison is not None:
        lists["cross_run_variability"] = findings.comparison.cross.variability_N
    return lists


def choose(findings: Findings, limit: int) -> tuple[NDArray[np.int64], bool]:
    """Indices of the tokens to show, ascending, and whether that is all of them.

    Args:
        findings: Of the runs.
        limit: At most so many.
    """
    n_tokens = findings.runs[0].run.n_tokens
    if n_tokens <= limit:
        return np.arange(n_tokens, dtype=np.int64), True
    never_N = findings.runs[0].measures["acquisition_status"] == "never"
    lists = list(ranked(findings).values())
    each = min(EXTREMES, limit // (4 * len(lists)))
    extremes = [end for values_N in lists for end in ends(values_N, each)]
    extremes.append(np.flatnonzero(never_N)[:each])
    kept = np.unique(np.concatenate(extremes))[:limit]
    rest = np.setdiff1d(np.arange(n_tokens), kept, assume_unique=True)
    sample = np.random.default_rng(SEED).choice(rest, min(limit - len(kept), len(rest)), replace=False)
    return np.sort(np.concatenate([kept, sample])).astype(np.int64), False


def ends(values_N: NDArray[np.float64], each: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the `each` smallest and largest values that are known."""
    known = np.flatnonzero(np.isfinite(values_N))
    if len(known) <= 2 * each or each == 0:
        return known[:each], known[len(known) - min(each, len(known)) :]
    order = np.argpartition(values_N[known], (each, len(known) - each))
    return known[order[:each]], known[order[len(known) - each :]]
