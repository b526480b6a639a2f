"""What a corpus says of a token's context: how long it is, and how frequent its tokens are.

Source: Chang, Tu & Bergen (2024). Suffixes: N scored tokens, I tokens of all sequences, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.surprisals import NgramSurprisals
from curvewatch.tokens.tokenset import TokenSet

Float64 = NDArray[np.float64]


def every_position(tokens: TokenSet) -> TokenSet:
    """The set of the same sequences in which every position is scored that has one before it."""
    lengths_S = tokens.lengths
    sequence_index = np.repeat(np.arange(tokens.n_sequences), lengths_S)
    position = np.arange(len(tokens.ids)) - np.repeat(tokens.starts[:-1], lengths_S)
    behind = position > 0
    return TokenSet(
        tokens.ids, tokens.starts, sequence_index[behind].astype(np.int32), position[behind].astype(np.int32),
        vocab_size=tokens.vocab_size, made_by={"constructor": "every_position", "of": tokens.hash},
        tokenizer=tokens.tokenizer, vocabulary=tokens.vocabulary,
    )  # fmt: skip


def context_log_length(tokens: TokenSet) -> Float64:
    """log2 of the number of tokens before each scored one in its sequence, a beginning-of-text token counted, [N]."""
    found: Float64 = np.log2(tokens.position.astype(np.float64))
    return found


def context_log_probability(
    tokens: TokenSet, ngrams: NgramSurprisals, *, order: int = 1, window: int | None = None
) -> Float64:
    """Mean log2 probability of the tokens before each scored one, by an n-gram model; bits a token, [N].

    Args:
        tokens: The set.
        ngrams: Of this set. For `order` above 1 of the same sequences with every position scored (`every_position`):
            the tokens of a context need n-grams, too.
        order: n; a token near the beginning of the window has a shorter n-gram, of what the window holds.
        window: Only the last so many tokens before the target; None takes all.

    Raises:
        ValueError: If `ngrams` lacks what is asked for.
        TokenSetMismatchError: If it is of another set.
    """
    if window is not None and window < order:
        raise ValueError(f"window={window}: an n-gram of order={order} does not fit into it.")
    if not 1 <= order <= ngrams.n_max:
        raise ValueError(f"order={order}: from 1 to n_max={ngrams.n_max} were counted.")
    if order == 1:
        bits_oI = unigram_bits(tokens, ngrams)[None]
    else:
        bits_oI = _all_positions(tokens, ngrams, order)
    at_N = tokens.starts[tokens.sequence_index] + tokens.position
    length_N = tokens.position if window is None else np.minimum(tokens.position, window)
    first_N = at_N - length_N
    up_to = [np.concatenate([[0.0], np.cumsum(bits_I)]) for bits_I in bits_oI]
    total_N = np.zeros(len(tokens))
    for k in range(order - 1):
        # The k-th token of the window has k tokens of it in front.
        total_N += np.where(length_N > k, bits_oI[k][np.minimum(first_N + k, len(tokens.ids) - 1)], 0.0)
    rest_N = np.minimum(first_N + order - 1, at_N)
    total_N += up_to[order - 1][at_N] - up_to[order - 1][rest_N]
    found: Float64 = -total_N / length_N
    return found


def unigram_bits(tokens: TokenSet, ngrams: NgramSurprisals) -> Float64:
    """Unigram surprisal of every token of all sequences, scored or not, bits, [I]; unseen ones as the set has them."""
    ngrams.check_set(tokens)
    counts_V = ngrams.token_counts_V
    size = max(len(counts_V), int(tokens.ids.max()) + 1)
    padded_V = np.zeros(size, np.int64)
    padded_V[: len(counts_V)] = counts_V
    known_V = padded_V[np.unique(tokens.ids)] if ngrams.made_by.get("paper") else padded_V
    rarest = known_V[known_V > 0].min(initial=padded_V.max())
    bits_V = np.log2(ngrams.total_tokens) - np.log2(np.where(padded_V > 0, padded_V, rarest))
    found: Float64 = bits_V[tokens.ids]
    return found


def _all_positions(tokens: TokenSet, ngrams: NgramSurprisals, order: int) -> Float64:
    """Surprisal of every token of all sequences for n = 1 to `order`, [order, I]."""
    ngrams.check_set(tokens)
    bits_oI = np.tile(unigram_bits(tokens, ngrams), (order, 1))
    at_N = tokens.starts[tokens.sequence_index] + tokens.position
    n_behind = len(tokens.ids) - tokens.n_sequences
    if len(tokens) != n_behind:
        raise ValueError(
            f"order={order}: n-grams are known of {len(tokens):,} of the {n_behind:,} positions. Count them for the "
            "same sequences with per_sequence=None, or curvewatch ngrams --every-position."
        )
    for n in range(1, order):
        bits_oI[n, at_N] = ngrams.surprisal_bits_nN[n]
    return bits_oI
