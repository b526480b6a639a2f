"""Classes from running sums: those of the whole curves, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch.measures.kinds import TRENDS, RunningRho1, RunningTrends, rho1_classes, trend_classes


@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_of_whole_curves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves_TN = (8 + np.cumsum(rng.normal(0, 0.3, (60, 400)), axis=0)).astype(np.float32)
    curves_TN[rng.integers(0, 60, 9), rng.integers(0, 400, 9)] = np.nan
    curves_TN[30, 7], curves_TN[0, 8] = np.inf, np.inf
    running = RunningRho1(400)
    assert running.shares() == {}
    for t in range(60):
        running.update(curves_TN[t])
        if t == 0:
            assert running.classes() is None
            continue
        found, whole = running.classes(), rho1_classes(curves_TN[: t + 1], np.arange(t + 1))
        assert found is not None
        assert np.allclose(found.change_N, whole.change_N, rtol=0, atol=1e-9, equal_nan=True)
        assert found.mean_nats == pytest.approx(whole.mean_nats)
        assert found.codes_N.tolist() == whole.codes_N.tolist()
    assert running.shares() == {name: found.shares[name] for name in ("H->L", "L->H", "L->L", "H->H")}
    assert sum(running.shares().values()) < 1, "those with a row that is not finite are in none"


@pytest.mark.parametrize("seed", range(5))
def test_trends_as_of_whole_curves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.arange(0, 120, 2)
    curves_TN = (8 + np.cumsum(rng.normal(0, 0.02, (60, 500)), axis=0)).astype(np.float32)
    curves_TN[:, 300:400] += np.linspace(0, 3, 60, dtype=np.float32)[:, None]
    curves_TN[:, 400:] = 5 + rng.normal(0, 0.01, (60, 100))
    curves_TN[:, 5] = 4.0  # flat
    curves_TN[:, 6] = 4.0 + np.log2(1 + 0.25 * np.arange(60))  # a perfect line of perplexity
    curves_TN[rng.integers(0, 60, 9), rng.integers(10, 500, 9)] = np.nan
    curves_TN[30, 7], curves_TN[20, 8], curves_TN[:, 9] = np.inf, np.inf, 1000.0
    running, seen = RunningTrends(500, 20), set()
    for t, step in enumerate(steps.tolist()):
        running.update(step, curves_TN[t])
        if t - 10 < 2:
            assert running.codes() is None
            assert running.shares() == {}
            continue
        found, whole = running.codes(), trend_classes(curves_TN[: t + 1], steps[: t + 1], from_step=20)
        assert found is not None
        off = np.flatnonzero(found != whole.codes_N)
        # A p that is 0.05 to rounding may fall on either side.
        assert (np.abs(whole.p_N[off] - 0.05) < 1e-6).all(), (t, off, whole.p_N[off])
        seen |= set(found.tolist())
    assert seen == set(range(len(TRENDS)))
    assert running.shares() == {name: whole.shares[name] for name in TRENDS[:-1]}
