"""Penalised splines on given knots, written out plainly in float64; curves of every kind, and schedules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from curvewatch.measures import LAMBDAS
from curvewatch.measures.smoother.growing import GrowingFit

from .reference import CHANCE as SOME_CHANCE
from .reference import KINDS, make_curve, paper_steps

Float64 = NDArray[np.float64]

CHANCE = float(np.float32(SOME_CHANCE))  # what lies there is not below it
ODD = ("constant", "constant_at_chance", "nan_from", "inf_once", "nan_first", "below_from_the_start")


def schedules() -> dict[str, list[int]]:
    """Steps after 0, of many kinds."""
    rng = np.random.default_rng(5)
    few = {f"log_{n}": np.geomspace(10, 10_000, n).round().astype(int) for n in (3, 4, 5, 8, 12, 25, 26, 35, 60)}
    gaps = np.concatenate([np.arange(1, 20), np.arange(900, 1000, 7), [5000], np.arange(60_000, 61_000, 40)])
    all_of_them = {
        **few,
        "paper": paper_steps()[1:],
        "linear_40": np.arange(1, 41) * 250,
        "linear_400": np.arange(1, 401) * 25,
        "irregular": np.sort(rng.choice(np.arange(1, 100_000), 80, replace=False)),
        "gaps": gaps,
    }
    return {name: [int(step) for step in steps] for name, steps in all_of_them.items()}


def curves_of(steps: Sequence[int], per_kind: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Curves of every kind after step 0, bits, shape [T, N]; and the kind of each."""
    rng = np.random.default_rng([seed, len(steps)])
    x = np.log10(np.array(steps, np.float64))
    kinds = [kind for kind in KINDS for _ in range(per_kind)]
    curves = [make_curve(kind, x, rng) for kind in kinds]
    for kind in ODD:
        for _ in range(5):
            curve, at = make_curve("u_shaped", x, rng), int(rng.integers(1, len(x)))
            if kind == "constant":
                curve[:] = rng.uniform(1, 20)
            elif kind == "constant_at_chance":
                curve[:] = CHANCE
            elif kind == "nan_from":
                curve[at:] = np.nan
            elif kind == "inf_once":
                curve[at] = np.inf
            elif kind == "nan_first":
                curve[0] = np.nan
            else:
                curve = rng.uniform(0.5, 4) + rng.normal(0, 0.2, len(x))
            curves.append(curve)
            kinds.append(kind)
    return np.stack(curves, axis=1).astype(np.float32), np.array(kinds)


def grown(steps: Iterable[int], curves_TN: NDArray[np.float32], last_step: int | None) -> GrowingFit:
    """The state after some observations, one of step 0 among them."""
    growing = GrowingFit(curves_TN.shape[1], last_step=last_step, centre=CHANCE / 2)
    growing.update(0, np.full(curves_TN.shape[1], np.float32(CHANCE)))
    for step, row in zip(steps, curves_TN, strict=True):
        growing.update(step, row)
    return growing


@dataclass(frozen=True)
class PlainFit:
    """Fits by least squares: of each curve the smoothing parameter and every one's score, and the curve anywhere."""

    lambda_index_N: NDArray[np.intp]
    score_LN: Float64
    coefficients_KN: Float64
    knots: Float64

    def at(self, x: Float64) -> Float64:
        return basis_at(self.knots, x) @ self.coefficients_KN


def basis_at(knots: Float64, x: Float64) -> Float64:
    """Every cubic B-spline on the knots, at x."""
    n = len(knots) - 4
    return np.stack([BSpline(knots, np.eye(n)[k], 3, extrapolate=False)(x) for k in range(n)], axis=1)


def plain_fit(x: Float64, y_TN: Float64, spacing: float) -> PlainFit:
    """Knots from the first x on, as far as the last one reaches; cross-validation over what is admissible."""
    intervals = max(1, int(np.ceil((x[-1] - x[0]) / spacing - 1e-9)))
    at_a_knot = abs((x[-1] - x[0]) / spacing - round((x[-1] - x[0]) / spacing)) < 1e-9
    assert not at_a_knot or intervals == round((x[-1] - x[0]) / spacing)
    knots = x[0] + spacing * np.arange(-3, intervals + 4)
    knots[intervals + 3] += 1e-12  # the last point lies inside the last interval
    basis = basis_at(knots, x)
    n = basis.shape[1]
    model = np.column_stack([basis, np.ones(len(x))])
    differences = np.column_stack([np.diff(np.eye(n), n=2, axis=0), np.zeros(n - 2)])
    ridge = np.sqrt(np.sqrt(np.finfo(float).eps)) * np.eye(n + 1)
    score_LN, solutions = [], []
    for lam in LAMBDAS:
        q, r = np.linalg.qr(np.vstack([model, np.sqrt(lam) * differences, ridge]))
        top = q[: len(x)]
        freedom = len(x) - 1.4 * np.trace(top @ top.T)
        solution = np.linalg.solve(r, top.T @ y_TN)
        solutions.append(solution[:n] + solution[n])  # the splines sum to one
        squares_N = np.square(y_TN - model @ solution).sum(axis=0)
        admissible = freedom > 0 or lam == LAMBDAS[-1]
        score_LN.append(len(x) * squares_N / freedom**2 if admissible else np.full(y_TN.shape[1], np.inf))
    chosen_N = np.argmin(score_LN, axis=0)
    coefficients_KN = np.stack([solutions[index][:, i] for i, index in enumerate(chosen_N)], axis=1)
    return PlainFit(chosen_N, np.array(score_LN), coefficients_KN, knots)
