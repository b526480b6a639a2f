"""Contexts and the paper's n-gram rules beside plain counts; n-grams counted in parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from curvewatch import TokenSet
from curvewatch.corpus import count_ngrams, load_ngrams, merge_ngrams
from curvewatch.corpus.context import context_log_length, context_log_probability

V = 12


def rows(n: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [np.minimum(rng.geometric(0.3, k) - 1, V - 2).tolist() for k in rng.integers(2, 20, n)]


def sets() -> tuple[TokenSet, TokenSet]:
    evaluation = rows(9, 1)
    some = TokenSet.from_sequences(evaluation, per_sequence=3, vocab_size=V)
    return some, TokenSet.from_sequences(evaluation, vocab_size=V)


def released(corpus: list[list[int]], tokens: TokenSet, n_max: int) -> np.ndarray:
    """The released code's rules: the places before a line hold a padding id, and an unseen token is as rare as the
    rarest of the set's sequences."""
    grams: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(n_max)]
    for row in corpus:
        padded = [V] * (n_max - 1) + row
        for i in range(n_max - 1, len(padded)):
            for n in range(1, n_max + 1):
                grams[n - 1][tuple(padded[i - n + 1 : i + 1])] += 1
    total = sum(grams[0].values())
    rarest = min(grams[0][(i,)] for i in np.unique(tokens.ids).tolist() if grams[0][(i,)])
    bits = np.empty((n_max, len(tokens)))
    for k in range(len(tokens)):
        padded = [V] * (n_max - 1) + tokens.sequence(int(tokens.sequence_index[k])).tolist()
        i = int(tokens.position[k]) + n_max - 1
        for n in range(1, n_max + 1):
            gram = tuple(padded[i - n + 1 : i + 1])
            if n == 1:
                bits[0, k] = np.log2(total) - np.log2(grams[0][gram] or rarest)
                continue
            followed = sum(count for other, count in grams[n - 1].items() if other[:-1] == gram[:-1])
            count = grams[n - 1][gram]
            bits[n - 1, k] = np.log2(followed) - np.log2(count) if count else bits[n - 2, k]
    return bits


def test_the_papers_rules() -> None:
    some, _ = sets()
    corpus = rows(60, 2)
    found = count_ngrams(corpus, some, n_max=4, paper=True)
    assert np.allclose(found.surprisal_bits_nN, released(corpus, some, 4), atol=1e-6)
    plain = count_ngrams(corpus, some, n_max=4)
    differ = ~np.isclose(found.surprisal_bits_nN, plain.surprisal_bits_nN)
    # Only near the beginning, and where a token never occurs.
    n, k = np.nonzero(differ)
    assert (some.position[k] < n).all()
    assert differ.any()
    assert found.made_by["paper"] is True


@pytest.mark.parametrize("paper", [False, True])
def test_parts_merged_are_the_whole(paper: bool, tmp_path: Path) -> None:
    some, every = sets()
    corpus = rows(60, 2)
    whole = count_ngrams(corpus, some, n_max=4, paper=paper)
    parts = [count_ngrams(part, some, n_max=4, paper=paper) for part in (corpus[:20], corpus[20:21], corpus[21:])]
    parts = [load_ngrams(one.save(tmp_path / f"{k}.npz"), some) for k, one in enumerate(parts)]
    merged = merge_ngrams(parts, some)
    for name in ("surprisal_bits_nN", "counts_nN", "token_counts_V", "followed_nN"):
        assert np.array_equal(getattr(merged, name), getattr(whole, name)), name
    assert merged.total_tokens == whole.total_tokens
    with pytest.raises(ValueError, match="n_max, paper are"):
        merge_ngrams([parts[0], count_ngrams(corpus, some, n_max=3, paper=paper)], some)
    with pytest.raises(ValueError, match="there is none to merge"):
        merge_ngrams([], some)
    with pytest.raises(Exception, match="token set"):
        merge_ngrams(parts, every)


@pytest.mark.parametrize(("order", "window"), [(1, None), (1, 2), (2, None), (3, None), (2, 2), (3, 5), (4, 4)])
def test_contexts_token_by_token(order: int, window: int | None) -> None:
    """A token of the window has an n-gram of as many tokens as the window holds in front of it."""
    some, every = sets()
    ngrams = count_ngrams(rows(60, 2), every, n_max=4)
    bits = {(int(s), int(p)): ngrams.surprisal_bits_nN[:, k] for k, (s, p) in
            enumerate(zip(every.sequence_index, every.position, strict=True))}  # fmt: skip
    counts, total = ngrams.token_counts_V, ngrams.total_tokens
    rarest = counts[counts > 0].min()
    expected = []
    for s, p in zip(every.sequence_index.tolist(), every.position.tolist(), strict=True):
        start = max(0, p - window) if window is not None else 0
        total_bits = 0.0
        for j in range(start, p):
            n = min(order, j - start + 1)
            alone = np.log2(total) - np.log2(counts[every.sequence(s)[j]] or rarest)
            total_bits += alone if n == 1 else float(bits[s, j][n - 1])
        expected.append(-total_bits / (p - start))
    assert np.allclose(context_log_probability(every, ngrams, order=order, window=window), expected, atol=1e-6)
    assert context_log_length(some).tolist() == np.log2(some.position).tolist()


def test_what_is_missing_is_named() -> None:
    some, _ = sets()
    ngrams = count_ngrams(rows(60, 2), some, n_max=3)
    with pytest.raises(ValueError, match=r"order=2: n-grams are known of .* per_sequence=None"):
        context_log_probability(some, ngrams, order=2)
    with pytest.raises(ValueError, match="order=4: from 1 to n_max=3"):
        context_log_probability(some, ngrams, order=4)
    with pytest.raises(ValueError, match="window=1: an n-gram of order=2"):
        context_log_probability(some, ngrams, order=2, window=1)
