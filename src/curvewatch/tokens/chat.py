"""Chats as sequences, with the replies in them as what is scored.

The constructors of `TokenSet` say what their arguments mean. Suffix: L tokens of one chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.assembling import Parts, assemble
from curvewatch.tokens.given import check_settings, storable
from curvewatch.tokens.labels import Label, of_values
from curvewatch.tokens.pieces import Piece
from curvewatch.tokens.records import rows_of
from curvewatch.tokens.replies import ASSISTANT, Chat, chat_of
from curvewatch.tokens.spans import MOST_CHARACTERS, Spans

REPLY = "reply"


def from_chat(
    rows: Any,
    tokenizer: Any,
    *,
    score: str,
    messages: str,
    prompt: str,
    completion: str,
    labels: str | None,
    context: int | None,
    bos: int | None,
    vocab_size: int | None,
) -> Parts:
    """One sequence a chat; see `TokenSet.from_chat`."""
    check_settings(n_tokens=None, context=context, per_sequence=None, seed=0, bos=bos, vocab_size=vocab_size)
    if score not in (ASSISTANT, "all"):
        raise ValueError(f"score={brief(score)}: the replies of the 'assistant', or 'all' tokens, can be scored.")
    chats, groups = [], []
    for r, row in enumerate(_mappings(rows)):
        chat = chat_of(row, r, tokenizer, messages, prompt, completion)
        if labels is not None and labels not in row:
            raise KeyError(f"labels={brief(labels)}: rows[{r}] has no such column (it has {brief(list(row))}).")
        groups.append(row[labels] if labels is not None else None)
        if context is not None and len(chat.ids) > context:
            chat = Chat(chat.ids[:context], chat.reply_L[:context])
        if not (chat.reply_L[0 if bos is not None else 1 :] > 0).any():
            why = f"within context={context} tokens" if context is not None else "in it"
            raise ValueError(f"rows[{r}]: no token of a reply {why}, so nothing can be scored. Leave the row out.")
        chats.append(chat)
    first = 0 if bos is not None else 1
    positions = [np.flatnonzero(chat.reply_L > 0) if score == ASSISTANT else np.arange(len(chat.ids)) for chat in chats]
    # Behind a `bos` that is put in front even the first token has something before it; `bos` itself never has.
    starts = [max(first, int(bos is not None and int(chat.ids[0]) == bos)) for chat in chats]
    positions = [own[own >= start] for own, start in zip(positions, starts, strict=True)]
    parts = assemble(
        [chat.ids for chat in chats],
        positions=positions,
        rng=np.random.default_rng(0),
        n_tokens=None,
        per_sequence=None,
        bos=bos,
        vocab_size=vocab_size or text.vocabulary_size(tokenizer),
        tokenizer=tokenizer,
        made_by={"constructor": "from_chat", "score": score, "context": context},
        pieces=_pieces(chats, tokenizer),
    )
    reply_N = np.concatenate([chat.reply_L[own] for chat, own in zip(chats, positions, strict=True)])
    found: dict[str, Label] = {"turn": of_values("turn", [int(k) if k else None for k in reply_N])}
    if score == "all":
        found["role"] = Label((reply_N > 0).astype(np.int32), ("other", ASSISTANT))
    if labels is not None:
        of_rows = of_values(labels, groups)
        found[labels] = Label(of_rows.codes[parts["sequence_index"]], of_rows.values)
    notes = replace(parts["annotations"], labels=found)
    spans = _replies(reply_N, parts["sequence_index"], [str(one or "") for one in groups], parts, tokenizer)
    return {**parts, "annotations": replace(notes, spans=spans)}


def _mappings(rows: Any) -> list[Mapping[str, Any]]:
    listed = list(rows_of(rows))
    for r, row in enumerate(listed):
        if not isinstance(row, Mapping):
            raise TypeError(f"rows[{r}]={brief(row)}: a row with columns is expected.")
    if not listed:
        raise ValueError("rows: there is none; a token set needs at least one.")
    return listed


def _pieces(chats: Sequence[Chat], tokenizer: Any) -> list[Piece] | None:
    """The chats' texts with their tokens in them; None unless all are known, and encoded as they stand there."""
    found = []
    for chat in chats:
        if chat.text is None:
            return None
        ids, ends = text.encode_with_ends(tokenizer, chat.text)
        if ends is None or not np.array_equal(ids, chat.ids):
            return None
        found.append(Piece(chat.text, ends, 0))
    return found


def _replies(
    reply_N: NDArray[np.int32], sequence_N: NDArray[np.int32], groups: Sequence[str], parts: Parts, tokenizer: Any
) -> Spans:
    """A span for each reply: its scored tokens, which are neighbours."""
    key_N = sequence_N.astype(np.int64) * (int(reply_N.max(initial=0)) + 1) + reply_N
    begins = np.flatnonzero(np.diff(key_N, prepend=-1) != 0)
    ends = np.append(begins[1:], len(key_N))
    own = reply_N[begins] > 0
    begins, ends = begins[own], ends[own]
    target_N = parts["ids"][parts["starts"][sequence_N] + parts["position"]]
    names = tuple(
        storable(text.decode(tokenizer, target_N[a:b][:MOST_CHARACTERS])[:MOST_CHARACTERS])
        for a, b in zip(begins, ends, strict=True)
    )
    n = len(begins)
    return Spans(
        first=begins.astype(np.int32), length=(ends - begins).astype(np.int32), kind=(REPLY,) * n, name=names,
        group=tuple(storable(groups[s]) for s in sequence_N[begins].tolist()), item=np.full(n, -1, np.int32),
        member=("",) * n, impure=np.zeros(n, bool),
    )  # fmt: skip
