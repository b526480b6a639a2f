"""What live metrics are made of: sorted values, histograms, medians of counts; against NumPy."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvewatch.live import LiveMetrics, forgotten
from curvewatch.live.metrics import BINS, Histogram, mean, median_of_counts, percentile, sorted_finite

ANY = st.one_of(st.floats(-3, 20, width=32), st.sampled_from([0.0, 6.4, 0.1, 16.0, math.nan, math.inf, -math.inf]))
COUNTS = st.dictionaries(st.integers(1, 10**7), st.integers(1, 9), max_size=12)


@given(st.lists(ANY, max_size=60), st.sampled_from([np.float32, np.float64]))
def test_sorted_finite(values: list[float], dtype: type) -> None:
    given_values = np.array(values, dtype)
    kept = given_values.copy()
    assert sorted_finite(given_values).tolist() == sorted(one for one in kept.tolist() if math.isfinite(one))
    np.testing.assert_array_equal(given_values, kept, err_msg="what is given stays as it is")


@given(
    st.lists(ANY, max_size=60), st.sampled_from([6.4, 16.0, 23.4255, 7.0]), st.sampled_from([np.float32, np.float64])
)
def test_histogram(values: list[float], high: float, dtype: type) -> None:
    found = Histogram.of(np.array(values, dtype), 0.0, high)
    edges = np.linspace(0.0, high, BINS + 1)
    np.testing.assert_array_equal(found.edges, edges)
    expected = [0] * BINS
    for value in np.array(values, dtype).tolist():
        if math.isfinite(value):
            expected[max(0, min(BINS - 1, sum(edge <= value for edge in edges) - 1))] += 1
    assert found.counts.tolist() == expected


@given(COUNTS)
def test_counts_are_as_the_values_themselves(counts: dict[int, int]) -> None:
    counts = dict(sorted(counts.items()))
    each = [number for number, count in counts.items() for _ in range(count)]
    logs = {math.log10(number): count for number, count in counts.items()}
    expected = Histogram.of(np.array([math.log10(number) for number in each]), 0.0, 6.0)
    assert Histogram.of_counts(logs, 0.0, 6.0).counts.tolist() == expected.counts.tolist()
    assert median_of_counts(counts) == pytest.approx(statistics.median(each) if each else math.nan, nan_ok=True)


@given(st.lists(st.floats(0, 20, width=32), min_size=1, max_size=30), st.sampled_from([0, 10, 50, 90, 100]))
def test_percentile_and_mean(values: list[float], percent: float) -> None:
    ordered = np.sort(np.array(values, np.float32))
    assert percentile(ordered, percent) == pytest.approx(np.percentile(ordered.astype(np.float64), percent), rel=1e-6)
    with_others = np.array([*values, math.nan, math.inf], np.float32)
    assert mean(with_others) == pytest.approx(statistics.fmean(ordered.tolist()), rel=1e-6)


def test_of_nothing() -> None:
    nothing = np.empty(0, np.float32)
    assert math.isnan(percentile(nothing, 50))
    assert math.isnan(mean(nothing))
    assert math.isnan(mean(np.array([np.nan])))
    assert Histogram.of_counts({}, 0.0, 1.0).counts.sum() == 0


@pytest.mark.parametrize("n", [0, 1, 7, 500])
@pytest.mark.parametrize("most", [1, 3, 90])
def test_most_forgotten_over_many_blocks(n: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgotten, "BLOCK", 13)
    rng, live = np.random.default_rng(0), LiveMetrics(200, 8.0)
    top1 = live.top1.events_N = rng.integers(0, most, 200).astype(np.int32)
    threshold = live.threshold.events_N = rng.integers(0, 3, 200).astype(np.int32)
    expected = sorted(range(200), key=lambda i: (-top1[i], -threshold[i], i))[:n]
    assert forgotten.most_forgotten(live, n).tolist() == [i for i in expected if top1[i] or threshold[i]]
