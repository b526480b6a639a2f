"""Each measure against its formula written out, on curves small enough to follow by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curvewatch.measures import (
    MeasureWarning,
    ThresholdForgetting,
    Top1Forgetting,
    count_top1,
    final_surprisal,
    final_window,
    forgettability,
    forgetting,
    measure_curves,
    threshold_events,
    within_run_variability,
)

from .reference import CHANCE, paper_steps, steps_of
from .test_smoothing import block

pytestmark = pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")

bits = st.floats(0, 20, width=32)


def curves_strategy(n_tokens: int = 3) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(bits, min_size=n_tokens, max_size=n_tokens), min_size=1, max_size=12)


class TestFinalWindow:
    def test_is_strictly_after_three_quarters(self) -> None:
        assert final_window([0, 50, 75, 76, 100], 100) == slice(3, 5)

    def test_is_the_papers_eleven_rows_on_the_papers_schedule(self) -> None:
        steps = paper_steps()
        assert final_window(steps, 1_000_000) == final_window(steps, 1_000_000, paper=True) == slice(211, 222)

    def test_counts_from_the_plan_and_not_from_the_last_row(self) -> None:
        steps, curves = block(40, 1, seed=0)
        with pytest.warns(MeasureWarning, match="Only 0 scored steps after 75 %"):
            table = measure_curves(curves, steps, chance=CHANCE, max_steps=1_000_000)
        assert np.isnan(table["final_surprisal"]).all()
        assert np.isnan(table["within_run_variability"]).all()
        assert (table["window_rows"] == 0).all()
        assert not np.isnan(table["forgettability"]).any()

    def test_mean_and_population_deviation(self) -> None:
        steps = np.array([0, 10, 76, 80, 90, 95, 100])
        curve = np.array([16.0, 9.0, 1.0, 2.0, 4.0, 4.0, 9.0])  # window: 1 2 4 4 9
        table = measure_curves(curve[:, None], steps, chance=16, max_steps=100)
        assert table["final_surprisal"] == [4.0]  # 20 / 5
        assert np.isclose(table["within_run_variability"], math.sqrt((9 + 4 + 0 + 0 + 25) / 5))
        assert table["window_rows"] == [5]
        assert table.info.window_rows == 5

    @pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
    def test_paper_takes_the_last_eleven_rows_whatever_their_steps(self) -> None:
        steps, curves = block(40, 1, seed=0)
        table = measure_curves(curves, steps, chance=CHANCE, max_steps=10**9, paper=True)
        np.testing.assert_allclose(table["final_surprisal"], curves[-11:].mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(table["within_run_variability"], curves[-11:].std(axis=0), rtol=1e-12)
        assert table.info.window_rows == 11

    def test_a_hole_in_the_window_is_nan_and_one_before_it_is_not(self) -> None:
        window = np.array([[1.0, np.nan, np.inf, 2.0], [3.0, 1.0, -np.inf, 4.0]])
        np.testing.assert_array_equal(final_surprisal(window), [2, np.nan, np.nan, 3])
        np.testing.assert_array_equal(within_run_variability(window), [1, np.nan, np.nan, 1])

    def test_one_row_has_no_deviation(self) -> None:
        assert np.isnan(within_run_variability(np.ones((1, 2)))).all()
        assert (within_run_variability(np.ones((1, 2)), paper=True) == 0).all()
        assert (final_surprisal(np.ones((1, 2))) == 1).all()
        assert np.isnan(final_surprisal(np.ones((0, 2)))).all()


class TestForgettability:
    @given(curves_strategy())
    def test_sums_the_rises(self, rows: list[list[float]]) -> None:
        curves = np.array(rows)
        plain = [sum(max(0.0, later - now) for now, later in itertools.pairwise(c)) for c in curves.T.tolist()]
        np.testing.assert_allclose(forgettability(curves), plain, rtol=1e-12, atol=1e-12)

    def test_nan_where_the_curve_is(self) -> None:
        curves = np.array([[1.0, 1.0, np.inf], [3.0, np.nan, np.inf], [2.0, 5.0, 1.0]])
        np.testing.assert_array_equal(forgettability(curves), [2, np.nan, np.nan])
        assert np.isnan(forgettability(np.ones((0, 2)))).all()


def plain_events(curve: list[float], threshold: float, margin: float) -> int:
    known, events = False, 0
    for y in curve:
        if not known and y <= threshold:
            known = True
        elif known and y > threshold + margin:
            known, events = False, events + 1
    return events


class TestForgettingEvents:
    @given(curves_strategy(), st.lists(bits, min_size=3, max_size=3), st.floats(0, 3))
    @example(
        [[5.0, 5.0, 4.0], [3.0, 3.1, 2.0], [4.1, 9.0, 3.0], [3.0, 3.0, 2.0], [4.5, 3.5, 9.0]], [3.0, 3.0, 2.0], 1.0
    )
    def test_threshold_events_walk_with_hysteresis(
        self, rows: list[list[float]], thresholds: list[float], margin: float
    ) -> None:
        curves, threshold = np.array(rows), np.array(thresholds)
        plain = [plain_events(c, t, margin) for c, t in zip(curves.T.tolist(), thresholds, strict=True)]
        assert threshold_events(curves, threshold, margin=margin).tolist() == plain
        rises = forgettability(curves)
        assert threshold_events(curves, threshold, margin=margin, rises_N=rises).tolist() == plain

    def test_of_a_run_are_counted_on_the_smoothed_curve_at_its_halfway_threshold(self) -> None:
        u = np.linspace(0, 1, 60)[:, None]
        waves = 10 + 5 * np.cos(2 * np.pi * u * np.array([0.5, 1, 2, 3]))  # down; down and up; ...
        steps = np.round(np.geomspace(100, 100_000, 60)).astype(int)
        table = measure_curves(waves, steps, chance=15.0)
        np.testing.assert_allclose(table["acquisition_threshold"], 10, atol=0.1)
        assert table["forgetting_events_threshold"].tolist() == [0, 1, 2, 3]
        assert measure_curves(waves, steps, chance=15.0, margin=6)["forgetting_events_threshold"].tolist() == [0] * 4

    @given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
    def test_top1_events_are_correct_then_not(self, rows: list[list[bool]]) -> None:
        correct = np.array(rows)
        steps = np.arange(len(correct)) * 10
        counter = count_top1(correct, steps)
        for i, column in enumerate(correct.T.tolist()):
            assert counter.events_N[i] == list(itertools.pairwise(column)).count((True, False))
            first = counter.first_correct_step_N[i]
            assert first == 10 * column.index(True) if True in column else np.isnan(first)

    @pytest.mark.parametrize(("n", "values"), [(5, 1), (5, 7), (5, 1 << 18), (2000, 1 << 18)])
    @pytest.mark.parametrize("n_steps", [0, 1, 2, 23, 700])
    def test_top1_of_a_block_is_as_so_many_updates(
        self, n: int, values: int, n_steps: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forgetting, "WALKED_VALUES", values)
        correct = np.random.default_rng(0).random((n_steps, n)) < 0.4
        correct[:, 1] = np.arange(n_steps) % 2
        steps = np.arange(n_steps) * 10
        counter, plain = count_top1(correct, steps), Top1Forgetting(n)
        for step, row in zip(steps, correct, strict=True):
            plain.update(step, row)
        np.testing.assert_array_equal(counter.events_N, plain.events_N)
        np.testing.assert_array_equal(counter.first_correct_step_N, plain.first_correct_step_N)
        np.testing.assert_array_equal(counter.previous_N, plain.previous_N)
        assert (counter.opportunities, counter.last_events) == (plain.opportunities, plain.last_events)

    def test_top1_columns_tell_never_from_unforgettable(self) -> None:
        steps, curves = block(40, 1, seed=0)
        correct = np.zeros(curves.shape, np.uint8)  # as the run file holds them
        correct[5:, 1] = 1
        correct[7:9, 2] = 1
        table = measure_curves(curves, steps, chance=CHANCE, correct=correct)
        assert table["top1_status"][:3].tolist() == ["never_learned", "unforgettable", "forgotten"]
        assert table["forgetting_events_top1"][:3].tolist() == [0, 0, 1]
        np.testing.assert_array_equal(table["first_learned_step"][:3], [np.nan, steps[5], steps[7]])
        assert table.info.opportunities == 40
        without = measure_curves(curves, steps, chance=CHANCE)
        assert (without["top1_status"] == "unknown").all()
        assert np.isnan(without["forgetting_events_top1"]).all()

    def test_the_live_counter_is_unchanged_by_what_the_analysis_added(self) -> None:
        live = ThresholdForgetting(2, threshold=8.0)
        assert live.average_N.dtype == np.float32
        for step, y in enumerate([[10.0, 10.0], [4.0, 9.0], [2.0, 9.0], [2.0, 9.0]]):
            live.update(step, np.array(y))
        # 10, 8.8, 7.44, 6.352: known at step 2; and 10, 9.8, 9.64, 9.512: never
        np.testing.assert_allclose(live.average_N, [6.352, 9.512], rtol=1e-6)
        np.testing.assert_array_equal(live.first_known_step_N, [2, np.nan])


class TestAcquisition:
    def test_statuses(self) -> None:
        steps = steps_of(60)
        u = np.linspace(0, 1, 60)
        curves = np.stack([14 - 8 * u, 4 + u, 17 - u, np.full(60, CHANCE), np.full(60, 3.0)], axis=1)
        curves = np.concatenate([np.full((1, 5), CHANCE), curves])
        table = measure_curves(curves, steps, chance=CHANCE)
        assert table["acquisition_status"].tolist() == ["learned", "left_censored", "never", "never", "left_censored"]
        assert table["min_surprisal"][3:].tolist() == [CHANCE, 3]
        x = np.log10(steps[1:])
        # (15.617 + 6) / 2 = 10.8085 = 14 - 8 u at u = 0.39894; the next of 1000 grid points is number 399
        assert table["age_of_acquisition"][0] == np.linspace(x[0], x[-1], 1000)[399]
        np.testing.assert_array_equal(table["age_of_acquisition"][1:], [x[0], np.nan, np.nan, x[0]])
        paper = measure_curves(curves, steps, chance=CHANCE, paper=True)
        assert (paper["age_of_acquisition"][2], paper["acquisition_status"][2]) == (x[-1], "never")

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("paper", [False, True])
    def test_a_hole_in_a_curve_is_unfitted_and_touches_no_other(self, dtype: str, bad: float, paper: bool) -> None:
        steps, curves = block(40, 1, seed=0)
        holed = curves.copy()
        holed[3, 1], holed[-1, 4] = bad, bad
        whole = measure_curves(curves, steps, chance=CHANCE, dtype=dtype, paper=paper)
        table = measure_curves(holed, steps, chance=CHANCE, dtype=dtype, paper=paper)
        assert table["acquisition_status"][[1, 4]].tolist() == ["unfitted"] * 2
        smoothed = ("age_of_acquisition", "min_surprisal", "forgettability", "smoothing_lambda")
        for name in (*smoothed, "acquisition_threshold", "forgetting_events_threshold"):
            assert np.isnan(table[name][[1, 4]]).all(), name
        assert table["final_surprisal"][1] == whole["final_surprisal"][1]  # the hole is before the window
        assert np.isnan(table["final_surprisal"][4])
        others = [0, 2, 3, 5, 6, 7, 8]
        for name in table:
            if name.endswith("_status"):
                np.testing.assert_array_equal(table[name][others], whole[name][others], err_msg=name)
            else:  # a matrix product of another width may round its last bit differently
                np.testing.assert_allclose(table[name][others], whole[name][others], rtol=1e-6, err_msg=name)

    def test_step_zero_counts_for_nothing_but_top1(self) -> None:
        steps, curves = block(40, 1, seed=0)
        without = measure_curves(curves[1:], steps[1:], chance=CHANCE)
        curves[0] = np.nan
        table = measure_curves(curves, steps, chance=CHANCE)
        for name in table:
            np.testing.assert_array_equal(table[name], without[name], err_msg=name)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), shift=st.floats(-3, 30))
def test_a_constant_added_to_curve_and_chance_moves_levels_only(seed: int, shift: float) -> None:
    steps, curves = block(40, 1, seed)
    before = measure_curves(curves, steps, chance=CHANCE)
    after = measure_curves(curves + shift, steps, chance=CHANCE + shift)
    moved = ("final_surprisal", "min_surprisal", "acquisition_threshold")
    # A grid point can change hands where the curve is within pyGAM's ridge of its threshold; nothing else may.
    same_point = np.abs(before["age_of_acquisition"] - after["age_of_acquisition"]) < 0.004
    assert (same_point | np.isnan(before["age_of_acquisition"])).all()
    for name in before:
        if name in moved:
            np.testing.assert_allclose(after[name], before[name] + shift, rtol=0, atol=3e-7, err_msg=name)
        elif name in ("acquisition_status", "top1_status"):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
        elif name != "age_of_acquisition":
            np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-6, err_msg=name)
