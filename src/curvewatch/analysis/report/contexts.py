"""The tokens of a page as a person reads them: what stands before each, itself, and what a masked model sees behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.tokenset import TokenSet

TOKENS, CHARACTERS, SHOWN_IDS = 60, 160, 16
"""At most so much of a context; ids where there are no texts."""


def contexts_of(tokens: TokenSet, which_n: NDArray[np.int64]) -> dict[str, Any]:
    """Target and the end of the context of each token on the page.

    Args:
        tokens: The set.
        which_n: Indices of the tokens.
    """
    texts = tokens.texts()
    read: Callable[[Iterable[int]], str] = _ids if texts is None else lambda ids: _text(texts, ids)
    width = SHOWN_IDS if texts is None else TOKENS
    targets, contexts, behinds = [], [], []
    for i in which_n.tolist():
        s, p = int(tokens.sequence_index[i]), int(tokens.position[i])
        row = tokens.sequence(s)
        context = read(row[max(0, p - width) : p].tolist())
        if tokens.encoder is not None:
            context = f"{read(tokens.encoder.sequence(s)[:width].tolist())} → {context}"
        cut = len(context) > CHARACTERS or p > width
        contexts.append(("…" if cut else "") + context[-CHARACTERS:])
        targets.append(read([int(tokens.target[i])]))
        if tokens.masking is not None:
            behinds.append(read(row[p + 1 : p + 1 + width].tolist())[:CHARACTERS])
    return {
        "targets": targets,
        "contexts": contexts,
        "behinds": behinds,
        "places": [f"{int(tokens.sequence_index[i])}:{int(tokens.position[i])}" for i in which_n.tolist()],
    }


def _ids(ids: Iterable[int]) -> str:
    return " ".join(f"⟨{i}⟩" for i in ids)


def _text(texts: dict[int, str], ids: Iterable[int]) -> str:
    return "".join(texts.get(i, f"<{i}>") for i in ids)
