"""Annotating: what builders know of the tokens is put beside them, and the tokens of spans are chosen.

Suffix: N scored tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens.labels import Label, of_values
from curvewatch.tokens.originals import Scored
from curvewatch.tokens.spans import Spans, Wish, place

if TYPE_CHECKING:
    from curvewatch.tokens.assembling import Parts


def annotated(
    parts: Parts,
    wanted: Sequence[Wish] = (),
    *,
    score: str = "all",
    labels: Mapping[str, Sequence[Any]] | None = None,
    n_texts: int = 0,
    what: str = "texts",
) -> Parts:
    """The parts of a set with spans and labels, and with the tokens of the spans alone if they are to be scored.

    Args:
        parts: With every position that may be scored.
        wanted: The spans.
        score: "all", or "spans".
        labels: By name, one value for each sequence.
        n_texts: How many sequences there are.
        what: What they are, for messages.

    Raises:
        ValueError: Naming the span or the label that does not fit.
    """
    notes = replace(parts["annotations"], labels=_of_sequences(labels or {}, parts["sequence_index"], n_texts, what))
    parts = {**parts, "annotations": notes}
    if not wanted:
        return parts
    scored = Scored(parts["starts"], parts["sequence_index"], parts["position"])
    spans = place(notes.originals, scored, wanted)
    parts = {**parts, "annotations": replace(notes, spans=spans)}
    return only(parts, covered(spans, len(parts["position"]))) if score == "spans" else parts


def covered(spans: Spans, n_tokens: int) -> NDArray[np.bool_]:
    """Which tokens lie in a span, shape [N]."""
    change = np.zeros(n_tokens + 1, np.int64)
    np.add.at(change, spans.first, 1)
    np.add.at(change, spans.first + spans.length, -1)
    found: NDArray[np.bool_] = np.cumsum(change)[:-1] > 0
    return found


def only(parts: Parts, keep_N: NDArray[np.bool_]) -> Parts:
    """The parts of a set in which only some tokens are scored; all those of its spans are among them."""
    notes = parts["annotations"]
    before: NDArray[np.int64] = np.cumsum(keep_N, dtype=np.int64) - keep_N
    spans = replace(notes.spans, first=before[notes.spans.first].astype(np.int32)) if len(notes.spans) else notes.spans
    return {
        **parts,
        "sequence_index": parts["sequence_index"][keep_N],
        "position": parts["position"][keep_N],
        "annotations": replace(
            notes,
            n_bytes=None if notes.n_bytes is None else notes.n_bytes[keep_N],
            labels={name: Label(one.codes[keep_N], one.values) for name, one in notes.labels.items()},
            spans=spans,
        ),
    }


def _of_sequences(
    labels: Mapping[str, Sequence[Any]], sequence_index: NDArray[np.int32], n_texts: int, what: str
) -> dict[str, Label]:
    found = {}
    for name, values in labels.items():
        if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n_texts:
            raise ValueError(
                f"labels[{name!r}]={brief(values)}: one value for each of the {n_texts:,} {what} is expected."
            )
        of_texts = of_values(name, [str(value) if isinstance(value, bool) else value for value in values])
        found[name] = Label(of_texts.codes[sequence_index], of_texts.values)
    return found
