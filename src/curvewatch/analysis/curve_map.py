"""The map of curves: every token a point, those whose curves are alike close together.

Principal components of the smoothed curves, evenly over log10 steps, so that what happens early counts as much as what
happens late. UMAP of the raw curves, as Chang, Tu & Bergen (2024) made it, is an optional extra. Suffixes: N tokens, S
places on the axis, K coordinates.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.analysis.moment import Moment
from curvewatch.measures import MeasureWarning, blocks, smooth_curves
from curvewatch.runfile.reader import Reader

Float64 = NDArray[np.float64]
PLACES = 64
METHODS = ("pca", "umap")
LEAST_NEIGHBOURS = 5
LEAST_OF_ALL = 2
"""UMAP takes no fewer."""
SAME = 1e-12
"""Of the curves' square: a variance below it is rounding."""
TOKENS_A_NEIGHBOUR = 2000
"""The paper's rule: 500 neighbours for a million tokens, 50 for a hundred thousand."""


@dataclass(frozen=True)
class CurveMap:
    """Where each token's curve lies.

    Attributes:
        points_NK: Coordinates, float64; NaN for tokens whose curve is not finite or could not be fitted.
        explained_K: Share of the curves' variance along each; empty for UMAP, which keeps no distances.
        method: "pca" or "umap".
        about: What each coordinate is, in words.
    """

    points_NK: Float64
    explained_K: Float64
    method: str
    about: tuple[str, ...]

    def inside(self, low: ArrayLike, high: ArrayLike) -> NDArray[np.int64]:
        """Indices of the tokens in a box: those whose coordinates lie from `low` to `high`, both of shape [K].

        Raises:
            ValueError: If one has another shape.
        """
        for name, bound in (("low", low), ("high", high)):
            if np.shape(bound) != self.points_NK.shape[1:]:
                raise ValueError(
                    f"{name}: shape {np.shape(bound)}; a number for each of the {self.points_NK.shape[1]} coordinates "
                    "is expected."
                )
        with np.errstate(invalid="ignore"):
            inside = ((self.points_NK >= np.asarray(low)) & (self.points_NK <= np.asarray(high))).all(axis=1)
        return np.flatnonzero(inside)


