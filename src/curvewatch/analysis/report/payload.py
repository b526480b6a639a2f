"""All that the page shows, as plain values and packed arrays.

Suffixes: N tokens, n tokens on the page, T rows, S rows on the page, G points of the smoothed curves.
"""

from __future__ import annotations

import datetime
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.by_label import label_curves
from curvewatch.analysis.findings import CORRELATED, Findings, RunFindings
from curvewatch.analysis.frames import by_label
from curvewatch.analysis.moment import gather
from curvewatch.analysis.report import pack
from curvewatch.analysis.report.chosen import choose, ranked
from curvewatch.analysis.report.contexts import contexts_of
from curvewatch.analysis.report.cost import cost_of
from curvewatch.analysis.report.fixed import Fixed
from curvewatch.analysis.report.happened import events_on_page
from curvewatch.analysis.report.units import units_of
from curvewatch.analysis.sessions import count, part
from curvewatch.analysis.style import run_colour
from curvewatch.analysis.summary import QUANTILES
from curvewatch.measures import ACQUISITION_STATUS, MeasureWarning, smooth_curves
from curvewatch.tokens.annotations import why_no_bits_per_byte
from curvewatch.tokens.tokenset import TokenSet

MOST_LABELS = 8
LABEL_COLUMNS = {
    "final_surprisal": "surprisal (bits)",
    "within_run_variability": "variability (bits)",
    "learned_share": "learned (share)",
    "median_age_of_acquisition": "median age (log10 step)",
    "forgettability": "forgettability (bits)",
    "forgetting_events_top1": "top-1 events",
}
STEPS_ON_PAGE = 240
SMOOTH_POINTS = 100
BINS = 60
MAP_BINS = (48, 48)
VALUES_IN_MEMORY = 1 << 25  # of whole curves, while those for the page are picked
VALUES_ON_PAGE = 2_400_000  # raw curve values of all runs together
TOKENS_ON_PAGE = 8_000
MEASURES = (
    "final_surprisal",
    "within_run_variability",
    "age_of_acquisition",
    "forgettability",
    "forgetting_events_top1",
    "forgetting_events_threshold",
    "min_surprisal",
    "acquisition_threshold",
    "first_learned_step",
)


