"""What predicts learning, as the page shows it: words, effects, models, classes, and the likeness to n-gram models."""

from __future__ import annotations

from typing import Any

import numpy as np

from curvewatch.analysis.predict.across import NgramHump
from curvewatch.analysis.predict.prediction import Prediction
from curvewatch.analysis.predict.predictors import ABOUT, CLASSES, UNITS
from curvewatch.analysis.predict.targets import TARGETS

MOST_VALUES = 20


def predicted(prediction: Prediction) -> dict[str, Any]:
    """Plain values.

    Args:
        prediction: Of the page's runs.
    """
    targets = list(prediction.found)
    numbers = list(prediction.predictors.numbers)
    steps: list[str] = []
    for one in prediction.found.values():
        steps += [step.name for step in one.steps if step.name not in steps]
    return {
        "words": prediction.in_words().split("\n"),
        "targets": [{"name": name, "title": TARGETS[name][2], "n": one.n} for name, one in prediction.found.items()],
        "numbers": [{"name": name, "unit": UNITS.get(name, ""), "about": ABOUT.get(name, "")} for name in numbers],
        "effects": [
            [_effect(effect) for effect in (_of(prediction.found[target].effects, name) for target in targets)]
            for name in numbers
        ],
        "steps": steps,
        "models": [
            [
                [step.fit.adjusted_r2, step.gain] if step is not None else None
                for step in (_of(prediction.found[target].steps, name) for target in targets)
            ]
            for name in steps
        ],
        "classes": _classes(prediction),
        "hump": _hump(prediction.hump),
        "notes": _notes(prediction),
    }


def _of(found: Any, name: str) -> Any:
    return next((one for one in found if one.name == name), None)


def _effect(effect: Any) -> list[Any] | None:
    return None if effect is None else [effect.value, effect.low, effect.high, effect.signs, effect.agreed]


def _classes(prediction: Prediction) -> list[dict[str, Any]]:
    """Of each class predictor the coefficients of its most frequent values, in the targets' units."""
    found = []
    tables = prediction.tables
    for name in prediction.predictors.classes:
        table = tables[name]
        if table.empty:
            continue
        largest = table.sort_values("tokens", ascending=False, kind="stable").head(MOST_VALUES)
        columns = [target for target in prediction.found if target in table.columns]
        found.append(
            {
                "name": name,
                "about": CLASSES.get(name, ""),
                "columns": [f"{TARGETS[target][2]} ({TARGETS[target][1]})" for target in columns],
                "rows": [
                    [str(value), int(row["tokens"]), *(float(row[target]) for target in columns)]
                    for value, row in largest.iterrows()
                ],
                "left_out": len(table) - len(largest),
            }
        )
    return found


def _hump(hump: NgramHump | None) -> dict[str, Any] | None:
    if hump is None:
        return None
    after_T = hump.steps_T > 0
    if not np.isfinite(hump.mean_Tn[after_T]).any():
        return None
    return {
        "steps": hump.steps_T[after_T],
        "mean": hump.mean_Tn[after_T].T,
        "sd": hump.sd_Tn[after_T].T,
        "peaks": hump.peak_n,
    }


def _notes(prediction: Prediction) -> list[str]:
    notes = [f"{name} predicts nothing here: {why}." for name, why in prediction.predictors.left_out.items()]
    for target, reasons in prediction.targets.left_out.items():
        notes += [f"{TARGETS[target][2]}: {n:,} tokens {reason}." for reason, n in reasons.items()]
    if prediction.unknown:
        notes.append(f"{prediction.unknown:,} tokens have no finite value of some predictor, and are left out.")
    return notes
