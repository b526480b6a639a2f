"""Every item of the paper that the given runs allow, and why the others can't be made.

Order: that of the released code's `generate_figures.py`, with its regressions behind. Suffix: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.findings import dataset_map
from curvewatch.analysis.frames import need
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.paper import curves
from curvewatch.analysis.paper.histograms import (
    Panel,
    agreement_figure,
    diversity_figure,
    histograms,
    lowest_surprisal,
)
from curvewatch.analysis.paper.items import Item
from curvewatch.analysis.predict.drawing import drawable, effects_figure, hump_figure
from curvewatch.analysis.predict.prediction import Prediction
from curvewatch.analysis.predict.targets import TARGETS
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.measures import MeasureTable
from curvewatch.runfile.reader import Reader

SAMPLED_STEPS = 8
BLUE = "Blue: one direction with all predictors, alone and beyond frequency, and an interval that leaves out 0."
NOTHING_BEHIND = "no step after 0 has surprisals that differ between tokens"
NEEDS_RUNS = "it compares runs, and one is given"


class Making:
    """What there is to make it from.

    Args:
        runs: Of one token set.
        tables: Their measures.
        prediction: Of them; None without n-grams.
        diversity: If it was counted.
        examples: Tokens to draw; None chooses some.
        unpredicted: Why there is no prediction.
    """

    def __init__(
        self,
        runs: Sequence[Reader],
        tables: Sequence[MeasureTable],
        prediction: Prediction | None,
        diversity: ContextualDiversity | None,
        examples: Sequence[int] | None,
        unpredicted: str = "",
    ) -> None:
        self.runs, self.tables, self.prediction, self.diversity = runs, tables, prediction, diversity
        self.examples = list(dict.fromkeys(examples)) if examples is not None else None
        self.unpredicted = unpredicted
        self.missing: dict[str, str] = {}
        self.paper = tables[0].info.paper
        n_runs = len(runs)
        self.of = f"{runs[0].n_tokens:,} tokens, {n_runs} run{'s' if n_runs > 1 else ''}"
        self.window = "last 11 rows" if self.paper else "rows after 75 % of training"

    def items(self) -> list[Item]:
        """All of them."""
        return [
            *self._examples(), *self._diversity(), *self._measures(), *self._map(), *self._between_runs(),
            *self._like_ngrams(), *self._predictors(), *self._regressions(), *self._texts(),
        ]  # fmt: skip

    def _examples(self) -> list[Item]:
        chosen = list(self.examples) if self.examples is not None else curves.typical(self.tables[0])
        found = []
        if chosen:
            how = "given" if self.examples is not None else "learned early, at the median age and late"
            found.append(Item(
                "examples", "Learning curves of single tokens", "`examples_110_130_210.pdf`",
                f"Raw (thin) and smoothed surprisal of tokens {', '.join(map(str, chosen))} ({how}) of "
                f"{self.runs[0].path.stem}.", figure=curves.one_run(self.runs[0], chosen),
            ))  # fmt: skip
        else:
            self.missing["examples"] = "no token was learned in the first run"
        forgotten = curves.most_forgotten(self.tables)
        for k, token in enumerate(forgotten, 1):
            mean = float(np.mean([one["forgettability"][token] for one in self.tables]))
            found.append(Item(
                f"example_crossrun_{k}", "A token that is forgotten, in all runs", "`example856051_crossrun.pdf`",
                f"Token {token}, of those that every run learned one with the highest mean forgettability ({mean:.2f} "
                "bits).", figure=curves.all_runs(self.runs, token),
            ))  # fmt: skip
        if not forgotten:
            self.missing["example_crossrun"] = "no token was learned in every run"
        return found

    def _diversity(self) -> list[Item]:
        if self.diversity is None:
            self.missing["contextual_diversity"] = "contextual diversity was not given"
            return []
        about = self.diversity.made_by
        return [Item(
            "contextual_diversity", "Contextual diversity and frequency", "`full_train_contextual_diversity.png`",
            f"Of each type the distinct types within {about.get('window', '?')} tokens before it, with the smooth that "
            f"is taken off ({float(about.get('share', 1)):.1%} of {int(self.diversity.token_counts_V.sum()):,} tokens "
            "looked at).", figure=diversity_figure(self.diversity),
        )]  # fmt: skip

    def _measures(self) -> list[Item]:
        lowest = [np.asarray(one["min_surprisal"], np.float64) for one in self.tables]
        return [Item(
            "lowest_surprisal", "How low curves come", "a histogram of the smoothed curves' minima",
            f"{self.of}, all runs together. The minimum is that of the 1,000-point grid, the release's that at the "
            "scored steps.", figure=lowest_surprisal(lowest, self.runs[0].chance),
        )]  # fmt: skip

    def _map(self) -> list[Item]:
        found = [dataset_map(Moment.now(run), table) for run, table in zip(self.runs, self.tables, strict=True)]
        confidence, unsteady = (np.concatenate([one[k] for one in found]) for k in (0, 1))
        panel: Panel = (unsteady, confidence, "SD of p(token)", "mean p(token)")
        return [Item(
            "dataset_map", "Dataset map", "`dataset_map.pdf`", f"{self.of}, all runs together; {self.window}.",
            figure=histograms([panel]),
        )]  # fmt: skip

    def _between_runs(self) -> list[Item]:
        prediction = self.prediction
        if len(self.runs) < 2:
            self.missing |= dict.fromkeys(("crossrun_correlations", "reliability", "surprisal_crossrun_correlation"),
                                          NEEDS_RUNS)  # fmt: skip
            return []
        if prediction is None:
            self.missing |= dict.fromkeys(("crossrun_correlations", "reliability"), self.unpredicted)
            return []
        panels = []
        first, second = self.tables[:2]
        ages = [np.asarray(one["age_of_acquisition"], np.float64) for one in (first, second)]
        inner = np.ones(len(ages[0]), bool)
        for age_N in ages:  # neither a run's lowest nor its highest age, which stand for "before" and "never"
            if np.isfinite(age_N).any():
                inner &= np.isfinite(age_N) & (age_N != np.nanmin(age_N)) & (age_N != np.nanmax(age_N))
        for measure, _, title in TARGETS.values():
            if not measure:
                continue
            x, y = (np.array(one[measure], np.float64) for one in (first, second))
            if measure in ("age_of_acquisition", "forgettability"):
                x[~inner] = np.nan
            panels.append((x, y, f"{title}, {self.runs[0].path.stem}", self.runs[1].path.stem))
        names = {"across_runs": "Correlation of each measure between runs", "reliability": "Reliability of variability",
                 "same_token": "Rank of the same token in another run"}  # fmt: skip
        tables = {title: prediction.tables[name] for name, title in names.items() if name in prediction.tables}
        return [Item(
            "crossrun_correlations", "Measures between runs",
            "`final_surprisal_crossrun_correlation.pdf`, `var_steps_`, `aoa_`, `forgettability_`; "
            "`crossrun_correlations`, `run_crossrun_similarity.py`",
            f"{self.of}. Points of the first two runs; where a run's age is its lowest or highest, tokens are left out "
            "of the last two pictures, not of the correlations, as in the release.",
            ours="ranks are of a sample of 2,000 tokens where there are more", figure=histograms(panels), tables=tables,
        )]  # fmt: skip

    def _like_ngrams(self) -> list[Item]:
        prediction = self.prediction
        if prediction is None or prediction.hump is None:
            self.missing["surprisal_ngram_correlation"] = self.unpredicted
            return []
        if not drawable(prediction.hump):
            self.missing["surprisal_ngram_correlation"] = NOTHING_BEHIND
            return []
        about = prediction.predictors.settings
        found = [Item(
            "surprisal_ngram_correlation", "Likeness to n-gram models", "`surprisal_ngram_correlation.pdf`",
            f"{self.of}; n-grams of {about['corpus_tokens']:,} tokens, counted exactly. Mean over runs, band 5 SD.",
            figure=hump_figure(prediction.hump), tables={"Peaks": prediction.tables["ngram_peaks"]},
        )]  # fmt: skip
        if prediction.across is not None and (prediction.across.comparison.cross.steps_S > 0).any():
            found.append(Item(
                "surprisal_crossrun_correlation", "Surprisal between runs at each step",
                "`surprisal_crossrun_correlation.pdf`", f"{self.of}. Mean over pairs of runs, band 5 SD; dashed where "
                "surprisal is most like each n-gram model's.",
                figure=agreement_figure(prediction.across.comparison, prediction.hump),
            ))  # fmt: skip
        return found

    def _predictors(self) -> list[Item]:
        prediction = self.prediction
        if prediction is None:
            self.missing["predictors"] = self.unpredicted
            return []
        numbers, values = prediction.predictors.numbers, prediction.targets.values
        pairs = [("unigram", "ngram"), ("context_loglen", "context_logprob")]
        panels: list[Panel] = [(numbers[a], numbers[b], a, b) for a, b in pairs if a in numbers and b in numbers]
        panels += [(numbers["unigram"], of_N, "unigram", TARGETS[name][2]) for name, of_N in values.items()
                   if "unigram" in numbers]  # fmt: skip
        if "contextual_div" in numbers and "aoa" in values:
            panels.append((numbers["contextual_div"], values["aoa"], "contextual_div", TARGETS["aoa"][2]))
        made = prediction.tables
        tables = {"Predictors": made["predictors"], "Correlations of the predictors": made["correlations"]}
        if "measures" in made:
            tables["Correlations of the measures, stacked and averaged over runs"] = made["measures"]
        return [Item(
            "predictors", "Predictors and measures", "the 2-D histograms and VIFs of `run_regressions.py`; "
            "`cross_metric_correlations`",
            f"{self.of}, averaged over runs. The n-gram's log-probability is a residual of the unigram's; numbers are "
            "clipped to 5 SD.", figure=histograms(panels, line=True) if panels else None, tables=tables,
        )]  # fmt: skip

    def _regressions(self) -> list[Item]:
        prediction = self.prediction
        if prediction is None or not prediction.found:
            self.missing["regressions"] = self.unpredicted if prediction is None else prediction.in_words()
            return []
        made, how = prediction.tables, f"{self.of}, averaged over runs."
        found = [
            Item("likelihood_ratios", "Models that grow by a predictor", "`run_lrts`", how,
                 ours="the column of n, and of what was left out", tables={"": made["models"]}),
            Item("directions", "Directions of effect", "`directions_of_effect`",
                 f"{how} With all predictors, alone, alone beyond frequency; three equal signs are a direction.",
                 tables={"": made["directions"]}),
            Item("effects", "Standardised effects", "none",
                 f"{how} SDs of the measure for each SD of the predictor. {BLUE}",
                 ours="all of it, with 95 % intervals from drawing sequences anew", figure=effects_figure(prediction),
                 tables={"": made["effects"]}),
        ]  # fmt: skip
        if "context_sweep" in made:
            orders = sorted({int(order) for order in made["context_sweep"].reset_index()["order"]})
            found.append(Item(
                "context_sweep", "Contexts of other lengths and orders", "`run_context_regressions`",
                f"{how} Adjusted R2 of each measure on the context's mean log-probability alone, by n-grams of order "
                f"{orders[0]} to {orders[-1]} in windows of 1 to 128 tokens; a minus where the slope is below 0.",
                ours="the windows, which are powers of 2, and the remarks",
                tables={"": made["context_sweep"]},
            ))  # fmt: skip
        classes = {name: made[name] for name in prediction.predictors.classes if not made[name].empty}
        if classes:
            found.append(Item(
                "parts_of_speech", "Parts of speech", "the POS and BILU coefficients of `run_regressions.py`",
                f"{how} Coefficients on what the five numbers leave, reference 0.", tables=classes,
            ))  # fmt: skip
        else:
            self.missing["parts_of_speech"] = "the token set has no label pos (curvewatch label --pos, or --pos here)"
        return found

    def _texts(self) -> list[Item]:
        pandas = need("pandas", "the paper's tables")
        samples = self.runs[0].samples
        if not samples:
            self.missing["sampled_texts"] = "the first run wrote no texts (Prompts)"
            return []
        steps = sorted({one.step for one in samples})
        kept = {steps[k] for k in _spread(len(steps))}
        rows = [(one.step, one.prompt, one.text) for one in samples if one.step in kept]
        table = pandas.DataFrame(rows, columns=["step", "prompt", "text"]).set_index("step")
        return [Item(
            "sampled_texts", "Texts over training", "`sample_text.py`", f"What {self.runs[0].path.stem} wrote behind "
            "fixed prompts, taking its first choice.", tables={"": table},
        )]  # fmt: skip


def _spread(n: int) -> NDArray[np.int64]:
    """Up to `SAMPLED_STEPS` of n places, evenly on a log axis, both ends among them."""
    places = np.rint(np.geomspace(1, n, SAMPLED_STEPS)).astype(np.int64) - 1
    found: NDArray[np.int64] = np.unique(places)
    return found
