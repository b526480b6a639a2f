"""What predicts learning: every model beside statsmodels, directions and classes beside plain regressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.outliers_influence import variance_inflation_factor
from typer.testing import CliRunner

from curvewatch import Observation, RunFile, TokenSet, TokenSetMismatchError, open_run
from curvewatch.analysis.predict import predict, predictors_of
from curvewatch.analysis.predict.design import MOST_GROUPS, Design, groups_of, moments_of
from curvewatch.analysis.predict.drawing import save_figures
from curvewatch.analysis.predict.prediction import regressed
from curvewatch.analysis.predict.predictors import Predictors, correlations, variance_inflation
from curvewatch.analysis.predict.solving import chi2_tail, fit, nested, shown_p
from curvewatch.analysis.predict.targets import Targets, targets_of
from curvewatch.cli.app import app
from curvewatch.corpus import contextual_diversity, count_ngrams
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.analysis.synthetic import write_run

NUMBERS = ("unigram", "ngram", "context_loglen", "context_logprob", "contextual_div")
N = 700


def frame(seed: int = 0) -> pd.DataFrame:
    """Predictors of very different sizes, some alike; a target of them."""
    rng = np.random.default_rng(seed)
    made = pd.DataFrame({name: rng.normal(k * 30 - 50, 10.0 ** (k - 2), N) for k, name in enumerate(NUMBERS)})
    made["context_logprob"] += 5 * made["unigram"] * made["context_logprob"].std()
    made["pos"] = rng.choice(["NOUN", "VERB", "[UNMATCHED]", "DET"], N, p=[0.4, 0.3, 0.1, 0.2])
    made["pos_bilu"] = rng.choice(["B", "I", "L", "U"], N)
    made["y"] = (
        2 * made["unigram"] - 30 * made["ngram"] + (made["pos"] == "NOUN") + rng.normal(0, 3, N)
        + 0.1 * made["unigram"] * made["context_loglen"]
    )  # fmt: skip
    return made


def sequences(n: int = N) -> np.ndarray:
    return np.arange(n) // 7


def moments(made: pd.DataFrame, use_N: np.ndarray | None = None) -> tuple[Design, Any]:
    predictors = Predictors(
        {name: made[name].to_numpy() for name in NUMBERS},
        {name: made[name].to_numpy(str) for name in ("pos", "pos_bilu")},
    )
    values, codes = predictors.coded()
    design = Design.of(NUMBERS, values)
    use = np.ones(len(made), bool) if use_N is None else use_N
    return design, moments_of(
        design, predictors.numbers, codes, made["y"].to_numpy(), use, groups_of(sequences(len(made)))
    )


def formula(design: Design, columns: list[str]) -> str:
    terms = [column for column in columns if "=" not in column]
    for name, values in design.classes.items():
        if any(column.startswith(f"{name}=") for column in columns):
            terms.append(f"C({name}, Treatment('{values[0]}'))")
    return "y ~ " + " + ".join(terms)


def ours(column: str) -> str:
    """Our name of a column of statsmodels'."""
    if column == "Intercept":
        return "(intercept)"
    if column.startswith("C("):
        return f"{column[2 : column.index(',')]}={column[column.index('[T.') + 3 : -1]}"
    return column


def test_nested_models_are_those_of_statsmodels() -> None:
    made = frame()
    design, found = moments(made)
    classes = [*design.of_class("pos"), *design.of_class("pos_bilu")]
    groups = [*((name, [name]) for name in NUMBERS), ("classes", classes),
              ("products", [f"{a}:{b}" for a, b in design.products])]  # fmt: skip
    columns: list[str] = []
    before = None
    for (_, added), step in zip(groups, nested(found, groups), strict=True):
        columns += added
        theirs = smf.ols(formula(design, columns), made).fit()
        assert step.fit.rank == theirs.df_model + 1
        assert step.fit.r2 == pytest.approx(theirs.rsquared, rel=1e-9)
        assert step.fit.adjusted_r2 == pytest.approx(theirs.rsquared_adj, rel=1e-9)
        assert step.fit.log_likelihood == pytest.approx(theirs.llf, rel=1e-9)
        for name, value in theirs.params.items():
            assert step.fit.of(ours(name)) == pytest.approx(value, rel=1e-6), name
            error = step.fit.errors[step.fit.columns.index(ours(name))]
            assert error == pytest.approx(theirs.bse[name], rel=1e-6), name
        if before is not None:
            chi2, p, df = theirs.compare_lr_test(before)
            assert (step.chi2, step.df) == (pytest.approx(chi2, rel=1e-7, abs=1e-8), df)
            assert step.p == pytest.approx(p, rel=1e-6)
        before = theirs


