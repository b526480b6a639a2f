"""The sigmoid search against scipy's, and the paper's option against the released procedure written out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from curvewatch.measures import sigmoid_acquisition
from curvewatch.measures.sigmoids.least_squares import sigmoid

from .reference import CHANCE, make_curve, steps_of

Float64 = NDArray[np.float64]


def rising(x: Float64, start: float, end: float, xmid: float, scale: float) -> Float64:
    return start + (end - start) / (1 + np.exp((xmid - x) / scale))


def curves_of(kind: str, n_fitted: int, n: int = 8) -> tuple[NDArray[np.int64], Float64]:
    rng = np.random.default_rng(5)
    steps = steps_of(n_fitted)
    x = np.log10(steps[1:])
    fitted = np.stack([make_curve(kind, x, rng) for _ in range(n)], axis=1)
    return steps, np.concatenate([np.full((1, n), CHANCE), fitted])


def scipy_fit(x: Float64, y: Float64) -> Float64:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found: Float64 = curve_fit(rising, x, -y, p0=[(-y).min(), (-y).max(), x.mean(), 1.0], maxfev=10**6)[0]
    return found


@pytest.mark.parametrize("n_fitted", [40, 221])
@pytest.mark.parametrize("kind", ["monotone", "plateau", "u_shaped", "spiky", "noisy", "late", "straight"])
def test_leaves_no_more_than_scipy(kind: str, n_fitted: int) -> None:
    steps, curves = curves_of(kind, n_fitted)
    x = np.log10(steps[1:])
    found = sigmoid_acquisition(curves, steps, chance=CHANCE)
    ours = np.square(sigmoid(x, found.parameters_PN) - curves[1:]).sum(axis=0)
    agreeing = 0
    for i in range(curves.shape[1]):
        theirs = scipy_fit(x, curves[1:, i])
        cost = np.square(rising(x, *theirs) + curves[1:, i]).sum()
        assert ours[i] <= cost * 1.005 + 1e-12
        if found.status_N[i] == "learned" and ours[i] > 0.999 * cost:  # the same valley
            start, end, xmid, scale = theirs
            threshold = -(CHANCE + curves[1:, i].min()) / 2
            crossing = xmid - scale * np.log((end - start) / (threshold - start) - 1)
            assert abs(crossing - found.age_N[i]) < 5e-3
            agreeing += 1
    assert agreeing >= 4 or kind in ("plateau", "u_shaped")


def test_recovers_a_sigmoid_exactly() -> None:
    steps = steps_of(60)
    x = np.log10(steps[1:])
    curve = 15.0 - 11.0 / (1 + np.exp((3.7 - x) / 0.2))
    found = sigmoid_acquisition(np.concatenate([[15.0], curve])[:, None], steps, chance=15.0)
    np.testing.assert_allclose(found.parameters_PN[:, 0], [15, 4, 3.7, 0.2], rtol=1e-5)
    threshold = (15.0 + curve.min()) / 2
    assert np.isclose(found.age_N[0], 3.7 - 0.2 * np.log(11 / (15 - threshold) - 1), atol=1e-6)
    assert found.converged_N[0]
    assert found.status_N[0] == "learned"


def test_statuses_and_holes() -> None:
    steps = steps_of(60)
    u = np.linspace(0, 1, 60)
    falling = 14 - 9 / (1 + np.exp(-(u - 0.5) * 20))
    early = 5 - u
    above = 18 - u
    curves = np.stack([falling, early, above, falling, np.full(60, 7.0), np.full(60, CHANCE)], axis=1)
    curves[10, 3] = np.nan
    found = sigmoid_acquisition(curves, steps[1:], chance=CHANCE)
    assert found.status_N.tolist() == ["learned", "left_censored", "never", "unfitted", "left_censored", "never"]
    np.testing.assert_array_equal(np.isnan(found.age_N), [False, False, True, True, False, True])
    assert np.isnan(found.parameters_PN[:, 3]).all()
    split = sigmoid_acquisition(curves, steps[1:], chance=CHANCE, block_tokens=2)
    np.testing.assert_allclose(split.age_N, found.age_N, rtol=1e-9)


def released(x: Float64, y: Float64) -> float:
    """The released procedure for one curve, on the negative, with its ends of training for want of a crossing."""
    start, end, xmid, scale = scipy_fit(x, y)
    low, high = -CHANCE, float((-y).max())
    threshold = 0.5 * low + 0.5 * high
    if max(start, end) <= threshold or low >= high or (end - start) * scale < 0:
        return float(x[-1])
    if min(start, end) >= threshold:
        return float(x[0])
    crossing = xmid - scale * np.log((end - start) / (threshold - start) - 1)
    return float(min(max(crossing, x[0]), x[-1]))


@pytest.mark.parametrize("kind", ["monotone", "u_shaped", "noisy", "flat", "never_learned", "late"])
def test_paper_gives_the_released_value_in_every_case(kind: str) -> None:
    steps, curves = curves_of(kind, 40, n=5)
    x = np.log10(steps[1:])
    found = sigmoid_acquisition(curves, steps, chance=CHANCE, paper=True)
    # curve_fit stops at 1e-8 of the sum of squares, so the last bit of a sum shows in the sixth digit of some ages.
    np.testing.assert_allclose(found.age_N, [released(x, y) for y in curves[1:].T], rtol=1e-4)
    assert not np.isnan(found.age_N).any()
    if kind == "never_learned":
        assert (found.age_N == x[-1]).all()
        assert (found.status_N == "never").all()
