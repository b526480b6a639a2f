"""What figures and report show, against formulas written out plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curvewatch import open_run
from curvewatch.analysis import moment as moment_room
from curvewatch.analysis import summary as summary_room
from curvewatch.analysis.compare import compare, run_names
from curvewatch.analysis.findings import CORRELATED, gather_findings, mean_known
from curvewatch.analysis.moment import Moment, gather
from curvewatch.analysis.report import pack
from curvewatch.analysis.report.payload import STEPS_ON_PAGE, thinned
from curvewatch.analysis.summary import QUANTILES, summarise
from tests.analysis.synthetic import write_run


def test_summary_leaves_out_what_is_not_finite_and_reads_in_blocks(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(made / "run1.h5")
    monkeypatch.setattr(summary_room, "BLOCK_VALUES", 300 * 7)
    found = summarise(Moment.now(run))
    for t in range(len(run)):
        y = np.asarray(run.surprisal[t], np.float64)
        y = y[np.isfinite(y)]
        assert found.nonfinite_T[t] == 300 - len(y)
        assert found.mean_T[t] == pytest.approx(y.mean(), abs=1e-6)
        np.testing.assert_allclose(found.quantiles_QT[:, t], np.quantile(y, QUANTILES), atol=1e-5)
        assert found.accuracy_T[t] == pytest.approx(run.correct[t].mean())
    assert found.nonfinite_T[-1] == 1


def test_the_dataset_map_and_the_correlations(made: Path) -> None:
    run = open_run(made / "run2.h5")
    one = gather_findings([run]).runs[0]
    rows = run.steps > 0.75 * run.max_steps
    p = np.exp2(-run.surprisal[:].astype(float)[rows])
    np.testing.assert_allclose(one.confidence_N, p.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(one.unsteadiness_N, p.std(axis=0), atol=1e-7)
    frame = run.to_pandas()[list(CORRELATED)].copy()
    frame.loc[run.measures()["acquisition_status"] != "learned", "age_of_acquisition"] = np.nan
    np.testing.assert_allclose(one.correlation_MM, frame.corr().to_numpy(), atol=1e-10)


def test_the_acquisition_curve_counts_tokens(made: Path) -> None:
    one = gather_findings([open_run(made / "run1.h5")]).runs[0]
    x, share = one.acquired_share()
    status, age = one.measures["acquisition_status"], one.measures["age_of_acquisition"]
    for at in (0, 50, 120, 199):
        expected = np.mean(np.isin(status, ("learned", "left_censored")) & (age <= x[at] + 1e-12))
        assert share[at] == expected


def test_compare_is_the_plain_formula(made: Path) -> None:
    runs = [open_run(made / f"run{i}.h5") for i in (2, 3)]
    found = compare(runs)
    a, b = (run.measures()["final_surprisal"] for run in runs)
    row = {name: r for name, r, *_ in found.correlations()}
    assert row["final_surprisal"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    y = [run.surprisal[:].astype(float) for run in runs]
    expected = [np.corrcoef(y[0][t], y[1][t])[0, 1] for t in range(60)]
    np.testing.assert_allclose(found.step_correlation(), expected, atol=1e-5)
    smooth = [np.stack([run.curve(i).smoothed_T[1:] for i in range(5)], axis=1) for run in runs]
    np.testing.assert_allclose(found.cross.variability_N[:5], ((smooth[0] - smooth[1]) ** 2).mean(axis=0), atol=1e-4)


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    runs = []
    for name in ("a/curves.h5", "b/curves.h5"):
        (tmp_path / name).parent.mkdir()
        runs.append(open_run(write_run(tmp_path / name, 3, 10)))
    assert run_names(runs) == ("a/curves", "b/curves")
    assert run_names(runs[:1]) == ("curves",)


def test_gather_in_small_blocks(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(made / "run2.h5")
    monkeypatch.setattr(moment_room, "BLOCK_VALUES", 1)
    tokens = np.array([299, 0, 5])
    assert np.array_equal(gather(run.surprisal, tokens), run.surprisal[:][:, tokens])


def test_packed_curves_are_within_half_a_grain() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-5, 40, (7, 33))
    values[2, 5], values[3, :] = np.nan, np.inf
    packed = pack.curves(values)
    low, high = np.frombuffer(packed["data"], np.uint8).reshape(2, 7, 33).astype(int)
    whole = np.cumsum(low + 256 * high, axis=1) % 65_536
    back = np.where(whole == pack.MISSING, np.nan, (whole - pack.OFFSET) * pack.GRAIN)
    finite = np.isfinite(values)
    assert np.array_equal(np.isfinite(back), finite)
    assert np.abs(back - values)[finite].max() <= 0.5 * pack.GRAIN + 1e-9


def test_thinning_keeps_first_and_last() -> None:
    steps = np.arange(0, 100_000, 10)
    rows = thinned(steps)
    assert rows[0] == 0
    assert rows[-1] == len(steps) - 1
    assert len(rows) <= STEPS_ON_PAGE
    assert np.array_equal(thinned(steps[:50]), np.arange(50))


def test_mean_of_what_is_known() -> None:
    assert mean_known([np.array([1.0, np.nan, np.nan]), np.array([3.0, 4.0, np.nan])]).tolist()[:2] == [2.0, 4.0]
