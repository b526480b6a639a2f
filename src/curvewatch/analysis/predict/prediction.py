"""Predicting: every target of a set of runs on the predictors of its tokens, as tables and in words.

Source: Chang, Tu & Bergen (2024): nested models with likelihood-ratio tests, directions, parts of speech. Besides,
since tokens of one sequence are not independent and p says nothing at a million of them: standardised effects, with
intervals from drawing sequences anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch.analysis.compare import Comparison
from curvewatch.analysis.earlier import earlier_names
from curvewatch.analysis.predict.across import AcrossRuns, NgramHump, across_runs, ngram_hump, tables_of_runs
from curvewatch.analysis.predict.design import Design, Moments, TooFewTokensError, groups_of, moments_of
from curvewatch.analysis.predict.effects import Effect, class_effects, class_intervals, effects_of
from curvewatch.analysis.predict.predictors import Predictors, predictors_of
from curvewatch.analysis.predict.solving import Step, fit, nested
from curvewatch.analysis.predict.sweep import Swept, context_sweep, contexts_of, table_of_sweep
from curvewatch.analysis.predict.targets import Targets, targets_of
from curvewatch.analysis.predict.telling import in_words, tables_of
from curvewatch.corpus import NgramSurprisals
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.runfile.reader import Reader
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.tokenset import TokenSet

INTERACTIONS = "products"
SAME = 1e-12
"""A spread, relative to the values, that is rounding: the measure is the same for all tokens."""


@dataclass(frozen=True)
class OfTarget:
    """What was found of one target.

    Attributes:
        steps: Models that grow predictor by predictor.
        effects: Of each number.
        classes: Of each class predictor the coefficient of each value.
        class_gain: Gain in adjusted R2 of each class predictor alone, over the numbers.
        n: Tokens.
        class_intervals: Of each coefficient of a class its 95 % interval, from drawing sequences anew.
    """

    steps: tuple[Step, ...]
    effects: tuple[Effect, ...]
    classes: Mapping[str, Mapping[str, float]]
    class_gain: Mapping[str, float]
    n: int
    class_intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


class Prediction:
    """What predicts each measure; made by `predict`.

    Attributes:
        predictors: What predicts.
        targets: What is predicted.
        found: By target.
        n_sequences: Sequences that the tokens come from.
        unknown: Tokens without a finite value of some predictor, which no model has.
        across: The runs beside each other; None of one run.
        hump: When surprisal is like that of n-gram models; None where predictors were given by themselves.
        sweep: Each measure on the frequency of contexts of other kinds; empty where that was not asked for.
    """

    def __init__(
        self, predictors: Predictors, targets: Targets, found: Mapping[str, OfTarget], n_sequences: int, unknown: int
    ) -> None:
        self.predictors, self.targets, self.found = predictors, targets, found
        self.n_sequences, self.unknown = n_sequences, unknown
        self.across: AcrossRuns | None = None
        self.hump: NgramHump | None = None
        self.sweep: list[Swept] = []

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} R2 {one.steps[-1].fit.adjusted_r2:.2f}" for name, one in self.found.items())
        return f"<Prediction: {len(self.predictors.numbers)} numbers; {shares}>"

    def in_words(self) -> str:
        """What mattered, by how much: a line for each measure; and with what caution, the last one."""
        return in_words(self)

    @cached_property
    def tables(self) -> dict[str, Any]:
        """By name a pandas DataFrame: predictors, correlations, models, directions, effects, measures, each class.

        Correlations are the predictors', measures the targets' with each other. With classes also class_effects, their
        coefficients with intervals; with several runs across_runs, reliability, same_token; and ngram_peaks. With the
        sweep also context_sweep.
        """
        more = tables_of_runs(self.across, self.hump) if self.hump is not None else {}
        if self.sweep:
            more["context_sweep"] = table_of_sweep(self.sweep)
        return tables_of(self) | more

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes every table as CSV, and all of it with the settings as `prediction.json`, replacing what is there.

        Tables of an earlier call that this one has not (those that its `prediction.json` lists) are removed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in earlier_names(folder / "prediction.json", "tables") - set(self.tables):
            (folder / f"{name}.csv").unlink(missing_ok=True)
        paths = []
        for name, table in self.tables.items():
            paths.append(folder / f"{name}.csv")
            with replacing(paths[-1]) as file:
                file.write(table.to_csv().encode())
        record = {
            "in_words": self.in_words(),
            "runs": self.targets.n_runs,
            "sequences": self.n_sequences,
            "predictors": dict(self.predictors.settings),
            "left_out": dict(self.predictors.left_out),
            "tokens_left_out": self.targets.left_out,
            "notes": list(self.targets.notes),
            "tables": {name: json.loads(table.to_json(orient="split")) for name, table in self.tables.items()},
        }
        paths.append(folder / "prediction.json")
        with replacing(paths[-1]) as file:
            file.write(json.dumps(record, indent=1, default=str).encode())
        return paths


def predict(
    runs: Sequence[Reader],
    ngrams: NgramSurprisals,
    diversity: ContextualDiversity | None = None,
    *,
    tokens: TokenSet | None = None,
    extra: Mapping[str, Any] | None = None,
    paper: bool = False,
    censored: str = "keep",
    seed: int = 0,
    comparison: Comparison | None = None,
    progress: Callable[[int, int], None] | None = None,
    stage: Callable[[str, int, int], None] | None = None,
    sweep: bool = False,
    sweep_ngrams: NgramSurprisals | None = None,
) -> Prediction:
    """Regresses each measure of the runs' tokens, averaged over the runs, on what the corpus says of them.

    Args:
        runs: Of one token set, best of several seeds.
        ngrams: N-gram surprisals of the set (`curvewatch ngrams`).
        diversity: Contextual diversity (`curvewatch diversity`); None goes without.
        tokens: The runs' token set with the labels that are to predict ("pos", "pos_bilu"); None takes the first run's.
        extra: Predictors of one's own; see `predictors_of`.
        paper: The released code's values of the measures.
        censored: "keep" or "drop" tokens that were acquired before the first step, where age is predicted.
        seed: For the draws behind the intervals.
        comparison: Of these runs, with `keep_pairs`, where it is at hand; None compares them.
        progress: Called with the tokens done and in all, for each run's measures.
        stage: Called with what is done after that, in words, how much of it is done, and of how much.
        sweep: Also each measure on the context's log-probability by n-grams of other orders in windows of other
            lengths; see `sweep`.
        sweep_ngrams: For orders above 1: n-gram surprisals of every position of the set's sequences (`curvewatch
            ngrams --every-position`, `corpus.every_position`).

    Raises:
        TokenSetMismatchError: If runs and n-grams are not of one token set.
        TooFewTokensError: If there are fewer tokens than predictors.
        ValueError: If an argument makes no sense.
    """

    def told(what: str) -> Callable[[int, int], None] | None:
        return None if stage is None else partial(stage, what)

    tokens = runs[0].tokens if tokens is None else tokens
    contexts = contexts_of(tokens, ngrams, sweep_ngrams) if sweep or sweep_ngrams is not None else None
    targets = targets_of(
        runs, paper=paper, censored=censored, comparison=comparison, progress=progress,
        comparing=told("comparing runs"),
    )  # fmt: skip
    if diversity is not None and not np.array_equal(_counts(diversity), _counts(ngrams)):
        counted = [f"{int(one.token_counts_V.sum()):,}" for one in (diversity, ngrams)]
        note = f"diversity and n-grams were counted in other corpora: of {counted[0]} and {counted[1]} tokens"
        targets = replace(targets, notes=(*targets.notes, note))
    predictors = predictors_of(tokens, ngrams, diversity, extra=extra)
    found = regressed(predictors, targets, tokens.sequence_index, seed=seed, progress=told("regressions"))
    if targets.comparison is not None:
        found.across = across_runs(runs, targets.comparison, seed=seed, progress=told("finding tokens again"))
    found.hump = ngram_hump(runs, ngrams)
    if contexts is not None:
        found.sweep = context_sweep(predictors, targets, contexts, progress=told("context sweep"))
    return found


def _counts(of: ContextualDiversity | NgramSurprisals) -> Any:
    """Occurrences of each type, up to the last that occurs: vocabularies may be padded."""
    return np.trim_zeros(of.token_counts_V, "b")


def regressed(
    predictors: Predictors,
    targets: Targets,
    sequence_index: Any,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """All regressions of all targets.

    Args:
        predictors: What predicts.
        targets: What is predicted.
        sequence_index: The sequence of each token, [N].
        seed: For the draws behind the intervals.
        progress: Called with the targets done and in all.

    Raises:
        TooFewTokensError: If a target has fewer tokens than the models have columns.
    """
    values, codes = predictors.coded()
    design = Design.of(tuple(predictors.numbers), values)
    known_N = np.ones(len(sequence_index), bool)
    for one in predictors.numbers.values():
        known_N &= np.isfinite(one)
    group_N = groups_of(np.asarray(sequence_index), seed)
    found: dict[str, OfTarget] = {}
    for k, (name, target_N) in enumerate(targets.values.items()):
        if progress is not None:
            progress(k, len(targets.values))
        use_N = known_N & np.isfinite(target_N)
        n, columns = int(use_N.sum()), len(design.columns) - 1
        if n <= columns:
            if n == 0:
                continue
            raise TooFewTokensError(
                f"{name}: {n:,} tokens have a value of it, and the largest model has {columns} columns. Give more "
                "tokens, or fewer predictors."
            )
        moments = moments_of(design, predictors.numbers, codes, target_N, use_N, group_N)
        if moments.sd["(target)"] > SAME * float(np.abs(target_N[use_N]).max()):
            found[name] = _of_target(moments, seed)
    if progress is not None:
        progress(len(targets.values), len(targets.values))
    return Prediction(predictors, targets, found, len(np.unique(sequence_index)), int((~known_N).sum()))


def _of_target(moments: Moments, seed: int) -> OfTarget:
    design = moments.design
    classes = [column for name in design.classes for column in design.of_class(name)]
    groups: list[tuple[str, Sequence[str]]] = [(name, [name]) for name in design.numbers]
    if classes:
        groups.append((" and ".join(design.classes), classes))
    if design.products:
        groups.append((INTERACTIONS, [f"{a}:{b}" for a, b in design.products]))
    base = fit(moments, design.numbers).adjusted_r2
    gains = {
        name: fit(moments, [*design.numbers, *design.of_class(name)]).adjusted_r2 - base for name in design.classes
    }
    return OfTarget(
        steps=tuple(nested(moments, groups)),
        effects=tuple(effects_of(moments, [*design.numbers, *classes], seed=seed)),
        classes=class_effects(moments, design.numbers),
        class_gain=gains,
        n=moments.n,
        class_intervals=class_intervals(moments, design.numbers, seed=seed),
    )
