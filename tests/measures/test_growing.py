"""The fit of a growing run: at its end that of the file, before it least squares on the same knots."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curvewatch.measures import LAMBDAS, smooth_curves
from curvewatch.measures.smoother.growing import OPEN_SPACING, GrowingFit
from curvewatch.measures.smoother.smoothing import Fit

from .growing_reference import CHANCE, curves_of, grown, plain_fit, schedules

SCHEDULES = schedules()
ENOUGH_SAME = 0.999
# Between choices that score alike to this part of the score, float32 may decide: some ten roundings of 6e-8 each in
# a sum of squares. How many such curves a sample holds is chance, and changes with numpy's last digits.
TIE = 1e-5


def fitted(growing: GrowingFit) -> tuple[Fit, NDArray[np.floating]]:
    """The fits of all curves, and the curves at the fitted steps."""
    fit = growing.fit(growing.solver(), slice(None))
    return fit, fit.at(growing.basis(np.log10(np.array(growing.steps, np.float64))))


@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_at_the_end_it_is_the_fit_of_the_file(name: str) -> None:
    steps = SCHEDULES[name]
    curves_TN, kinds = curves_of(steps, per_kind=150)
    fit, smoothed_TN = fitted(grown(steps, curves_TN, steps[-1]))
    wide = smooth_curves(curves_TN.astype(np.float64), steps)
    np.testing.assert_array_equal(fit.finite_N, wide.fitted_N)
    assert not fit.finite_N[np.isin(kinds, ("nan_from", "inf_once", "nan_first"))].any()
    ok_N = fit.finite_N
    same_N = LAMBDAS[fit.lambda_index_N[ok_N]] == wide.lambda_N[ok_N]
    assert same_N.mean() >= ENOUGH_SAME, kinds[ok_N][~same_N]
    np.testing.assert_allclose(smoothed_TN[:, ok_N][:, same_N], wide.curves_TN[:, ok_N][:, same_N], rtol=0, atol=1e-4)


def against_the_reference(growing: GrowingFit, curves_TN: NDArray[np.float32], spacing: float) -> None:
    x = np.log10(np.array(growing.steps, np.float64))
    fit, smoothed_TN = fitted(growing)
    ok_N = fit.finite_N & (curves_TN.min(axis=0) < curves_TN.max(axis=0))
    plain = plain_fit(x, curves_TN[:, ok_N].astype(np.float64), spacing)
    assert growing.basis.n_splines == len(plain.coefficients_KN)
    chosen_N = fit.lambda_index_N[ok_N]
    same_N = chosen_N == plain.lambda_index_N
    score_N = plain.score_LN[chosen_N, np.arange(len(chosen_N))]
    excess_N = score_N / plain.score_LN.min(axis=0) - 1.0
    assert excess_N[~same_N].max(initial=0.0) < TIE
    assert same_N.mean() >= 1.0 - 2 * (1.0 - ENOUGH_SAME)
    np.testing.assert_allclose(smoothed_TN[:, ok_N][:, same_N], plain.at(x)[:, same_N], rtol=0, atol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("name", ["paper", "linear_400", "irregular", "gaps", "log_60"])
def test_midway_it_is_least_squares_on_the_knots_of_the_whole_run(name: str, share: float) -> None:
    steps = SCHEDULES[name]
    so_far = steps[: max(3, round(share * len(steps)))]
    curves_TN, _ = curves_of(so_far, per_kind=110)
    spacing = (np.log10(steps[-1]) - np.log10(steps[0])) / 22
    against_the_reference(grown(so_far, curves_TN, steps[-1]), curves_TN, spacing)


@pytest.mark.parametrize("n", [3, 20, 100, 221])
def test_open_ended_knots_grow_with_the_run(n: int) -> None:
    steps = [int(step) for step in np.unique(np.geomspace(1, 3_000_000, 240).round())][:n]
    curves_TN, _ = curves_of(steps, per_kind=110)
    growing = grown(steps, curves_TN, None)
    against_the_reference(growing, curves_TN, OPEN_SPACING)
    if n == 221:
        assert growing.basis.n_splines > 25, "more than there were room for"


def test_training_beyond_the_planned_end_goes_on_with_the_same_knots() -> None:
    steps = [int(step) for step in np.geomspace(10, 40_000, 90).round()]
    curves_TN, _ = curves_of(steps, per_kind=110)
    growing = grown(steps, curves_TN, 10_000)
    against_the_reference(growing, curves_TN, 3 / 22)
    assert growing.basis.n_splines > 25


@pytest.mark.parametrize("n_tokens", [1, 7, 4096 * 4 + 5])
def test_each_curve_is_fitted_by_itself(n_tokens: int) -> None:
    """The blocks in which an observation is taken in do not show."""
    steps = SCHEDULES["log_26"]
    curves_TN = np.random.default_rng(0).uniform(0, 16, (26, n_tokens)).astype(np.float32)
    curves_TN[3, -1] = np.nan
    _, smoothed_TN = fitted(grown(steps, curves_TN, steps[-1]))
    tokens = sorted({0, n_tokens // 2, n_tokens - 1})
    _, few_TN = fitted(grown(steps, curves_TN[:, tokens], steps[-1]))
    np.testing.assert_allclose(few_TN, smoothed_TN[:, tokens], rtol=0, atol=2e-5)


def test_a_constant_is_fitted_as_one() -> None:
    steps = SCHEDULES["paper"]
    levels = np.array([0.0, 3.3, CHANCE / 2, CHANCE, 20.0], np.float32)
    fit, smoothed_TN = fitted(grown(steps, np.tile(levels, (len(steps), 1)), steps[-1]))
    assert (fit.lambda_index_N == len(LAMBDAS) - 1).all(), "as in the file"
    np.testing.assert_allclose(smoothed_TN, np.tile(levels, (len(steps), 1)), rtol=0, atol=1e-5)


def test_too_few_observations() -> None:
    growing = grown([10, 20], np.ones((2, 4), np.float32), 100)
    assert not growing.can_fit
    with pytest.raises(ValueError, match="2 observations after step 0"):
        growing.solver()


def test_step_0_is_no_part_of_it() -> None:
    growing = GrowingFit(3, last_step=10)
    growing.update(0, np.full(3, np.nan, np.float32))
    assert growing.steps == []
    assert growing.finite_N.all()
