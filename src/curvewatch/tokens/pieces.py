"""Pieces: the text of each row that a token set is built from, which becomes its annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens import text
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.originals import CUT_BEFORE, CUT_BEHIND, MOST_CHECKED, Originals, Scored, is_lossy


class Piece(NamedTuple):
    """The text of a row.

    Attributes:
        text: The text.
        ends: Where each token of the row ends in it.
        cut: As in `Originals.cut_S`.
    """

    text: str
    ends: NDArray[np.int64]
    cut: int


def piece_of(whole: str, ends: NDArray[np.int64], first: int, length: int) -> Piece:
    """The text of some tokens of a longer one."""
    start = int(ends[first - 1]) if first else 0
    inside = ends[first : first + length]
    end = int(inside[-1]) if length else start
    cut = CUT_BEFORE * (first > 0) + CUT_BEHIND * (first + length < len(ends))
    return Piece(whole[start:end], inside - start, cut)


def annotations_of(
    pieces: Sequence[Piece] | None, scored: Scored, shifts_S: Sequence[int], ids: NDArray[Any], tokenizer: Any
) -> Annotations:
    if pieces is None:
        return Annotations()
    ends = [np.concatenate([[0] * shift, piece.ends]) for shift, piece in zip(shifts_S, pieces, strict=True)]
    checked = range(min(len(pieces), MOST_CHECKED))
    decoded = [text.decode(tokenizer, ids[scored.starts[s] + shifts_S[s] : scored.starts[s + 1]]) for s in checked]
    originals = Originals(
        texts=tuple(piece.text for piece in pieces),
        ends_I=np.concatenate(ends).astype(np.int32),
        cut_S=np.array([piece.cut for piece in pieces], np.uint8),
        lossy=is_lossy([pieces[s].text for s in checked], decoded, [pieces[s].cut for s in checked]),
    )
    return Annotations(originals, originals.n_bytes(scored))
