"""How often a token occurs in the training text, and what goes with it: bands of frequency, rank correlations.

Frequency belongs to the type, so everything is worked out on the distinct targets and handed down to the tokens.
Suffixes: N scored tokens, D distinct targets, B bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.smoother.smoothing import Float64, Floats

BLOCK = 1 << 15  # tokens worked on at a time: what is in between stays in a core's cache
MOST_IDS = 1 << 19  # of a vocabulary
LOWER = np.uint64((1 << 32) - 1)
MOST_NARROW = 1 << 30  # tokens whose ranks, twice, fit into 32 bits
THIRDS = ("rare", "mid", "frequent")


@dataclass(frozen=True)
class TargetTypes:
    """The distinct targets of a token set.

    Attributes:
        ids_D: Their token ids, ascending.
        index_N: Which of them each scored token has.
    """

    ids_D: NDArray[np.int64]
    index_N: NDArray[np.int32]

    @classmethod
    def of(cls, target_N: ArrayLike) -> TargetTypes:
        """The types of some targets."""
        target_N = np.asarray(target_N)
        if target_N.size and target_N.dtype.kind in "iu" and target_N.min() >= 0 and target_N.max() < MOST_IDS:
            # A table of all ids takes less memory than sorting the targets.
            present_V = np.zeros(int(target_N.max()) + 1, bool)
            present_V[target_N] = True
            index_V = np.cumsum(present_V, dtype=np.int32)
            index_V -= 1
            return cls(np.flatnonzero(present_V).astype(np.int64), index_V[target_N])
        ids_D, index_N = np.unique(target_N, return_inverse=True)
        return cls(ids_D.astype(np.int64), index_N.astype(np.int32))

    @classmethod
    def of_values(cls, values_N: ArrayLike) -> TargetTypes:
        """Tokens with the same value as one type, `ids_D` the order of the values: for rank correlations with them."""
        distinct_D, index_N = np.unique(np.asarray(values_N), return_inverse=True)
        return cls(np.arange(len(distinct_D)), index_N.astype(np.int32))

    @cached_property
    def tokens_D(self) -> NDArray[np.int64]:
        """Scored tokens of each type."""
        return np.bincount(self.index_N, minlength=len(self.ids_D))


def band_names(n_bands: int) -> tuple[str, ...]:
    """Names of the bands from the rarest to the most frequent: rare, mid, frequent, or 01, 02, ..."""
    return THIRDS if n_bands == len(THIRDS) else tuple(f"{i:02d}" for i in range(1, n_bands + 1))


def frequency_bands(types: TargetTypes, counts_D: ArrayLike, n_bands: int = 3) -> NDArray[np.int8]:
    """Returns each token's band, 0 the rarest, shape [N]: bands of about as many scored tokens each.

    A type is never divided, and types that occur equally often share a band, so bands can be unequal, and empty.

    Args:
        types: The targets.
        counts_D: Occurrences of each type in the training text.
        n_bands: How many bands.
    """
    ranks_D = _Order.of(types, np.asarray(counts_D)).ranks(types.tokens_D)
    share_D = (ranks_D - 0.5) / types.tokens_D.sum()
    band_D: NDArray[np.int8] = np.clip((share_D * n_bands).astype(np.int8), 0, n_bands - 1)
    return band_D[types.index_N]


def band_means(values_N: Floats | NDArray[np.bool_], band_N: NDArray[np.int8], n_bands: int) -> Float64:
    """Returns the mean of the finite values in each band, shape [B]; NaN where there are none."""
    counts_B, totals_B = np.zeros(n_bands, np.int64), np.zeros(n_bands)
    for start in range(0, band_N.size, BLOCK):
        values_n, band_n = values_N[start : start + BLOCK], band_N[start : start + BLOCK]
        finite_n = np.isfinite(values_n)
        if not finite_n.all():
            values_n, band_n = values_n[finite_n], band_n[finite_n]
        counts_B += np.bincount(band_n, minlength=n_bands)
        totals_B += np.bincount(band_n, values_n, n_bands)
    with np.errstate(invalid="ignore"):
        means_B: Float64 = totals_B / counts_B
    return means_B


def frequency_correlations(
    types: TargetTypes,
    counts_D: ArrayLike,
    measures: Mapping[str, Floats],
    run: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map,
) -> dict[str, float]:
    """Returns Spearman's rank correlation of frequency with each measure, over the tokens that have a value.

    Frequency and its logarithm have the same ranks; ties share their mean rank. Memory: as `rank_correlations`.

    Args:
        types: The targets.
        counts_D: Occurrences of each type in the training text.
        measures: One value a token, shape [N]; NaN where there is none.
        run: Applies a function to the measures, as `map` does; a thread pool's `map` shares them out.

    Returns:
        By measure; NaN with fewer than two tokens, or where all values are the same.
    """
    found = rank_correlations({"frequency": (types, counts_D)}, measures, run)
    return {name: found["frequency", name] for name in measures}


def rank_correlations(
    predictors: Mapping[str, tuple[TargetTypes, ArrayLike]],
    measures: Mapping[str, Floats],
    run: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map,
) -> dict[tuple[str, str], float]:
    """Returns Spearman's rank correlation of each predictor with each measure, over the tokens that have its value.

    A measure is ranked once for all predictors. Memory: 12 bytes a token for each measure that is worked on.

    Args:
        predictors: By name tokens of the same value as a type, and a number for each type; only its order matters.
        measures: One value a token, shape [N]; NaN where there is none.
        run: Applies a function to the measures, as `map` does; a thread pool's `map` shares them out.

    Returns:
        By predictor and measure; NaN with fewer than two tokens, or where all values are the same.
    """
    orders = [_Order.of(types, np.asarray(values_D)) for types, values_D in predictors.values()]
    of_measures = run(lambda name: _correlations(orders, measures[name]), measures)
    return {
        (predictor, name): r
        for name, found in zip(measures, of_measures, strict=True)
        for predictor, r in zip(predictors, found, strict=True)
    }


@dataclass(frozen=True)
class _Order:
    """The types in the order of a predictor; those of the same value are a group. Suffix: G groups, ascending."""

    types: TargetTypes
    group_D: NDArray[np.int64]

    @classmethod
    def of(cls, types: TargetTypes, values_D: NDArray[Any]) -> _Order:
        if (values_D[1:] > values_D[:-1]).all():
            return cls(types, np.arange(len(values_D)))
        return cls(types, np.unique(values_D, return_inverse=True)[1])

    def ranks(self, tokens_D: NDArray[np.int64]) -> Float64:
        """Mean rank among all tokens of the tokens of each type, [D].

        Args:
            tokens_D: How many there are of each.
        """
        tokens_G = np.bincount(self.group_D, tokens_D)
        rank_G = np.cumsum(tokens_G) - (tokens_G - 1) / 2
        ranks_D: Float64 = rank_G[self.group_D]
        return ranks_D


def _correlations(orders: Sequence[_Order], values_N: Floats) -> list[float]:
    """Pearson's r of a measure's mid-ranks with those of each predictor."""
    twice_N, missing_n = _centred_ranks(values_N)
    n = twice_N.size - missing_n.size
    squares = _squares(twice_N) / 4
    found = []
    for order in orders:
        tokens_D = order.types.tokens_D.copy()
        np.subtract.at(tokens_D, order.types.index_N[missing_n], 1)
        centred_D = order.ranks(tokens_D) - (n + 1) / 2  # from the mean of all ranks, however they are shared
        products = 0.0
        for start in range(0, twice_N.size, BLOCK):
            index_n = order.types.index_N[start : start + BLOCK]
            products += float(centred_D[index_n] @ twice_N[start : start + BLOCK]) / 2
        of_types = float(tokens_D @ np.square(centred_D))
        varies = n > 1 and squares > 0 and of_types > 0
        found.append(float(np.clip(products / np.sqrt(squares * of_types), -1, 1)) if varies else float("nan"))
    return found


def _squares(twice_N: NDArray[np.signedinteger[Any]]) -> float:
    blocks = (twice_N[start : start + BLOCK].astype(np.float64) for start in range(0, twice_N.size, BLOCK))
    return sum(float(block @ block) for block in blocks)


def _centred_ranks(values_N: Floats) -> tuple[NDArray[np.signedinteger[Any]], NDArray[np.intp]]:
    """Twice each value's mid-rank less that of the middle, a whole number; 0 where no value is; and where that is."""
    n_all = values_N.size
    twice_N: NDArray[np.signedinteger[Any]] = np.zeros(n_all, np.int32 if n_all < MOST_NARROW else np.int64)
    if values_N.dtype != np.float32 or n_all > int(LOWER):
        finite_N = np.isfinite(values_N)
        ranks_n = mid_ranks(values_N[finite_N])
        twice_N[finite_N] = 2 * ranks_n - (ranks_n.size + 1)
        return twice_N, np.flatnonzero(~finite_N)
    # A value and its token's number in one key: sorting numbers is faster than sorting what points to them.
    keys_N, missing = np.empty(n_all, np.uint64), []
    n = 0
    for start in range(0, n_all, BLOCK):
        values_n = values_N[start : start + BLOCK]
        token_n = np.arange(start, start + values_n.size, dtype=np.uint64)
        finite_n = np.isfinite(values_n)
        if not finite_n.all():
            missing.append(start + np.flatnonzero(~finite_n))
            values_n, token_n = values_n[finite_n], token_n[finite_n]
        keys_n = keys_N[n : n + values_n.size]
        keys_n[:] = _ordered_bits(values_n)
        keys_n <<= np.uint64(32)
        keys_n |= token_n
        n += values_n.size
    keys_n = keys_N[:n]
    keys_n.sort()
    start = 0
    while start < n:
        # A block ends where a value ends.
        end = min(start + BLOCK, n)
        if end < n:
            end = int(np.searchsorted(keys_n, (keys_n[end - 1] | LOWER), side="right"))
        values_b = keys_n[start:end] >> np.uint64(32)
        begins_g = np.flatnonzero(np.concatenate([[True], values_b[1:] != values_b[:-1]]))
        size_g = np.diff(begins_g, append=end - start)
        twice_g = 2 * (start + begins_g) + size_g - n
        twice_N[(keys_n[start:end] & LOWER).astype(np.intp)] = np.repeat(twice_g, size_g)
        start = end
    return twice_N, np.concatenate([np.zeros(0, np.intp), *missing])


