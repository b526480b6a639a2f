"""Frequency bands and rank correlations against plain Python, and against scipy."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from curvewatch.measures import frequency
from curvewatch.measures.frequency import (
    TargetTypes,
    band_means,
    band_names,
    frequency_bands,
    frequency_correlations,
    mid_ranks,
    pearson,
    rank_correlations,
)

ANY_FLOAT = st.one_of(st.floats(-9, 9, width=32), st.sampled_from([-0.0, 0.0, 1.0, math.nan, math.inf, -math.inf]))
FINITE = st.one_of(st.floats(-1e9, 1e9, width=32), st.sampled_from([-0.0, 0.0, 1.0, 2.0]))
TARGETS = st.lists(st.integers(0, 6), min_size=1, max_size=40)
COUNTS = st.lists(st.integers(0, 5), min_size=7, max_size=7)


def plain_ranks(values: list[float]) -> list[float]:
    """One more than there are smaller ones, and half of the others that are equal."""
    return [1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]


@given(st.lists(FINITE, max_size=30))
def test_mid_ranks(values: list[float]) -> None:
    found = mid_ranks(np.array(values, np.float32))
    assert found.tolist() == plain_ranks(values)
    np.testing.assert_array_equal(found, rankdata(values))


@given(st.lists(st.one_of(st.integers(-5, 40), st.integers(0, 2**31 - 1)), min_size=1, max_size=40))
def test_types(targets: list[int]) -> None:
    types = TargetTypes.of(np.array(targets))
    assert types.ids_D.tolist() == sorted(set(targets))
    assert types.ids_D[types.index_N].tolist() == targets
    assert types.tokens_D.tolist() == [Counter(targets)[i] for i in sorted(set(targets))]
    assert (types.ids_D.dtype, types.index_N.dtype) == (np.int64, np.int32)


@given(TARGETS, COUNTS, st.integers(2, 5))
def test_bands(targets: list[int], counts: list[int], n_bands: int) -> None:
    types = TargetTypes.of(targets)
    found = frequency_bands(types, np.array(counts)[types.ids_D], n_bands)
    ranks = plain_ranks([counts[target] for target in targets])
    # The middle of those that occur as often as the token decides.
    assert found.tolist() == [min(n_bands - 1, int((rank - 0.5) / len(targets) * n_bands)) for rank in ranks]


def test_bands_are_of_about_equal_size() -> None:
    rng = np.random.default_rng(0)
    types = TargetTypes.of(rng.integers(0, 3000, 30_000))
    bands = frequency_bands(types, rng.permutation(np.arange(float(len(types.ids_D)))))
    assert np.bincount(bands).tolist() == pytest.approx([10_000] * 3, abs=20)
    assert band_names(3) == ("rare", "mid", "frequent")
    assert band_names(4) == ("01", "02", "03", "04")


@given(st.lists(st.tuples(ANY_FLOAT, st.integers(0, 3)), max_size=40), st.integers(1, 50))
def test_band_means(pairs: list[tuple[float, int]], block: int) -> None:
    values, bands = [value for value, _ in pairs], [band for _, band in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frequency, "BLOCK", block)
        found = band_means(np.array(values, np.float32), np.array(bands, np.int8), 4)
        shares = band_means(np.array(values) > 1, np.array(bands, np.int8), 4)
    for band in range(4):
        inside = [value for value, one in pairs if one == band]
        finite = [value for value in inside if math.isfinite(value)]
        assert found[band] == pytest.approx(statistics.fmean(finite) if finite else math.nan, nan_ok=True, abs=1e-12)
        assert shares[band] == pytest.approx(
            sum(value > 1 for value in inside) / len(inside) if inside else math.nan, nan_ok=True
        )


def plain_spearman(x: list[float], y: list[float]) -> float:
    if len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return statistics.correlation(plain_ranks(x), plain_ranks(y))


@given(st.lists(st.tuples(st.integers(0, 6), ANY_FLOAT), min_size=1, max_size=40), COUNTS, st.integers(1, 50))
def test_correlations(pairs: list[tuple[int, float]], counts: list[int], block: int) -> None:
    types = TargetTypes.of([target for target, _ in pairs])
    values = np.array([value for _, value in pairs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frequency, "BLOCK", block)
        found = frequency_correlations(
            types, np.array(counts)[types.ids_D], {"narrow": values.astype(np.float32), "wide": values}
        )
    finite = [(counts[target], value) for target, value in pairs if math.isfinite(value)]
    x, y = [one for one, _ in finite], [one for _, one in finite]
    expected = plain_spearman([float(one) for one in x], y)
    assert found["narrow"] == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert found["wide"] == pytest.approx(expected, nan_ok=True, abs=1e-9)
    if math.isfinite(expected):
        assert found["narrow"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


@pytest.mark.parametrize("share_missing", [0.0, 0.3])
def test_correlations_of_many_tokens(share_missing: float) -> None:
    """More than a block, with ties that reach from one into the next."""
    rng = np.random.default_rng(1)
    n = 3 * frequency.BLOCK + 17
    types = TargetTypes.of(np.minimum(rng.zipf(1.3, n), 5000))
    counts_D = rng.integers(0, 400, len(types.ids_D))
    own_N = counts_D[types.index_N]
    measures: dict[str, NDArray[np.float32]] = {
        "distinct": rng.normal(size=n) - 0.002 * own_N,
        "tied": rng.integers(0, 3, n) - (own_N > 100),
        "grid": np.round(rng.normal(size=n), 2),
    }
    measures = {name: values_N.astype(np.float32) for name, values_N in measures.items()}
    for values_N in measures.values():
        values_N[rng.random(n) < share_missing] = np.nan
    found = frequency_correlations(types, counts_D, measures)
    for name, values_N in measures.items():
        assert found[name] == pytest.approx(spearmanr(own_N, values_N, nan_policy="omit").statistic, abs=1e-10)
    with ThreadPoolExecutor(2) as pool:
        assert frequency_correlations(types, counts_D, measures, pool.map) == found


@given(
    st.lists(st.tuples(st.integers(0, 6), FINITE, ANY_FLOAT, ANY_FLOAT), min_size=1, max_size=40),
    COUNTS, st.integers(1, 50),
)  # fmt: skip
def test_each_measure_with_several_predictors(
    rows: list[tuple[int, float, float, float]], counts: list[int], block: int
) -> None:
    """A measure is ranked once, whatever it is correlated with; the predictors do not touch each other."""
    targets, numbers, one, other = (list(column) for column in zip(*rows, strict=True))
    types, order = TargetTypes.of(targets), TargetTypes.of_values(np.array(numbers, np.float32))
    measures = {"one": np.array(one, np.float32), "other": np.array(other)}
    predictors = {"frequency": (types, np.array(counts)[types.ids_D]), "number": (order, order.ids_D)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frequency, "BLOCK", block)
        found = rank_correlations(predictors, measures)
    for predictor, x_N in {"frequency": [float(counts[t]) for t in targets], "number": numbers}.items():
        for name, y_N in {"one": one, "other": other}.items():
            finite = [(x, y) for x, y in zip(x_N, y_N, strict=True) if math.isfinite(y)]
            expected = plain_spearman([x for x, _ in finite], [y for _, y in finite])
            assert found[predictor, name] == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_a_measure_is_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    ranked = frequency._centred_ranks
    monkeypatch.setattr(frequency, "_centred_ranks", lambda values: calls.append(0) or ranked(values))
    types = TargetTypes.of([1, 2, 3, 1])
    order = TargetTypes.of_values([0.5, 0.1, 0.2, 0.3])
    measures = {name: np.array([1, 2, 3, k], np.float32) for k, name in enumerate(("a", "b"))}
    found = rank_correlations(dict.fromkeys(("x", "y"), (order, order.ids_D)) | {"f": (types, [5, 3, 2])}, measures)
    assert len(found) == 6
    assert len(calls) == 2


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=30))
def test_pearson(pairs: list[tuple[float, float]]) -> None:
    x, y = [one for one, _ in pairs], [one for _, one in pairs]
    assume(all(max(v) - min(v) > 1e-3 * max(map(abs, v)) for v in (x, y)))
    assert pearson([*x, math.nan, 1.0], [*y, 1.0, math.inf]) == pytest.approx(statistics.correlation(x, y), abs=1e-6)


def test_pearson_without_variation() -> None:
    assert math.isnan(pearson([1.1, 1.1, 1.1], [1, 2, 3]))
    assert math.isnan(pearson([1], [2]))
