"""What `curvewatch predict` is given and leaves behind: extras, labels, tables of earlier calls, lines, intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from typer.testing import CliRunner

from curvewatch import open_run
from curvewatch.analysis.earlier import earlier_names
from curvewatch.analysis.predict import effects, predict
from curvewatch.cli.app import app
from curvewatch.corpus import count_ngrams
from tests.analysis.test_predict import NUMBERS, corpus, frame, regress, runs, sequences, the_set

__all__ = ["runs"]  # the fixture


@pytest.fixture
def command(runs: list[Path], tmp_path: Path) -> list[str]:
    count_ngrams(corpus(), the_set()).save(tmp_path / "ngrams.npz")
    return ["predict", *map(str, runs[:2]), "--ngrams", str(tmp_path / "ngrams.npz")]


def said(command: list[str], code: int = 0) -> str:
    done = CliRunner().invoke(app, command)
    assert done.exit_code == code, done.output
    return " ".join(done.output.replace("│", "").split())


def test_tables_of_an_earlier_call_are_removed_and_nothing_else(runs: list[Path], tmp_path: Path) -> None:
    tokens, out = the_set(), tmp_path / "out"
    ngrams, opened = count_ngrams(corpus(), tokens), [open_run(path) for path in runs[:2]]
    predict(opened, ngrams, extra={"half": np.arange(len(tokens)) % 2}).save(out)
    predict(opened, ngrams, extra={"kind": np.array(["a", "b"])[np.arange(len(tokens)) % 2]}).save(out)
    assert (out / "kind.csv").exists()
    for mine in ("notes.csv", "mine.txt"):
        (out / mine).write_text("mine")
    predict(opened[:1], ngrams).save(out)
    left = {path.name for path in out.iterdir()}
    assert not left & {"kind.csv", "across_runs.csv", "reliability.csv", "same_token.csv"}
    assert left >= {"notes.csv", "mine.txt", "pos.csv", "models.csv", "prediction.json"}
    (out / "prediction.json").write_text(json.dumps({"tables": {"../tokens": 0, "gone": 0}}))
    assert earlier_names(out / "prediction.json", "tables") == {"gone"}, "a file of another folder would be removed"
    (out / "prediction.json").write_text("[]")
    assert earlier_names(out / "prediction.json", "tables") == set()


def test_extras_that_do_not_fit_name_the_option(command: list[str], tmp_path: Path) -> None:
    extra = tmp_path / "extra.csv"
    given = [*command, "--extra", str(extra)]
    assert f"error: --extra {extra}: no such file" in said(given, 1)
    extra.write_text("length\n1\n2\n")
    assert f"error: --extra {extra}: 2 rows; the set has 240 scored tokens" in said(given, 1)
    extra.write_text("")
    assert f"error: --extra {extra}: it can't be read as .csv" in said(given, 1)
    (tmp_path / "x.parquet").write_text("no parquet")
    assert "x.parquet: it can't be read as .parquet" in said([*command, "--extra", str(tmp_path / "x.parquet")], 1)
    extra.write_text("token,length\n" + "".join(f"{i // 2},1\n" for i in range(240)))
    assert f"error: --extra {extra}: its column 'token' does not name each" in said(given, 1)
    extra.write_text("ngram\n" + "1\n" * 240)
    assert "error: --extra 'ngram': the name is taken" in said(given, 1)


def test_gaps_are_no_value_and_a_column_of_gaps_has_none_at_all(command: list[str], tmp_path: Path) -> None:
    values = [str(i % 7) if i % 10 else ("" if i % 20 else "nan") for i in range(240)]
    pd.DataFrame({"length": values, "blank": [""] * 240, "word": ["a", ""] * 120}).to_csv(
        tmp_path / "extra.csv", index=False
    )
    told = said([*command, "--extra", str(tmp_path / "extra.csv"), "-o", str(tmp_path / "out")])
    assert "blank predicts nothing here: it has no value at all" in told
    assert "24 tokens have no finite value of some predictor" in told
    vif = pd.read_csv(tmp_path / "out/predictors.csv").set_index("predictor")["vif"]
    assert vif["length"] == pytest.approx(1, abs=0.2), "of the tokens that have all values"
    assert (tmp_path / "out/word.csv").exists()
    assert not (tmp_path / "out/length.csv").exists(), "numbers with gaps were taken for classes"
    nothing = pd.DataFrame({"blank": [None] * 240, "nan": [np.nan] * 240})
    nothing.to_parquet(tmp_path / "extra.parquet")
    told = said([*command, "--extra", str(tmp_path / "extra.parquet")])
    for name in ("blank", "nan"):
        assert f"{name} predicts nothing here: it has no value at all" in told


def test_labels_that_are_taken_by_themselves_or_not_there(command: list[str], runs: list[Path]) -> None:
    assert "--label: pos_bilu: this label is a predictor wherever the runs have it; leave it out" in said(
        [*command, "--label", "pos_bilu"], 2
    )
    assert "--label: colour: the runs have no such label; there are none" in said([*command, "--label", "colour"], 2)
    ngrams = count_ngrams(corpus(), the_set())
    with pytest.raises(ValueError, match="extra='pos': this label is a predictor wherever the set has it"):
        predict([open_run(runs[0])], ngrams, extra={"pos": None})


def test_a_line_for_each_measure_and_the_caution_last(runs: list[Path]) -> None:
    found = predict([open_run(path) for path in runs], count_ngrams(corpus(), the_set()))
    lines = found.in_words().split("\n")
    begins = ("Final surprisal (", "Variability within runs (", "Age of acquisition (", "Forgettability (",
              "Variability across runs (", "Effects are SDs")  # fmt: skip
    assert len(lines) == len(begins)
    assert all(line.startswith(begin) for line, begin in zip(lines, begins, strict=True))


def test_one_pair_of_runs_has_no_spread(runs: list[Path], command: list[str]) -> None:
    ngrams = count_ngrams(corpus(), the_set())
    two = predict([open_run(path) for path in runs[:2]], ngrams).tables
    assert two["across_runs"]["sd"].isna().all()
    assert two["reliability"]["sd"].isna().all()
    assert two["across_runs"]["r"].notna().any()
    assert {"surprisal", "var_steps", "aoa", "forgettability"} <= set(two["across_runs"].index)
    three = predict([open_run(path) for path in runs], ngrams).tables
    assert (three["across_runs"].loc[["surprisal", "aoa"], "sd"] > 0).all()
    (row,) = [line.split() for line in CliRunner().invoke(app, command).output.splitlines()
              if line.split()[:1] == ["surprisal"] and "-" in line.split()[2:3]]  # fmt: skip
    assert row[2] == "-"


def test_every_stage_is_told(runs: list[Path]) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    predict(
        [open_run(path) for path in runs], count_ngrams(corpus(), the_set()), sweep=True,
        stage=lambda what, done, of: told.setdefault(what, []).append((done, of)),
    )  # fmt: skip
    assert set(told) == {"comparing runs", "regressions", "finding tokens again", "context sweep"}
    for steps in told.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("rare", [False, True])
def test_draws_at_once_are_those_one_by_one(rare: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those in which a class of two tokens is missing, or a column depends on others."""
    made = frame()
    if rare:
        made.loc[[3, 500], "pos"] = "RARE"
        made["contextual_div"] = made["unigram"] * 2 - made["ngram"]
    fast = regress(made).found["surprisal"]
    monkeypatch.setattr(effects, "WELL", np.inf)  # none is solved as it stands
    slow = regress(made).found["surprisal"]
    for one, other in zip(fast.effects, slow.effects, strict=True):
        assert [one.low, one.high] == pytest.approx([other.low, other.high], rel=1e-7, nan_ok=True)
    for name, of in fast.class_intervals.items():
        for value, interval in of.items():
            assert interval == pytest.approx(slow.class_intervals[name][value], rel=1e-7, abs=1e-12, nan_ok=True)
    assert ("RARE" in fast.class_intervals["pos"]) == rare


