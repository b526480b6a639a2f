"""Rows of ids put behind one another, with the positions that are scored in them: what every builder ends with.

Suffix: S sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.encoder_input import EncoderInput
from curvewatch.tokens.given import LARGEST_ID, IntArray, begins_with, given_positions, with_first
from curvewatch.tokens.originals import Scored
from curvewatch.tokens.pieces import Piece, annotations_of
from curvewatch.tokens.positions import choose_positions


class Parts(TypedDict, total=False):
    """What a `TokenSet` is made of."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    sequence_index: NDArray[np.int32]
    position: NDArray[np.int32]
    vocab_size: int | None
    made_by: Mapping[str, Any]
    tokenizer: Any
    annotations: Annotations
    objective: str
    encoder: EncoderInput | None


def assemble(
    rows: Sequence[IntArray] | IntArray,
    *,
    positions: Any,
    rng: np.random.Generator,
    n_tokens: int | None,
    per_sequence: int | None,
    bos: int | None,
    vocab_size: int | None,
    tokenizer: Any,
    made_by: Mapping[str, Any],
    pieces: Sequence[Piece] | None = None,
) -> Parts:
    """Puts sequences behind one another, and chooses the positions where none are given.

    `pieces` are the texts of the rows, where they are known.

    Raises:
        ValueError: If they hold no token that can be scored, or not enough.
    """
    shifts_S = [int(bos is not None and not begins_with(row, bos)) for row in rows]
    if bos is not None:
        rows = [with_first(row, bos) for row in rows]
    lengths_S = np.array([len(row) for row in rows], np.int64)
    if len(lengths_S) == 0:
        raise ValueError("sequences: there is none; a token set needs at least one sequence of two tokens.")
    if positions is None:
        sequence_index, position = choose_positions(lengths_S, per_sequence, rng)
        sequence_index, position = sequence_index[:n_tokens], position[:n_tokens]
    else:
        sequence_index, position = given_positions(positions, shifts_S)
    if len(position) == 0:
        raise ValueError(
            "sequences: no position can be scored. A token needs at least one token before it: give sequences of "
            "two tokens or more, or bos=."
        )
    if n_tokens is not None and len(position) < n_tokens:
        raise ValueError(
            f"n_tokens={n_tokens:,}: the sequences hold only {len(position):,} scorable tokens at per_sequence="
            f"{per_sequence}. Give more sequences, or a smaller n_tokens."
        )
    ids: NDArray[Any] = np.concatenate(rows)
    if ids.min() < 0 or ids.max() > LARGEST_ID:  # a tokenizer may give anything
        raise ValueError(
            f"sequences: token ids run from {ids.min()} to {ids.max()}; they must be 0 or more, at most {LARGEST_ID}."
        )
    starts = np.concatenate([[0], np.cumsum(lengths_S)]).astype(np.int64)
    scored = Scored(starts, sequence_index.astype(np.int32), position.astype(np.int32))
    return Parts(
        ids=ids.astype(np.int32),
        starts=scored.starts,
        sequence_index=scored.sequence_index,
        position=scored.position,
        vocab_size=vocab_size,
        made_by={**made_by, "bos": bos},
        tokenizer=tokenizer,
        annotations=annotations_of(pieces, scored, shifts_S, ids, tokenizer),
    )
