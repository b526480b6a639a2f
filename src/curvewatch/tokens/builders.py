"""How a token set comes to be: from text, from rows of a dataset, from sequences of ids.

The constructors of `TokenSet` say what their arguments mean. Suffix: S sequences.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.dataset_rows import rows_of
from curvewatch.tokens.given import (
    LARGEST_ID,
    IntArray,
    as_ids,
    begins_with,
    check_settings,
    given_positions,
    read_text,
    with_first,
)
from curvewatch.tokens.positions import choose_positions


class Parts(TypedDict):
    """What a `TokenSet` is made of."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    sequence_index: NDArray[np.int32]
    position: NDArray[np.int32]
    vocab_size: int | None
    made_by: Mapping[str, Any]
    tokenizer: Any


def from_text(
    text_or_path: str | os.PathLike[str],
    tokenizer: Any,
    n_tokens: int = 10_000,
    context: int = 128,
    per_sequence: int | None = 10,
    seed: int = 0,
    *,
    bos: int | None = None,
    vocab_size: int | None = None,
) -> Parts:
    """Sequences drawn from all over a text; see `TokenSet.from_text`."""
    check_settings(
        n_tokens=n_tokens, context=context, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size,
        needed=("n_tokens", "context", "seed"),
    )  # fmt: skip
    encoded = text.encode(tokenizer, read_text(text_or_path))
    body = context - (bos is not None)  # tokens of the text in a sequence
    scorable = context - 1
    wanted = min(per_sequence or scorable, scorable)
    needed, available = math.ceil(n_tokens / wanted), len(encoded) // body if body else 0
    if available < needed:
        raise ValueError(
            f"text_or_path: the text has {len(encoded):,} tokens, which makes {available:,} sequences of "
            f"context={context}, but n_tokens={n_tokens:,} at {wanted} a sequence needs {needed:,}. Give a longer "
            f"text, a smaller n_tokens (at most {available * wanted:,} here), a shorter context, or a larger "
            "per_sequence."
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(available, needed, replace=False))
    rows = encoded[: available * body].reshape(available, body)[chosen]
    made_by = {"constructor": "from_text", "context": context, "per_sequence": per_sequence, "seed": seed}
    return assemble(
        rows,
        positions=None,
        rng=rng,
        n_tokens=n_tokens,
        per_sequence=per_sequence,
        bos=bos,
        vocab_size=vocab_size or text.vocabulary_size(tokenizer),
        tokenizer=tokenizer,
        made_by=made_by,
    )


def from_dataset(
    dataset: Any,
    n_tokens: int = 10_000,
    context: int | None = None,
    per_sequence: int | None = 10,
    seed: int = 0,
    *,
    column: str = "input_ids",
    bos: int | None = None,
    tokenizer: Any = None,
    vocab_size: int | None = None,
) -> Parts:
    """Rows drawn from a dataset; see `TokenSet.from_dataset`."""
    check_settings(
        n_tokens=n_tokens, context=context, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size,
        needed=("n_tokens", "seed"),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    rows: list[NDArray[np.int64]] = []
    found = 0
    for row in rows_of(dataset, column, rng):
        added = bos is not None and not begins_with(row, bos)
        kept = row if context is None else row[: context - added]
        scorable = len(kept) - (not added)
        if scorable < 1:
            continue
        rows.append(kept)
        found += min(per_sequence or scorable, scorable)
        if found >= n_tokens:
            break
    else:
        raise ValueError(
            f"dataset: its {len(rows):,} usable rows hold {found:,} scorable tokens at per_sequence="
            f"{per_sequence}, fewer than n_tokens={n_tokens:,}. Give more rows, n_tokens={found:,}, or a larger "
            "per_sequence."
        )
    made_by = {
        "constructor": "from_dataset",
        "column": column,
        "context": context,
        "per_sequence": per_sequence,
        "seed": seed,
    }
    return assemble(
        rows,
        positions=None,
        rng=rng,
        n_tokens=n_tokens,
        per_sequence=per_sequence,
        bos=bos,
        vocab_size=vocab_size or (text.vocabulary_size(tokenizer) if tokenizer is not None else None),
        tokenizer=tokenizer,
        made_by=made_by,
    )


def from_sequences(
    sequences: ArrayLike | Sequence[Sequence[int]],
    positions: ArrayLike | Sequence[Sequence[int]] | None = None,
    *,
    n_tokens: int | None = None,
    per_sequence: int | None = None,
    seed: int = 0,
    bos: int | None = None,
    vocab_size: int | None = None,
    tokenizer: Any = None,
) -> Parts:
    """Ids as they are given; see `TokenSet.from_sequences`."""
    check_settings(n_tokens=n_tokens, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size)
    if not hasattr(sequences, "__iter__"):
        raise TypeError(f"sequences={brief(sequences)}: rows of token ids are expected.")
    if isinstance(sequences, np.ndarray) and sequences.ndim != 2:
        raise ValueError(f"sequences: an array [S, L] is expected, got one of shape {sequences.shape}.")
    rows = [as_ids(row, f"sequences[{s}]") for s, row in enumerate(sequences)]  # type: ignore[arg-type]
    if positions is not None and (per_sequence is not None or n_tokens is not None):
        raise ValueError("positions: give either positions, or per_sequence and n_tokens, not both.")
    made_by = {
        "constructor": "from_sequences",
        "positions": "given" if positions is not None else "drawn",
        "per_sequence": per_sequence,
        "seed": seed,
    }
    return assemble(
        rows,
        positions=positions,
        rng=np.random.default_rng(seed),
        n_tokens=n_tokens,
        per_sequence=per_sequence,
        bos=bos,
        vocab_size=vocab_size or (text.vocabulary_size(tokenizer) if tokenizer is not None else None),
        tokenizer=tokenizer,
        made_by=made_by,
    )


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
) -> Parts:
    """Puts sequences behind one another, and chooses the positions where none are given.

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
    return Parts(
        ids=ids.astype(np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths_S)]).astype(np.int64),
        sequence_index=sequence_index.astype(np.int32),
        position=position.astype(np.int32),
        vocab_size=vocab_size,
        made_by={**made_by, "bos": bos},
        tokenizer=tokenizer,
    )