def test_only_tokens_with_every_value_are_used_in_all_models() -> None:
    made = frame()
    use = np.arange(N) % 3 > 0
    _, some = moments(made, use)
    _, alone = moments(made[use].reset_index(drop=True))
    for columns in (["unigram"], list(NUMBERS)):
        assert fit(some, columns).coefficients == pytest.approx(fit(alone, columns).coefficients, rel=1e-9)
        assert fit(some, columns).n == use.sum()


def test_order_and_grouping_change_nothing() -> None:
    made = frame()
    _, found = moments(made)
    order = np.random.default_rng(1).permutation(N)
    _, other = moments(made.iloc[order].reset_index(drop=True))
    assert fit(found, NUMBERS).coefficients == pytest.approx(fit(other, NUMBERS).coefficients, rel=1e-9)


def test_what_depends_on_others_is_left_out_and_named() -> None:
    made = frame()
    made["contextual_div"] = 3 * made["unigram"] - 2
    _, found = moments(made)
    steps = nested(found, [(name, [name]) for name in NUMBERS])
    assert steps[-1].fit.left_out == ("contextual_div",)
    assert (steps[-1].df, steps[-1].chi2) == (0, 0.0)
    assert np.isnan(steps[-1].p)


def test_directions_and_effects() -> None:
    made = frame()
    prediction = regress(made)
    (one,) = prediction.found.values()
    everything = formula(Design.of(NUMBERS, prediction.predictors.coded()[0]), [*NUMBERS, "pos=x", "pos_bilu=x"])
    full, base = smf.ols(everything, made).fit(), smf.ols("y ~ unigram", made).fit()
    made["left"] = base.resid
    for effect in one.effects:
        slopes = [full.params[effect.name], smf.ols(f"y ~ {effect.name}", made).fit().params[effect.name]]
        if effect.name != "unigram":
            slopes.append(smf.ols(f"left ~ {effect.name}", made).fit().params[effect.name])
        assert effect.signs == "".join("+" if slope >= 0 else "-" for slope in slopes)
        scaled = full.params[effect.name] * made[effect.name].std(ddof=0) / made["y"].std(ddof=0)
        assert effect.value == pytest.approx(scaled, rel=1e-6)
        assert effect.low < effect.value < effect.high
    by_name = {effect.name: effect for effect in one.effects}
    assert by_name["ngram"].agreed
    assert by_name["context_loglen"].agreed
    assert not by_name["context_logprob"].agreed, "nothing was made of it"


def test_intervals_cover_and_know_that_tokens_of_a_sequence_are_not_independent() -> None:
    """A predictor and a target that are the same throughout a sequence: as many tokens, but few independent ones."""
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for _ in range(60):
        x, noise = rng.normal(size=100), rng.normal(size=100)
        made = pd.DataFrame({name: rng.normal(size=N) for name in NUMBERS})
        made["unigram"] = x[sequences()]
        made["y"] = 0.5 * made["unigram"] + noise[sequences()]
        made["pos"], made["pos_bilu"] = "A", "U"
        (one,) = regress(made).found.values()
        effect = one.effects[0]
        truth = 0.5 / np.sqrt(1.25)
        covered.append(effect.low <= truth <= effect.high)
        widths.append(effect.high - effect.low)
    assert np.mean(covered) > 0.85
    assert np.mean(widths) > 3 * 2 * 1.96 * np.sqrt((1 - 0.2) / N) / 2, "as if tokens were independent"


def regress(made: pd.DataFrame) -> Any:
    predictors = Predictors(
        {name: made[name].to_numpy() for name in NUMBERS},
        {name: made[name].to_numpy(str) for name in ("pos", "pos_bilu") if made[name].nunique() > 1},
    )
    return regressed(predictors, Targets({"surprisal": made["y"].to_numpy()}, {}, 1, ()), sequences(len(made)))


