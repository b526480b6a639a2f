"""The columns of a regression, block by block, and their products summed up: what every model here is solved from.

Numbers are standardised (population SD), so that products of them are well-conditioned; coefficients are turned back
into raw units afterwards. Products are kept by groups of sequences, which a bootstrap draws from. Suffixes: N tokens,
n those that are used, C columns, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
BLOCK = 1 << 14
MOST_GROUPS = 1000
"""Sequences are put together at random where there are more: their tokens stay together, and memory stays small."""
INTERCEPT, TARGET = "(intercept)", "(target)"


class TooFewTokensError(ValueError):
    """A measure has fewer tokens than the largest model has columns."""


@dataclass(frozen=True)
class Design:
    """Which columns there are.

    Attributes:
        numbers: Names of the numeric predictors.
        classes: For each class predictor its values, the reference first; a column for each of the others.
        products: Pairs of numeric predictors whose product is a column, too.
    """

    numbers: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    products: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, numbers: Sequence[str], classes: Mapping[str, Sequence[str]]) -> Design:
        """The design with all pairwise products of the numbers."""
        ordered = {name: tuple(values) for name, values in classes.items()}
        return cls(tuple(numbers), ordered, tuple(combinations(numbers, 2)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, intercept first, target last."""
        dummies = [f"{name}={value}" for name, values in self.classes.items() for value in values[1:]]
        return (INTERCEPT, *self.numbers, *dummies, *(f"{a}:{b}" for a, b in self.products), TARGET)

    def of_class(self, name: str) -> tuple[str, ...]:
        """Names of a class predictor's columns."""
        return tuple(f"{name}={value}" for value in self.classes[name][1:])


@dataclass(frozen=True)
class Moments:
    """Sums of products of the columns over the tokens that are used.

    Attributes:
        design: The columns.
        sums_GCC: By group of sequences.
        n_G: Tokens in each group.
        mean: Of each number, and of the target, in raw units.
        sd: Likewise, population SD.
    """

    design: Design
    sums_GCC: Float64
    n_G: NDArray[np.int64]
    mean: Mapping[str, float]
    sd: Mapping[str, float]

    @property
    def n(self) -> int:
        """Tokens that are used."""
        return int(self.n_G.sum())

    def place(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Where columns stand."""
        where = {name: k for k, name in enumerate(self.design.columns)}
        return np.array([where[name] for name in names], np.intp)


def moments_of(
    design: Design,
    numbers: Mapping[str, Float64],
    codes: Mapping[str, NDArray[np.integer]],
    target_N: Float64,
    use_N: NDArray[np.bool_],
    group_N: NDArray[np.integer],
) -> Moments:
    """Goes through the tokens once for their means, once for the products.

    Args:
        design: The columns.
        numbers: Values of each numeric predictor, [N].
        codes: Values of each class predictor as indices into its values, the reference 0, [N].
        target_N: What is predicted.
        use_N: Tokens that are used: finite in every column.
        group_N: Group of each token's sequence, from 0 on.
    """
    chosen = np.flatnonzero(use_N)
    chosen = chosen[np.argsort(group_N[chosen], kind="stable")]
    values = {name: numbers[name][chosen].astype(np.float64) for name in design.numbers}
    values[TARGET] = target_N[chosen].astype(np.float64)
    mean = {name: float(one.mean()) for name, one in values.items()}
    sd = {name: float(one.std()) for name, one in values.items()}
    for name, one in values.items():
        one -= mean[name]
        one /= sd[name] or 1.0
    group_n = group_N[chosen]
    n_groups = int(group_n[-1]) + 1 if len(group_n) else 0
    names = design.columns
    sums = np.zeros((n_groups, len(names), len(names)))
    bounds = np.searchsorted(group_n, np.arange(n_groups + 1))
    for g in range(n_groups):
        for first in range(int(bounds[g]), int(bounds[g + 1]), BLOCK):
            rows = slice(first, min(first + BLOCK, int(bounds[g + 1])))
            block = _block(design, values, {name: of[chosen[rows]] for name, of in codes.items()}, rows)
            sums[g] += block.T @ block
    return Moments(design, sums, np.diff(bounds), mean, sd)


def _block(
    design: Design, values: Mapping[str, Float64], codes: Mapping[str, NDArray[np.integer]], rows: slice
) -> Float64:
    parts = [np.ones(rows.stop - rows.start), *(values[name][rows] for name in design.numbers)]
    for name, of in design.classes.items():
        parts += [(codes[name] == k).astype(np.float64) for k in range(1, len(of))]
    parts += [values[a][rows] * values[b][rows] for a, b in design.products]
    parts.append(values[TARGET][rows])
    return np.stack(parts, axis=1)


def groups_of(sequence_index: NDArray[np.integer], seed: int = 0) -> NDArray[np.int64]:
    """The group of each token: its sequence, or one of `MOST_GROUPS` random sets of sequences where there are more."""
    sequences, place_N = np.unique(sequence_index, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(sequences))
    found: NDArray[np.int64] = (order % min(len(sequences), MOST_GROUPS))[place_N].astype(np.int64)
    return found
