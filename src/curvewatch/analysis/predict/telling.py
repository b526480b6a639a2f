"""What predicts learning, as tables and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from curvewatch.analysis.frames import need
from curvewatch.analysis.predict.effects import LEVEL, class_counts
from curvewatch.analysis.predict.predictors import UNITS, correlations, variance_inflation
from curvewatch.analysis.predict.solving import shown_p
from curvewatch.analysis.predict.targets import TARGETS

if TYPE_CHECKING:
    from curvewatch.analysis.predict.prediction import OfTarget, Prediction

NOTHING = 0.005
"""A gain in adjusted R2 below which a predictor is said to add next to nothing."""
MOST_NAMED = 3


def tables_of(prediction: Prediction) -> dict[str, Any]:
    """See `Prediction.tables`."""
    pandas = need("pandas", "predict")
    numbers, classes = prediction.predictors.numbers, prediction.predictors.classes
    known_N = np.logical_and.reduce([np.isfinite(one) for one in numbers.values()])
    inflation = variance_inflation(numbers, known_N)
    names, r_CC = correlations(numbers, known_N)
    tables = {
        "predictors": pandas.DataFrame(
            {
                "unit": [UNITS.get(name, "") for name in numbers],
                "mean": [float(np.nanmean(one)) for one in numbers.values()],
                "sd": [float(np.nanstd(one)) for one in numbers.values()],
                "clipped": [prediction.predictors.clipped.get(name, 0) for name in numbers],
                "vif": [inflation[name] for name in numbers],
            },
            index=pandas.Index(list(numbers), name="predictor"),
        ),
        "correlations": pandas.DataFrame(r_CC, index=pandas.Index(names, name="predictor"), columns=list(names)),
    }
    models, directions, effects = [], {}, []
    for target, one in prediction.found.items():
        for step in one.steps:
            models.append(
                {"target": target, "added": step.name, "adjusted_r2": step.fit.adjusted_r2, "gain": step.gain,
                 "chi2": step.chi2, "df": step.df, "p": shown_p(step.p), "tokens": step.fit.n,
                 "left_out": " ".join(step.fit.left_out)}
            )  # fmt: skip
        directions[target] = {effect.name: effect.signs for effect in one.effects}
        effects += [
            {"target": target, "predictor": effect.name, "effect": effect.value, "low": effect.low,
             "high": effect.high, "signs": effect.signs}
            for effect in one.effects
        ]  # fmt: skip
    tables["models"] = pandas.DataFrame(models).set_index(["target", "added"]) if models else pandas.DataFrame()
    tables["directions"] = pandas.DataFrame(directions).rename_axis("predictor")
    tables["effects"] = pandas.DataFrame(effects).set_index(["target", "predictor"]) if effects else pandas.DataFrame()
    values, codes = prediction.predictors.coded()
    counts = class_counts(codes, values)
    for name in classes:
        of = {target: one.classes[name] for target, one in prediction.found.items() if name in one.classes}
        table = pandas.DataFrame(of).rename_axis(name)
        table.insert(0, "tokens", [counts[name][value] for value in table.index])
        tables[name] = table.sort_values(next(iter(of)), kind="stable") if of else table
    intervals = [
        {"predictor": name, "value": value, "target": target, "effect": one.classes[name][value], "low": low,
         "high": high}
        for target, one in prediction.found.items()
        for name, of_values in one.class_intervals.items()
        for value, (low, high) in of_values.items()
    ]  # fmt: skip
    if intervals:
        tables["class_effects"] = pandas.DataFrame(intervals).set_index(["predictor", "value", "target"])
    targets = list(prediction.targets.values)
    ways = [
        pandas.DataFrame(r_MM, index=targets, columns=targets).rename_axis("measure").assign(runs=way)
        for way, r_MM in prediction.targets.correlations.items()
    ]
    if ways:
        tables["measures"] = pandas.concat(ways).reset_index().set_index(["runs", "measure"])
    return tables


def in_words(prediction: Prediction) -> str:
    """See `Prediction.in_words`."""
    numbers = set(prediction.predictors.numbers)
    told = [_of_target(name, one, numbers) for name, one in prediction.found.items()]
    if not told:
        return "No measure has a value for any token that all predictors have: nothing can be said."
    n_runs = prediction.targets.n_runs
    told.append(
        f"Effects are SDs of the measure for each SD of the predictor, others held, with {LEVEL:.0%} intervals from "
        f"drawing the {prediction.n_sequences:,} sequences anew; tokens of a sequence are not independent, so p is far "
        f"too small. They describe {n_runs} run{'s' if n_runs != 1 else ''} of one model and corpus, and say nothing "
        "of causes."
    )
    return "\n".join(told)


def _of_target(name: str, one: OfTarget, numbers: set[str]) -> str:
    first, last = one.steps[0], one.steps[-1]
    of_numbers = [step for step in one.steps if step.name in numbers][-1]
    adds = [f"{step.name} {step.gain:+.3f}" for step in one.steps[1:] if step.gain >= NOTHING]
    clear = sorted((effect for effect in one.effects if effect.agreed), key=lambda effect: -abs(effect.value))
    named = [f"{e.name} {e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]" for e in clear[:MOST_NAMED]]
    return (
        f"{TARGETS[name][2].capitalize()} ({one.n:,} tokens): {first.name} alone explains {first.fit.adjusted_r2:.1%} "
        f"of its variance, all numbers {of_numbers.fit.adjusted_r2:.1%}, everything {last.fit.adjusted_r2:.1%}"
        + (f"; added: {', '.join(adds)}." if adds else f"; nothing else adds as much as {NOTHING:.1%}.")
        + (f" Clear directions: {', '.join(named)}." if named else " No direction is clear.")
    )