def test_classes_beyond_the_numbers() -> None:
    made = frame()
    prediction = regress(made)
    (one,) = prediction.found.values()
    made["left"] = smf.ols("y ~ " + " + ".join(NUMBERS), made).fit().resid
    theirs = smf.ols(
        "left ~ C(pos, Treatment('[UNMATCHED]')) + C(pos_bilu, Treatment('U'))", made
    ).fit()  # fmt: skip
    for name, value in theirs.params.items():
        if name != "Intercept":
            of, _, which = ours(name).partition("=")
            assert one.classes[of][which] == pytest.approx(value, rel=1e-6)
    assert one.classes["pos"]["[UNMATCHED]"] == one.classes["pos_bilu"]["U"] == 0
    assert list(one.classes["pos"].values()) == sorted(one.classes["pos"].values())
    alone = smf.ols("y ~ " + " + ".join(NUMBERS) + " + pos", made).fit().rsquared_adj
    numbers = smf.ols("y ~ " + " + ".join(NUMBERS), made).fit().rsquared_adj
    assert one.class_gain["pos"] == pytest.approx(alone - numbers, rel=1e-6)


def test_inflation_and_correlations() -> None:
    made = frame()
    numbers = {name: made[name].to_numpy() for name in NUMBERS}
    design = np.column_stack([np.ones(N), *numbers.values()])
    expected = [variance_inflation_factor(design, k) for k in range(1, 6)]
    assert list(variance_inflation(numbers).values()) == pytest.approx(expected, rel=1e-8)
    assert correlations(numbers)[1] == pytest.approx(made[list(NUMBERS)].corr().to_numpy(), rel=1e-9, abs=1e-12)


def test_a_p_is_never_shown_as_nought() -> None:
    assert chi2_tail(1e6, 3) == 0
    assert shown_p(0.0) == "< 1e-300"
    assert shown_p(0.0123) == "0.0123"
    assert shown_p(float("nan")) == ""


def test_many_sequences_are_put_together() -> None:
    groups = groups_of(np.repeat(np.arange(5000), 3))
    assert groups.max() + 1 == MOST_GROUPS
    assert (groups.reshape(-1, 3) == groups[::3, None]).all(), "a sequence was torn"


# ------------------------------------------------------------------ from run files

V = 60


def corpus() -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [np.minimum(rng.geometric(0.1, 30) - 1, V - 1).tolist() for _ in range(300)]


def the_set() -> TokenSet:
    rng = np.random.default_rng(6)
    rows = [np.minimum(rng.geometric(0.1, 12) - 1, V - 1).tolist() for _ in range(40)]
    tokens = TokenSet.from_sequences(rows, per_sequence=6, vocab_size=V)
    kinds = np.array(["NOUN", "VERB", "DET"])[tokens.target % 3]
    return tokens.label("pos", kinds).label("pos_bilu", np.array(["B", "L", "U"])[tokens.position % 3])