def curve_map(
    run: Reader,
    *,
    method: str = "pca",
    n_components: int = 2,
    seed: int = 0,
    neighbours: int | None = None,
    tokens: ArrayLike | None = None,
) -> CurveMap:
    """Lays out a run's curves.

    Args:
        run: The run.
        method: "pca", or "umap" (`pip install umap-learn`). UMAP changes the number of threads that PyTorch computes
            with in the same process: not beside a training whose every bit counts.
        n_components: K.
        seed: For UMAP.
        neighbours: For UMAP; None: one for each 2,000 tokens, at least 5, as in the paper.
        tokens: Indices of those to lay out, the only ones whose curves are looked at; None takes all.

    Raises:
        ImportError: If UMAP is asked for and not there.
        IndexError: If there is no such token.
        ValueError: If there is no such method or number of components or neighbours, or too few curves could be fitted:
            fewer than three, or for UMAP than `n_components` and three.

    Warns:
        MeasureWarning: If all curves are the same, so that a map shows nothing.
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: one of {', '.join(METHODS)} is expected.")
    if not 1 <= n_components <= PLACES:
        raise ValueError(f"n_components={n_components}: from 1 to {PLACES} coordinates are possible.")
    if neighbours is not None and neighbours < LEAST_OF_ALL:
        raise ValueError(
            f"neighbours={neighbours}: at least {LEAST_OF_ALL} are expected, or None for the paper's rule."
        )
    moment = Moment.now(run)
    which_n = np.arange(run.n_tokens) if tokens is None else np.unique(np.asarray(tokens, np.int64))
    if which_n.size and not 0 <= which_n[0] <= which_n[-1] < run.n_tokens:
        raise IndexError(f"tokens: indices lie from 0 to {run.n_tokens - 1}, got {which_n[0]} to {which_n[-1]}.")
    if method == "umap":
        return _by_umap(moment, which_n, n_components, seed, neighbours)
    n_places, total, mean_S, products_SS = 0, 0, np.zeros(0), np.zeros((0, 0))
    for _, curves_Sn in _smoothed(moment, which_n):
        known = curves_Sn[:, np.isfinite(curves_Sn).all(axis=0)]
        if n_places == 0:
            n_places = len(curves_Sn)
            mean_S, products_SS = np.zeros(n_places), np.zeros((n_places, n_places))
        total += known.shape[1]
        mean_S += known.sum(axis=1)
        products_SS += known @ known.T
    if total < 3:
        raise ValueError(f"{run.path}: {total} curves could be fitted; a map takes three.")
    mean_S /= total
    spread_SS = products_SS / total - np.outer(mean_S, mean_S)
    values, vectors = np.linalg.eigh(spread_SS)
    axes_SK = vectors[:, ::-1][:, :n_components]
    # A component's sign is arbitrary: here its largest part is positive, so that maps of runs can be compared.
    axes_SK = axes_SK * np.sign(axes_SK[np.abs(axes_SK).argmax(axis=0), np.arange(axes_SK.shape[1])])
    points_NK = np.full((run.n_tokens, axes_SK.shape[1]), np.nan)
    for chosen_n, curves_Sn in _smoothed(moment, which_n):
        points_NK[chosen_n] = (curves_Sn - mean_S[:, None]).T @ axes_SK
    if values[-1] <= SAME * float(np.square(mean_S).max()):
        _warn_of_same(run)
        about = tuple(f"component {k + 1}" for k in range(points_NK.shape[1]))
        return CurveMap(points_NK, np.full(points_NK.shape[1], np.nan), method, about)
    explained = values[::-1][:n_components] / max(float(np.maximum(values, 0).sum()), 1e-300)
    about = tuple(f"component {k + 1} ({share:.0%} of the variance)" for k, share in enumerate(explained))
    return CurveMap(points_NK, explained, method, about)


def _warn_of_same(run: Reader) -> None:
    warnings.warn(f"{run.path}: all curves are the same, so a map of them shows nothing.", MeasureWarning, stacklevel=3)


def _smoothed(moment: Moment, which_n: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Float64]]:
    """Smoothed curves of some tokens at places evenly apart over log10 steps, block by block."""
    for block in blocks.token_blocks(moment.surprisal):
        first_n, stop_n = np.searchsorted(which_n, (block.start, block.stop))
        chosen_n = which_n[first_n:stop_n]
        if not chosen_n.size:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MeasureWarning)
            fit = smooth_curves(moment.surprisal[:, block][:, chosen_n - block.start], moment.steps_T)
        if fit.basis is None:
            yield chosen_n, np.full((1, len(chosen_n)), np.nan)
            continue
        first, last = np.log10(float(fit.steps_T[0])), np.log10(float(fit.steps_T[-1]))
        places = np.clip(10 ** np.linspace(first, last, PLACES), fit.steps_T[0], fit.steps_T[-1])
        yield chosen_n, np.asarray(fit.at(places), np.float64)


def _by_umap(
    moment: Moment, which_n: NDArray[np.int64], n_components: int, seed: int, neighbours: int | None
) -> CurveMap:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError("method='umap' needs umap-learn: pip install umap-learn.") from error
    curves_NT = np.asarray(moment.surprisal[:], np.float32).T
    known_n = which_n[np.isfinite(curves_NT[which_n]).all(axis=1)]
    n = len(known_n)
    if n < n_components + 3:
        raise ValueError(
            f"{moment.run.path}: {n} curves are finite; a map of {n_components} coordinates by UMAP takes "
            f"{n_components + 3}. Use method='pca', or more tokens."
        )
    if (np.ptp(curves_NT[known_n], axis=0) == 0).all():
        _warn_of_same(moment.run)
    chosen = neighbours if neighbours is not None else max(LEAST_NEIGHBOURS, n // TOKENS_A_NEIGHBOUR)
    made: Any = UMAP(n_neighbors=min(chosen, n - 1), n_components=n_components, random_state=seed)
    points_NK = np.full((len(curves_NT), n_components), np.nan)
    with warnings.catch_warnings():
        # That a seed means one process, and how it begins where there are few tokens, is its own affair.
        warnings.simplefilter("ignore", UserWarning)
        points_NK[known_n] = made.fit_transform(curves_NT[known_n])
    return CurveMap(points_NK, np.zeros(0), "umap", tuple(f"UMAP {k + 1}" for k in range(n_components)))
