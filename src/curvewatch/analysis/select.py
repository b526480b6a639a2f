"""Which tokens: by text, by context, by any measure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.cache import measures_of
from curvewatch.measures import ACQUISITION_STATUS, TOP1_STATUS, MeasureTable
from curvewatch.measures.table import CATEGORIES, UNITS
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.labels import Label
from curvewatch.tokens.tokenset import TokenSet

NUMERIC = tuple(name for name in UNITS if name not in CATEGORIES)
# Shorter names for what is asked most.
ALIASES = {
    "aoa": "age_of_acquisition",
    "forgetting": "forgetting_events_top1",
    "variability": "within_run_variability",
    "surprisal": "final_surprisal",
}


def select(
    run: Reader,
    *,
    token: str | int | None = None,
    pattern: str | None = None,
    context: str | None = None,
    status: str | None = None,
    top1: str | None = None,
    labels: Mapping[str, str] | None = None,
    sort: str | None = None,
    descending: bool = True,
    limit: int | None = None,
    measures: MeasureTable | None = None,
    **bounds: float,
) -> NDArray[np.int64]:
    """Indices of the tokens that fulfil all conditions, shape [n].

    Args:
        run: The run.
        token: Text of the target, with or without the spaces around it, or its id.
        pattern: Regular expression that is found in the target's text.
        context: Text that stands before the target.
        status: One of `measures.ACQUISITION_STATUS`.
        top1: One of `measures.TOP1_STATUS`.
        labels: Values of labels: `{"kind": "number"}`.
        sort: Order by this measure; tokens without a value come last. None keeps the order of the set.
        descending: Largest first.
        limit: At most so many.
        measures: The run's measures, if they are at hand.
        **bounds: `min_<measure>` and `max_<measure>`, both inclusive; `aoa`, `forgetting`, `variability` and
            `surprisal` are short for what is asked most. A token without a value fulfils no bound.

    Raises:
        ValueError: If a condition or a measure is not known, or the set has no texts to search.
    """
    tokens = run.tokens
    keep_N = np.ones(len(tokens), bool)
    if token is not None or pattern is not None:
        keep_N &= np.isin(tokens.target, _ids(tokens, token, pattern))
    limits = [(*_bound(name), value) for name, value in bounds.items()]
    key = _measure(sort, "sort") if sort is not None else None
    for name, value, words in (("status", status, ACQUISITION_STATUS), ("top1", top1, TOP1_STATUS)):
        if value is not None and value not in words:
            raise ValueError(f"{name}={value!r}: one of {', '.join(words)} is expected.")
    if limits or key or status is not None or top1 is not None:
        table = measures if measures is not None else measures_of(run)
        for side, name, bound in limits:
            keep_N &= table[name] >= bound if side == "min" else table[name] <= bound
        if status is not None:
            keep_N &= table.codes("acquisition_status") == ACQUISITION_STATUS.index(status)
        if top1 is not None:
            keep_N &= table.codes("top1_status") == TOP1_STATUS.index(top1)
    for name, value in (labels or {}).items():
        keep_N &= label_named(tokens, name).where(value)
    if context is not None:
        keep_N = _in_context(tokens, context, keep_N)
    found_n = np.flatnonzero(keep_N).astype(np.int64)
    if key is not None:
        values_n = table[key][found_n]
        # NaN sorts last in either direction; ties keep the order of the set.
        found_n = found_n[np.argsort(-values_n if descending else values_n, kind="stable")]
    return found_n[:limit]


def label_named(tokens: TokenSet, name: str) -> Label:
    """A label of the set.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in tokens.labels:
        known = ", ".join(map(repr, tokens.labels)) or "none at all"
        raise ValueError(
            f"label={name!r}: the token set has no such label; there are {known}. Add one with run.annotate, or with "
            "the command `curvewatch label`."
        )
    return tokens.labels[name]


def _measure(name: str, field: str) -> str:
    full = ALIASES.get(name, name)
    if full not in NUMERIC:
        raise ValueError(f"{field}={name!r}: no such measure. There are {', '.join((*ALIASES, *NUMERIC))}.")
    return full


def _bound(condition: str) -> tuple[str, str]:
    side, _, name = condition.partition("_")
    if side not in ("min", "max"):
        raise ValueError(
            f"{condition}: no such condition. There are token, pattern, context, status, top1, sort, descending, "
            "limit, and min_<measure> and max_<measure>."
        )
    return side, _measure(name, condition)


def _ids(tokens: TokenSet, token: str | int | None, pattern: str | None) -> list[int]:
    """Ids of the vocabulary that are meant; none is no error, since a set may well lack a word."""
    if isinstance(token, (int, np.integer)) and pattern is None:
        return [int(token)]
    found = {int(token)} if isinstance(token, (int, np.integer)) else None
    texts = _texts(tokens)
    if isinstance(token, str):
        found = {i for i, text in texts.items() if text == token or text.strip() == token}
    if pattern is not None:
        try:
            matches = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"pattern={pattern!r}: not a regular expression ({error}).") from error
        fitting = {i for i, text in texts.items() if matches.search(text)}
        found = fitting if found is None else found & fitting
    return sorted(found or ())


def _texts(tokens: TokenSet) -> dict[int, str]:
    texts = tokens.texts()
    if texts is None:
        raise ValueError("token: this run was recorded without a tokenizer, so it has no texts; give a token id.")
    return texts


def _in_context(tokens: TokenSet, wanted: str, keep_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
    texts = _texts(tokens)
    found_N = np.zeros(len(tokens), bool)
    candidates = np.flatnonzero(keep_N)
    sequence_n = tokens.sequence_index[candidates]
    edges = np.flatnonzero(np.diff(sequence_n, prepend=-1))
    for start, stop in zip(edges, [*edges[1:], len(candidates)], strict=True):
        # Each sequence is put into words once; where the text first occurs says which positions come after it.
        s = int(sequence_n[start])
        ends, text = [], ""
        for i in tokens.sequence(s).tolist():
            text += texts.get(i, "")
            ends.append(len(text))
        at = text.find(wanted)
        if at >= 0:
            tokens_n = candidates[start:stop]
            before = np.array(ends)[tokens.position[tokens_n] - 1]
            found_N[tokens_n] = before >= at + len(wanted)
    return found_N


def parse_words(words: list[str]) -> dict[str, Any]:
    """Conditions as they stand on a command line: `["min_forgetting=2", "status=learned", "label.kind=number"]`.

    Raises:
        ValueError: If a word is no condition.
    """
    conditions: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if equals and name.startswith("label."):
            conditions.setdefault("labels", {})[name.removeprefix("label.")] = value
            continue
        name = name.replace("-", "_")
        if not equals:
            raise ValueError(f"{word!r}: a condition is name=value, for example min_forgetting=2.")
        if name in ("status", "top1", "pattern", "context", "token"):
            conditions[name] = value
            continue
        _bound(name)
        try:
            conditions[name] = float(value)
        except ValueError:
            raise ValueError(f"{word!r}: {value!r} is not a number.") from None
    return conditions
