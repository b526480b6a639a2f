"""What the settings give for each token set: token counts, n-gram surprisals. Suffixes: V vocabulary, D targets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.settings import Live
from curvewatch.live.watched import check_watched
from curvewatch.measures.frequency import TargetTypes
from curvewatch.tokens.tokenset import TokenSet

if TYPE_CHECKING:
    from curvewatch.corpus import NgramSurprisals

TRAINING, AUTO = "training", "auto"


@dataclass(frozen=True)
class Given:
    """What is known of one token set beforehand.

    Attributes:
        types: Its distinct targets.
        corpus_count_D: Their occurrences in the training text; None if not given.
        ngram_surprisal_nN: Surprisal of n-gram models, bits; None if not given.
        ranked: What the measures are correlated with besides frequency, by name, in order; empty without n-grams.
    """

    types: TargetTypes
    corpus_count_D: NDArray[np.float64] | None = None
    ngram_surprisal_nN: NDArray[np.float32] | None = None
    ranked: Mapping[str, TargetTypes] = field(default_factory=dict)


def given_for(live: Live, sets: Mapping[str, TokenSet]) -> dict[str, Given]:
    """Reads what the settings name, and checks that it belongs to the token sets.

    Raises:
        FileNotFoundError: If a file isn't there.
        TypeError: If a setting is of the wrong kind.
        ValueError: If a file is of another kind, counts don't fit the vocabulary, or a token to be watched isn't there.
        TokenSetMismatchError: If n-gram surprisals are those of another set.
    """
    ngrams = ngrams_of(live.ngrams, sets)
    counts_V = _counts(live.token_counts)
    found = {}
    for name, tokens in sets.items():
        check_watched(live.watched, len(tokens))
        of_set = ngrams.get(name)
        own_V = counts_V
        if own_V is None and isinstance(live.token_counts, str) and live.token_counts == AUTO and ngrams:
            # They are counts of the training text, whichever set's n-grams were looked up in it.
            own_V = (of_set or next(iter(ngrams.values()))).token_counts_V
        types = TargetTypes.of(tokens.target)
        if own_V is not None and types.ids_D[-1] >= len(own_V):
            raise ValueError(
                f"token_counts: {len(own_V):,} numbers, but the token set {name!r} has id {types.ids_D[-1]}. Give one "
                "number for each id of the tokenizer's vocabulary."
            )
        ranked = {}
        if of_set is not None and live.smoothed:
            ranked = {
                "ngram_probability": TargetTypes.of_values(-of_set.surprisal_bits_nN[-1]),
                "context_length": TargetTypes.of_values(tokens.position),
            }
        found[name] = Given(
            types,
            own_V[types.ids_D].astype(np.float64) if own_V is not None else None,
            of_set.surprisal_bits_nN if of_set is not None else None,
            ranked,
        )
    return found


def ngrams_of(given: Any, sets: Mapping[str, TokenSet]) -> dict[str, NgramSurprisals]:
    """By token set what `Live(ngrams=...)` gives, read if it is a file; sets without any are left out.

    Raises:
        FileNotFoundError, TypeError, ValueError, TokenSetMismatchError: As `given_for`.
    """
    if given is None:
        return {}
    from curvewatch.corpus import NgramSurprisals, load_ngrams

    if not isinstance(given, Mapping):
        if len(sets) > 1:
            raise ValueError(f"ngrams: there are the token sets {list(sets)}; give a dict by their names.")
        given = {next(iter(sets)): given}
    unknown = set(given) - set(sets)
    if unknown:
        raise ValueError(f"ngrams: there is no token set {sorted(unknown)}; there are {list(sets)}.")
    found = {}
    for name, one in given.items():
        if isinstance(one, NgramSurprisals):
            one.check_set(sets[name], f"ngrams[{name!r}]")
            found[name] = one
        elif isinstance(one, (str, os.PathLike)):
            found[name] = load_ngrams(one, sets[name])
        else:
            raise TypeError(f"ngrams: a file or NgramSurprisals is expected, got {type(one).__name__}.")
    return found


def _counts(given: Any) -> NDArray[Any] | None:
    if given is None or (isinstance(given, str) and given in (TRAINING, AUTO)):
        return None
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        if path.suffix != ".npy":
            raise ValueError(f"token_counts={str(path)!r}: 'auto', 'training', an array or an .npy file is expected.")
        given = np.load(path, allow_pickle=False)
    counts_V = np.asarray(given)
    if counts_V.ndim != 1 or counts_V.dtype.kind not in "uif":
        raise ValueError(
            f"token_counts: one number for each token id is expected, got shape {counts_V.shape} of {counts_V.dtype}."
        )
    if not (np.isfinite(counts_V).all() and (counts_V >= 0).all() and (counts_V > 0).any()):
        raise ValueError("token_counts: counts are 0 or more, and some are more.")
    return counts_V
