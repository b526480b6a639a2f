"""Effectivity, retainability, decay: by hand, and on a learner that forgets at a known rate."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch.measures.exposures import Retention, decay, exposure_effects, mean_retainability, retention

# Bits of a probe after 0, 1, ... updates; its passage was in the updates 3 and 6.
BITS = np.array([9.0, 8.0, 8.0, 5.0, 4.0, 6.0, 3.0, 2.0, 4.0, 5.0, 6.0])
STEPS = np.arange(11)


def test_by_hand() -> None:
    found = exposure_effects(BITS, STEPS, [3, 6], window=3)
    assert found.before_step_E.tolist() == [2, 5]
    assert found.peak_step_E.tolist() == [4, 7], "of steps 3 to 5, and 6 to 8"
    assert found.effectivity_E.tolist() == [4.0, 4.0]
    assert found.complete_E.all()
    left = retention(BITS, STEPS, [3, 6], window=3)
    assert left.gain == 6.0, "from 8 bits before the first to 2 at the last maximum"
    assert left.since_K.tolist() == [1, 2, 3]
    assert left.retainability_K == pytest.approx([4 / 6, 3 / 6, 2 / 6])


def test_the_window_is_theirs() -> None:
    """t < t_LAM <= t + 50 in parameters before updates: the rows of steps e to e + 49."""
    steps = np.arange(0, 120)
    bits = np.full(120, 9.0)
    bits[10 + 49], bits[10 + 50] = 5.0, 1.0
    assert exposure_effects(bits, steps, [10]).peak_step_E.tolist() == [59]


def test_rows_that_are_missing_are_told() -> None:
    found = exposure_effects(BITS[::2], STEPS[::2], [3, 5], window=3)
    assert found.before_step_E.tolist() == [2, 4]
    assert found.peak_step_E.tolist() == [4, 6]
    assert found.complete_E.tolist() == [False, False]
    nothing = exposure_effects(BITS[:1], STEPS[:1], [3])
    assert nothing.peak_step_E.tolist() == [-1]
    assert np.isnan(nothing.effectivity_E).all()
    assert exposure_effects(BITS[5:], STEPS[5:], [3], window=3).before_step_E.tolist() == [-1]


def test_what_was_not_learned_has_no_share() -> None:
    worse = BITS[0] + STEPS.astype(float)
    left = retention(worse, STEPS, [3], window=2)
    assert left.gain < 0
    assert not len(left.since_K)
    assert np.isnan(retention(BITS, STEPS, []).gain)
    broken = BITS.copy()
    broken[2] = np.nan
    assert np.isnan(exposure_effects(broken, STEPS, [3], window=3).effectivity_E[0])


@pytest.mark.parametrize("constant", [0.05, 0.2])
def test_a_learner_that_forgets_at_a_known_rate(constant: float) -> None:
    """After each of 3 exposures 4 bits more are known; behind the last the gain shrinks by `constant` ln t."""
    rng = np.random.default_rng(0)
    steps, exposures, found = np.arange(2000), [100, 200, 300], []
    for _ in range(40):
        known = np.zeros(2000)
        for n, exposure in enumerate(exposures, 1):
            known[exposure:] = 4.0 * n
        known[301:] = 12.0 * (1 - constant * np.log(steps[301:] - 300))
        bits = 20.0 - known + np.where(steps > 301, rng.normal(0, 0.05, 2000), 0.0)
        found.append(retention(bits, steps, exposures, window=1))
    assert found[0].gain == pytest.approx(12.0)
    since, share, n = mean_retainability(found)
    line = decay(since, share)
    assert line.constant == pytest.approx(constant, rel=0.01)
    assert line.forgotten_steps == pytest.approx(np.exp(1 / constant), rel=0.1)
    assert n.max() <= 40


def test_outliers_are_left_out_of_the_mean() -> None:
    of = [Retention(np.array([1]), np.array([share]), 1.0) for share in (0.5, 0.5, 0.6, 0.4, 0.5, 30.0)]
    since, share, n = mean_retainability(of)
    # Quartiles 0.5 and 0.575: kept is what lies from 0.3875 to 0.6875.
    assert (since.tolist(), n.tolist()) == ([1], [5])
    assert share[0] == pytest.approx(0.5)


def test_too_little_for_a_line() -> None:
    assert np.isnan(decay([1, 2], [0.5, 0.4]).constant)
    assert np.isnan(decay([1, 2, 3], [np.nan, 0.5, 0.4]).constant)
    assert decay([1, 2, 4], [0.5, 0.5, 0.6]).forgotten_steps == np.inf
