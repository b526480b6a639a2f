"""What of a target each predictor goes with: directions, standardised effects with their uncertainty, classes.

Suffixes: B draws of a bootstrap, G groups of sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.predict.design import INTERCEPT, TARGET, Float64, Moments
from curvewatch.analysis.predict.solving import fit, standardised

DRAWS, LEVEL = 500, 0.95
MOST_VALUES = 1 << 22
"""Of the draws that are solved at once."""
WELL = 1e-8
"""Least eigenvalue of the columns' correlations with which equations are solved as they stand."""


@dataclass(frozen=True)
class Effect:
    """One number's effect on a target, all other predictors held.

    Attributes:
        name: Of the number.
        value: SDs of the target for each SD of the number.
        low: Of its 95 % interval, from drawing sequences anew.
        high: Likewise.
        signs: Its direction in the model with all predictors, alone, and alone on what frequency leaves; three equal
            ones are a direction to speak of.
    """

    name: str
    value: float
    low: float
    high: float
    signs: str

    @property
    def agreed(self) -> bool:
        """Whether all its directions are the same, and its interval lies on one side of 0."""
        return len(set(self.signs)) == 1 and (self.low > 0 or self.high < 0)


def effects_of(moments: Moments, columns: Sequence[str], *, frequency: str = "unigram", seed: int = 0) -> list[Effect]:
    """The effect of each number.

    Args:
        moments: Of all columns.
        columns: Of the model with all predictors, without products.
        frequency: The number that the third direction is beyond.
        seed: For the draws.
    """
    numbers = moments.design.numbers
    total_CC = moments.sums_GCC.sum(axis=0)
    value = standardised(moments, columns, total_CC)
    draws_BC = np.concatenate([_standardised(moments, columns, drawn_BCC) for drawn_BCC in _drawn(moments, seed)])
    found = []
    for k, name in enumerate(columns):
        if name not in numbers:
            continue
        low, high = _interval(draws_BC[:, k], len(moments.sums_GCC))
        signs = _signs(moments, columns, name, frequency)
        found.append(Effect(name, float(value[k]), low, high, signs))
    return found


def _drawn(moments: Moments, seed: int) -> Iterator[Float64]:
    """Sums of products over groups of sequences that are drawn anew, as many as there are; some draws at a time."""
    rng, n_groups = np.random.default_rng(seed), len(moments.sums_GCC)
    flat_GC = moments.sums_GCC.reshape(n_groups, -1)
    at_once = max(1, MOST_VALUES // flat_GC.shape[1])
    for first in range(0, DRAWS, at_once):
        drawn = [rng.integers(0, n_groups, n_groups) for _ in range(min(at_once, DRAWS - first))]
        weight_BG = np.array([np.bincount(of, minlength=n_groups) for of in drawn], np.float64)
        yield (weight_BG @ flat_GC).reshape(-1, *moments.sums_GCC.shape[1:])


def _standardised(moments: Moments, columns: Sequence[str], drawn_BCC: Float64) -> Float64:
    """`standardised` for each draw, [B, len(columns)]: all at once, but for those that take a closer look."""
    found_BC = np.full((len(drawn_BCC), len(columns)), np.nan)
    # What depends on others over all sequences does so in every draw.
    known = np.isfinite(standardised(moments, columns, moments.sums_GCC.sum(axis=0)))
    x = moments.place([INTERCEPT, *(column for column, one in zip(columns, known, strict=True) if one)])
    y = int(moments.place([TARGET])[0])
    well_B, solved_BX = _solved(drawn_BCC[:, x[:, None], x], drawn_BCC[:, x, y])
    found_BC[np.ix_(well_B, known)] = solved_BX[well_B, 1:]
    for b in np.flatnonzero(~well_B):
        found_BC[b] = standardised(moments, columns, drawn_BCC[b])
    return found_BC


def _solved(normal_BXX: Float64, right_BX: Float64) -> tuple[NDArray[np.bool_], Float64]:
    """Solutions of normal equations, and for which they can be trusted: all columns there, and independent."""
    diagonal_BX = np.diagonal(normal_BXX, axis1=1, axis2=2)
    scale_BX = np.sqrt(np.where(diagonal_BX > 0, diagonal_BX, 1.0))
    scaled_BXX = normal_BXX / (scale_BX[:, :, None] * scale_BX[:, None, :])
    well_B = (diagonal_BX > 0).all(axis=1) & (np.linalg.eigvalsh(scaled_BXX)[:, 0] > WELL)
    found_BX = np.full_like(right_BX, np.nan)
    if well_B.any():
        right_bX1 = (right_BX / scale_BX)[well_B][:, :, None]
        found_BX[well_B] = np.linalg.solve(scaled_BXX[well_B], right_bX1)[:, :, 0] / scale_BX[well_B]
    return well_B, found_BX


def _interval(draws_B: Float64, n_groups: int) -> tuple[float, float]:
    """What holds `LEVEL` of the draws; NaN where there are none, or all are of one group."""
    known = draws_B[np.isfinite(draws_B)]
    if not len(known) or n_groups < 2:
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)


