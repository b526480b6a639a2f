"""A few watched tokens, whose own curves are drawn while the run goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.metrics import Lines
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.tokens.view import view_of

SEED = 0
TEXT_WIDTH = 24


class WatchedTokens:
    """The surprisal of a few tokens, for one chart.

    Args:
        tokens: The token set.
        watched: Indices of tokens, or how many are to be chosen: some from each range of frequency, by a fixed seed.
        counts_N: How often each token's target occurs; None takes the set's own sequences for the choice.

    Attributes:
        indices: The watched tokens, from rare to frequent if they were chosen.
        names: A name for each, as it stands in its key: index and text, without signs that trackers refuse.

    Raises:
        ValueError: If there is no such token.
    """

    def __init__(
        self, tokens: TokenSet, watched: int | Sequence[int], counts_N: NDArray[np.float64] | None = None
    ) -> None:
        if isinstance(watched, int):
            counts_N = counts_N if counts_N is not None else _own_counts(tokens)
            indices = stratified(tokens.target, counts_N, watched)
        else:
            check_watched(watched, len(tokens))
            indices = np.asarray(watched)
        self.indices = indices.astype(np.intp)
        self.names = [_name(tokens, int(i)) for i in self.indices]
        self._labels = [f"{i} {view_of(tokens, int(i)).target.strip()[:TEXT_WIDTH]}" for i in self.indices]
        self._steps: list[int] = []
        self._rows: list[NDArray[np.float32]] = []

    def update(self, step: int, surprisal_N: NDArray[np.float32]) -> dict[str, float]:
        """Takes the next observation; the metrics of it, keys as in `WATCHED_METRICS`."""
        self._steps.append(step)
        self._rows.append(surprisal_N[self.indices])
        return {f"watched/{name}": float(y) for name, y in zip(self.names, self._rows[-1], strict=True)}

    def lines(self) -> Lines | None:
        """All curves so far as one chart, without step 0 (it has no place on a logarithmic axis); None without any."""
        shown = [t for t, step in enumerate(self._steps) if step > 0]
        if not shown or not self.names:
            return None
        log_steps = [float(np.log10(self._steps[t])) for t in shown]
        curves = np.array([self._rows[t] for t in shown], np.float64).T
        return Lines("Surprisal of watched tokens, bit", "log10 step", log_steps, curves.tolist(), self._labels)


def check_watched(watched: int | Sequence[int], n_tokens: int) -> None:
    """Refuses indices of tokens that are not there.

    Raises:
        ValueError: If there is one.
    """
    indices = np.zeros(0, int) if isinstance(watched, int) else np.asarray(watched)
    if indices.size and (indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= n_tokens):
        raise ValueError(f"watched={indices.tolist()!r}: indices from 0 to {n_tokens - 1:,} are expected.")


def stratified(
    target_N: NDArray[np.int32], counts_N: NDArray[np.float64], n: int, seed: int = SEED
) -> NDArray[np.intp]:
    """Returns `n` tokens, one from each nth part of all when ordered by `counts_N`, with different targets if possible.

    Args:
        target_N: Ids of the targets.
        counts_N: How often each token's target occurs.
        n: How many.
        seed: For the choice within a part.
    """
    order = np.lexsort((np.random.default_rng(seed).permutation(counts_N.size), counts_N))
    chosen: list[int] = []
    for part in np.array_split(order, min(n, order.size)) if n else ():
        others = part[~np.isin(target_N[part], target_N[chosen])]
        chosen.append(int((others if others.size else part)[(others.size or part.size) // 2]))
    return np.array(chosen, np.intp)


def _own_counts(tokens: TokenSet) -> NDArray[np.float64]:
    ids, counts = np.unique(tokens.ids, return_counts=True)
    counts_N: NDArray[np.float64] = counts[np.searchsorted(ids, tokens.target)].astype(np.float64)
    return counts_N


def _name(tokens: TokenSet, i: int) -> str:
    # Some trackers take letters, digits, spaces and few signs in a key, and read "/" as a section.
    text = re.sub(r"[^A-Za-z0-9_.\- ]", "", view_of(tokens, i).target).strip()[:TEXT_WIDTH]
    return f"{i} {text}".strip()