def test_classes_have_intervals_that_hold_their_effects() -> None:
    """As wide as a bootstrap by hand makes them, drawing sequences, regressing twice."""
    made = frame()
    (one,) = regress(made).found.values()
    rng, draws = np.random.default_rng(7), []
    for _ in range(150):
        drawn = rng.integers(0, 100, 100)
        some = pd.concat([made[sequences() == s] for s in drawn], ignore_index=True)
        some["left"] = smf.ols("y ~ " + " + ".join(NUMBERS), some).fit().resid
        fitted = smf.ols("left ~ C(pos, Treatment('[UNMATCHED]')) + C(pos_bilu, Treatment('U'))", some).fit()
        draws.append(fitted.params["C(pos, Treatment('[UNMATCHED]'))[T.NOUN]"])
    low, high = one.class_intervals["pos"]["NOUN"]
    assert low < one.classes["pos"]["NOUN"] < high
    by_hand = np.percentile(draws, [2.5, 97.5])
    assert [low, high] == pytest.approx(by_hand, abs=0.3 * (by_hand[1] - by_hand[0]))
    assert one.class_intervals["pos"]["[UNMATCHED]"] == (0, 0)
    table = regress(made).tables["class_effects"]
    assert table.loc[("pos", "NOUN", "surprisal")].tolist() == [one.classes["pos"]["NOUN"], low, high]
    assert len(table) == 4 + 4
