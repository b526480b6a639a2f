"""Comparison of runs against pairs, means and numpy's correlation written out."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curvewatch.measures import MeasureWarning, RunCurves, cross_run, measure_curves, smooth_curves
from curvewatch.measures.correlation import PairwiseCorrelation

from .reference import CHANCE, steps_of
from .test_smoothing import block

pytestmark = pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")


def three_runs(per_kind: int = 4, **changes: Any) -> list[RunCurves]:
    """Runs on the same tokens: the same kind of curve each, partly the same course."""
    steps, shared = block(40, per_kind, seed=0)
    runs = []
    for seed in (1, 2, 3):
        curves = 0.6 * shared + 0.4 * block(40, per_kind, seed)[1]
        runs.append(RunCurves(curves, steps, CHANCE, correct=curves < 9, **changes))
    return runs


def plain_variability(fits: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.mean([np.mean((a - b) ** 2, axis=0) for a, b in combinations(fits, 2)], axis=0)


@pytest.mark.parametrize("width", [None, 7])
def test_variability_is_the_mean_squared_difference_over_pairs(width: int | None) -> None:
    runs = three_runs()
    found = cross_run(runs, keep_pairs=True, block_tokens=width)
    fits = [smooth_curves(run.surprisal, run.steps).curves_TN for run in runs]
    np.testing.assert_allclose(found.variability_N, plain_variability(fits), rtol=1e-9)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.pair_variability_PN is not None
    np.testing.assert_allclose(found.pair_variability_PN[1], np.mean((fits[0] - fits[2]) ** 2, axis=0), rtol=1e-9)
    assert found.same_schedule
    assert (found.variability_N > 0.1).any()


@pytest.mark.parametrize("width", [None, 7])
def test_correlations_are_numpys(width: int | None) -> None:
    runs = three_runs()
    found = cross_run(runs, block_tokens=width)
    raw = np.stack([run.surprisal for run in runs])
    assert found.step_correlation_SRR.shape == (41, 3, 3)
    assert np.isnan(found.step_correlation_SRR[0]).all()  # all at chance: nothing varies
    for s in range(1, 41):
        np.testing.assert_allclose(found.step_correlation_SRR[s], np.corrcoef(raw[:, s]), atol=1e-10)
    tables = [measure_curves(run.surprisal, run.steps, chance=CHANCE, correct=run.correct) for run in runs]
    for name in ("final_surprisal", "within_run_variability", "forgettability", "min_surprisal"):
        plain = np.corrcoef([table[name] for table in tables])
        np.testing.assert_allclose(found.measure_correlation[name], plain, atol=1e-9, err_msg=name)
    ages = [np.where(t["acquisition_status"] == "learned", t["age_of_acquisition"], np.nan) for t in tables]
    both = np.isfinite(ages[0]) & np.isfinite(ages[2])
    assert 0 < both.sum() < both.size
    plain_r = np.corrcoef(ages[0][both], ages[2][both])[0, 1]
    assert np.isclose(found.measure_correlation["age_of_acquisition"][0, 2], plain_r, atol=1e-9)
    assert found.measure_count["age_of_acquisition"][0, 2] == both.sum()
    first = [table["first_learned_step"] for table in tables]
    both = np.isfinite(first[0]) & np.isfinite(first[1])
    assert found.measure_count["first_learned_step"][0, 1] == both.sum() < both.size


def test_paper_correlates_ages_with_their_sentinels() -> None:
    runs = three_runs()
    found = cross_run(runs, paper=True)
    ages = [measure_curves(r.surprisal, r.steps, chance=CHANCE, paper=True)["age_of_acquisition"] for r in runs]
    np.testing.assert_allclose(found.measure_correlation["age_of_acquisition"], np.corrcoef(ages), atol=1e-9)


def test_different_schedules_are_compared_where_they_meet_and_it_is_said() -> None:
    steps, curves = block(60, 3, seed=0)
    other = np.sort(np.r_[1:61:3, 0])  # every third row, and step 0
    runs = [RunCurves(curves, steps, CHANCE), RunCurves(curves[other] + 1, steps[other], CHANCE)]
    with pytest.warns(MeasureWarning, match="scored at different steps"):
        found = cross_run(runs)
    assert not found.same_schedule
    np.testing.assert_array_equal(found.steps_S, steps[other])
    assert any("forgettability" in note for note in found.notes)
    for name in ("forgettability", "forgetting_events_threshold", "forgetting_events_top1"):
        assert np.isnan(found.measure_correlation[name]).all()
        assert (found.measure_count[name] == 0).all()
    assert not np.isnan(found.measure_correlation["final_surprisal"]).any()
    fits = [smooth_curves(run.surprisal, run.steps).at(steps[other][1:]) for run in runs]
    np.testing.assert_allclose(found.variability_N, plain_variability(fits), rtol=1e-9)


def test_a_token_unfitted_in_one_run_has_no_variability_and_harms_no_other() -> None:
    runs = three_runs()
    whole = cross_run(runs)
    holed = np.array(runs[1].surprisal)
    holed[5, 2] = np.nan
    found = cross_run([runs[0], RunCurves(holed, runs[1].steps, CHANCE, correct=runs[1].correct), runs[2]])
    assert np.flatnonzero(np.isnan(found.variability_N)).tolist() == [2]
    others = np.arange(found.variability_N.size) != 2
    np.testing.assert_allclose(found.variability_N[others], whole.variability_N[others], rtol=1e-12)
    assert found.measure_count["forgettability"][0, 1] == others.sum()
    raw = [np.array(run.surprisal)[5][others] for run in runs]
    assert np.isclose(found.step_correlation_SRR[5][0, 1], np.corrcoef(raw[0], raw[1])[0, 1], atol=1e-10)
    assert found.step_correlation_SRR[5][0, 2] == pytest.approx(whole.step_correlation_SRR[5][0, 2])


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 10])
def test_few_observations_are_a_partial_result(n_steps: int) -> None:
    steps = steps_of(40)[:n_steps]
    runs = [RunCurves(np.linspace(12, 3 + i, 5 * n_steps).reshape(n_steps, 5), steps, CHANCE) for i in range(2)]
    found = cross_run(runs)
    assert found.notes
    assert found.step_correlation_SRR.shape == (n_steps, 2, 2)
    assert np.isnan(found.variability_N).all() == (n_steps < 4)  # three steps after step 0


def test_wrong_input_is_refused() -> None:
    runs = three_runs()
    with pytest.raises(ValueError, match="at least two"):
        cross_run(runs[:1])
    short = RunCurves(np.array(runs[0].surprisal)[:, :5], runs[0].steps, CHANCE)
    with pytest.raises(ValueError, match=r"\[36, 5\] tokens. Only runs on the same token set"):
        cross_run([runs[0], short])


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    offset=st.sampled_from([0.0, 1e6]),
    cut=st.integers(1, 49),
    holes=st.floats(0, 0.3),
)
def test_streamed_correlation_is_the_whole_one(seed: int, offset: float, cut: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    values = offset + rng.normal(size=(2, 3, 50)) + rng.normal(size=(2, 1, 50))
    values[rng.random(values.shape) < holes] = np.nan
    sums = PairwiseCorrelation(2, 3)
    sums.update(values[:, :, :cut])
    sums.update(values[:, :, cut:])
    r = sums.result()
    for k in range(2):
        for i, j in combinations(range(3), 2):
            both = np.isfinite(values[k, i]) & np.isfinite(values[k, j])
            assert sums.count_KRR[k, i, j] == both.sum()
            plain = np.corrcoef(values[k, i, both], values[k, j, both])[0, 1]
            assert np.isclose(r[k, i, j], plain, atol=1e-8)
            assert r[k, i, j] == pytest.approx(r[k, j, i])