def _signs(moments: Moments, columns: Sequence[str], name: str, frequency: str) -> str:
    slopes = [fit(moments, columns).of(name), fit(moments, [name]).of(name)]
    if name != frequency and frequency in moments.design.numbers:
        slopes.append(slope_beyond(moments, name, frequency))
    return "".join("+" if slope >= 0 else "-" for slope in slopes if np.isfinite(slope))


def slope_beyond(moments: Moments, name: str, frequency: str) -> float:
    """Slope of a number, alone, on what the frequency leaves of the target; of standardised columns."""
    total_CC = moments.sums_GCC.sum(axis=0)
    one, x, f, y = moments.place([INTERCEPT, name, frequency, TARGET])
    n = total_CC[one, one]
    slope = total_CC[f, y] / total_CC[f, f]
    covariance = (total_CC[x, y] - slope * total_CC[x, f]) / n
    return float(covariance / (total_CC[x, x] / n))


def class_effects(moments: Moments, numbers: Sequence[str]) -> dict[str, dict[str, float]]:
    """How much more (or less) of a target each class has, beyond what the numbers say, raw units, the reference 0.

    As in the paper: the numbers' residuals are regressed on all classes together.

    Args:
        moments: Of all columns.
        numbers: The numeric predictors.
    """
    design = moments.design
    dummies = [column for name in design.classes for column in design.of_class(name)]
    if not dummies:
        return {}
    values = dict(zip(dummies, _beyond(moments, numbers, dummies, moments.sums_GCC.sum(axis=0)), strict=True))
    found: dict[str, dict[str, float]] = {}
    for name, of in design.classes.items():
        found[name] = {of[0]: 0.0, **{value: values[f"{name}={value}"] for value in of[1:]}}
        found[name] = dict(sorted(found[name].items(), key=lambda item: (np.isnan(item[1]), item[1])))
    return found


def class_intervals(
    moments: Moments, numbers: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, tuple[float, float]]]:
    """The 95 % interval of each of `class_effects`, from drawing sequences anew; that of the reference is (0, 0).

    Args:
        moments: Of all columns.
        numbers: The numeric predictors.
        seed: For the draws.
    """
    design = moments.design
    dummies = [column for name in design.classes for column in design.of_class(name)]
    if not dummies:
        return {}
    draws_BD = np.concatenate([_all_beyond(moments, numbers, dummies, drawn) for drawn in _drawn(moments, seed)])
    intervals = {column: _interval(draws_BD[:, k], len(moments.sums_GCC)) for k, column in enumerate(dummies)}
    return {
        name: {of[0]: (0.0, 0.0), **{value: intervals[f"{name}={value}"] for value in of[1:]}}
        for name, of in design.classes.items()
    }


def _beyond(moments: Moments, numbers: Sequence[str], dummies: Sequence[str], products_CC: Float64) -> list[float]:
    """Coefficients of all classes on what the numbers leave of the target, raw units; NaN for one without tokens."""
    x, d = moments.place([INTERCEPT, *numbers]), moments.place([INTERCEPT, *dummies])
    y = int(moments.place([TARGET])[0])
    beta = np.linalg.lstsq(products_CC[np.ix_(x, x)], products_CC[x, y], rcond=None)[0]
    left_D: Float64 = products_CC[d, y] - products_CC[np.ix_(d, x)] @ beta
    solved = np.linalg.lstsq(products_CC[np.ix_(d, d)], left_D, rcond=None)[0] * (moments.sd[TARGET] or 1.0)
    return [float(one) for one in np.where(np.diag(products_CC)[d] == 0, np.nan, solved)[1:]]


def _all_beyond(moments: Moments, numbers: Sequence[str], dummies: Sequence[str], drawn_BCC: Float64) -> Float64:
    """`_beyond` for each draw, [B, len(dummies)]: all at once, but for those that take a closer look."""
    x, d = moments.place([INTERCEPT, *numbers]), moments.place([INTERCEPT, *dummies])
    y = int(moments.place([TARGET])[0])
    well_B, beta_BX = _solved(drawn_BCC[:, x[:, None], x], drawn_BCC[:, x, y])
    left_BD = drawn_BCC[:, d, y] - (drawn_BCC[:, d[:, None], x] @ beta_BX[:, :, None])[:, :, 0]
    also_B, solved_BD = _solved(drawn_BCC[:, d[:, None], d], left_BD)
    found_BD: Float64 = solved_BD[:, 1:] * (moments.sd[TARGET] or 1.0)
    for b in np.flatnonzero(~(well_B & also_B)):
        found_BD[b] = _beyond(moments, numbers, dummies, drawn_BCC[b])
    return found_BD


def class_counts(codes: Mapping[str, np.ndarray], values: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """How many tokens each class has."""
    return {
        name: dict(zip(of, np.bincount(codes[name], minlength=len(of)).tolist(), strict=True))
        for name, of in values.items()
    }