def tokens_that_fit(findings: Findings) -> int:
    """How many tokens' curves a page of the usual size can hold."""
    rows = sum(min(max(len(one.moment), 1), STEPS_ON_PAGE) + SMOOTH_POINTS / 4 for one in findings.runs)
    return int(max(200, min(TOKENS_ON_PAGE, VALUES_ON_PAGE // rows)))


def payload(findings: Findings, title: str, limit: int, more: Fixed) -> str:
    """The page's data in one text.

    Args:
        findings: Of one run or several.
        title: Of the page.
        limit: Tokens on the page.
        more: See `fixed`.
    """
    first = findings.runs[0]
    units, arrays = units_of(findings, thinned(first.moment.steps_T))
    which_n, all_there = choose(findings, limit)
    plain: dict[str, Any] = {
        "title": title,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "chance": first.run.chance,
        "n_tokens": first.run.n_tokens,
        "complete": all_there,
        "grain": pack.GRAIN,
        "offset": pack.OFFSET,
        "quantiles": QUANTILES,
        "statuses": ACQUISITION_STATUS,
        "measures": MEASURES,
        "correlated": list(CORRELATED.values()),
        "runs": [_run(one, index) for index, one in enumerate(findings.runs)],
        "cross": _cross(findings),
        "labels": _labels(findings),
        "units": units,
        "events": events_on_page(first),
        "cost": cost_of(first, thinned(first.moment.steps_T)),
        "map": _map(findings),
        **more.plain,
        **contexts_of(first.run.tokens, which_n),
    }
    plain["bins"] = _histograms(findings)
    arrays |= {**more.arrays, "token": pack.integers(which_n)}
    for name, values_N in ranked(findings).items():
        arrays[f"rank.{name}"] = pack.floats(values_N[which_n])
    for index, one in enumerate(findings.runs):
        arrays |= {f"{name}.{index}": array for name, array in _curves(one, which_n).items()}
    return pack.pack(plain, arrays)


def thinned(steps_T: NDArray[np.integer]) -> NDArray[np.int64]:
    """Rows whose curves go on the page: all, or some chosen evenly on the log axis and first and last for certain."""
    t = len(steps_T)
    if t <= STEPS_ON_PAGE:
        return np.arange(t)
    x_T = np.log10(np.maximum(steps_T, 0.5))
    wanted = np.linspace(x_T[0], x_T[-1], STEPS_ON_PAGE // 2)
    logarithmic = np.searchsorted(x_T, wanted).clip(0, t - 1)
    even = np.linspace(0, t - 1, STEPS_ON_PAGE // 2).round().astype(int)
    rows: NDArray[np.int64] = np.unique(np.concatenate([logarithmic, even]))
    return rows


def _labels(findings: Findings) -> list[dict[str, Any]]:
    """Of the first run: curves of each label's values, and the means of their tokens' measures."""
    one = findings.runs[0]
    names = list(one.run.tokens.labels)[:MOST_LABELS]
    if not names or not len(one.moment):
        return []
    rows = thinned(one.moment.steps_T)
    found = []
    for curves in label_curves(one.moment, names):
        frame = by_label(one.run, curves.name, measures=one.measures)
        shown = [value for value in curves.values if value in frame.index]
        found.append({
            "name": curves.name,
            "values": curves.values,
            "left_out": curves.left_out,
            "means": curves.mean_TV[rows].T,
            "columns": [LABEL_COLUMNS.get(column, column) for column in frame.columns],
            "rows": [[value, *frame.loc[value].tolist()] for value in shown],
        })  # fmt: skip
    return found


def _run(one: RunFindings, index: int) -> dict[str, Any]:
    run, moment, summary, info = one.run, one.moment, one.summary, one.measures.info
    rows, x_share = thinned(moment.steps_T), one.acquired_share()
    status = np.bincount(one.measures.codes("acquisition_status"), minlength=len(ACQUISITION_STATUS))
    events_N = one.measures["forgetting_events_top1"]
    sessions, seen_T = run.sessions, run.tokens_seen[: len(moment)]
    host, model, versions = (part(sessions[-1] if sessions else {}, name) for name in ("host", "model", "versions"))
    seconds = run.seconds[: len(moment)]
    wall = float(moment.times_T[-1] - moment.times_T[0]) if len(moment) > 1 else float("nan")
    return {
        "name": one.name,
        "file": run.path.name,
        "colour": run_colour(index),
        "run_id": run.run_id,
        "set_name": run.set_name,
        "set_hash": run.set_hash,
        "n_sequences": run.tokens.n_sequences,
        "observations": len(moment),
        "thinned": len(rows) < len(moment),
        "max_steps": run.max_steps,
        "window_rows": info.window_rows,
        "steps": summary.steps_T[rows],
        "seen": seen_T[rows] if np.isfinite(seen_T).all() and (np.diff(seen_T) > 0).all() else None,
        "bytes_each": _bytes_each(run.tokens),
        "mean": summary.mean_T[rows],
        "quantiles": summary.quantiles_QT[:, rows],
        "accuracy": summary.accuracy_T[rows],
        "entropy": summary.entropy_T[rows],
        "nonfinite": int(summary.nonfinite_T.max()) if len(moment) else 0,
        "acquired_x": 10 ** x_share[0],
        "acquired_share": x_share[1],
        "status": status,
        "age_median": _median(one.age_N),
        "forgetting": _median(one.measures["forgettability"]),
        "forgotten_share": float(np.mean(events_N > 0)) if np.isfinite(events_N).any() else float("nan"),
        "correlation": one.correlation_MM,
        "seconds": float(seconds.sum()),
        "seconds_each": float(seconds.mean()) if len(seconds) else float("nan"),
        "wall": wall,
        "notes": one.notes,
        "bytes": run.path.stat().st_size,
        "sessions": len(sessions),
        "model": model.get("class"),
        "parameters": count(model, "parameters"),
        "dtype": model.get("dtype"),
        "host": host.get("name"),
        "versions": versions,
        "schedule": run.schedule,
    }


def _bytes_each(tokens: TokenSet) -> float | None:
    """Bytes of a token, by which its bits are divided; None where that would mislead."""
    known = tokens.n_bytes
    return float(known.mean()) if known is not None and why_no_bits_per_byte(tokens) is None else None


def _curves(one: RunFindings, which_n: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    moment, rows = one.moment, thinned(one.moment.steps_T)
    parts = max(1, -(-len(which_n) * len(moment) // VALUES_IN_MEMORY))
    raw_nS, correct_nS, smooth_nG = [], [], []
    x_G = np.zeros(0)
    for part_n in np.array_split(which_n, parts):
        raw_Tn, correct_Tn = gather(moment.surprisal, part_n), gather(moment.correct, part_n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasureWarning)
            fit = smooth_curves(raw_Tn, moment.steps_T)
        if fit.basis is not None:
            x_G = np.linspace(np.log10(fit.steps_T[0]), np.log10(fit.steps_T[-1]), SMOOTH_POINTS)
        first, last = (fit.steps_T[0], fit.steps_T[-1]) if fit.basis is not None else (0.0, 0.0)
        smooth_nG.append(fit.at(np.clip(10**x_G, first, last)).T)
        raw_nS.append(raw_Tn[rows].T)
        correct_nS.append(correct_Tn[rows].T)
    codes_N = one.measures.codes("acquisition_status")
    return {
        "raw": pack.curves(np.concatenate(raw_nS)),
        "correct": pack.bits(np.concatenate(correct_nS)),
        "smooth": pack.curves(np.concatenate(smooth_nG)),
        "smooth_x": pack.floats(10**x_G),
        "measures": pack.floats(np.stack([one.measures[name][which_n] for name in MEASURES])),
        "status": pack.integers(codes_N[which_n]),
        "map": pack.floats(np.stack([one.unsteadiness_N[which_n], one.confidence_N[which_n]])),
    }


def _histograms(findings: Findings) -> dict[str, Any]:
    """Shares of all tokens in bins that all runs have in common."""
    made: dict[str, Any] = {}
    columns = {"age": [one.age_N for one in findings.runs]}
    columns["forgettability"] = [one.measures["forgettability"] for one in findings.runs]
    if findings.comparison is not None:
        columns["cross"] = [findings.comparison.cross.variability_N]
    for name, values_RN in columns.items():
        finite = [values_N[np.isfinite(values_N)] for values_N in values_RN]
        everything = np.concatenate(finite)
        if not len(everything):
            made[name] = None
            continue
        high = everything.max() if name == "age" else np.quantile(everything, 0.995)
        low = everything.min()
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        counts = [np.histogram(values_n.clip(edges[0], edges[-1]), edges)[0] for values_n in finite]
        shares = [c / max(1, len(values_N)) for c, values_N in zip(counts, values_RN, strict=True)]
        made[name] = {"edges": edges, "shares": shares, "cut": bool(everything.max() > edges[-1])}
    return made


def _map(findings: Findings) -> dict[str, Any] | None:
    """Number of tokens in each cell of the dataset map, of all runs' mean."""
    one = findings.runs[0]
    known_N = np.isfinite(one.confidence_N)
    if not known_N.any():
        return None
    top = max(1e-6, float(one.unsteadiness_N[known_N].max()))
    counts, x, y = np.histogram2d(
        one.unsteadiness_N[known_N], one.confidence_N[known_N], MAP_BINS, ((0.0, top), (0.0, 1.0))
    )
    return {"x": (x[1:] + x[:-1]) / 2, "y": (y[1:] + y[:-1]) / 2, "counts": counts.T.astype(int), "run": one.name}


def _cross(findings: Findings) -> dict[str, Any] | None:
    found = findings.comparison
    if found is None:
        return None
    v_n = found.cross.variability_N[np.isfinite(found.cross.variability_N)]
    return {
        "rows": found.correlations(),
        "steps": found.cross.steps_S,
        "correlation": found.step_correlation(),
        "same_schedule": found.cross.same_schedule,
        "notes": [note for note in found.notes if not any(note.startswith(f"{n}: ") for n in found.names)],
        "mean": float(v_n.mean()) if len(v_n) else float("nan"),
        "median": _median(v_n),
    }


def _median(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
