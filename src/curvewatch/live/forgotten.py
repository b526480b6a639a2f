"""The tokens most forgotten, as a table with their contexts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.current import LiveMetrics
from curvewatch.live.metrics import Table
from curvewatch.measures.so_far import SoFar
from curvewatch.observation import Observation
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.tokens.view import view_of

BLOCK = 1 << 15
CONTEXT_TOKENS = 30
COLUMNS = (
    "token", "context", "target", "events_top1", "events_threshold", "forgettability_bits", "surprisal_bits", "correct",
)  # fmt: skip


def most_forgotten(live: LiveMetrics, n: int) -> NDArray[np.intp]:
    """Returns up to `n` tokens with at least one event, most events first, top-1 before threshold events.

    Args:
        live: The counts so far.
        n: How many at most.
    """
    top1_N, threshold_N = live.top1.events_N, live.threshold.events_N
    # Both counts in one number; the most of each block, so that no more than a block of them is needed at a time.
    more = int(threshold_N.max(initial=0)) + 1
    found, scores = [np.empty(0, np.intp)], [np.empty(0, np.int64)]
    for start in range(0, top1_N.size, BLOCK):
        score_n = top1_N[start : start + BLOCK].astype(np.int64) * more + threshold_N[start : start + BLOCK]
        chosen_n = _most(score_n, n)
        found.append(chosen_n + start)
        scores.append(score_n[chosen_n])
    score_n = np.concatenate(scores)
    chosen_n = _most(score_n, n)
    chosen: NDArray[np.intp] = np.concatenate(found)[chosen_n[score_n[chosen_n] > 0]]
    return chosen


def _most(score_n: NDArray[np.int64], n: int) -> NDArray[np.intp]:
    """The places of the `n` highest scores, highest first; of equals the first ones."""
    if 0 < n < score_n.size:
        least = np.partition(score_n, score_n.size - n)[score_n.size - n]
        among = np.flatnonzero(score_n >= least)
    else:
        among = np.arange(score_n.size)
    places: NDArray[np.intp] = among[np.argsort(-score_n[among], kind="stable")][:n]
    return places


def forgotten_table(
    tokens: TokenSet, live: LiveMetrics, observation: Observation, so_far: SoFar | None, n: int
) -> Table:
    """The tokens most forgotten so far, one row each.

    Args:
        tokens: The token set.
        live: The counts so far.
        observation: The last one.
        so_far: The smoothed measures, if there are any.
        n: Rows at most.
    """
    rows = []
    for i in most_forgotten(live, n).tolist():
        token = view_of(tokens, i, CONTEXT_TOKENS)
        forgettability = float(so_far.forgettability_N[i]) if so_far is not None else None
        rows.append(
            [
                i, token.context, token.target, int(live.top1.events_N[i]), int(live.threshold.events_N[i]),
                forgettability if forgettability is None or np.isfinite(forgettability) else None,
                float(observation.surprisal_bits[i]), bool(observation.correct[i]),
            ]
        )  # fmt: skip
    return Table(COLUMNS, rows)