STEPS = [0, 1, 2, 4, 8, 16, 32, *range(64, 641, 32)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three, in which frequent tokens are learned earlier."""
    return write_seeds(tmp_path_factory.mktemp("predict"))


def write_seeds(folder: Path) -> list[Path]:
    """Run files of three seeds, in which frequent tokens are learned earlier."""
    tokens = the_set()
    unigram = count_ngrams(corpus(), tokens).surprisal_bits_nN[0]
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        file = RunFile.start(folder / f"seed{seed}.h5", {"eval": SetRecord(tokens, V, {})},
                             RunPlan(640, np.array(STEPS), "", {}), -1)  # fmt: skip
        for step in STEPS:
            late = np.log2(1 + step) - unigram / 1.5
            bits = 1 + 0.3 * unigram + (np.log2(V) - 1) / (1 + np.exp(late)) + rng.normal(0, 0.1, len(tokens))
            values = np.maximum(bits, 0).astype(np.float32)
            file.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(values, values < 2, values)}))
        file.close()
        found.append(folder / f"seed{seed}.h5")
    return found


def test_what_a_set_of_runs_says(runs: list[Path], tmp_path: Path) -> None:
    tokens = the_set()
    ngrams = count_ngrams(corpus(), tokens)
    diversity = contextual_diversity(corpus(), tokens)
    opened = [open_run(path) for path in runs]
    found = predict(opened, ngrams, diversity)
    assert set(found.found) == {"surprisal", "var_steps", "aoa", "forgettability", "var_runs"}
    assert found.found["surprisal"].effects[0].name == "unigram"
    assert found.found["surprisal"].effects[0].signs == "--", "frequent tokens have a lower surprisal"
    assert found.found["aoa"].effects[0].value < -0.5, "and are learned earlier"
    assert "Final surprisal (240 tokens): unigram alone explains" in found.in_words()
    assert "They describe 3 runs" in found.in_words()
    paths = found.save(tmp_path / "out")
    record = json.loads((tmp_path / "out/prediction.json").read_text())
    assert record["runs"] == 3
    assert record["predictors"]["diversity"]["window"] == 30
    assert {path.name for path in paths} >= {"models.csv", "directions.csv", "pos.csv", "prediction.json"}
    table = pd.read_csv(tmp_path / "out/models.csv")
    assert table.shape[0] == 5 * len(found.found["aoa"].steps)
    across = found.tables["across_runs"]
    r = np.corrcoef([run.measures()["final_surprisal"] for run in opened])[np.triu_indices(3, 1)]
    assert across.loc["surprisal", ["r", "sd", "lowest", "highest"]].tolist() == pytest.approx(
        [r.mean(), r.std(), r.min(), r.max()], rel=1e-5
    )
    assert found.across is not None
    assert found.across.reliability is None, "three runs make no two pairs"
    assert found.across.ranks["queries"] == 240
    assert set(found.across.smoothed_vs_raw) == {"pairs", "variability"}
    peaks = found.tables["ngram_peaks"]
    rows = np.mean(
        [[np.corrcoef(row, ngrams.surprisal_bits_nN[0])[0, 1] for row in run.surprisal[:]] for run in opened], 0
    )
    assert peaks.loc["1-gram", "peak_step"] == STEPS[int(np.argmax(rows))]
    assert peaks.loc["1-gram", "r_there"] == pytest.approx(rows.max())
    targets = targets_of(opened)
    mean = np.mean([run.measures()["final_surprisal"] for run in opened], axis=0)
    assert targets.values["surprisal"] == pytest.approx(mean)
    named = ["final_surprisal", "forgettability"]
    stacked = np.corrcoef([np.concatenate([run.measures()[name] for run in opened]) for name in named])[0, 1]
    averaged = np.corrcoef([np.mean([run.measures()[name] for run in opened], axis=0) for name in named])[0, 1]
    measures = found.tables["measures"]["surprisal"]
    assert measures.loc[("stacked", "forgettability")] == pytest.approx(stacked, rel=1e-5)
    assert measures.loc[("averaged", "forgettability")] == pytest.approx(averaged, rel=1e-5)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    tokens = the_set()
    count_ngrams(corpus(), tokens).save(tmp_path / "ngrams.npz")
    contextual_diversity(corpus(), tokens).save(tmp_path / "d.npz")
    pd.DataFrame({"length": np.arange(len(tokens)), "half": ["a", "b"] * (len(tokens) // 2)}).to_csv(
        tmp_path / "extra.csv", index=False
    )
    done = CliRunner().invoke(
        app, ["predict", *map(str, runs), "--ngrams", str(tmp_path / "ngrams.npz"), "--diversity",
              str(tmp_path / "d.npz"), "--extra", str(tmp_path / "extra.csv"), "-o", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    titles = ("Predictors", "Models that grow by a predictor", "Directions", "length", "half")
    for title in (*titles, "context_loglen", "var_steps"):
        assert title in done.output
    assert (tmp_path / "out/half.csv").exists()
    for name in ("effects.pdf", "effects.png", "ngram_hump.pdf", "ngram_hump.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    alone = CliRunner().invoke(app, ["predict", str(runs[0]), "--ngrams", str(tmp_path / "ngrams.npz")])
    assert alone.exit_code == 0, alone.output
    assert "one run: there is no variability across runs to predict" in alone.output
    assert "contextual_div predicts nothing here: no diversity was given" in alone.output


def test_what_is_wrong_or_missing_is_said(runs: list[Path]) -> None:
    tokens, opened = the_set(), [open_run(path) for path in runs]
    ngrams = count_ngrams(corpus(), tokens)
    with pytest.raises(TokenSetMismatchError, match="n-gram surprisals of token set"):
        predict(opened, count_ngrams(corpus(), TokenSet.from_sequences([[1, 2, 3]], vocab_size=V)))
    with pytest.raises(ValueError, match=r"extra='length': \(3,\) values for 240 tokens"):
        predict(opened, ngrams, extra={"length": [1, 2, 3]})
    with pytest.raises(ValueError, match="extra='colour': the token set has no such label"):
        predict(opened, ngrams, extra={"colour": None})
    with pytest.raises(ValueError, match="extra='ngram': the name is taken"):
        predict(opened, ngrams, extra={"ngram": np.zeros(240)})
    texts = np.array([f"t{i}" for i in range(len(opened[0].tokens))])
    with pytest.raises(ValueError, match="extra='w': 240 different texts, where a class has at most 200"):
        predict(opened, ngrams, extra={"w": texts})
    with pytest.raises(ValueError, match="censored='maybe'"):
        predict(opened, ngrams, censored="maybe")
    with pytest.raises(ValueError, match="are the same run"):
        predict([opened[0], opened[0]], ngrams)
    found = predictors_of(tokens, ngrams, extra={"same": np.ones(240)})
    assert found.left_out["same"] == "it is the same for all tokens"
    values = np.full(240, np.nan)
    values[:10] = np.arange(10)
    with pytest.raises(ValueError, match="10 tokens have a value of it, and the largest model has"):
        predict(opened, ngrams, extra={"rare": values})


def test_ages_that_are_not_known_leave_tokens_out_and_are_counted(runs: list[Path]) -> None:
    opened = [open_run(path) for path in runs]
    never = sum((run.measures()["acquisition_status"] == "never") for run in opened) > 0
    targets = targets_of(opened)
    assert np.isnan(targets.values["aoa"]).sum() >= never.sum()
    if never.any():
        assert targets.left_out["aoa"]["never acquired in some run"] == never.sum()
    assert np.isfinite(targets_of(opened, paper=True).values["aoa"]).all()


def test_a_run_of_two_rows_says_nothing(tmp_path: Path) -> None:
    path = write_run(tmp_path / "few.h5", n_steps=2)
    tokens = open_run(path).tokens
    count_ngrams(np.random.default_rng(0).integers(0, 64, (50, 20)), tokens).save(tmp_path / "ngrams.npz")
    command = ["predict", str(path), "--ngrams", str(tmp_path / "ngrams.npz")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("No measure has a value")
    assert "Models that grow" not in done.output, "an empty table"
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "file")])
    assert refused.exit_code == 2
    assert "a file is there; give a folder" in " ".join(refused.output.replace("│", "").split())
    assert "Predictors" not in refused.output, "before the work"


def test_a_run_of_nothing_finite_and_a_corpus_of_another_size(runs: list[Path], tmp_path: Path) -> None:
    """What has no correlation and no curve leaves out its figure and its ranks, and the rest is written."""
    tokens, plan = the_set(), RunPlan(640, np.array(STEPS), "", {})
    blank = RunFile.start(tmp_path / "nan.h5", {"eval": SetRecord(tokens, V, {})}, plan, -1)
    for step in STEPS:
        values = np.full(len(tokens), np.nan, np.float32)
        blank.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(values, np.zeros(len(tokens), bool), values)}))
    blank.close()
    nothing = open_run(tmp_path / "nan.h5")
    ngrams, part = count_ngrams(corpus(), tokens), contextual_diversity(corpus()[:50], tokens)
    both = predict([open_run(runs[0]), nothing], ngrams, part)
    assert both.found == {}
    assert "same_token" not in both.tables
    (note,) = [note for note in both.targets.notes if "other corpora" in note]
    assert note == "diversity and n-grams were counted in other corpora: of 1,500 and 9,000 tokens"
    assert save_figures(predict([nothing], ngrams), tmp_path) == []
    same = predict([open_run(runs[0])], ngrams, contextual_diversity(corpus(), tokens),
                   extra={"some": np.where(np.arange(len(tokens)) < 5, np.inf, np.arange(len(tokens)))})  # fmt: skip
    assert not [note for note in same.targets.notes if "other corpora" in note]
    assert same.unknown == 5
    assert "some" in same.predictors.numbers
    assert len(save_figures(same, tmp_path)) == 4


def test_a_measure_that_is_rounding_is_not_regressed() -> None:
    made = frame()
    made["y"] = 3.0 + 1e-15 * np.random.default_rng(0).normal(size=N)
    assert regress(made).found == {}
