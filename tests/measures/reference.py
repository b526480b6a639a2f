"""Curves of every kind, and pyGAM fits of them made once: pyGAM takes 45-130 ms a curve."""

from __future__ import annotations

import functools
import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHANCE = 15.617  # log2 of 50,257
SCHEDULES = (5, 12, 24, 25, 26, 30, 40, 221)
KINDS = ("monotone", "plateau", "u_shaped", "spiky", "noisy", "flat", "never_learned", "late", "straight")
GRID = 1000


def paper_steps() -> NDArray[np.int64]:
    """The 222 scoring steps of the paper, step 0 among them."""
    s0, s1, t1 = 100.0, 25_000.0, 1_000_000.0
    n = np.arange(222)
    return np.round(s0 * t1 / (s1 - s0) * (np.exp(n * (s1 - s0) / t1) - 1)).astype(np.int64)


def steps_of(n_fitted: int) -> NDArray[np.int64]:
    """Step 0 and `n_fitted` steps after it."""
    if n_fitted == 221:
        return paper_steps()
    return np.concatenate([[0], np.round(np.geomspace(100, 100_000, n_fitted)).astype(np.int64)])


def make_curve(kind: str, x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """One curve over log10 steps, bits."""
    u = (x - x[0]) / (x[-1] - x[0])
    fall = CHANCE - rng.uniform(6, 12) / (1 + np.exp(-(u - rng.uniform(0.2, 0.7)) * rng.uniform(6, 30)))
    small = rng.normal(0, 0.05, x.size)
    if kind == "monotone":
        return fall
    if kind == "plateau":
        step = CHANCE - 4 / (1 + np.exp(-(u - 0.2) * 60)) - rng.uniform(3, 5) / (1 + np.exp(-(u - 0.75) * 60))
        return step + small
    if kind == "u_shaped":
        return fall + rng.uniform(3, 8) * np.maximum(0, u - 0.7) / 0.3 + small
    if kind == "spiky":
        return fall + small + np.where(rng.random(x.size) < 0.1, rng.uniform(3, 8, x.size), 0)
    if kind == "noisy":
        return fall + rng.normal(0, 1.5, x.size)
    if kind == "flat":
        return rng.uniform(4, 12) + small
    if kind == "never_learned":
        return CHANCE + 1 + rng.uniform(0, 3) * u + rng.normal(0, 0.1, x.size)
    if kind == "late":
        return CHANCE - 8 * np.maximum(0, u - 0.93) / 0.07 + small
    return 14 - rng.uniform(2, 8) * u + small  # straight


@dataclass(frozen=True)
class Reference:
    """Curves and what pyGAM makes of them, and the released code of them.

    `curves_TN` includes step 0; everything fitted leaves it out.
    """

    steps: NDArray[np.int64]
    kinds: tuple[str, ...]
    curves_TN: NDArray[np.float64]
    lam_N: NDArray[np.float64]
    fit_TN: NDArray[np.float64]
    grid_GN: NDArray[np.float64]
    x_G: NDArray[np.float64]

    @property
    def x(self) -> NDArray[np.float64]:
        return np.log10(self.steps[1:])

    def released_aoa(self) -> list[float]:
        """The loop of the released code, written out."""
        ages = []
        for curve in self.grid_GN.T:
            threshold = CHANCE * (1 - 0.5) + np.min(curve) * 0.5
            if threshold >= CHANCE:
                ages.append(float(self.x_G[-1]))
                continue
            ages.append(next(float(x) for x, y in zip(self.x_G, curve, strict=True) if y <= threshold))
        return ages

    def released_forgettability(self) -> list[float]:
        return [sum(max(0.0, b - a) for a, b in itertools.pairwise(c)) for c in self.fit_TN.T.tolist()]


@functools.cache
def reference(n_fitted: int, per_kind: int, seed: int = 0) -> Reference:
    """Returns `per_kind` curves of each kind with pyGAM's fits; float32-representable, so both roads see the same."""
    from pygam import LinearGAM

    rng = np.random.default_rng([seed, n_fitted])
    steps = steps_of(n_fitted)
    x = np.log10(steps[1:])
    kinds = tuple(kind for kind in KINDS for _ in range(per_kind))
    fitted_TN = np.stack([make_curve(kind, x, rng) for kind in kinds], axis=1).astype(np.float32).astype(np.float64)
    x_grid = np.linspace(x[0], x[-1], GRID)
    lams, fits, grids = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for curve in fitted_TN.T:
            gam = LinearGAM(n_splines=25)
            gam.gridsearch(x.reshape(-1, 1), curve, lam=np.logspace(-3, 3, 11), progress=False)
            lams.append(float(np.ravel(gam.lam)[0]))
            fits.append(gam.predict(x))
            grids.append(gam.predict(x_grid))
    step0 = np.full((1, len(kinds)), np.float64(np.float32(CHANCE)))
    return Reference(
        steps, kinds, np.concatenate([step0, fitted_TN]), np.array(lams), np.stack(fits, 1), np.stack(grids, 1), x_grid
    )
