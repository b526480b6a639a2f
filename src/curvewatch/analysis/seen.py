"""When the passage of a span was trained on. Suffixes: P passages, U spans."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.runfile.trained import Trained
from curvewatch.tokens.spans import Spans


def passages_of(trained: Trained, spans: Spans) -> NDArray[np.int64]:
    """The passage of each span: the one that its group names, else its own name; -1 for none, shape [U]."""
    index = {name: p for p, name in enumerate(trained.names)}
    pairs = zip(spans.group, spans.name, strict=True)
    return np.array([index.get(group, index.get(name, -1)) for group, name in pairs], np.int64)


def occurrences(trained: Trained) -> NDArray[np.int64]:
    """How often each passage was trained on, shape [P]."""
    return np.bincount(trained.passage_E, weights=trained.count_E, minlength=len(trained.names)).astype(np.int64)


def last_seen(trained: Trained, step: int | None = None) -> NDArray[np.int64]:
    """The last update up to `step` (None: of all) that was trained on each passage; -1 for none, shape [P]."""
    last_P = np.full(len(trained.names), -1, np.int64)
    upto = slice(None) if step is None else trained.step_E <= step
    np.maximum.at(last_P, trained.passage_E[upto], trained.step_E[upto])
    return last_P


def seen_columns(trained: Trained | None, spans: Spans) -> dict[str, NDArray[Any]]:
    """Of each span how often its passage was trained on, and by which update last; NaN where it has none, or never was.

    Returns:
        Columns `exposures` and `last_exposure`; nothing where no span has a passage that is followed.
    """
    if trained is None or not trained.names:
        return {}
    passage_U = passages_of(trained, spans)
    there = passage_U >= 0
    if not there.any():
        return {}
    last_U = last_seen(trained)[passage_U].astype(float)
    return {
        "exposures": np.where(there, occurrences(trained)[passage_U], np.nan),
        "last_exposure": np.where(there & (last_U >= 0), last_U, np.nan),
    }
