"""Least squares from moments: one model, or a row of nested ones in a single elimination. Suffix: C columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.predict.design import INTERCEPT, TARGET, Float64, Moments

RANK = 1e-10
"""A column whose part beyond those before it is less than this of its square adds nothing."""
SMALLEST_P = 1e-300


@dataclass(frozen=True)
class Fit:
    """A fitted model, in raw units.

    Attributes:
        columns: Of those asked for the ones that it has, the intercept first; what depends on others is left out.
        coefficients: Of each.
        errors: Their standard errors, as if tokens were independent.
        left_out: Columns that depend on those before them.
        n: Tokens.
        ssr: Sum of squared residuals.
        sst: Of the target about its mean.
    """

    columns: tuple[str, ...]
    coefficients: Float64
    errors: Float64
    left_out: tuple[str, ...]
    n: int
    ssr: float
    sst: float

    @property
    def rank(self) -> int:
        """Columns, the intercept included."""
        return len(self.columns)

    @property
    def r2(self) -> float:
        """Share of the target's variance that is explained."""
        return 1 - self.ssr / self.sst if self.sst > 0 else float("nan")

    @property
    def adjusted_r2(self) -> float:
        """The same with the degrees of freedom taken off."""
        left = self.n - self.rank
        return 1 - (1 - self.r2) * (self.n - 1) / left if left > 0 else float("nan")

    @property
    def log_likelihood(self) -> float:
        """Of normal residuals."""
        if self.ssr <= 0:
            return math.inf
        return -self.n / 2 * (math.log(2 * math.pi * self.ssr / self.n) + 1)

    def of(self, column: str) -> float:
        """A column's coefficient; NaN if it is not in the model."""
        return float(self.coefficients[self.columns.index(column)]) if column in self.columns else float("nan")


@dataclass(frozen=True)
class Step:
    """What a group of columns adds to the model before it.

    Attributes:
        name: Of the group.
        fit: The model with it.
        gain: In adjusted R2; NaN for the first.
        chi2: Of the likelihood-ratio test, twice the gain in log-likelihood; NaN for the first.
        df: Its degrees of freedom: columns that it adds.
        p: Upper tail of the chi2 distribution; 0 below 1e-300.
    """

    name: str
    fit: Fit
    gain: float
    chi2: float
    df: int
    p: float


def fit(moments: Moments, columns: Sequence[str]) -> Fit:
    """Ordinary least squares of the target on some columns.

    Args:
        moments: Of all columns.
        columns: Those of the model, besides the intercept.
    """
    total_CC = moments.sums_GCC.sum(axis=0)
    names = (INTERCEPT, *columns)
    kept, ssr, sst = _eliminated(total_CC, moments.place(names), int(moments.place([TARGET])[0]))
    places = moments.place([names[k] for k in kept])
    y = int(moments.place([TARGET])[0])
    inverse = np.linalg.inv(total_CC[np.ix_(places, places)])
    beta = inverse @ total_CC[places, y]
    scale = moments.sd[TARGET] or 1.0
    left = moments.n - len(kept)
    covariance = inverse * (ssr / left if left > 0 else math.nan)
    to_raw = _to_raw([names[k] for k in kept], moments)
    raw = to_raw @ beta * scale
    raw[0] += moments.mean[TARGET]
    errors = np.sqrt(np.maximum(np.diag(to_raw @ covariance @ to_raw.T), 0)) * scale
    return Fit(
        columns=tuple(names[k] for k in kept), coefficients=raw, errors=errors,
        left_out=tuple(name for k, name in enumerate(names) if k not in kept), n=moments.n, ssr=ssr * scale**2,
        sst=sst * scale**2,
    )  # fmt: skip


def standardised(moments: Moments, columns: Sequence[str], products_CC: Float64) -> Float64:
    """Coefficients in SDs of the target for each SD of a number, [len(columns)]; NaN for what is left out."""
    names, y = (INTERCEPT, *columns), int(moments.place([TARGET])[0])
    kept, _, _ = _eliminated(products_CC, moments.place(names), y)
    places = moments.place([names[k] for k in kept])
    beta = np.linalg.solve(products_CC[np.ix_(places, places)], products_CC[places, y])
    found = np.full(len(names), np.nan)
    found[list(kept)] = beta
    return found[1:]


def nested(moments: Moments, groups: Sequence[tuple[str, Sequence[str]]]) -> list[Step]:
    """Models that grow by a group of columns each, with likelihood-ratio tests of what it adds.

    Args:
        moments: Of all columns.
        groups: Name and columns of each.
    """
    steps: list[Step] = []
    columns: list[str] = []
    for name, added in groups:
        columns += added
        now = fit(moments, columns)
        if not steps:
            steps.append(Step(name, now, math.nan, math.nan, 0, math.nan))
            continue
        before = steps[-1].fit
        df = now.rank - before.rank
        chi2 = 2 * (now.log_likelihood - before.log_likelihood) if df else 0.0
        steps.append(Step(name, now, now.adjusted_r2 - before.adjusted_r2, chi2, df, chi2_tail(chi2, df)))
    return steps


def chi2_tail(chi2: float, df: int) -> float:
    """Probability of at least `chi2` with `df` degrees of freedom; NaN for none."""
    from scipy.special import gammaincc

    return float(gammaincc(df / 2, max(chi2, 0.0) / 2)) if df else math.nan


def shown_p(p: float) -> str:
    """A p as it is printed: never 0."""
    if math.isnan(p):
        return ""
    return f"< {SMALLEST_P:g}" if p < SMALLEST_P else f"{p:.3g}"


def _eliminated(total_CC: Float64, places: NDArray[np.intp], y: int) -> tuple[tuple[int, ...], float, float]:
    """Which columns are independent, in their order; what is left of the target's square; its square about the mean."""
    everything = np.append(places, y)
    left = total_CC[np.ix_(everything, everything)].copy()
    own = np.diag(left).copy()
    kept: list[int] = []
    sst = math.nan
    for k in range(len(places)):
        if left[k, k] > RANK * own[k]:
            kept.append(k)
            left -= np.outer(left[:, k], left[k]) / left[k, k]
        if k == 0:
            sst = float(left[-1, -1])
    return tuple(kept), max(float(left[-1, -1]), 0.0), sst


def _to_raw(names: Sequence[str], moments: Moments) -> Float64:
    """The matrix that turns coefficients of standardised columns into those of raw ones (of a standardised target)."""
    where = {name: k for k, name in enumerate(names)}
    turn = np.eye(len(names))
    numbers = set(moments.design.numbers)
    for name, k in where.items():
        if name in numbers:
            sd = moments.sd[name] or 1.0
            turn[k, k] = 1 / sd
            turn[0, k] -= moments.mean[name] / sd
    for a, b in moments.design.products:
        if f"{a}:{b}" not in where:
            continue
        k = where[f"{a}:{b}"]
        (mean_a, sd_a), (mean_b, sd_b) = ((moments.mean[one], moments.sd[one] or 1.0) for one in (a, b))
        turn[k, k] = 1 / (sd_a * sd_b)
        turn[0, k] += mean_a * mean_b / (sd_a * sd_b)
        for one, other in ((a, mean_b), (b, mean_a)):
            if one in where:
                turn[where[one], k] -= other / (sd_a * sd_b)
    return turn
