"""Labels: one value for each scored token, by which tokens are put together and compared.

A label comes from a regular expression, from values that are given, from a function of the token, or by the name of one
that is built in. Suffix: N scored tokens.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.errors import brief
from curvewatch.tokens.given import storable
from curvewatch.tokens.originals import Originals

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

logger = logging.getLogger("curvewatch")

NO, YES = "no", "yes"
MANY_VALUES = 20
"""With more, the largest are shown live; all are in the file."""
MOST_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,64}")
_CODE_SIGNS = frozenset("{}[]<>=\\|_#@~^$*+/&%`")


@dataclass(frozen=True, eq=False)
class Label:
    """One value for each scored token.

    Attributes:
        codes: Index into `values`; -1 where the token has none; int32, shape [N].
        values: In order: as given where they are a yes and no, or ranges; else by how many tokens have them.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def same_as(self, other: Label) -> bool:
        """Whether each token has the same value."""
        return self.values == other.values and np.array_equal(self.codes, other.codes)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many tokens have each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    def where(self, value: str) -> NDArray[np.bool_]:
        """Which tokens have a value, shape [N].

        Raises:
            ValueError: If none could have it.
        """
        if value not in self.values:
            known = ", ".join(self.values[:MANY_VALUES]) + (", ..." if len(self.values) > MANY_VALUES else "")
            raise ValueError(f"{value!r}: this label has no such value. There are {known}.")
        found: NDArray[np.bool_] = self.codes == self.values.index(value)
        return found

    def of_tokens(self) -> NDArray[Any]:
        """The value of each token as text, "" where it has none; an object array, shape [N]."""
        return np.array([*self.values, ""], object)[self.codes]


def label_of(tokens: TokenSet, name: str, what: Any, counts: ArrayLike | None = None) -> Label:
    """A label of a set's tokens; the arguments are those of `TokenSet.label`.

    Raises:
        TypeError: If `what` is nothing that makes a label.
        ValueError: Naming what is wrong.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.strip():
        raise ValueError(
            f"name={brief(name)}: a label's name has up to 64 letters, digits, spaces and signs of `_ . -`, since it "
            "stands in metric keys."
        )
    if counts is not None and (what is not None or name != "frequency"):
        raise ValueError("counts: they make the label 'frequency' only; give tokens.label('frequency', counts=...).")
    if what is None:
        return _built_in(tokens, name, counts)
    if isinstance(what, (str, re.Pattern)):
        return _yes_no(_found(tokens, name, what))
    if callable(what):
        return _by_function(tokens, name, what)
    return _given(tokens, name, what)


def _yes_no(found_N: NDArray[np.bool_]) -> Label:
    return Label(found_N.astype(np.int32), (NO, YES))


def _given(tokens: TokenSet, name: str, values: Any) -> Label:
    """From an array, one value a token."""
    if hasattr(values, "to_numpy"):  # a column of pandas, polars or pyarrow
        values = values.to_numpy()
    elif isinstance(values, (set, dict, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(
            f"label {name!r}: {brief(values)} makes no label. Give a regular expression, a value for each token, or a "
            "function of a token's text and the text before it."
        )
    array = np.asarray(values, None if isinstance(values, np.ndarray) else object)
    if array.shape != (len(tokens),):
        raise ValueError(
            f"label {name!r}: values of shape {array.shape}; one for each of the {len(tokens):,} scored tokens is "
            "expected, in the order of the set."
        )
    if array.dtype == object and all(isinstance(one, (bool, np.bool_)) for one in array.tolist()):
        array = array.astype(bool)
    if array.dtype == bool:
        return _yes_no(array)
    return of_values(name, array.tolist())


def of_values(name: str, values: Sequence[Any]) -> Label:
    """From one value a token: texts, whole numbers, or None for no value; the most frequent first.

    Raises:
        ValueError: If one is anything else.
    """
    codes = np.full(len(values), -1, np.int32)
    known: dict[str, int] = {}
    for i, value in enumerate(values):
        if value is None or (isinstance(value, (str, Real)) and (value == "" or value != value)):
            continue
        if isinstance(value, str):
            text = value
        elif isinstance(value, Real) and float(value).is_integer():
            text = str(int(value) if isinstance(value, Integral) else int(float(value)))
        else:
            raise ValueError(
                f"label {name!r}: the value {brief(value)} of token {i}; texts or whole numbers are expected. Put "
                "measures into ranges first."
            )
        codes[i] = known.setdefault(storable(text[:MOST_CHARACTERS].strip()), len(known))
    if not known:
        raise ValueError(f"label {name!r}: no token has a value.")
    sizes = np.bincount(codes[codes >= 0], minlength=len(known))
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(known) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(known)), -1
    names = list(known)
    if len(names) > MANY_VALUES:
        logger.info(
            "label %r has %d values: the %d with most tokens are shown live, all are in the file",
            name, len(names), MANY_VALUES,
        )  # fmt: skip
    return Label(rank[codes], tuple(names[i] for i in order))


# ---------------------------------------------------------------------- from the text


def originals_of(tokens: TokenSet) -> Originals:
    """The texts of a set: those it was made from, or else put together from the texts of its tokens.

    Raises:
        ValueError: If the set has neither.
    """
    known = tokens.annotations.originals
    if known is not None:
        return known
    texts = tokens.texts()
    if texts is None:
        raise ValueError(
            "tokenizer: this token set knows no text, only ids. Build it from text, or give tokenizer=; or label it by "
            "an array of values."
        )
    unique, place_I = np.unique(tokens.ids, return_inverse=True)
    pieces = [texts.get(int(i), "") for i in unique]
    lengths_I = np.array([len(piece) for piece in pieces], np.int64)[place_I]
    ends_I, joined = np.empty(len(tokens.ids), np.int32), []
    for s in range(tokens.n_sequences):
        inside = slice(int(tokens.starts[s]), int(tokens.starts[s + 1]))
        ends_I[inside] = np.cumsum(lengths_I[inside])
        joined.append("".join(pieces[i] for i in place_I[inside]))
    cut_S = np.zeros(tokens.n_sequences, np.uint8)
    return Originals(tuple(joined), ends_I, cut_S, lossy=True, exact=False)


def _found(tokens: TokenSet, name: str, pattern: str | re.Pattern[str]) -> NDArray[np.bool_]:
    """Which tokens have some of a match in them, besides blanks."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"label {name!r}: {brief(pattern)} is not a regular expression ({error}).") from error
    originals = originals_of(tokens)
    firsts_N, behind_N = originals.inked(tokens.scored)
    found_N = np.zeros(len(tokens), bool)
    for s, columns in _by_sequence(tokens):
        matches = [match.span() for match in compiled.finditer(originals.texts[s])]
        if matches:
            begins, ends = np.array(matches, np.int64).T
            # Matches come in order and never overlap: the first that ends behind the token's beginning may reach it.
            first_n, behind_n = firsts_N[columns], behind_N[columns]
            at_n = np.searchsorted(ends, first_n, side="right")
            inside_n = at_n < len(ends)
            found_N[columns] = inside_n & (begins[np.minimum(at_n, len(ends) - 1)] < behind_n)
    return found_N


