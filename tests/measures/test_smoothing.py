"""The smoother against pyGAM's basis and against penalised least squares written out plainly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curvewatch.measures import LAMBDAS, MeasureWarning, Smoother, measure_curves, smooth_curves
from curvewatch.measures.smoother.splines import SplineBasis, roughness_penalty

from .reference import CHANCE, KINDS, make_curve, steps_of

RIDGE = np.sqrt(np.finfo(float).eps)


def block(n_fitted: int, per_kind: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps with step 0, and curves of every kind; float32-representable."""
    rng = np.random.default_rng(seed)
    steps = steps_of(n_fitted)
    x = np.log10(steps[1:])
    curves = np.stack([make_curve(kind, x, rng) for kind in KINDS for _ in range(per_kind)], axis=1)
    return steps, np.concatenate([np.full((1, curves.shape[1]), CHANCE), curves]).astype(np.float32).astype(np.float64)


def plain_fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Penalised splines with intercept by one stacked least-squares problem a parameter; GCV over admissible ones."""
    basis = SplineBasis(x[0], x[-1])(x)
    model = np.column_stack([basis, np.ones(len(x))])
    differences = np.column_stack([np.diff(np.eye(25), n=2, axis=0), np.zeros(23)])
    best: tuple[float, float, NDArray[np.float64]] | None = None
    for lam in LAMBDAS:
        stacked = np.vstack([model, np.sqrt(lam) * differences, np.sqrt(RIDGE) * np.eye(26)])
        q, _ = np.linalg.qr(stacked)
        top = q[: len(x)]
        hat = top @ top.T
        fit = hat @ y
        freedom = len(x) - 1.4 * np.trace(hat)
        if freedom <= 0 and lam != LAMBDAS[-1]:
            continue
        score = len(x) * np.sum((y - fit) ** 2) / freedom**2
        if best is None or score < best[0]:
            best = (score, lam, fit)
    assert best is not None
    return best[1], best[2]


@pytest.mark.parametrize("n_fitted", [3, 4, 5, 8, 12, 24, 25, 26, 30, 34, 35, 40])
def test_fit_is_penalised_least_squares_whatever_the_number_of_steps(n_fitted: int) -> None:
    steps, curves = block(n_fitted, 2, seed=n_fitted)
    x = np.log10(steps[1:])
    smoother = Smoother(x)
    fit = smoother.fit(curves[1:])
    smoothed = fit.at(smoother.basis_TK)
    for i in range(curves.shape[1]):
        lam, plain = plain_fit(x, curves[1:, i])
        assert LAMBDAS[fit.lambda_index_N[i]] == lam
        np.testing.assert_allclose(smoothed[:, i], plain, rtol=0, atol=2e-8)


def test_basis_equals_pygam() -> None:
    from pygam.utils import b_spline_basis

    x = np.log10(steps_of(221)[1:])
    points = np.linspace(x[0], x[-1], 997)
    theirs = b_spline_basis(points, x[[0, -1]], n_splines=25, sparse=False, periodic=False, verbose=False)
    np.testing.assert_allclose(SplineBasis(x[0], x[-1])(points), theirs, rtol=0, atol=1e-13)
    assert np.allclose(SplineBasis(x[0], x[-1])(points).sum(axis=1), 1, atol=1e-8)


def test_penalty_is_the_sum_of_squared_second_differences(rng: np.random.Generator) -> None:
    c = rng.normal(size=25)
    plain = sum((c[i] - 2 * c[i + 1] + c[i + 2]) ** 2 for i in range(23))
    assert np.isclose(c @ roughness_penalty() @ c, plain, rtol=1e-12)


@pytest.mark.parametrize("n_fitted", [12, 24, 30])
def test_few_steps_admit_only_smooth_fits_and_warn(n_fitted: int) -> None:
    steps, curves = block(n_fitted, 1, seed=1)
    smoother = Smoother(np.log10(steps[1:]))
    admissible = smoother.admissible_L
    assert not admissible[0]
    assert admissible[-1]
    assert (np.diff(admissible.astype(int)) >= 0).all()  # the smoother end of the grid
    with pytest.warns(MeasureWarning, match=f"Only {n_fitted} scored steps"):
        smoothed = smooth_curves(curves, steps)
    assert set(smoothed.lambda_N) <= set(LAMBDAS[admissible])
    with pytest.warns(MeasureWarning):
        paper = smooth_curves(curves, steps, paper=True)
    assert not np.allclose(paper.curves_TN, smoothed.curves_TN, atol=1e-3)  # what the option is for


def test_many_steps_admit_everything_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    steps, curves = block(40, 1, seed=1)
    smooth_curves(curves, steps)
    assert not recwarn.list
    assert Smoother(np.log10(steps[1:])).admissible_L.all()


def on_the_edge(
    low: NDArray[np.float64], high: NDArray[np.float64], decide: Callable[[NDArray[np.float64]], NDArray[Any]]
) -> NDArray[np.float32]:
    """Curves between two sets of curves, where what is decided about them turns: within float32 rounding of it."""
    first, last = decide(low), decide(high)
    turns = first != last
    low, high, first = low[:, turns], high[:, turns], first[turns]
    for _ in range(60):
        middle = (low + high) / 2
        same = decide(middle) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return low.astype(np.float32)


@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
@pytest.mark.parametrize("n_fitted", [40, 221])
@pytest.mark.parametrize("name", ["smoothing_lambda", "age_of_acquisition"])
def test_float32_decides_as_float64_even_on_the_edge(name: str, n_fitted: int) -> None:
    steps, curves = block(n_fitted, 100, seed=3)

    def decide(of_curves: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.nan_to_num(measure_curves(of_curves, steps, chance=CHANCE, dtype="float64")[name])

    other = curves[:, ::-1] if name == "smoothing_lambda" else curves + 0.1
    edge = on_the_edge(curves, other, decide)
    assert edge.shape[1] > 200
    wide = measure_curves(edge, steps, chance=CHANCE, dtype="float64")
    narrow = measure_curves(edge, steps, chance=CHANCE, dtype="float32")
    assert (wide.info.precision, narrow.info.precision) == ("float64", "float32")
    for column in ("smoothing_lambda", "age_of_acquisition", "acquisition_status"):
        np.testing.assert_array_equal(narrow[column], wide[column], err_msg=column)
    np.testing.assert_allclose(narrow["forgettability"], wide["forgettability"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(narrow["min_surprisal"], wide["min_surprisal"], rtol=0, atol=5e-5)
    fits = [smooth_curves(edge, steps, dtype=road).curves_TN for road in ("float32", "float64")]
    np.testing.assert_allclose(*fits, rtol=0, atol=5e-5)


@settings(deadline=None, max_examples=30)
@given(shift=st.floats(-20, 20), seed=st.integers(0, 1000), n_fitted=st.sampled_from([5, 12, 40, 60]))
@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
def test_a_constant_added_to_a_curve_is_added_to_its_fit(shift: float, seed: int, n_fitted: int) -> None:
    steps, curves = block(n_fitted, 1, seed)
    before, after = smooth_curves(curves, steps), smooth_curves(curves + shift, steps)
    np.testing.assert_array_equal(before.lambda_N, after.lambda_N)
    np.testing.assert_allclose(
        before.curves_TN + shift, after.curves_TN, rtol=0, atol=3e-7
    )  # pyGAM's ridge on the mean


def test_curves_are_evaluated_inside_only() -> None:
    steps, curves = block(40, 1, seed=0)
    smoothed = smooth_curves(curves, steps)
    np.testing.assert_array_equal(smoothed.steps_T, steps[1:])
    np.testing.assert_allclose(smoothed.at(steps[1:]), smoothed.curves_TN)
    np.testing.assert_allclose(smoothed.at(150.5, slice(2, 4)), smoothed.at([150.5])[:, 2:4])
    for outside in (0, steps[1] - 1, steps[-1] + 1):
        with pytest.raises(ValueError, match="Ask inside that range"):
            smoothed.at([outside])
    with pytest.raises(ValueError, match="Evaluate inside"):
        SplineBasis(2.0, 5.0)([5.1])
