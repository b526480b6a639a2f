"""What a token is predicted from: sets for masked and encoder-decoder models, and the control of other contexts.

Suffixes: S sequences, N scored tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from curvewatch.errors import brief
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.encoder_input import SEQ2SEQ, EncoderInput
from curvewatch.tokens.labels import Label
from curvewatch.tokens.masking import CAUSAL, MASKED, WORDS, Masking, is_masked, masked_parts

if TYPE_CHECKING:
    from typing_extensions import Self

    from curvewatch.tokens.tokenset import TokenSet


class Objectives:
    """What a `TokenSet` can be turned into."""

    def masked(self, objective: str = MASKED, *, mask: int | None = None, words: str = WORDS) -> Self:
        """The same tokens as a masked language model predicts them: each from all others of its sequence.

        What the tokenizer puts around a text ([CLS] and [SEP], say) is put around each sequence that lacks it. A masked
        model is fed a row for each scored token, so that scoring costs as many times more as tokens are scored in a
        sequence; the watch says how many rows that makes.

        Args:
            objective: "masked": one mask a scored token, as in the pseudo-log-likelihood (Salazar et al. 2020).
                "masked_l2r": the later tokens of its word are hidden, too (Kauf & Ivanova 2023), without which a
                word's pieces give each other away. "masked_in_7" (or any K): an approximation in K rows a sequence,
                every K-th scored token hidden at once; its bias is none while nothing is learned and grows with
                learning, so never compare it with the exact one.
            mask: Id of the token that hides another one; None takes the tokenizer's.
            words: For "masked_l2r": regular expression of a word.

        Raises:
            ValueError: If there is no such objective, the set is no causal one, or no mask or no text is known.
        """
        tokens: Any = self
        found: Self = replace(tokens, **masked_parts(tokens, objective, mask, words))
        return found

    def in_other_contexts(self, n_tokens: int | None = 1000, *, seed: int = 0) -> Self:
        """The control of a model's use of context: the same targets, where another sequence stands around them.

        Watched beside the set (`{"eval": tokens, "control": tokens.in_other_contexts()}`) it tells how many bits the
        right context is worth. Where the two have equal curves, the model has learned frequencies and no more, and
        says nothing of what contexts or ways of masking do.

        Args:
            n_tokens: How many of the tokens, drawn by `seed`; None takes all. Each makes a sequence of its own. Of an
                encoder-decoder set all are taken, and it is the encoder's input that is another row's.
            seed: For the draw of tokens and contexts.

        Raises:
            ValueError: If there is one sequence alone.
        """
        found: Self = _in_other_contexts(self, n_tokens, seed)
        return found


def check_objective(tokens: TokenSet) -> None:
    """Makes sure that a set has what its objective needs, and nothing else.

    Raises:
        ValueError: Naming what is missing, or too much.
    """
    objective = tokens.objective
    if not (objective in (CAUSAL, SEQ2SEQ) or is_masked(objective)):
        raise ValueError(f'objective={brief(objective)}: "causal", "masked", "masked_l2r", "masked_in_7" or "seq2seq".')
    for name, part, needed in (
        ("masking", tokens.masking, is_masked(objective)),
        ("encoder_ids", tokens.encoder, objective == SEQ2SEQ),
    ):
        if (part is not None) != needed:
            raise ValueError(f"{name}: {'missing' if needed else 'given'}, with objective={objective!r}.")
        if part is not None:
            part.check(tokens)


def _in_other_contexts(tokens: Any, n_tokens: int | None, seed: int) -> Any:
    if n_tokens is not None and (isinstance(n_tokens, bool) or not isinstance(n_tokens, int) or n_tokens < 1):
        raise ValueError(f"n_tokens={brief(n_tokens)}: at least 1 is expected, or None for all.")
    if tokens.n_sequences < 2:
        raise ValueError("sequences: there is one alone, so that none has another context.")
    rng = np.random.default_rng(seed)
    made_by = {**tokens.made_by, "in_other_contexts": seed}
    if tokens.encoder is not None:
        # Everyone gets the row of the one before in a random order: nobody keeps its own.
        order = rng.permutation(tokens.n_sequences)
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        rows = [tokens.encoder.sequence(int(s)) for s in other]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return replace(tokens, encoder=EncoderInput(np.concatenate(rows), starts), made_by=made_by)
    n = len(tokens)
    chosen = np.arange(n) if n_tokens is None or n_tokens >= n else np.sort(rng.choice(n, n_tokens, replace=False))
    behind = tokens.masking.behind_N[chosen] if tokens.masking is not None else np.zeros(len(chosen), np.int64)
    by_length = np.argsort(tokens.lengths, kind="stable")
    ascending = tokens.lengths[by_length]
    rows, keep = [], []
    for i, later in zip(chosen.tolist(), behind.tolist(), strict=True):
        s, p = int(tokens.sequence_index[i]), int(tokens.position[i])
        # At least as long as its own, so that it also has an end behind the token; the longest have each other.
        for least in (int(tokens.lengths[s]), p + later + 1):
            first = int(np.searchsorted(ascending, least))
            own = by_length[first:] == s
            n_others = len(own) - int(own.any())
            if n_others:
                break
        else:
            continue
        k = int(rng.integers(n_others))
        k += bool(own.any()) and k >= int(np.argmax(own))
        row = tokens.sequence(int(by_length[first + k])).copy()
        row[p] = tokens.target[i]
        rows.append(row)
        keep.append(i)
    if not rows:
        raise ValueError("sequences: no other one is long enough to stand around a scored token.")
    kept = np.array(keep)
    lengths = np.array([len(row) for row in rows])
    masking = tokens.masking
    if masking is not None:
        masking = Masking(masking.mask_id, np.zeros(len(kept), np.int32), masking.behind_N[kept])
    labels = {name: Label(one.codes[kept], one.values) for name, one in tokens.labels.items()}
    return replace(
        tokens,
        ids=np.concatenate(rows),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sequence_index=np.arange(len(kept), dtype=np.int32),
        position=tokens.position[kept],
        masking=masking,
        made_by=made_by,
        annotations=Annotations(labels=labels),
    )
