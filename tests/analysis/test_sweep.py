"""The context sweep: each kind of context beside statsmodels, and through files and commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from typer.testing import CliRunner

from curvewatch import TokenSet, TokenSetMismatchError, open_run
from curvewatch.analysis.predict import predict
from curvewatch.analysis.predict.predictors import Predictors
from curvewatch.analysis.predict.sweep import ORDERS, WAYS, WINDOWS, context_sweep, contexts_of, table_of_sweep
from curvewatch.analysis.predict.targets import Targets
from curvewatch.cli.app import app
from curvewatch.corpus import count_ngrams, every_position
from curvewatch.corpus.context import context_log_probability
from tests.analysis.test_predict import NUMBERS, V, corpus, frame, runs, the_set

__all__ = ["runs"]  # the fixture


def test_each_is_that_of_statsmodels() -> None:
    made = frame()
    rng = np.random.default_rng(3)
    contexts = {(n, w): rng.normal(-8, 2, len(made)) + 0.02 * made["unigram"] for n in (1, 2) for w in (2, 4)}
    predictors = Predictors({name: made[name].to_numpy() for name in NUMBERS}, {"pos": made["pos"].to_numpy(str)})
    targets = Targets({"surprisal": made["y"].to_numpy(), "aoa": -made["y"].to_numpy()}, {}, 1, ())
    told: list[tuple[int, int]] = []
    found = context_sweep(predictors, targets, contexts, progress=lambda done, of: told.append((done, of)))
    assert len(found) == told[-1][0] == told[-1][1] == 8
    made["left"] = smf.ols("y ~ unigram", made).fit().resid
    others = " + ".join(name for name in NUMBERS if name != "context_logprob")
    for one in found:
        sign = 1 if one.target == "surprisal" else -1
        made["context"] = contexts[one.order, one.window]
        alone = smf.ols("y ~ context", made).fit()
        full = smf.ols(f"y ~ {others} + pos + context", made).fit()
        beyond = smf.ols("left ~ context", made).fit()
        assert one.adjusted_r2 == pytest.approx(alone.rsquared_adj, rel=1e-6)
        slopes = [sign * fitted.params["context"] for fitted in (full, alone, beyond)]
        assert list(one.slopes.values()) == pytest.approx(slopes, rel=1e-6)
        assert one.signed_r2 == pytest.approx(alone.rsquared_adj * (-1 if slopes[1] < 0 else 1), rel=1e-6)
        wrong = [way for way, slope in zip(WAYS, slopes, strict=True) if (slope >= 0) != (one.target == "surprisal")]
        assert list(one.unexpected) == wrong
    # What goes up with surprisal as expected goes up with age as not expected.
    assert {one.unexpected for one in found if one.target == "surprisal"} == {
        one.unexpected for one in found if one.target == "aoa"
    }


def test_contexts_of_every_order_and_window() -> None:
    tokens, every = the_set(), every_position(the_set())
    assert len(every) == len(every.ids) - every.n_sequences
    rows = [every.sequence(s).tolist() for s in range(every.n_sequences)]
    assert every.hash == TokenSet.from_sequences(rows, vocab_size=V).hash
    ngrams, of_all = count_ngrams(corpus(), tokens), count_ngrams(corpus(), every)
    found = contexts_of(tokens, ngrams, of_all)
    assert sorted(found) == sorted((n, w) for n in ORDERS for w in WINDOWS if w >= n)
    place = {(s, p): i for i, (s, p) in enumerate(zip(every.sequence_index, every.position, strict=True))}
    mine = [place[s, p] for s, p in zip(tokens.sequence_index, tokens.position, strict=True)]
    for order, window in ((1, 4), (2, 2), (3, 8), (5, 128)):
        of_every = context_log_probability(every, of_all, order=order, window=window)
        assert found[order, window] == pytest.approx(of_every[mine], rel=1e-6)
    assert set(contexts_of(tokens, ngrams)) == {(1, window) for window in WINDOWS}
    with pytest.raises(TokenSetMismatchError, match="sweep_ngrams"):
        contexts_of(tokens, ngrams, ngrams)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    tokens = the_set()
    np.save(tmp_path / "corpus.npy", np.array(corpus()))
    count_ngrams(corpus(), tokens).save(tmp_path / "ngrams.npz")
    counted = CliRunner().invoke(
        app, ["ngrams", "-c", str(tmp_path / "corpus.npy"), "--run", str(runs[0]), "--every-position",
              "-o", str(tmp_path / "every.npz")],
    )  # fmt: skip
    assert counted.exit_code == 0, counted.output
    command = ["predict", *map(str, runs), "--ngrams", str(tmp_path / "ngrams.npz")]
    done = CliRunner().invoke(
        app, [*command, "--sweep-ngrams", str(tmp_path / "every.npz"), "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "by order and window" in done.output
    table = pd.read_csv(tmp_path / "out/context_sweep.csv", keep_default_na=False)
    assert len(table) == 5 * sum(w >= n for n in ORDERS for w in WINDOWS)
    opened = [open_run(path) for path in runs]
    found = predict(opened, count_ngrams(corpus(), tokens), sweep=True)
    assert table_of_sweep(found.sweep).index.get_level_values("order").unique().tolist() == [1]
    first = table[table["order"] == 1].set_index(["target", "order", "window"])["signed_r2"]
    assert first.tolist() == pytest.approx(table_of_sweep(found.sweep)["signed_r2"].tolist())
    assert "context_sweep" not in predict(opened, count_ngrams(corpus(), tokens)).tables
    wrong = CliRunner().invoke(app, [*command, "--sweep-ngrams", str(tmp_path / "ngrams.npz")])
    assert wrong.exit_code == 1
