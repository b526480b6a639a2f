"""The measures of a growing run: at its end those of the file, before it those of plain least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from curvewatch.measures import LAMBDAS, measure_curves, so_far
from curvewatch.measures.acquisition import ACQUISITION_STATUS, UNFITTED
from curvewatch.measures.recent import RecentSurprisal
from curvewatch.measures.rises import Rises
from curvewatch.measures.smoother.splines import SplineBasis
from curvewatch.measures.so_far import SoFar, measure_so_far

from .growing_reference import CHANCE, curves_of, grown, plain_fit, schedules

SCHEDULES = schedules()
ENOUGH_SAME = 0.999


@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_at_the_end_they_are_those_of_the_file(name: str) -> None:
    steps = SCHEDULES[name]
    curves_TN, kinds = curves_of(steps, per_kind=150, seed=1)
    found = measure_so_far(grown(steps, curves_TN, steps[-1]), chance=CHANCE)
    table = measure_curves(curves_TN, steps, chance=CHANCE, max_steps=steps[-1])
    assert (found.step, found.n_fitted) == (steps[-1], len(steps))
    status_N = table.codes("acquisition_status")
    np.testing.assert_array_equal(found.status_N == UNFITTED, status_N == UNFITTED)
    same_N = (LAMBDAS[found.lambda_index_N] == table["smoothing_lambda"]) | (status_N == UNFITTED)
    assert same_N.mean() >= ENOUGH_SAME, kinds[~same_N]
    assert (found.status_N == status_N).mean() >= ENOUGH_SAME, kinds[found.status_N != status_N]
    same_age_N = np.isclose(found.age_N, table["age_of_acquisition"], rtol=0, atol=1e-6, equal_nan=True)
    assert same_age_N.mean() >= ENOUGH_SAME, kinds[~same_age_N]
    rises_N = table["forgettability"]
    np.testing.assert_allclose(found.forgettability_N[same_N], rises_N[same_N], rtol=0, atol=1e-3)
    events_N = np.nan_to_num(table["forgetting_events_threshold"])
    np.testing.assert_array_equal(found.events_N[same_N], events_N[same_N])
    acquired_N = np.isin(status_N, [ACQUISITION_STATUS.index(one) for one in ("learned", "left_censored")])
    assert (found.acquired_N == acquired_N).mean() >= ENOUGH_SAME
    if len(steps) >= 35:
        assert len(set(found.status_N.tolist())) == len(ACQUISITION_STATUS), "curves of every status"
        assert events_N.any()


def plain_events(curve: list[float], threshold: float) -> int:
    known, events = False, 0
    for y in curve:
        if y <= threshold:
            known = True
        elif known and y > threshold + 1:
            known, events = False, events + 1
    return events


@pytest.mark.parametrize(("name", "planned"), [("paper", True), ("linear_400", True), ("gaps", True), ("paper", False)])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_midway_they_are_those_of_plain_least_squares(name: str, planned: bool, share: float) -> None:
    steps = SCHEDULES[name]
    past = steps[: round(share * len(steps))]
    curves_TN, _ = curves_of(past, per_kind=60, seed=2)
    curves_TN = curves_TN[:, np.isfinite(curves_TN).all(axis=0) & (curves_TN.min(axis=0) < curves_TN.max(axis=0))]
    found = measure_so_far(grown(past, curves_TN, steps[-1] if planned else None), chance=CHANCE)
    x = np.log10(np.array(past, np.float64))
    spacing = (np.log10(steps[-1]) - np.log10(steps[0])) / 22 if planned else so_far_spacing()
    plain = plain_fit(x, curves_TN.astype(np.float64), spacing)
    grid = np.linspace(x[0], x[-1], 1000)
    same_ages = 0
    for i, (on_grid, curve) in enumerate(zip(plain.at(grid).T, plain.at(x).T.tolist(), strict=True)):
        if found.lambda_index_N[i] != plain.lambda_index_N[i]:
            continue
        threshold = (CHANCE + on_grid.min()) / 2
        age = grid[np.flatnonzero(on_grid <= threshold)[0]] if threshold < CHANCE else np.nan
        same_ages += np.isclose(found.age_N[i], age, rtol=0, atol=1e-6, equal_nan=True)
        assert found.forgettability_N[i] == pytest.approx(sum(max(0, b - a) for a, b in pairwise(curve)), abs=1e-3)
        assert found.events_N[i] == plain_events(curve, threshold)
    assert same_ages >= 0.998 * curves_TN.shape[1]


def so_far_spacing() -> float:
    from curvewatch.measures.smoother.growing import OPEN_SPACING

    return OPEN_SPACING


def backwards(work: Callable[[Any], Any], parts: Iterable[Any]) -> list[Any]:
    return [work(part) for part in reversed(list(parts))]


def test_neither_threads_nor_the_order_of_blocks_make_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so_far, "BLOCK", 64)
    steps = SCHEDULES["paper"]
    curves_TN, _ = curves_of(steps, per_kind=60, seed=3)
    growing = grown(steps, curves_TN, steps[-1])
    straight = measure_so_far(growing, chance=CHANCE)
    with ThreadPoolExecutor(3) as pool:
        for run in (backwards, pool.map):
            again = measure_so_far(growing, chance=CHANCE, run=run)
            for one in fields(SoFar):
                np.testing.assert_array_equal(getattr(again, one.name), getattr(straight, one.name), err_msg=one.name)


def test_blocks_of_another_size_make_next_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = SCHEDULES["linear_400"]
    curves_TN, _ = curves_of(steps, per_kind=30, seed=4)
    growing = grown(steps, curves_TN, steps[-1])
    whole = measure_so_far(growing, chance=CHANCE)
    monkeypatch.setattr(so_far, "BLOCK", 37)
    monkeypatch.setattr(so_far, "WALKED_VALUES", 1)
    parts = measure_so_far(growing, chance=CHANCE)
    for name in ("status_N", "events_N", "lambda_index_N"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_allclose(parts.forgettability_N, whole.forgettability_N, rtol=0, atol=1e-5)


@given(st.integers(1, 30), st.integers(2, 200), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_rises_are_all_that_rises(n_intervals: int, n_steps: int, seed: int, smooth: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 6, n_steps))
    x = x[np.diff(x, prepend=-1) > 1e-6]
    basis = SplineBasis(float(x[0]), float(max(x[-1], x[0] + 0.1)), n_intervals + 3)
    # From curves that only fall to ones that turn all the time.
    c_KN = (1 - smooth) * rng.normal(size=(n_intervals + 3, 20)) - smooth * np.arange(n_intervals + 3)[:, None]
    rows = basis(x) @ c_KN
    expected = np.maximum(np.diff(rows, axis=0), 0).sum(axis=0)
    np.testing.assert_allclose(Rises(basis, x)(c_KN.astype(np.float32)), expected, rtol=0, atol=1e-4)


class Recent:
    """A `RecentSurprisal` with its rows, and the same numbers from those rows."""

    def __init__(self, rows: dict[int, NDArray[np.float32]], most_kept: int | None) -> None:
        self.rows = rows
        self.read: list[int] = []
        self.recent = RecentSurprisal(len(next(iter(rows.values()))), self._read, most_kept)

    def _read(self, step: int) -> NDArray[np.float32]:
        self.read.append(step)
        return self.rows[step]

    def check(self, step: int) -> None:
        self.recent.update(step, self.rows[step])
        window_WN = np.array(
            [row for at, row in self.rows.items() if 0.75 * step < at <= step or at == step], np.float64
        )
        assert self.recent.rows == len(window_WN)
        finite_N = np.isfinite(window_WN).all(axis=0)
        known_WN = np.where(finite_N, window_WN, 0)
        mean_N, deviation_N = (np.where(finite_N, f(known_WN, axis=0), np.nan) for f in (np.mean, np.std))
        np.testing.assert_allclose(self.recent.mean(), mean_N, rtol=1e-6, atol=1e-6)
        if len(window_WN) < 2:
            deviation_N[:] = np.nan
        np.testing.assert_allclose(self.recent.variability(), deviation_N, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("most_kept", [0, 3, None])
@pytest.mark.parametrize("name", ["paper", "linear_40", "gaps", "log_8"])
def test_the_last_quarter_is_that_of_numpy(name: str, most_kept: int | None) -> None:
    rng = np.random.default_rng(0)
    steps = [0, *SCHEDULES[name]]
    rows = {step: rng.gamma(2, 2, 50).astype(np.float32) for step in steps}
    for step in steps:
        bad = rng.integers(0, 50, 2)
        rows[step][bad] = [np.nan, np.inf]
    one = Recent(rows, most_kept)
    for step in steps:
        one.check(step)
    assert len(one.read) == len(set(one.read)), "each is read once"
    wide = max(sum(0.75 * step < at <= step for at in steps) for step in steps) > 3
    assert bool(one.read) == (most_kept == 0 or (most_kept == 3 and wide)), "unless it was kept"


def test_a_row_that_cannot_be_read_is_told() -> None:
    def lost(step: int) -> NDArray[np.float32]:
        raise OSError(f"row {step} is gone")

    recent = RecentSurprisal(2, lost, most_kept=0)
    recent.update(1, np.ones(2, np.float32))
    with pytest.raises(OSError, match="row 1 is gone"):
        recent.update(100, np.ones(2, np.float32))


def test_without_rows_there_is_nothing() -> None:
    recent = RecentSurprisal(2, lambda step: np.ones(2, np.float32))
    assert np.isnan(recent.mean()).all()
    assert np.isnan(recent.variability()).all()
