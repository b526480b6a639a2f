"""The smoother and what rests on it, held against pyGAM itself and the released code's loops.

With 35 or more fitted steps pyGAM is well behaved and the default equals it; below, `paper=True` reproduces it.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from curvewatch.measures import measure_curves, smooth_curves

from .reference import CHANCE, KINDS, SCHEDULES, reference, steps_of

PER_KIND = {5: 2, 12: 4, 24: 4, 25: 2, 26: 4, 30: 4, 40: 8, 221: 12}
FIT_TOLERANCE = {"float64": 1e-8, "float32": 5e-5}
SUM_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}


def roads(n_fitted: int) -> list[tuple[str, bool]]:
    return [("float64", True), ("float64", False), ("float32", False)] if n_fitted >= 35 else [("float64", True)]


CASES = [(t, dtype, paper) for t in SCHEDULES for dtype, paper in roads(t)]


@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
@pytest.mark.parametrize(("n_fitted", "dtype", "paper"), CASES)
class TestParity:
    def test_smoothed_curves_equal_pygam(self, n_fitted: int, dtype: str, paper: bool) -> None:
        ref = reference(n_fitted, PER_KIND[n_fitted])
        smoothed = smooth_curves(ref.curves_TN, ref.steps, paper=paper, dtype=dtype)
        np.testing.assert_allclose(smoothed.lambda_N, ref.lam_N, rtol=1e-12)
        np.testing.assert_allclose(smoothed.curves_TN, ref.fit_TN, rtol=0, atol=FIT_TOLERANCE[dtype])
        between = smoothed.at(10.0 ** ref.x_G[1:-1])
        # Between steps pyGAM's ridge shows a little more, and the steps here go through log10 and back.
        np.testing.assert_allclose(between, ref.grid_GN[1:-1], rtol=0, atol=10 * FIT_TOLERANCE[dtype])

    def test_measures_equal_the_released_code(self, n_fitted: int, dtype: str, paper: bool) -> None:
        ref = reference(n_fitted, PER_KIND[n_fitted])
        table = measure_curves(
            ref.curves_TN, ref.steps, chance=CHANCE, max_steps=int(ref.steps[-1]), paper=paper, dtype=dtype
        )
        np.testing.assert_allclose(table["smoothing_lambda"], ref.lam_N, rtol=1e-12)
        never = table["acquisition_status"] == "never"
        ages = np.array(ref.released_aoa())
        np.testing.assert_array_equal(never, ref.grid_GN.min(axis=0) >= CHANCE)
        expected = ages if paper else np.where(never, np.nan, ages)
        np.testing.assert_array_equal(table["age_of_acquisition"], expected)  # the same grid point, to the last bit
        np.testing.assert_array_equal(table["acquisition_status"] == "left_censored", ages == ref.x_G[0])
        np.testing.assert_allclose(
            table["forgettability"], ref.released_forgettability(), rtol=0, atol=SUM_TOLERANCE[dtype]
        )
        np.testing.assert_allclose(
            table["min_surprisal"], ref.grid_GN.min(axis=0), rtol=0, atol=10 * FIT_TOLERANCE[dtype]
        )


def test_the_kinds_have_power() -> None:
    """Every status and many smoothing parameters occur among the reference curves."""
    ref = reference(221, PER_KIND[221])
    ages = np.array(ref.released_aoa())
    assert (ages == ref.x_G[-1]).any()
    assert (ages == ref.x_G[0]).any()
    assert ((ages > ref.x_G[0]) & (ages < ref.x_G[-1])).sum() >= len(KINDS)
    assert len(set(ref.lam_N)) >= 5
    assert max(ref.released_forgettability()) > 1


@pytest.mark.parametrize("level", [0.0, 5.0, CHANCE])
def test_constants_equal_pygam_where_the_paper_is_asked_for(level: float) -> None:
    """Even there: a constant at chance is below it by the ridge's pull, and of equal scores the first wins."""
    from pygam import LinearGAM

    steps = steps_of(40)
    x = np.log10(steps[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gam = LinearGAM(n_splines=25)
        gam.gridsearch(x.reshape(-1, 1), np.full(40, level), lam=np.logspace(-3, 3, 11), progress=False)
        table = measure_curves(np.full((41, 1), level), steps, chance=CHANCE, paper=True)
    assert np.isclose(table["smoothing_lambda"][0], np.ravel(gam.lam)[0])
    assert table["age_of_acquisition"][0] == x[0]
    assert np.isclose(table["min_surprisal"][0], gam.predict(np.linspace(x[0], x[-1], 1000)).min(), rtol=0, atol=1e-9)