def _ordered_bits(values_n: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Numbers in the order of the values, and equal where those are."""
    bits_n = (values_n + np.float32(0.0)).view(np.uint32)  # there is one zero
    sign_n = (bits_n.view(np.int32) >> 31).view(np.uint32)
    bits_n ^= sign_n | np.uint32(1 << 31)
    return bits_n


def mid_ranks(values_N: NDArray[Any]) -> Float64:
    """Returns ranks from 1, equal values sharing their mean rank."""
    order = np.argsort(values_N)  # in whatever order equal values come, they share their rank
    ordered = values_N[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if order.size else order
    ends = np.append(begins[1:], order.size)
    ranks_N = np.empty(order.size)
    ranks_N[order] = np.repeat((begins + ends + 1) / 2, ends - begins)
    return ranks_N


def pearson(x_N: ArrayLike, y_N: ArrayLike) -> float:
    """Returns Pearson's r over the tokens where both are finite; NaN with fewer than two, or without variation."""
    x, y = np.asarray(x_N, np.float64), np.asarray(y_N, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    return _pearson(x[both], y[both])


def _pearson(x_n: Float64, y_n: Float64) -> float:
    if x_n.size < 2:
        return float("nan")
    # Of values that are all the same, rounding of their own level is left.
    rounding = [4 * np.finfo(np.float64).eps * abs(v_n.mean()) * np.sqrt(v_n.size) for v_n in (x_n, y_n)]
    x_n, y_n = x_n - x_n.mean(), y_n - y_n.mean()
    lengths = [float(np.sqrt(v_n @ v_n)) for v_n in (x_n, y_n)]
    if any(length <= least for length, least in zip(lengths, rounding, strict=True)):
        return float("nan")
    return float(np.clip(x_n @ y_n / (lengths[0] * lengths[1]), -1, 1))
