"""The map of curves on the page: every token a point, and all that points can be coloured by.

Suffixes: N tokens, n points, K coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.curve_map import curve_map
from curvewatch.analysis.findings import CORRELATED, Findings
from curvewatch.analysis.frames import target_texts
from curvewatch.analysis.predict.predictors import UNITS
from curvewatch.analysis.report import pack
from curvewatch.measures import ACQUISITION_STATUS

MOST_POINTS = 100_000
MOST_CLASSES = 8
MOST_VALUES = 9
QUANTILES = (0.01, 0.99)
"""What lies beyond has the colour of the ends."""
LEVELS = 254
"""Shades of a number; the one above them stands for no value."""
LEAST_CURVES = 3
SEED = 0
SAID = {"bit": "bits", "log10(step)": "log10 step"}
AGE = CORRELATED["age_of_acquisition"]


def points_of(
    findings: Findings, predictors: Mapping[str, NDArray[np.float64]] | None = None
) -> tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]:
    """The first run's map as plain values and packed arrays; None where too few curves could be fitted.

    Args:
        findings: Of the runs.
        predictors: Numbers of the tokens, by name, shape [N], that points can be coloured by, too.
    """
    one = findings.runs[0]
    n_tokens = one.run.n_tokens
    which_n = np.arange(n_tokens)
    if n_tokens > MOST_POINTS:
        which_n = np.sort(np.random.default_rng(SEED).choice(n_tokens, MOST_POINTS, replace=False))
    fitted_N = one.measures["acquisition_status"] != "unfitted"
    if fitted_N[which_n].sum() < LEAST_CURVES:
        return None, {}
    found = curve_map(one.run, tokens=which_n)
    which_n = which_n[np.isfinite(found.points_NK[which_n]).all(axis=1)]
    points_nK = found.points_NK[which_n]
    numbers = _numbers(findings, predictors or {})
    every = {name: _shaded(values_N[which_n]) for name, (values_N, _) in numbers.items()}
    shades = {name: one for name, one in every.items() if one is not None}
    classes, codes = _classes(findings)
    texts = target_texts(one.run.tokens, which_n)
    low_K, high_K = points_nK.min(axis=0), points_nK.max(axis=0)
    high_K = np.where(high_K > low_K, high_K, low_K + 1)
    plain: dict[str, Any] = {
        "run": one.name,
        "n": len(which_n),
        "of": n_tokens,
        "axes": found.about,
        "low": low_K,
        "high": high_K,
        "levels": LEVELS,
        "numbers": [
            {"name": name, "unit": numbers[name][1], "low": low, "high": high, "log": name == AGE}
            for name, (low, high, _) in shades.items()
        ],
        "classes": [{"name": name, "values": values} for name, values in classes.items()],
        "words": None,
    }
    arrays = {
        "points.token": pack.integers(which_n),
        "points.x": pack.shorts((points_nK[:, 0] - low_K[0]) / (high_K[0] - low_K[0])),
        "points.y": pack.shorts((points_nK[:, 1] - low_K[1]) / (high_K[1] - low_K[1])),
    }
    if texts is not None:
        words, word_n = np.unique(texts.astype(str), return_inverse=True)
        plain["words"] = words.tolist()
        arrays["points.word"] = pack.integers(word_n)
    arrays |= {f"points.number.{k}": pack.small(of_n) for k, (_, _, of_n) in enumerate(shades.values())}
    arrays |= {f"points.class.{k}": pack.small(of_N[which_n]) for k, of_N in enumerate(codes)}
    return plain, arrays


def _numbers(
    findings: Findings, predictors: Mapping[str, NDArray[np.float64]]
) -> dict[str, tuple[NDArray[np.float64], str]]:
    """By name each token's value, and its unit."""
    one = findings.runs[0]
    found = {
        title: (
            np.asarray(one.measures[name], np.float64),
            SAID.get(one.measures.units[name], one.measures.units[name]),
        )
        for name, title in CORRELATED.items()
    }
    found[AGE] = (one.age_N, "log10 step")
    if findings.comparison is not None:
        found["variability across runs"] = (findings.comparison.cross.variability_N, "bits²")
    units = {name: SAID.get(unit, unit) for name, unit in UNITS.items()}
    return found | {f"predictor {name}": (values_N, units.get(name, "")) for name, values_N in predictors.items()}


def _shaded(values_n: NDArray[np.float64]) -> tuple[float, float, NDArray[np.int64]] | None:
    """The ends of the scale, and each value's place on it; None where there is nothing to tell apart."""
    known_n = np.isfinite(values_n)
    if not known_n.any():
        return None
    low, high = (float(one) for one in np.quantile(values_n[known_n], QUANTILES))
    if not high > low:
        low, high = float(values_n[known_n].min()), float(values_n[known_n].max())
    if not high > low:
        return None
    with np.errstate(invalid="ignore"):
        shade_n = np.rint((LEVELS - 1) * np.clip((values_n - low) / (high - low), 0, 1))
    return low, high, np.where(known_n, shade_n, LEVELS).astype(np.int64)


def _classes(findings: Findings) -> tuple[dict[str, list[str]], list[NDArray[np.int64]]]:
    """By name the values, the last of which may be "others"; and each token's, by its index, `LEVELS` for none."""
    one = findings.runs[0]
    status_N = one.measures.codes("acquisition_status")
    classes = {"acquisition status": [value.replace("_", " ") for value in ACQUISITION_STATUS]}
    codes = [np.asarray(status_N, np.int64)]
    for name, label in list(one.run.tokens.labels.items())[:MOST_CLASSES]:
        order = np.argsort(-label.sizes, kind="stable")
        kept = order[:MOST_VALUES]
        rank = np.full(len(label.values) + 1, LEVELS)
        rank[kept] = np.arange(len(kept))
        values = [label.values[v] for v in kept.tolist()]
        if len(order) > len(kept):
            rank[order[MOST_VALUES:]] = len(kept)
            values.append(f"{len(order) - len(kept):,} others")
        classes[f"label {name}"] = values
        codes.append(rank[label.codes])  # -1, for none, is the last
    return classes, codes
