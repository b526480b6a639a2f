"""The predictors of a token's learning, one value a scored token each: made, residualised, clipped.

Source: Chang, Tu & Bergen (2024), whose order of work this is: the n-gram's log-probability is made a residual of the
unigram's, then each number is clipped to its mean +- 5 SD. Suffix: N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus import NgramSurprisals
from curvewatch.corpus.context import context_log_length, context_log_probability
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.tokens.tokenset import TokenSet

Float64 = NDArray[np.float64]
CLIP_SD = 5.0
MOST_CLASSES = 200
UNITS = {
    "unigram": "bit",
    "ngram": "bit",
    "context_loglen": "log2 tokens",
    "context_logprob": "bit a token",
    "contextual_div": "types",
}
ABOUT = {
    "unigram": "log2 probability of the token by its frequency in the training text",
    "ngram": "log2 probability by the longest n-grams, less what frequency says of it",
    "context_loglen": "log2 of the number of tokens before it",
    "context_logprob": "mean log2 probability of the tokens before it, by their frequency",
    "contextual_div": "distinct types that stand shortly before it, less what frequency says of them",
}
CLASSES = {"pos": "part of speech of its word", "pos_bilu": "where in its word it stands: B, I, L, U"}
REFERENCES = {"pos": "[UNMATCHED]", "pos_bilu": "U"}
"""Values that others are compared with, as in the paper, where they are not too rare; else the most frequent one."""
RARE = 0.01


@dataclass(frozen=True)
class Predictors:
    """What predicts.

    Attributes:
        numbers: By name, float64, shape [N].
        classes: By name a text a token, shape [N].
        clipped: How many tokens of each number were clipped.
        left_out: Predictors that are constant or missing, and why.
        settings: How they were made, for the record.
    """

    numbers: Mapping[str, Float64]
    classes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def coded(self) -> tuple[dict[str, tuple[str, ...]], dict[str, NDArray[np.int64]]]:
        """Of each class predictor its values, the reference first, and each token's as an index into them."""
        values, codes = {}, {}
        for name, of_N in self.classes.items():
            unique, inverse, counts = np.unique(of_N.astype(str), return_inverse=True, return_counts=True)
            reference = str(unique[np.argmax(counts)])
            common = counts[unique == REFERENCES.get(name, "")].sum() >= RARE * len(of_N)
            if common and name in REFERENCES:
                reference = REFERENCES[name]
            ordered = [reference, *(str(one) for one in unique if one != reference)]
            rank = np.array([ordered.index(str(one)) for one in unique])
            values[name], codes[name] = tuple(ordered), rank[inverse].astype(np.int64)
        return values, codes


def predictors_of(
    tokens: TokenSet,
    ngrams: NgramSurprisals,
    diversity: ContextualDiversity | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
    residualise: bool = True,
    clip_sd: float | None = CLIP_SD,
) -> Predictors:
    """The paper's predictors of a set, and others of one's own.

    Args:
        tokens: The set; its labels "pos" and "pos_bilu", if it has them, are class predictors.
        ngrams: N-gram surprisals of it.
        diversity: Contextual diversity of its vocabulary; None goes without.
        extra: By name a value a token: numbers, or texts for a class; or None, for a label of that name.
        residualise: Whether the n-gram's log-probability is made a residual of the unigram's.
        clip_sd: Numbers are clipped to their mean +- so many SDs; None leaves them.

    Raises:
        TokenSetMismatchError: If `ngrams` is of another set.
        ValueError: If an extra predictor does not fit, or has a name that is taken.
    """
    ngrams.check_set(tokens, "ngrams")
    numbers = {
        "unigram": -ngrams.surprisal_bits_nN[0].astype(np.float64),
        "ngram": -ngrams.surprisal_bits_nN[-1].astype(np.float64),
        "context_loglen": context_log_length(tokens),
        "context_logprob": context_log_probability(tokens, ngrams),
    }
    left_out: dict[str, str] = {}
    if ngrams.n_max == 1:
        del numbers["ngram"]
        left_out["ngram"] = "only unigrams were counted"
    if diversity is not None:
        numbers["contextual_div"] = diversity.of(tokens)
    else:
        left_out["contextual_div"] = "no diversity was given"
    classes = {name: tokens.labels[name].of_tokens() for name in CLASSES if name in tokens.labels}
    left_out |= {name: "the set has no such label (curvewatch label --pos)" for name in CLASSES if name not in classes}
    _add_extra(tokens, extra or {}, numbers, classes)
    for name in [name for name, of_N in numbers.items() if not np.isfinite(of_N).any()]:
        del numbers[name]
        left_out[name] = "it has no value at all"
    if residualise and "ngram" in numbers:
        numbers["ngram"] = _residual(numbers["ngram"], numbers["unigram"])
    clipped = {}
    for name, of_N in numbers.items():
        numbers[name], clipped[name] = _clipped(of_N, clip_sd)
    for name in list(numbers):
        spread = np.nanstd(numbers[name])
        if not spread > 1e-12 * max(1.0, float(np.nanmax(np.abs(numbers[name])))):
            del numbers[name]
            left_out[name] = "it is the same for all tokens"
    for name in list(classes):
        if len(np.unique(np.asarray(classes[name], str))) < 2:
            del classes[name]
            left_out[name] = "it has one value"
    settings = {
        "ngrams": dict(ngrams.made_by), "corpus_tokens": ngrams.total_tokens, "n_max": ngrams.n_max,
        "diversity": dict(diversity.made_by) if diversity is not None else None, "residualised": residualise,
        "clip_sd": clip_sd,
    }  # fmt: skip
    return Predictors(numbers, {k: np.asarray(v, str) for k, v in classes.items()}, clipped, left_out, settings)