def _by_function(tokens: TokenSet, name: str, function: Callable[[str, str], Any]) -> Label:
    originals = originals_of(tokens)
    starts_N, ends_N = originals.ranges(tokens.scored)
    values = []
    for s, columns in _by_sequence(tokens):
        text = originals.texts[s]
        for start, end in zip(starts_N[columns].tolist(), ends_N[columns].tolist(), strict=True):
            values.append(function(text[start:end], text[:start]))
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return _yes_no(np.array(values, bool))
    return of_values(name, values)


def _by_sequence(tokens: TokenSet) -> Iterator[tuple[int, slice]]:
    edges = np.searchsorted(tokens.sequence_index, np.arange(tokens.n_sequences + 1))
    for s in np.flatnonzero(np.diff(edges)).tolist():
        yield s, slice(int(edges[s]), int(edges[s + 1]))


# ---------------------------------------------------------------------- built in


def _built_in(tokens: TokenSet, name: str, counts: ArrayLike | None) -> Label:
    if name == "frequency":
        if counts is None:
            raise ValueError("counts: the label 'frequency' needs how often each token id occurs, shape [vocabulary].")
        return _ranges(_counts(tokens, counts), 10)
    if name == "position":
        return _ranges(tokens.position.astype(np.int64), 2)
    if name not in BUILT_IN:
        raise ValueError(
            f"what: a label {name!r} is not built in (there are {', '.join((*BUILT_IN, 'position', 'frequency'))}). "
            "Give a regular expression, a value for each token, or a function of a token's text."
        )
    originals = originals_of(tokens)
    firsts_N, behind_N = originals.inked(tokens.scored)
    values: list[str | None] = []
    for s, columns in _by_sequence(tokens):
        text = originals.texts[s]
        for first, behind in zip(firsts_N[columns].tolist(), behind_N[columns].tolist(), strict=True):
            values.append(BUILT_IN[name](text, first, behind))
    return of_values(name, values)


def kind(text: str, first: int, behind: int) -> str | None:
    """What a token is made of: word, number, punctuation, whitespace, or code."""
    ink = text[first:behind]
    if not ink or ink.isspace():
        return "whitespace" if ink else None
    letters, digits = any(map(str.isalpha, ink)), any(map(str.isnumeric, ink))
    if not _CODE_SIGNS.isdisjoint(ink) or (letters and digits):
        return "code"
    if letters or any(unicodedata.category(character)[0] == "M" for character in ink):
        return "word"
    return "number" if digits else "punctuation"


def piece(text: str, first: int, behind: int) -> str | None:
    """Whether a token begins a word or goes on with one; None where it is no part of a word."""
    if first >= behind or not text[first].isalnum():
        return None
    return "inner" if first and text[first - 1].isalnum() else "first"


BUILT_IN: dict[str, Callable[[str, int, int], str | None]] = {"kind": kind, "piece": piece}


def _counts(tokens: TokenSet, counts: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(counts)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or len(array) <= int(tokens.target.max()):
        raise ValueError(
            f"counts: {array.dtype} of shape {array.shape}; one number for each id of the vocabulary is expected."
        )
    found = array[tokens.target]
    if not (found >= 0).all():
        raise ValueError("counts: some are negative or NaN.")
    return found.astype(np.int64)


def _ranges(numbers_N: NDArray[np.int64], base: int) -> Label:
    """Ranges that begin at the powers of `base`; 0 stands alone."""
    powers, top = [0, 1], int(numbers_N.max(initial=1))
    while powers[-1] * base <= top:
        powers.append(powers[-1] * base)
    codes_N = np.searchsorted(powers, numbers_N, side="right") - 1
    used, codes_N = np.unique(codes_N, return_inverse=True)
    names = []
    for i in used.tolist():
        last = 0 if i == 0 else powers[i] * base - 1
        names.append(f"{powers[i]}" if last <= powers[i] else f"{powers[i]}-{last}")
    return Label(codes_N.astype(np.int32), tuple(names))
