"""How a token set comes to be: from text, from rows of a dataset, from sequences of ids.

The constructors of `TokenSet` say what their arguments mean. Suffix: S sequences.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.annotating import annotated
from curvewatch.tokens.annotations import Annotations
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
from curvewatch.tokens.originals import CUT_BEFORE, CUT_BEHIND, MOST_CHECKED, Originals, Scored, is_lossy
from curvewatch.tokens.positions import choose_positions
from curvewatch.tokens.spans import Wish, wishes

logger = logging.getLogger("curvewatch")


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
    whole = read_text(text_or_path)
    encoded, ends = text.encode_with_ends(tokenizer, whole)
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
    pieces = None if ends is None else [_piece(whole, ends, int(r) * body, body) for r in chosen]
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
        pieces=pieces,
    )


def from_texts(
    texts: Sequence[str],
    tokenizer: Any,
    *,
    spans: Any = None,
    score: str = "all",
    labels: Mapping[str, Sequence[Any]] | None = None,
    context: int | None = None,
    per_sequence: int | None = None,
    seed: int = 0,
    bos: int | None = None,
    vocab_size: int | None = None,
    wanted: Sequence[Wish] | None = None,
    constructor: str = "from_texts",
) -> Parts:
    """One sequence a text; see `TokenSet.from_texts`.

    Args of its own: `wanted`, the spans in the form that `spans.place` takes, and `constructor`, for the record.
    """
    check_settings(
        n_tokens=None, context=context, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size
    )  # fmt: skip
    texts = _texts(texts)
    if wanted is None:
        wanted = wishes(spans, texts) if spans is not None else []
    if score not in ("all", "spans"):
        raise ValueError(f"score={brief(score)}: 'all' positions or those of 'spans' can be scored.")
    if score == "spans" and (not wanted or per_sequence is not None):
        raise ValueError("score='spans': give spans to score, and no per_sequence.")
    rows, pieces, n_cut = [], [], 0
    for s, one in enumerate(texts):
        ids, ends = text.encode_with_ends(tokenizer, one)
        if not len(ids):
            raise ValueError(f"texts[{s}]={brief(one)}: the tokenizer makes no token of it. Leave it out.")
        length = (
            len(ids) if context is None else min(len(ids), context - (bos is not None and not begins_with(ids, bos)))
        )
        n_cut += length < len(ids)
        rows.append(ids[:length])
        if ends is not None:
            pieces.append(_piece(one, ends, 0, length))
    if n_cut:
        logger.warning("%d of %d texts have more than context=%d tokens and were cut there", n_cut, len(texts), context)
    known = len(pieces) == len(rows)
    if wanted and not known:
        raise ValueError(
            f"spans: {type(tokenizer).__name__} can't tell where its tokens end in a text. Use a fast tokenizer, or "
            "give positions to TokenSet.from_sequences."
        )
    made_by: dict[str, Any] = {"constructor": constructor, "context": context, "score": score,
                               "per_sequence": per_sequence, "seed": seed}  # fmt: skip
    parts = assemble(
        rows,
        positions=None,
        rng=np.random.default_rng(seed),
        n_tokens=None,
        per_sequence=per_sequence,
        bos=bos,
        vocab_size=vocab_size or text.vocabulary_size(tokenizer),
        tokenizer=tokenizer,
        made_by=made_by,
        pieces=pieces if known else None,
    )
    return annotated(parts, wanted, score=score, labels=labels, n_texts=len(texts), what="texts")


def from_dataset(
    dataset: Any,
    n_tokens: int = 10_000,
    context: int | None = None,
    per_sequence: int | None = 10,
    seed: int = 0,
    *,
    column: str = "input_ids",
    labels: Sequence[str] = (),
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
    pieces: list[Piece] = []
    values: list[tuple[Any, ...]] = []
    found = 0
    if isinstance(labels, str):
        raise TypeError(f"labels={labels!r}: a list of columns is expected. Give [{labels!r}].")
    for r, (cell, *others) in enumerate(rows_of(dataset, (column, *labels), rng)):
        row, ends = _encoded_cell(cell, r, column, tokenizer)
        added = bos is not None and not begins_with(row, bos)
        kept = row if context is None else row[: context - added]
        scorable = len(kept) - (not added)
        if scorable < 1:
            continue
        rows.append(kept)
        values.append(tuple(others))
        if ends is not None:
            pieces.append(_piece(cell, ends, 0, len(kept)))
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
    parts = assemble(
        rows,
        positions=None,
        rng=rng,
        n_tokens=n_tokens,
        per_sequence=per_sequence,
        bos=bos,
        vocab_size=vocab_size or (text.vocabulary_size(tokenizer) if tokenizer is not None else None),
        tokenizer=tokenizer,
        made_by=made_by,
        pieces=pieces if len(pieces) == len(rows) else None,
    )
    columns = {name: [row[k] for row in values] for k, name in enumerate(labels)}
    return annotated(parts, labels=columns, n_texts=len(rows), what="rows")


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
        annotations=_of_pieces(pieces, scored, shifts_S, ids, tokenizer),
    )


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


def _piece(whole: str, ends: NDArray[np.int64], first: int, length: int) -> Piece:
    """The text of some tokens of a longer one."""
    start = int(ends[first - 1]) if first else 0
    inside = ends[first : first + length]
    end = int(inside[-1]) if length else start
    cut = CUT_BEFORE * (first > 0) + CUT_BEHIND * (first + length < len(ends))
    return Piece(whole[start:end], inside - start, cut)


def _of_pieces(
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


def _texts(texts: Any) -> list[str]:
    if isinstance(texts, str) or not hasattr(texts, "__iter__"):
        raise TypeError(f"texts={brief(texts)}: a list of texts is expected. One long text goes to TokenSet.from_text.")
    found = list(texts)
    for s, one in enumerate(found):
        if not isinstance(one, str):
            raise TypeError(f"texts[{s}]={brief(one)}: a text is expected, got a {type(one).__name__}.")
    if not found:
        raise ValueError("texts: there is none; a token set needs at least one.")
    return found


def _encoded_cell(cell: Any, r: int, column: str, tokenizer: Any) -> text.Encoded:
    """The ids of one row of a dataset: as they stand there, or of the text that stands there."""
    name = f"dataset row {r}, column {brief(column)}"
    if not isinstance(cell, str):
        return text.Encoded(as_ids(cell, name))
    if tokenizer is None:
        raise ValueError(f"{name}: a text. Give the model's tokenizer=, which makes ids of it.")
    return text.encode_with_ends(tokenizer, cell)
