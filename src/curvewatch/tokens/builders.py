"""How a token set comes to be: from text, from rows of a dataset, from sequences of ids.

The constructors of `TokenSet` say what their arguments mean. Suffix: S sequences.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.annotating import annotated
from curvewatch.tokens.assembling import Parts, assemble
from curvewatch.tokens.dataset_rows import rows_of
from curvewatch.tokens.encoder_input import SEQ2SEQ
from curvewatch.tokens.given import (
    as_ids,
    begins_with,
    check_settings,
    read_text,
)
from curvewatch.tokens.pieces import Piece, piece_of
from curvewatch.tokens.seq2seq import encoder_input
from curvewatch.tokens.spans import Wish, wishes

logger = logging.getLogger("curvewatch")


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
    pieces = None if ends is None else [piece_of(whole, ends, int(r) * body, body) for r in chosen]
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
            pieces.append(piece_of(one, ends, 0, length))
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
            pieces.append(piece_of(cell, ends, 0, len(kept)))
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
    encoder_ids: Any = None,
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
    parts = assemble(
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
    return parts if encoder_ids is None else {**parts, "objective": SEQ2SEQ, "encoder": encoder_input(encoder_ids)}


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
