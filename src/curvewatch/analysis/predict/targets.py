"""What is predicted: the measures of each token, averaged over runs. Suffix: N tokens."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.compare import Comparison, check_comparable, compare
from curvewatch.analysis.short_names import SHORT_NAMES
from curvewatch.measures import MeasureWarning
from curvewatch.measures.agreement import measure_correlations
from curvewatch.runfile.reader import Reader

Float64 = NDArray[np.float64]
NEAR_CHANCE_BITS = 1.0
TARGETS = {
    "surprisal": (SHORT_NAMES["surprisal"], "bit", "final surprisal"),
    "var_steps": (SHORT_NAMES["var_steps"], "bit", "variability within runs"),
    "aoa": (SHORT_NAMES["aoa"], "log10 step", "age of acquisition"),
    "forgettability": (SHORT_NAMES["forgettability"], "bit", "forgettability"),
    "var_runs": ("", "bit^2", "variability across runs"),
}
"""By the paper's names: our measure, its unit, in words."""


@dataclass(frozen=True)
class Targets:
    """The targets of a set of runs.

    Attributes:
        values: By name, float64, shape [N]; NaN where there is none, which leaves the token out.
        left_out: By name how many tokens are left out, by reason.
        n_runs: Runs that are averaged over.
        notes: What to know before reading.
        comparison: The runs beside each other, with the variability of each pair; None of one run.
        correlations: Of the targets with each other, [targets, targets], in the order of `values`: "stacked", a point
            for each token of each run; "averaged", a point for each token.
    """

    values: dict[str, Float64]
    left_out: dict[str, dict[str, int]]
    n_runs: int
    notes: tuple[str, ...]
    comparison: Comparison | None = None
    correlations: Mapping[str, Float64] = field(default_factory=dict)


def targets_of(
    runs: Sequence[Reader],
    *,
    paper: bool = False,
    censored: str = "keep",
    comparison: Comparison | None = None,
    progress: Callable[[int, int], None] | None = None,
    comparing: Callable[[int, int], None] | None = None,
) -> Targets:
    """The five targets, each the mean over the runs.

    Args:
        runs: Of one token set; with one alone there is no variability across runs.
        paper: The released code's values: a token that was never acquired has the last step for its age.
        censored: Tokens that were acquired before the first step: "keep" them with that age, or "drop" them.
        comparison: Of these runs, with `keep_pairs`, where it is at hand; None compares them.
        progress: Called with the tokens done and in all, for each run.
        comparing: Likewise, while runs are compared with each other after that.

    Raises:
        ValueError: If `censored` is something else, or there is no run, or one twice.
        TokenSetMismatchError: If the runs' token sets differ.
    """
    if censored not in ("keep", "drop"):
        raise ValueError(f"censored={censored!r}: 'keep' or 'drop' is expected.")
    if not runs:
        raise ValueError("runs: none is given.")
    if len(runs) > 1:
        check_comparable(runs)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MeasureWarning)
        tables = [measures_of(run, paper=paper, progress=progress) for run in runs]
    notes += dict.fromkeys(str(warning.message) for warning in caught)
    values: dict[str, Float64] = {}
    left_out: dict[str, dict[str, int]] = {}
    of_MRN: list[Float64] = []
    for name, (measure, _, _) in TARGETS.items():
        if not measure:
            continue
        of_RN = np.stack([np.array(table[measure], np.float64) for table in tables])
        reasons = {}
        if name == "aoa" and not paper:
            status_RN = np.stack([table["acquisition_status"] for table in tables])
            never_N = (status_RN == "never").any(axis=0)
            censored_N = (status_RN == "left_censored").any(axis=0) & ~never_N
            reasons["never acquired in some run"] = int(never_N.sum())
            reasons[_said_of_censored(censored_N, of_MRN[0], runs[0].chance, censored)] = int(censored_N.sum())
            if censored == "drop":
                of_RN[:, censored_N] = np.nan
        of_MRN.append(of_RN)
        mean_N = of_RN.mean(axis=0)  # of all runs, or of none
        mean_N[~np.isfinite(mean_N)] = np.nan
        values[name], left_out[name] = mean_N, {k: n for k, n in reasons.items() if n}
        unknown = int(np.isnan(mean_N).sum()) - (reasons.get("never acquired in some run", 0))
        if unknown > 0 and not (name == "aoa" and censored == "drop"):
            left_out[name]["not finite in some run"] = unknown
    found: Comparison | None = None
    if len(runs) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasureWarning)
            found = comparison or compare(list(runs), paper=paper, keep_pairs=True, progress=comparing)
        values["var_runs"] = np.array(found.cross.variability_N, np.float64)
        notes += [note for note in found.notes if note not in notes]
        unknown = int(np.isnan(values["var_runs"]).sum())
        left_out["var_runs"] = {"not finite in some run": unknown} if unknown else {}
        of_MRN.append(np.tile(values["var_runs"], (len(runs), 1)))
    else:
        notes.append("one run: there is no variability across runs to predict")
    stacked, averaged = measure_correlations(np.stack(of_MRN))
    correlations = {"stacked": stacked, "averaged": averaged}
    return Targets(values, left_out, len(runs), tuple(notes), found, correlations)


def _said_of_censored(censored_N: NDArray[np.bool_], surprisal_RN: Float64, chance: float, censored: str) -> str:
    """Tokens at or below their threshold from the first step on, and how many of them only because they never fell."""
    with np.errstate(invalid="ignore"):
        near = int((surprisal_RN.mean(axis=0)[censored_N] > chance - NEAR_CHANCE_BITS).sum())
    if censored == "drop":
        return "at their threshold from the first step on in some run (left out)"
    never = f"; {near:,} of them end less than a bit below chance, and were hardly learned" if near else ""
    return f"at their threshold from the first step on in some run (kept{never}; to leave them out: censored='drop')"
