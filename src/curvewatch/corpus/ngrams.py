"""N-gram surprisal of the scored tokens: exact counts from one pass over the training corpus.

Source: Chang, Tu & Bergen (2024), who compare a model with 1 to 5-grams over training. Their code keeps every n-gram of
the corpus and drops those that occur once; here only the n-grams of the token set are counted, and none is dropped.
Suffixes: n orders 1 to n_max, N scored tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.checks import Place, refuse_beyond, refuse_empty, warn_of_foreign
from curvewatch.corpus.counting import GramCounter, TokenCounter
from curvewatch.corpus.files import as_corpus
from curvewatch.corpus.grams import Grams
from curvewatch.corpus.sources import Corpus, TextCorpus
from curvewatch.corpus.surprisals import NgramSurprisals
from curvewatch.tokens import text
from curvewatch.tokens.tokenset import TokenSet

N_MAX = 5
Progress = Callable[[int, "int | None"], None]


def count_ngrams(
    corpus: Any,
    tokens: TokenSet,
    *,
    n_max: int = N_MAX,
    column: str = "input_ids",
    paper: bool = False,
    progress: Progress | None = None,
) -> NgramSurprisals:
    """N-gram surprisal of every scored token, by the training corpus, in bits.

    The probability of a token after the n - 1 tokens before it is how often the n-gram occurs, by how often these
    n - 1 tokens occur with anything behind them. Where the n-gram does not occur, or its sequence has fewer tokens
    before the token, the (n-1)-gram's probability is taken; a token that never occurs has the probability of the
    rarest that does. Nothing is counted across the documents, rows or arrays of the corpus.

    Args:
        corpus: Token ids as the model is trained on them: an array [tokens] (one document) or [sequences, tokens],
            memory-mapped or not; any iterable of rows, each an array or a mapping with `column`; a `datasets.Dataset`;
            or the path of what `open_corpus` takes. Where rows have an `attention_mask`, its zeros are no tokens.
        tokens: The evaluation set.
        n_max: The longest n-gram.
        column: The column of token ids.
        paper: Two rules of Chang, Tu & Bergen's released code: the beginning of a sequence counts as a token (a token
            near it has n-grams "at the start of a line"), and a token that never occurs has the probability of the
            rarest one of the set's sequences. Its pruning of n-grams that occur once is not done.
        progress: Called now and then with how much of the corpus is done, and of how much (None: not known).

    Raises:
        ValueError: If the corpus is empty, or of another vocabulary or tokenizer than the set, or the set's tokens are
            not predicted from the tokens before them.
        TypeError: If `corpus` is nothing that holds token ids.

    Warns:
        UserWarning: If none of the scored tokens occurs in the corpus.
    """
    if n_max < 1:
        raise ValueError(f"n_max={n_max}: at least 1 is expected.")
    if tokens.objective != "causal":
        raise ValueError(
            f"tokens: objective={tokens.objective!r}. N-grams predict a token from those before it, so they say "
            "nothing comparable about such a set; a causal set is needed."
        )
    source = as_corpus(corpus, column, tokens.tokenizer)
    if isinstance(source, TextCorpus):
        _check_tokenizer(source.tokenizer, tokens)
    counter = GramCounter(Grams(tokens, n_max, starts=paper), tokens.vocab_size, int(tokens.ids.max()) + 1)
    _pass_over(source, counter.update, tokens.vocab_size, progress)
    token_counts_V = counter.token_counts_V
    refuse_empty(token_counts_V, source, read_once=hasattr(corpus, "__next__"))
    warn_of_foreign(token_counts_V, tokens, source)
    counts_nN, followed_nN = _counts(counter, len(tokens))
    made_by = {"corpus": dict(source.about), "n_max": n_max, **({"paper": True} if paper else {})}
    return _finished(tokens, counts_nN, followed_nN, token_counts_V, made_by)


def merge_ngrams(parts: Iterable[NgramSurprisals], tokens: TokenSet) -> NgramSurprisals:
    """The n-gram surprisals of a corpus that was counted in parts (shards, machines): those of counting it at once.

    Args:
        parts: What `count_ngrams` gave for each part, or `load_ngrams` read; of whole documents.
        tokens: The evaluation set that all are of.

    Raises:
        TokenSetMismatchError: If one is of another set.
        ValueError: If there is none, or they were counted by different rules, or by an older version.
    """
    found = list(parts)
    if not found:
        raise ValueError("parts: there is none to merge.")
    for k, one in enumerate(found):
        one.check_set(tokens, f"parts[{k}]")
        if one.followed_nN is None:
            raise ValueError(
                f"parts[{k}]: an older version counted it, and left out what merging takes. Count it again."
            )
        rules = [(part.n_max, bool(part.made_by.get("paper"))) for part in (found[0], one)]
        if rules[0] != rules[1]:
            raise ValueError(f"parts[{k}]: n_max, paper are {rules[1]}, those of the first part {rules[0]}.")
    size = max(len(one.token_counts_V) for one in found)
    token_counts_V = np.zeros(size, np.int64)
    for one in found:
        token_counts_V[: len(one.token_counts_V)] += one.token_counts_V
    counts_nN = np.sum([one.counts_nN for one in found], axis=0)
    followed_nN = np.sum([one.followed_nN for one in found if one.followed_nN is not None], axis=0)
    made_by = {**found[0].made_by, "corpus": {"kind": "parts", "parts": [one.made_by.get("corpus") for one in found]}}
    return _finished(tokens, counts_nN, followed_nN, token_counts_V, made_by)


def _finished(
    tokens: TokenSet,
    counts_nN: NDArray[np.int64],
    followed_nN: NDArray[np.int64],
    token_counts_V: NDArray[np.int64],
    made_by: Mapping[str, Any],
) -> NgramSurprisals:
    """Surprisals by the counts of n-grams and of what follows their contexts."""
    known_V = token_counts_V
    if made_by.get("paper"):
        known_V = token_counts_V[np.unique(tokens.ids)]
    rarest = int(known_V[known_V > 0].min(initial=token_counts_V.max()))
    surprisal_nN = np.zeros(counts_nN.shape, np.float32)
    bits_N = np.log2(token_counts_V.sum()) - np.log2(np.where(counts_nN[0] > 0, counts_nN[0], rarest))
    surprisal_nN[0] = bits_N
    for n in range(1, len(counts_nN)):
        occurs = counts_nN[n] > 0
        bits_N[occurs] = np.log2(followed_nN[n - 1, occurs]) - np.log2(counts_nN[n, occurs])
        surprisal_nN[n] = bits_N
    return NgramSurprisals(
        surprisal_bits_nN=surprisal_nN,
        counts_nN=counts_nN,
        token_counts_V=token_counts_V,
        total_tokens=int(token_counts_V.sum()),
        set_hash=tokens.hash,
        made_by=made_by,
        followed_nN=followed_nN,
    )


def count_tokens(
    corpus: Any,
    vocab_size: int | None = None,
    *,
    column: str = "input_ids",
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """How often each token occurs in a corpus, int64, shape [V].

    Args:
        corpus: As `count_ngrams` takes it.
        vocab_size: V; None takes the highest id that occurs, plus 1.
        column: The column of token ids.
        progress: As in `count_ngrams`.

    Raises:
        ValueError: If the corpus is empty, or an id lies outside the vocabulary.
        TypeError: If `corpus` is nothing that holds token ids.
    """
    counter = TokenCounter(vocab_size)
    source = as_corpus(corpus, column)
    _pass_over(source, counter.update, vocab_size, progress)
    refuse_empty(counter.counts_V, source, read_once=hasattr(corpus, "__next__"))
    return counter.counts_V


def _pass_over(
    source: Corpus,
    update: Callable[[NDArray[np.int64]], None],
    vocab_size: int | None,
    progress: Progress | None,
) -> None:
    place = Place(source)
    for laid_M, done in source.blocks():
        refuse_beyond(laid_M, vocab_size, place)
        update(laid_M)
        place.go_on(laid_M)
        if progress is not None:
            progress(done, source.size)


def _counts(counter: GramCounter, n_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of the scored tokens' n-grams, [n_max, N], and of what follows their contexts, [n_max - 1, N]."""
    grams = counter.grams
    counts_nN = np.zeros((grams.n_max, n_tokens), np.int64)
    followed_nN = np.zeros((grams.n_max - 1, n_tokens), np.int64)
    counts_nN[0] = counter.seen(1)[grams.targets[0]]
    for n in range(2, grams.n_max + 1):
        target_N, context_N = grams.targets[n - 1], grams.contexts[n - 2]
        has_room = target_N >= 0
        counts_nN[n - 1, has_room] = counter.seen(n)[target_N[has_room]]
        followed_nN[n - 2, has_room] = counter.followed(n - 1)[context_N[has_room]]
    return counts_nN, followed_nN


def _check_tokenizer(tokenizer: Any, tokens: TokenSet) -> None:
    """Refuses a tokenizer that gives the set's ids other texts than the set's own did."""
    texts = tokens.texts()
    if not texts or tokenizer is tokens.tokenizer:
        return
    ids = np.array(list(texts))
    inside = ids[ids < (text.vocabulary_size(tokenizer) or np.inf)]
    for i, its in zip(inside.tolist(), text.token_texts(tokenizer, inside), strict=True):
        if its != texts[i]:
            raise ValueError(f"tokenizer: not the token set's. Token {i} is {its!r} here, and {texts[i]!r} in the set.")
    if len(inside) < len(ids):
        raise ValueError(f"tokenizer: not the token set's. It has no token {ids.max()}.")
