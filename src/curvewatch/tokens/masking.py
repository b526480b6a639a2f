"""Masking: which tokens are hidden from a masked language model when each scored one is predicted.

With one mask a scored token, the surprisals of a text add up to its pseudo-log-likelihood (Salazar et al. 2020, "Masked
language model scoring"); with the later tokens of its word hidden, too, to the within-word left-to-right one (Kauf &
Ivanova 2023, "A better way to do masked language model scoring"). Suffix: N scored tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.originals import Originals, Scored, every_token

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

CAUSAL, MASKED, WORD_L2R = "causal", "masked", "masked_l2r"
IN_GROUPS = re.compile(r"masked_in_([1-9][0-9]*)")
WORDS = r"\w+|[^\w\s]"
"""Words whose later tokens are hidden: without punctuation, each mark of which is a word of its own."""


def is_masked(objective: str) -> bool:
    """Whether it is one of masked language models."""
    return objective in (MASKED, WORD_L2R) or IN_GROUPS.fullmatch(objective) is not None


@dataclass(frozen=True, eq=False)
class Masking:
    """What is hidden; part of a set's identity.

    Attributes:
        mask_id: The token that stands for a hidden one.
        row_N: In which row of its sequence a token is predicted: those of one row are hidden together, int32.
        behind_N: How many of the tokens that follow it are hidden as well, int32.
    """

    mask_id: int
    row_N: NDArray[np.int32]
    behind_N: NDArray[np.int32]

    def check(self, tokens: TokenSet) -> None:
        """Makes sure that it fits the set.

        Raises:
            ValueError: Naming what does not.
        """
        n = len(tokens)
        if self.row_N.shape != (n,) or self.behind_N.shape != (n,):
            raise ValueError(f"masking: {self.row_N.size:,} rows for {n:,} scored tokens, each of which needs one.")
        if self.row_N.min() < 0 or self.behind_N.min() < 0:
            raise ValueError("masking: numbers below 0.")
        if (tokens.position + self.behind_N >= tokens.lengths[tokens.sequence_index]).any():
            raise ValueError("masking: a token that would be hidden lies behind the end of its sequence.")
        if not 0 <= self.mask_id < (tokens.vocab_size or np.iinfo(np.int32).max):
            raise ValueError(f"mask={self.mask_id}: it lies beyond vocab_size={tokens.vocab_size}.")

    def identity(self) -> bytes:
        """What goes into the set's hash."""
        arrays = (np.array([self.mask_id]), self.row_N, self.behind_N)
        return b"".join(np.ascontiguousarray(one, "<i8").tobytes() for one in arrays)

    def n_rows(self, tokens: TokenSet) -> int:
        """How many rows a masked model is fed to score the set once."""
        return len(np.unique(tokens.sequence_index.astype(np.int64) * (int(self.row_N.max()) + 1) + self.row_N))


class Edges(NamedTuple):
    """What a tokenizer puts around a text."""

    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()


def edges_of(tokenizer: Any) -> Edges:
    """What the tokenizer puts around a text: [CLS] and [SEP], say; nothing where it does not say.

    Args:
        tokenizer: As token sets take it; None has none.
    """
    for probe in ("a", "the", "1"):
        found = text.encode_with_special(tokenizer, probe) if tokenizer is not None else None
        if found is None:
            return Edges()
        bare = text.encode(tokenizer, probe).tolist()
        for k in range(len(found) - len(bare) + 1):
            if bare and found[k : k + len(bare)] == bare:
                return Edges(tuple(found[:k]), tuple(found[k + len(bare) :]))
    return Edges()


def builder_settings(objective: str, tokenizer: Any, bos: int | None, context: int | None) -> dict[str, Any]:
    """`bos` and `context` for a builder, so that the set fits once the tokenizer's own tokens stand around sequences.

    Raises:
        ValueError: If there is no such objective.
    """
    if objective == CAUSAL:
        return {"bos": bos, "context": context}
    if not is_masked(objective):
        raise ValueError(
            f'objective={brief(objective)}: "causal", {MASKED!r}, {WORD_L2R!r} or "masked_in_7" (K masks).'
        )
    edges = edges_of(tokenizer)
    if bos is None and len(edges.before) == 1:
        bos = edges.before[0]
    if isinstance(context, int) and not isinstance(context, bool):
        context -= len(edges.behind)
        if context < 2:
            raise ValueError(
                f"context={context + len(edges.behind)}: {len(edges.behind)} of it go to what the tokenizer puts "
                "behind each sequence, and a sequence needs at least two more."
            )
    return {"bos": bos, "context": context}


