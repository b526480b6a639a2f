"""Classes exact to their papers' definitions, token by token, and a spectrum of times that were put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from curvewatch.measures.kinds import RHO1, TRENDS, learning_time_spectrum, rho1_classes, trend_classes
from curvewatch.measures.sigmoids.least_squares import sigmoid

STEPS = np.array([0, 1, 2, 5, 10, 20, 50, 100, 200])


def curves(n: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    slope = rng.normal(0, 0.15, n)
    return np.abs(rng.uniform(0, 9, n) + slope * np.arange(len(STEPS))[:, None] + rng.normal(0, 0.3, (len(STEPS), n)))


@pytest.mark.parametrize("axis", ["row", "step", "log_step"])
def test_rho1_token_by_token(axis: str) -> None:
    bits = curves()
    found = rho1_classes(bits, STEPS, axis=axis)
    x = {"row": np.arange(9.0), "step": STEPS.astype(float), "log_step": np.log10(STEPS[1:])}[axis]
    nats = bits[len(STEPS) - len(x) :] * np.log(2)
    mean = nats[-1].mean()
    for i in range(bits.shape[1]):
        line = stats.linregress(x, nats[:, i])
        change = line.slope * (x[-1] - x[0])
        assert found.change_N[i] == pytest.approx(change, abs=1e-9)
        expected = "H->L" if change < -0.2 else "L->H" if change > 0.2 else "L->L" if nats[-1, i] <= mean else "H->H"
        assert found.names[i] == expected
    assert found.axis == axis
    assert set(found.names) == set(RHO1[:4]), "each class is met"
    assert sum(found.shares.values()) == pytest.approx(1)


def test_the_axis_matters() -> None:
    """A token that falls in the last rows alone: they are most of the steps, and few of the rows."""
    late = np.array([5, 5, 5, 5, 5, 5, 5, 5, 4.4])[:, None]
    steps = np.array([0, 1, 2, 3, 4, 5, 6, 7, 1000])
    assert rho1_classes(late, steps).change_N[0] > rho1_classes(late, steps, axis="step").change_N[0]
    assert rho1_classes(late, steps, axis="step").names[0] == "H->L"


@pytest.mark.parametrize("from_step", [0, 2])
def test_trends_token_by_token(from_step: int) -> None:
    bits = np.concatenate([curves(400), np.full((len(STEPS), 1), 3.0), 3 + 0.001 * curves(20, seed=1)], axis=1)
    found = trend_classes(bits, STEPS, from_step=from_step)
    kept = bits[np.searchsorted(STEPS, from_step) :]
    ppl = 2.0**kept
    x = np.arange(len(kept))
    for i in range(bits.shape[1]):
        ratio = ppl[:, i] / ppl[0, i]
        line = stats.linregress(x, ratio)
        geometric = np.exp(np.log(ppl[:, i]).mean())
        near = all(0.95 <= ppl[end, i] / geometric <= 1.05 for end in (0, -1))
        flat = np.ptp(ratio) == 0
        sure = not flat and line.pvalue < 0.05
        expected = (
            "upward" if sure and line.slope > 0 else "downward" if sure else "stagnated" if near else "unclassified"
        )
        assert found.names[i] == expected, i
        if not flat:
            assert found.p_N[i] == pytest.approx(line.pvalue, rel=1e-6, abs=1e-12)
    assert set(found.names) == set(TRENDS[:4])
    assert found.from_step == from_step


def test_what_is_not_finite_has_no_class() -> None:
    bits = curves(3)
    bits[4, 1] = np.nan
    bits[8, 2] = np.inf
    assert rho1_classes(bits, STEPS).names.tolist()[1:] == ["unknown"] * 2
    assert trend_classes(bits, STEPS).names.tolist()[1:] == ["unknown"] * 2
    assert np.isfinite(rho1_classes(bits, STEPS).mean_nats)
    huge = np.array([900.0, 1000, 1100, 1200, 1300])[:, None]
    assert trend_classes(huge, np.arange(5)).names[0] in ("upward", "unclassified", "unknown")


def test_refused() -> None:
    with pytest.raises(ValueError, match="axis='time': one of row, step, log_step"):
        rho1_classes(curves(2), STEPS, axis="time")
    with pytest.raises(ValueError, match="1 on the axis 'log_step'; a line takes at least two"):
        rho1_classes(curves(2)[:2], STEPS[:2], axis="log_step")
    with pytest.raises(ValueError, match="2 rows are left on the axis 'row'"):
        trend_classes(curves(2), STEPS, from_step=100)
    with pytest.raises(ValueError, match="4 rows after step 0"):
        learning_time_spectrum(curves(2)[:5], STEPS[:5], chance=9)


def test_the_spectrum_finds_the_times_that_were_put_in() -> None:
    rng = np.random.default_rng(0)
    steps = np.concatenate([[0], np.unique(np.round(10 ** np.linspace(0, 4, 60)))])
    x = np.log10(steps[1:])
    time = np.concatenate([rng.normal(1.5, 0.1, 300), rng.normal(3.0, 0.1, 100)])
    drop = np.concatenate([np.full(300, 4.0), np.full(100, 8.0)])
    parameters = np.stack([np.full(400, 10.0), 10 - drop, time, np.full(400, 0.08)])
    bits = np.vstack([np.full(400, 10.0), sigmoid(x, parameters)]) + rng.normal(0, 0.01, (len(steps), 400))
    found = learning_time_spectrum(bits, steps, chance=10)
    assert np.nanmax(np.abs(found.time_N - time)) < 0.03
    assert np.nanmax(np.abs(found.drop_N - drop)) < 0.1
    middle = (found.edges_B1[1:] + found.edges_B1[:-1]) / 2
    assert found.bits_B[np.abs(middle - 1.5) < 0.5].sum() == pytest.approx(3, abs=0.05)
    assert found.bits_B[np.abs(middle - 3) < 0.5].sum() == pytest.approx(2, abs=0.05)
    assert found.explained > 0.99
    # What sigmoids can't say is not explained: all tokens wave together.
    wave = bits + np.concatenate([[0], 0.5 * np.sin(12 * x)])[:, None]
    assert learning_time_spectrum(wave, steps, chance=10).explained < found.explained - 0.05
    turned = learning_time_spectrum(20 - bits, steps, chance=10)
    assert np.nanmax(np.abs(turned.drop_N + drop)) < 0.1, "what rises has learned less than nothing"
