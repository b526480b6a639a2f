"""Runs that agree token by token, beside plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from curvewatch.measures.agreement import (
    measure_correlations,
    ngram_correlations,
    rank_of_same,
    raw_pair_distances,
    reliability,
    subset_variability,
)
from curvewatch.measures.correlation import pearson

RUNS, T, N = 5, 12, 80
PAIRS = list(combinations(range(RUNS), 2))


def curves(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared, sizes = rng.normal(8, 1, (T, N)), rng.uniform(0.1, 2, N)
    return shared + rng.normal(0, 1, (RUNS, T, N)) * sizes


def test_distances_and_subsets() -> None:
    made = curves()
    raw_PN = raw_pair_distances(made, PAIRS)
    for p, (i, j) in enumerate(PAIRS):
        assert raw_PN[p] == pytest.approx(((made[i] - made[j]) ** 2).mean(axis=0))
    some = subset_variability(raw_PN, PAIRS, (0, 2, 4))
    assert some == pytest.approx(
        (raw_PN[PAIRS.index((0, 2))] + raw_PN[PAIRS.index((0, 4))] + raw_PN[PAIRS.index((2, 4))]) / 3
    )


@pytest.mark.parametrize(("n_runs", "n_disjoint"), [(4, 3), (5, 10), (6, 10)])
def test_reliability(n_runs: int, n_disjoint: int) -> None:
    rng = np.random.default_rng(1)
    pairs = list(combinations(range(n_runs), 2))
    pair_PN = rng.gamma(2, 1, N) * rng.uniform(0.5, 1.5, (len(pairs), N))
    pair_PN[0, 3] = np.nan
    found = reliability(pair_PN, pairs, n_runs)
    assert found is not None
    assert len(found.disjoint) == n_disjoint
    assert list(found.overlapping) == list(range(3, n_runs))
    kept = np.delete(pair_PN, 3, axis=1)
    larger = list(combinations(range(n_runs), -(-n_runs // 2)))
    expected = []
    for some in larger:
        rest = tuple(run for run in range(n_runs) if run not in some)
        if len(rest) == len(some) and rest < some:
            continue
        both = [np.mean([kept[pairs.index(pair)] for pair in combinations(of, 2)], axis=0) for of in (some, rest)]
        expected.append(np.corrcoef(*both)[0, 1])
    assert sorted(found.disjoint) == pytest.approx(sorted(expected))
    assert (found.disjoint > 0.5).all()
    assert reliability(pair_PN[:3], pairs[:3], 3) is None, "two disjoint pairs take four runs"


def test_ranks_by_hand() -> None:
    made = curves()
    made[1][:, 7] = made[0][:, 9]  # the same curve, under another token
    made[1][:, 11] = made[0][:, 11]
    found = rank_of_same(made[0], made[1])
    for i in range(N):
        distances = ((made[1] - made[0][:, [i]]) ** 2).sum(axis=0)
        assert found[i] == (distances < distances[i]).sum()
    assert found[11] == 0
    assert rank_of_same(made[0], made[1], [3, 9]).tolist() == [found[3], found[9]]
    assert rank_of_same(made[0], made[0]).tolist() == [0] * N
    equal = np.ones((T, 5))
    assert rank_of_same(equal, equal).tolist() == [0] * 5, "none is strictly nearer"


def test_correlations_with_models() -> None:
    made = curves()[0]
    models = np.stack([made[3] + 1, -made[5]])
    found = ngram_correlations(made, models)
    assert found.shape == (T, 2)
    assert found[3, 0] == pytest.approx(1)
    assert found[5, 1] == pytest.approx(-1)
    assert found[2, 0] == pytest.approx(np.corrcoef(made[2], made[3])[0, 1])


def test_no_correlation_where_there_is_none() -> None:
    assert np.isnan(pearson(np.ones(5), np.arange(5.0)))
    assert np.isnan(pearson(np.array([1.0, np.nan]), np.array([1.0, 2.0])))
    assert pearson(np.array([1.0, 2, np.inf, 3]), np.array([2.0, 4, 1, 6])) == pytest.approx(1)


def test_measures_with_each_other(rng: np.random.Generator) -> None:
    """Runs stacked and averaged, over the tokens that have both."""
    of_MRN = rng.normal(size=(3, 4, 50))
    of_MRN[1] += of_MRN[0]
    of_MRN[1, 2, 7] = np.nan
    of_MRN[2, :, 3:] = np.nan
    of_MRN[2, 0, :2] = np.nan  # averaged, one token of this measure is left
    stacked, averaged = measure_correlations(of_MRN)
    known = np.isfinite(of_MRN[1].ravel())
    by_numpy = np.corrcoef(of_MRN[0].ravel()[known], of_MRN[1].ravel()[known])[0, 1]
    assert stacked[0, 1] == stacked[1, 0] == pytest.approx(by_numpy, rel=1e-12)
    means = np.delete(of_MRN[:2].mean(axis=1), 7, axis=1)
    assert averaged[0, 1] == pytest.approx(np.corrcoef(means)[0, 1], rel=1e-12)
    assert np.isnan(averaged[0, 2])
    assert np.isfinite(stacked[0, 2])
    np.testing.assert_allclose(np.diag(stacked), 1)
    assert np.diag(averaged) == pytest.approx([1, 1, np.nan], nan_ok=True)
