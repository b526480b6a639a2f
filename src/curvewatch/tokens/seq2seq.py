"""Sources and targets, for encoder-decoder models: the encoder reads the one, the decoder predicts the other.

The constructors of `TokenSet` say what their arguments mean.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.annotating import annotated
from curvewatch.tokens.assembling import Parts, assemble
from curvewatch.tokens.encoder_input import SEQ2SEQ, EncoderInput
from curvewatch.tokens.given import as_ids, check_settings
from curvewatch.tokens.pieces import Piece
from curvewatch.tokens.records import records, text_of

logger = logging.getLogger("curvewatch")


def encoder_input(rows: Any) -> EncoderInput:
    """The encoder's rows behind one another.

    Raises:
        TypeError: If there are no rows.
        ValueError: Naming the row that holds no ids.
    """
    if not hasattr(rows, "__iter__"):
        raise TypeError(f"encoder_ids={brief(rows)}: a row of token ids for each sequence is expected.")
    found = [as_ids(row, f"encoder_ids[{s}]") for s, row in enumerate(rows)]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in found])]).astype(np.int64)
    ids = np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int32)
    return EncoderInput(ids, starts)


def from_seq2seq(
    rows: Any,
    tokenizer: Any,
    *,
    decoder_start: int,
    source: str,
    target: str,
    label: str | None,
    context: int | None,
    per_sequence: int | None,
    seed: int,
    vocab_size: int | None,
) -> Parts:
    """A source and its target a row; see `TokenSet.from_seq2seq`."""
    check_settings(
        n_tokens=None, context=context, per_sequence=per_sequence, seed=seed, bos=decoder_start, vocab_size=vocab_size
    )
    if decoder_start is None:
        raise TypeError("decoder_start=None: the model's config.decoder_start_token_id is expected.")
    sources, targets, pieces, labels = [], [], [], []
    n_cut = 0
    for r, record in enumerate(records(rows, ("source", "target", "label"), (source, target, label))):
        read, said = (text_of(record, name, r) for name in ("source", "target"))
        of_source = _whole(tokenizer, read)
        n_cut += context is not None and len(of_source) > context
        sources.append(of_source[:context])
        ids, ends = _with_ends(tokenizer, said)
        body = None if context is None else context - 1
        n_cut += body is not None and len(ids) > body
        targets.append(np.concatenate([[decoder_start], ids[:body]]))
        labels.append(record.get("label"))
        if ends is not None:
            kept = ends[:body]
            end = int(kept[-1]) if len(kept) else 0
            pieces.append(Piece(said[:end], np.concatenate([[0], kept]), 2 * (end < len(said))))
    if n_cut:
        logger.warning("%d sources and targets have more than context=%d tokens and were cut there", n_cut, context)
    parts = assemble(
        targets,
        positions=None,
        rng=np.random.default_rng(seed),
        n_tokens=None,
        per_sequence=per_sequence,
        bos=None,
        vocab_size=vocab_size or text.vocabulary_size(tokenizer),
        tokenizer=tokenizer,
        made_by={"constructor": "from_seq2seq", "context": context, "per_sequence": per_sequence, "seed": seed,
                 "decoder_start": decoder_start},
        pieces=pieces if len(pieces) == len(targets) else None,
    )  # fmt: skip
    parts = annotated(parts, labels={label: labels} if label is not None else {}, n_texts=len(targets), what="rows")
    return {**parts, "objective": SEQ2SEQ, "encoder": encoder_input(sources)}


def _whole(tokenizer: Any, one: str) -> NDArray[np.int64]:
    """Ids of a text with what the tokenizer puts around it."""
    found = text.encode_with_special(tokenizer, one)
    return text.encode(tokenizer, one) if found is None else np.array(found, np.int64)


def _with_ends(tokenizer: Any, one: str) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The same, and where each token ends in the text; None where that is not known."""
    bare, ends = text.encode_with_ends(tokenizer, one)
    whole = _whole(tokenizer, one)
    first = _place(whole.tolist(), bare.tolist())
    if ends is None or first is None:
        return whole, None
    behind = len(whole) - first - len(bare)
    return whole, np.concatenate([np.zeros(first, np.int64), ends, np.full(behind, len(one), np.int64)])


def _place(whole: Sequence[int], part: Sequence[int]) -> int | None:
    places = range(len(whole) - len(part) + 1)
    return next((k for k in places if list(whole[k : k + len(part)]) == list(part)), None)