def masked_parts(tokens: TokenSet, objective: str, mask: int | None, words: str) -> dict[str, Any]:
    """What a set has otherwise as a masked model sees it, by the names of its attributes; see `TokenSet.masked`.

    Raises:
        ValueError: If it can't be.
    """
    if not is_masked(objective):
        raise ValueError(
            f'objective={brief(objective)}: {MASKED!r}, {WORD_L2R!r} or "masked_in_7" (K masks) is expected.'
        )
    if tokens.objective != CAUSAL:
        raise ValueError(f"objective={tokens.objective!r}: only a causal set can be made a masked one.")
    if tokens.annotations.boundary is not None:
        raise ValueError('boundary="corrected": a masked model sees where a word ends. Leave it out.')
    mask_id = _mask_id(tokens.tokenizer) if mask is None else mask
    if isinstance(mask_id, bool) or not isinstance(mask_id, (int, np.integer)):
        raise ValueError(
            f"mask={brief(mask_id)}: the id of the token that hides another one is expected, since the tokenizer names "
            "none."
        )
    behind_N = np.zeros(len(tokens), np.int32)
    if objective == WORD_L2R:
        behind_N = _later_in_word(tokens, words)
    found = IN_GROUPS.fullmatch(objective)
    # Of a sequence's scored tokens every K-th shares a row, so that those hidden together stand far apart.
    first_N = np.searchsorted(tokens.sequence_index, tokens.sequence_index)
    rank_N = np.arange(len(tokens)) - first_N
    row_N = rank_N % int(found[1]) if found is not None else rank_N
    masking = Masking(int(mask_id), row_N.astype(np.int32), behind_N)
    edged = _with_edges(tokens, edges_of(tokens.tokenizer))
    made_by = {**tokens.made_by, "objective": objective, "mask": int(mask_id)}
    return {**edged, "objective": objective, "masking": masking, "made_by": made_by}


def _mask_id(tokenizer: Any) -> Any:
    found = getattr(tokenizer, "mask_token_id", None)
    if found is None and hasattr(tokenizer, "token_to_id"):
        found = next((i for name in ("[MASK]", "<mask>") if (i := tokenizer.token_to_id(name)) is not None), None)
    return found


def _with_edges(tokens: TokenSet, edges: Edges) -> Mapping[str, Any]:
    """Ids, starts, positions and annotations with the tokenizer's own tokens around each sequence, where they lack."""
    if not any(edges):
        return {}
    n_before, n_behind = np.zeros(tokens.n_sequences, np.int64), np.zeros(tokens.n_sequences, np.int64)
    for s in range(tokens.n_sequences):
        row = tokens.sequence(s)
        n_before[s] = 0 if tuple(row[: len(edges.before)]) == edges.before else len(edges.before)
        n_behind[s] = 0 if edges.behind and tuple(row[-len(edges.behind) :]) == edges.behind else len(edges.behind)
    lengths = tokens.lengths + n_before + n_behind
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own = np.repeat(starts[:-1] + n_before - tokens.starts[:-1], tokens.lengths) + np.arange(len(tokens.ids))
    ids = np.zeros(int(starts[-1]), np.int32)
    ids[own] = tokens.ids
    for s in range(tokens.n_sequences):
        ids[starts[s] : starts[s] + n_before[s]] = edges.before[: n_before[s]]
        ids[starts[s + 1] - n_behind[s] : starts[s + 1]] = edges.behind[: n_behind[s]]
    notes = tokens.annotations
    if notes.originals is not None:
        ends = np.zeros(len(ids), np.int32)
        ends[own] = notes.originals.ends_I
        for s, length in enumerate(notes.originals.lengths_S.tolist()):
            ends[starts[s + 1] - n_behind[s] : starts[s + 1]] = length
        notes = replace(notes, originals=replace(notes.originals, ends_I=ends))
    position = (tokens.position + n_before[tokens.sequence_index]).astype(np.int32)
    return {"ids": ids, "starts": starts, "position": position, "annotations": notes}


def _later_in_word(tokens: TokenSet, words: str) -> NDArray[np.int32]:
    """How many tokens of its word follow each scored one, shape [N]."""
    originals = tokens.annotations.originals
    if originals is None:
        raise ValueError(
            f"objective={WORD_L2R!r}: this token set does not know its texts, so it can't tell its words. Build it "
            f"with from_text or from_texts, or take {MASKED!r}."
        )
    try:
        pattern = re.compile(words)
    except re.error as error:
        raise ValueError(f"words={words!r}: not a regular expression ({error}).") from error
    every = every_token(tokens.starts)
    word_I, sequence_I = _word_of(originals, every, pattern), every.sequence_index
    same_I = (word_I[1:] == word_I[:-1]) & (word_I[1:] >= 0) & (sequence_I[1:] == sequence_I[:-1])
    # How long the stretch of one word goes on behind each token.
    last = np.flatnonzero(np.append(~same_I, True))
    here_I = np.arange(len(word_I))
    follows_I = (last[np.searchsorted(last, here_I)] - here_I).astype(np.int32)
    behind: NDArray[np.int32] = follows_I[tokens.starts[tokens.sequence_index] + tokens.position]
    return behind


def _word_of(originals: Originals, scored: Scored, pattern: re.Pattern[str]) -> NDArray[np.int64]:
    """Which word of its text each token lies in (the first, where it lies in several); -1 for none."""
    starts, ends = originals.inked(scored)
    found = np.full(len(starts), -1, np.int64)
    bounds = np.searchsorted(scored.sequence_index, np.arange(len(originals.texts) + 1))
    for s, one in enumerate(originals.texts):
        words = np.array([match.span() for match in pattern.finditer(one)], np.int64).reshape(-1, 2)
        if not len(words):
            continue
        here = slice(bounds[s], bounds[s + 1])
        first = np.searchsorted(words[:, 1], starts[here], side="right")
        inside = (first < len(words)) & (words[np.minimum(first, len(words) - 1), 0] < ends[here])
        found[here] = np.where(inside, first, -1)
    return found
