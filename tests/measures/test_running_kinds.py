"""Rho-1's classes from running sums: those of the whole curves, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch.measures.kinds import RunningRho1, rho1_classes


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
