"""The tokens most forgotten, as a table with their contexts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.current import LiveMetrics
from curvewatch.live.metrics import Table
from curvewatch.measures.so_far import SoFar
from curvewatch.observation import Observation
from curvewatch.token_view import view_of
from curvewatch.tokens import TokenSet

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
    # Both counts in one number: a partition then leaves few to sort.
    score_N = top1_N.astype(np.int64) * (int(threshold_N.max(initial=0)) + 1) + threshold_N
    if n < score_N.size:
        among = np.argpartition(score_N, score_N.size - n)[score_N.size - n :]
        # Of equals the first ones, whatever the partition happened to take.
        among = np.flatnonzero(score_N >= score_N[among].min())
    else:
        among = np.arange(score_N.size)
    order = among[np.argsort(-score_N[among], kind="stable")][:n]
    chosen: NDArray[np.intp] = order[score_N[order] > 0]
    return chosen


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