def _add_extra(
    tokens: TokenSet, extra: Mapping[str, Any], numbers: dict[str, Float64], classes: dict[str, Any]
) -> None:
    for name, values in extra.items():
        if values is None and name in classes and name in CLASSES:
            raise ValueError(f"extra={name!r}: this label is a predictor wherever the set has it. Leave it out.")
        if name in UNITS or name in CLASSES or ":" in name or "=" in name:
            raise ValueError(f"extra={name!r}: the name is taken, or has ':' or '=' in it. Choose another.")
        if values is None:
            if name not in tokens.labels:
                raise ValueError(f"extra={name!r}: the token set has no such label, and no values are given.")
            classes[name] = tokens.labels[name].of_tokens()
            continue
        array = np.asarray(values)
        if array.shape != (len(tokens),):
            raise ValueError(f"extra={name!r}: {array.shape} values for {len(tokens):,} tokens; each needs one.")
        if array.dtype.kind == "O" and all(one is None or isinstance(one, Real) for one in array.tolist()):
            array = array.astype(np.float64)  # None is NaN
        if array.dtype.kind in "OUS" and (n := len(np.unique(array.astype(str)))) > MOST_CLASSES:
            raise ValueError(
                f"extra={name!r}: {n:,} different texts, where a class has at most {MOST_CLASSES}. Give numbers, or "
                "fewer classes."
            )
        if array.dtype.kind in "OUS":
            classes[name] = array.astype(str)
        else:
            numbers[name] = np.where(np.isfinite(array), array, np.nan).astype(np.float64)  # no value is no value


def _residual(of_N: Float64, on_N: Float64) -> Float64:
    centred = on_N - on_N.mean()
    spread = centred @ centred
    slope = centred @ of_N / spread if spread > 0 else 0.0
    found: Float64 = of_N - of_N.mean() - slope * centred
    return found


def _clipped(of_N: Float64, clip_sd: float | None) -> tuple[Float64, int]:
    if clip_sd is None:
        return of_N, 0
    mean, sd = np.nanmean(of_N), np.nanstd(of_N)
    low, high = mean - clip_sd * sd, mean + clip_sd * sd
    return np.clip(of_N, low, high), int(np.count_nonzero((of_N < low) | (of_N > high)))


def variance_inflation(numbers: Mapping[str, Float64], use_N: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """How much each number's coefficient varies more because the others are there: 1 / (1 - R2 on them); or NaN."""
    _, r_CC = correlations(numbers, use_N)
    if not np.isfinite(r_CC).all():
        return dict.fromkeys(numbers, float("nan"))
    inverse = np.linalg.pinv(r_CC)
    return {name: float(inverse[k, k]) for k, name in enumerate(numbers)}


def correlations(
    numbers: Mapping[str, Float64], use_N: NDArray[np.bool_] | None = None
) -> tuple[Sequence[str], Float64]:
    """Pearson correlations of the numbers; NaN over fewer than two tokens, or with what does not vary in them."""
    stacked = np.stack([one if use_N is None else one[use_N] for one in numbers.values()])
    if stacked.shape[1] < 2:
        return list(numbers), np.full((len(stacked), len(stacked)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return list(numbers), np.atleast_2d(np.corrcoef(stacked))
