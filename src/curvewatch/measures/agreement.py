"""How far several runs agree token by token: reliability of what varies, raw and smoothed, and whose curve is whose.

Source: Chang, Tu & Bergen (2024). Suffixes: R runs, P pairs of runs, N tokens, T rows, n orders of n-grams, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures.correlation import pearson

Float64 = NDArray[np.float64]
BLOCK_VALUES = 1 << 22


def raw_pair_distances(curves_RTN: Sequence[ArrayLike], pairs: Sequence[tuple[int, int]]) -> Float64:
    """Mean squared difference of the raw curves of each pair of runs, all rows included, bits squared, [P, N].

    Args:
        curves_RTN: Of each run the surprisal at the same rows, bits, [T, N].
        pairs: Of runs.
    """
    found = []
    for i, j in pairs:
        a_TN, b_TN = (np.asarray(curves_RTN[k], np.float64) for k in (i, j))
        found.append(np.square(a_TN - b_TN).mean(axis=0))
    return np.stack(found)


def subset_variability(pair_PN: Float64, pairs: Sequence[tuple[int, int]], runs: Sequence[int]) -> Float64:
    """Variability across some of the runs: mean of their pairs' distances, [N]."""
    inside = [p for p, pair in enumerate(pairs) if set(pair) <= set(runs)]
    found: Float64 = pair_PN[inside].mean(axis=0)
    return found


@dataclass(frozen=True)
class Reliability:
    """How well variability across some runs tells that across others: correlations over tokens.

    Attributes:
        disjoint: Between the larger and the smaller half of the runs, every way to halve them; these share nothing.
        overlapping: By the size of subsets, between each two of them; those share pairs, so they correlate by
            construction.
    """

    disjoint: Float64
    overlapping: dict[int, Float64]


def reliability(pair_PN: ArrayLike, pairs: Sequence[tuple[int, int]], n_runs: int) -> Reliability | None:
    """Reliability of variability across runs; None below four runs, which make no two pairs.

    Args:
        pair_PN: Variability of each pair of runs, bits squared; tokens with a NaN are left out.
        pairs: The runs of each.
        n_runs: R.
    """
    if n_runs < 4:
        return None
    given = np.asarray(pair_PN, np.float64)
    known_PN = given[:, np.isfinite(given).all(axis=0)]
    everyone = range(n_runs)
    disjoint = []
    for larger in combinations(everyone, -(-n_runs // 2)):
        rest = [run for run in everyone if run not in larger]
        if len(larger) == len(rest) and larger[0] != 0:
            continue  # the other half of a pair that was taken already
        halves = [subset_variability(known_PN, pairs, some) for some in (larger, rest)]
        disjoint.append(pearson(*halves))
    overlapping = {}
    for size in range(3, n_runs):
        of = [subset_variability(known_PN, pairs, some) for some in combinations(everyone, size)]
        overlapping[size] = np.array([pearson(a, b) for a, b in combinations(of, 2)])
    return Reliability(np.array(disjoint), overlapping)


def rank_of_same(curves_TN: ArrayLike, others_TN: ArrayLike, queries: ArrayLike | None = None) -> NDArray[np.int64]:
    """How many tokens of another run have a curve strictly nearer to a token's than its own there; 0 is best.

    Args:
        curves_TN: Surprisal of one run, bits.
        others_TN: Of another at the same rows.
        queries: Indices of the tokens asked for; None asks for all, which takes the square of their number.

    Returns:
        int64, shape [Q].
    """
    mine_TN, theirs_TN = (np.asarray(one, np.float64) for one in (curves_TN, others_TN))
    which = np.arange(mine_TN.shape[1]) if queries is None else np.asarray(queries, np.int64)
    n = theirs_TN.shape[1]
    squares_N = np.square(theirs_TN).sum(axis=0)
    found = np.empty(len(which), np.int64)
    step = max(1, BLOCK_VALUES // n)
    for start in range(0, len(which), step):
        chosen = which[start : start + step]
        block_TQ = mine_TN[:, chosen]
        own_Q = np.square(block_TQ - theirs_TN[:, chosen]).sum(axis=0)
        # |x - y|^2 less |x|^2, by one product; close ones are looked at again, where that loses digits.
        near_QN = squares_N[None, :] - 2 * (block_TQ.T @ theirs_TN)
        bound_Q = own_Q - np.square(block_TQ).sum(axis=0)
        size_Q = np.abs(bound_Q) + np.square(block_TQ).sum(axis=0)
        margin_Q1 = (1e-9 * size_Q + 1e-12)[:, None]
        surely = (near_QN < bound_Q[:, None] - margin_Q1).sum(axis=1)
        q, k = np.nonzero(np.abs(near_QN - bound_Q[:, None]) <= margin_Q1)
        exact = np.square(block_TQ[:, q] - theirs_TN[:, k]).sum(axis=0)
        closer = (exact < own_Q[q]) & (chosen[q] != k)
        found[start : start + step] = surely + np.bincount(q[closer], minlength=len(chosen))
    return found


def ngram_correlations(curves_TN: ArrayLike, ngram_bits_nN: ArrayLike) -> Float64:
    """Pearson correlation of surprisal with that of each n-gram model, row by row, [T, n]; NaN where it is none."""
    curves = np.asarray(curves_TN, np.float64)
    models = np.asarray(ngram_bits_nN, np.float64)
    return np.array([[pearson(row, model) for model in models] for row in curves])


def measure_correlations(of_MRN: Float64) -> tuple[Float64, Float64]:
    """Pearson correlation of measures with each other, over tokens with both.

    Args:
        of_MRN: M measures of N tokens in R runs.

    Returns:
        [M, M] with the runs stacked, each value a point; and of means over the runs, each token with all runs a point.
        NaN where fewer than three have both, or one is constant.
    """
    with np.errstate(invalid="ignore"):
        averaged_MN = of_MRN.mean(axis=1)
    return _correlated(of_MRN.reshape(len(of_MRN), -1)), _correlated(averaged_MN)


def _correlated(of_MX: Float64) -> Float64:
    found_MM = np.empty((len(of_MX), len(of_MX)))
    for i, j in combinations_with_replacement(range(len(of_MX)), 2):
        both = np.isfinite(of_MX[i]) & np.isfinite(of_MX[j])
        found_MM[i, j] = found_MM[j, i] = pearson(of_MX[i, both], of_MX[j, both]) if both.sum() >= 3 else np.nan
    return found_MM
