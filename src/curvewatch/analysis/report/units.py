"""The spans of the page: of each kind a part of them with curves and measures, and whether pairs are told apart.

Suffixes: U spans of a kind, u those on the page, S rows on the page.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.findings import Findings
from curvewatch.analysis.report import pack
from curvewatch.analysis.report.chosen import SEED, ends
from curvewatch.analysis.seen import passages_of
from curvewatch.analysis.units import Units
from curvewatch.measures import ACQUISITION_STATUS, MeasureTable, MeasureWarning
from curvewatch.runfile.trained import Trained
from curvewatch.tokens.spans import Spans

MOST_KINDS = 4
ON_PAGE = 400
EXTREMES = 40
MOST_GROUPS = 6
MOST_EXPOSURES = 200
MEASURES = (
    "final_surprisal",
    "within_run_variability",
    "age_of_acquisition",
    "forgettability",
    "forgetting_events_top1",
    "forgetting_events_threshold",
)


def units_of(findings: Findings, rows: NDArray[np.int64]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The kinds of spans of the first run, as plain values and as packed arrays.

    Args:
        findings: Of the runs.
        rows: Those of the first run that are on the page.
    """
    one = findings.runs[0]
    plain: list[dict[str, Any]] = []
    arrays: dict[str, dict[str, Any]] = {}
    if not len(one.moment):
        return plain, arrays
    for k, kind in enumerate(one.run.tokens.spans.kinds[:MOST_KINDS]):
        units = Units(one.run, kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasureWarning)
            measures = units.measures()
        which_u = _choose(measures, len(units))
        spans = units.spans.take(which_u)
        plain.append({
            "kind": kind,
            "n": len(units),
            "boundary": units.boundary,
            "names": spans.name,
            "groups": spans.group,
            "index": which_u,
            "length": spans.length,
            "chance": units.chance_U[which_u],
            "places": one.run.tokens.sequence_index[spans.first],
            "statuses": ACQUISITION_STATUS,
            "status": measures.codes("acquisition_status")[which_u],
            "items": _items(units, rows),
            "exposures": _exposures(one.run.trained, spans),
        })  # fmt: skip
        curves_Su = np.stack([np.asarray(units.surprisal[int(t), which_u], np.float32) for t in rows])
        correct_Su = np.stack([units.correct[int(t), which_u] for t in rows])
        arrays[f"unit.raw.{k}"] = pack.floats(curves_Su.T)
        arrays[f"unit.correct.{k}"] = pack.bits(correct_Su.T)
        arrays[f"unit.measures.{k}"] = pack.floats(np.stack([measures[name][which_u] for name in MEASURES]))
    return plain, arrays


def _choose(measures: MeasureTable, n: int) -> NDArray[np.int64]:
    """All of them, or the extremes of each measure and a random sample."""
    if n <= ON_PAGE:
        return np.arange(n, dtype=np.int64)
    extremes = [end for name in MEASURES for end in ends(measures[name], EXTREMES // 2)]
    kept = np.unique(np.concatenate(extremes))[:ON_PAGE]
    rest = np.setdiff1d(np.arange(n), kept, assume_unique=True)
    sample = np.random.default_rng(SEED).choice(rest, ON_PAGE - len(kept), replace=False)
    return np.sort(np.concatenate([kept, sample])).astype(np.int64)


def _exposures(trained: Trained | None, spans: Spans) -> list[list[int] | None] | None:
    """Of each span the last updates that were trained on its passage; None where it has none."""
    if trained is None or not trained.names:
        return None
    passage_u = passages_of(trained, spans).tolist()
    if max(passage_u, default=-1) < 0:
        return None
    order = np.lexsort([trained.step_E, trained.passage_E])
    passage_E, step_E = trained.passage_E[order], trained.step_E[order]
    first_u, stop_u = (np.searchsorted(passage_E, passage_u, side).tolist() for side in ("left", "right"))
    return [
        step_E[max(first, stop - MOST_EXPOSURES) : stop].tolist() if passage >= 0 else None
        for passage, first, stop in zip(passage_u, first_u, stop_u, strict=True)
    ]


def _items(units: Units, rows: NDArray[np.int64]) -> dict[str, Any] | None:
    """The share of pairs or questions that are right at each step, of all and of the largest groups."""
    if not (units.spans.item >= 0).all():
        return None
    items = units.items
    groups = [group for group in dict.fromkeys(items.group) if group]
    groups = sorted(groups, key=lambda group: -items.group.count(group))[:MOST_GROUPS]
    right_TI = items.right()
    of_I = np.array(items.group, object)
    lines = {f"all ({len(items):,})": _share(right_TI[rows])}
    if len(groups) > 1:
        for group in groups:
            chosen_I = of_I == group
            lines[f"{group} ({int(chosen_I.sum()):,})"] = _share(right_TI[rows][:, chosen_I])
    return {"chance": items.chance, "lines": lines}


def _share(right_SI: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(right_SI)
    count_S = known.sum(axis=1)
    share_S: NDArray[np.float64] = np.where(known, right_SI, 0).sum(axis=1) / np.maximum(count_S, 1)
    share_S[count_S == 0] = np.nan
    return share_S
