"""Spans: runs of scored tokens that belong together: a word, a fact's answer, a reply, one sentence of a pair.

A span's surprisal is the sum over its tokens; it is right where all of them are. Suffixes: U spans, N scored tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens.given import storable
from curvewatch.tokens.originals import Originals, Scored

logger = logging.getLogger("curvewatch")

KIND, WORD = "span", "word"
"""Of spans that are given without a kind."""
MOST_CHARACTERS = 200


def _none() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of scored tokens, in order of their first one.

    Attributes:
        first: Index of each span's first scored token, int32, shape [U].
        length: Number of its tokens, at least 1, int32, shape [U].
        kind: What it is: "word", "answer", "reply", ...; U texts.
        name: Its text, or what the user calls it.
        group: What it is counted under; "" for nothing.
        item: Number of the pair or question that it belongs to, within its kind; -1 for none; int32, shape [U].
        member: What it is of its item: "good" or "bad", "right" or "wrong"; "" for nothing.
        impure: Whether one of its tokens reaches beyond it (a token that lies in two words), shape [U].
    """

    first: NDArray[np.int32] = field(default_factory=_none)
    length: NDArray[np.int32] = field(default_factory=_none)
    kind: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    item: NDArray[np.int32] = field(default_factory=_none)
    member: tuple[str, ...] = ()
    impure: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.first)

    def same_as(self, other: Spans) -> bool:
        """Whether they are the same spans."""
        both = ((getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in both)

    @property
    def kinds(self) -> list[str]:
        """The kinds that there are, in the order of their first span."""
        return list(dict.fromkeys(self.kind))

    def of_kind(self, kind: str) -> Spans:
        """Those of one kind.

        Raises:
            KeyError: If there are none.
        """
        chosen = np.flatnonzero(np.array([one == kind for one in self.kind], bool))
        if not chosen.size:
            known = ", ".join(map(repr, self.kinds)) or "none at all"
            raise KeyError(f"unit={kind!r}: the token set has no such spans; there are {known}.")
        return self.take(chosen)

    def take(self, chosen: NDArray[np.integer]) -> Spans:
        """Some of them."""
        parts: dict[str, Any] = {}
        for one in fields(self):
            values = getattr(self, one.name)
            parts[one.name] = (
                values[chosen] if isinstance(values, np.ndarray) else tuple(values[i] for i in chosen.tolist())
            )
        return Spans(**parts)

    def moved(self, by: int) -> Spans:
        """The same in a set whose tokens are counted from elsewhere."""
        return replace(self, first=(self.first + by).astype(np.int32))

    def and_others(self, others: Spans) -> Spans:
        """These and others, in order; the given order is kept among spans that begin and end alike."""
        both: dict[str, Any] = {}
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(others, one.name)
            both[one.name] = np.concatenate([mine, theirs]) if isinstance(mine, np.ndarray) else (*mine, *theirs)
        found = Spans(**both)
        return found.take(np.lexsort((found.length, found.first)))

    def sums(self, values_N: NDArray[Any]) -> NDArray[Any]:
        """The sum over each span's tokens.

        Args:
            values_N: One value a token in the last axis; summed as float64.

        Returns:
            The same with U in place of N. A span with a value that is not finite has none that is.
        """
        if not len(self):
            return np.zeros((*values_N.shape[:-1], 0))
        low, high = int(self.first.min()), int((self.first + self.length).max())
        # One 0 behind the last, so that a span may end there.
        padded = np.zeros((*values_N.shape[:-1], high - low + 1))
        padded[..., :-1] = values_N[..., low:high]
        edges = np.stack([self.first, self.first + self.length], 1).ravel().astype(np.intp) - low
        sums: NDArray[Any] = np.add.reduceat(padded, edges, axis=-1)[..., ::2]
        return sums

    def all_of(self, truth_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether all of each span's tokens are true, in the last axis."""
        found: NDArray[np.bool_] = self.sums(~truth_N) == 0
        return found

    def check(self, n_tokens: int) -> None:
        """Makes sure that they fit a set.

        Raises:
            ValueError: Naming what does not.
        """
        sizes = {len(getattr(self, one.name)) for one in fields(self)}
        if len(sizes) > 1:
            raise ValueError(f"spans: parts of different lengths, {sorted(sizes)}.")
        if not len(self):
            return
        if (self.length < 1).any() or (self.first < 0).any() or (np.diff(self.first) < 0).any():
            raise ValueError("spans: each needs a token of its own, and they come in the order of their first ones.")
        if int((self.first.astype(np.int64) + self.length).max()) > n_tokens:
            raise ValueError(f"spans: one reaches beyond the {n_tokens:,} scored tokens of the set.")


@dataclass(frozen=True)
class Wish:
    """A span as it is asked for: characters of one sequence's text.

    Attributes:
        sequence: Index of the sequence.
        start: First character.
        end: Behind the last one.
        name: Of the span; None takes its text.
        group: What it is counted under.
        kind: What it is.
        item: Number of its pair or question; -1 for none.
        member: What it is of that.
    """

    sequence: int
    start: int
    end: int
    name: str | None = None
    group: str = ""
    kind: str = KIND
    item: int = -1
    member: str = ""


def wishes(spans: Any, texts: Sequence[str], kind: str = KIND) -> list[Wish]:
    """Spans as users give them: for each text a list of (start, end), (start, end, name) or (start, end, name, group).

    Raises:
        TypeError: If they are anything else.
        ValueError: If one lies outside its text, or is empty.
    """
    if not hasattr(spans, "__len__") or len(spans) != len(texts):
        what = f"{len(spans):,} lists" if hasattr(spans, "__len__") else brief(spans)
        raise ValueError(f"spans: {what} for {len(texts):,} texts; give one list of spans for each text.")
    found = []
    for s, (own, text) in enumerate(zip(spans, texts, strict=True)):
        for k, span in enumerate(own if own is not None else ()):
            where = f"spans[{s}][{k}]={brief(span)}"
            if not isinstance(span, (tuple, list)) or not 2 <= len(span) <= 4:
                raise TypeError(f"{where}: (start, end), (start, end, name) or (start, end, name, group) is expected.")
            start, end, *rest = span
            if any(isinstance(x, bool) or not isinstance(x, (int, np.integer)) for x in (start, end)):
                raise TypeError(f"{where}: start and end are whole numbers of characters.")
            if not 0 <= start < end <= len(text):
                raise ValueError(
                    f"{where}: it lies outside its text, which has {len(text):,} characters, or is empty. Start and "
                    "end count characters from 0, the end behind the last one."
                )
            if not text[start:end].strip():
                raise ValueError(f"{where}: nothing but white space.")
            name, group = (*rest, None, None)[:2]
            found.append(Wish(s, int(start), int(end), None if name is None else str(name), str(group or ""), kind))
    return found


def place(originals: Originals | None, scored: Scored, wanted: Sequence[Wish], *, strict: bool = True) -> Spans:
    """The scored tokens of spans that are given in characters.

    A token belongs to a span if it covers some of it besides blanks; so a token may belong to two.

    Args:
        originals: The texts.
        scored: Which tokens are scored.
        wanted: The spans.
        strict: Whether a span that has tokens which are not scored is refused; else it is left out, and their number
            logged.

    Raises:
        ValueError: If the set knows no texts, or naming the first span that can't be had.
    """
    if originals is None:
        raise ValueError("spans: this token set does not know its texts. Build it with from_texts, or from_text.")
    column_I = np.full(len(originals.ends_I), -1, np.int64)
    column_I[scored.starts[scored.sequence_index] + scored.position] = np.arange(len(scored.position))
    found: dict[str, list[Any]] = {one.name: [] for one in fields(Spans)}
    lost, at = 0, -1
    for wish in wanted:
        text = originals.texts[wish.sequence]
        if wish.sequence != at:
            at = wish.sequence
            inside = slice(int(scored.starts[at]), int(scored.starts[at + 1]))
            ends, columns_L = originals.ends_I[inside], column_I[inside]
            starts = np.concatenate([[0], ends[:-1]])
        own = text[wish.start : wish.end]
        start, end = wish.start + len(own) - len(own.lstrip()), wish.start + len(own.rstrip())
        # Its own characters, without the blanks that the cover rule gives to the token behind them; the later pieces of
        # a character that is split cover none, and go with the first.
        first, behind = int(np.searchsorted(ends, start, "right")), int(np.searchsorted(starts, end, "left"))
        while behind < len(ends) and starts[behind] == ends[behind] == end:
            behind += 1
        overlap = range(first, behind)
        columns = columns_L[first:behind]
        if not overlap or (columns < 0).any() or end > len(text):
            if strict:
                raise ValueError(f"{_said(wish, text)}: {_why_not(overlap, end, len(text))}")
            lost += 1
            continue
        beside = text[int(starts[first]) : start] + text[end : int(ends[behind - 1])]
        found["first"].append(int(columns[0]))
        found["length"].append(len(columns))
        found["impure"].append(bool(beside.strip()))
        found["name"].append(storable((wish.name if wish.name is not None else text[start:end])[:MOST_CHARACTERS]))
        found["item"].append(wish.item)
        for one in ("kind", "group", "member"):
            found[one].append(storable(getattr(wish, one)))
    if lost:
        logger.info("%d of %d spans have tokens that are not scored, and were left out", lost, len(wanted))
    types: dict[str, Any] = {"first": np.int32, "length": np.int32, "item": np.int32, "impure": bool}
    parts: dict[str, Any] = {
        name: np.array(values, types[name]) if name in types else tuple(values) for name, values in found.items()
    }
    spans = Spans(**parts)
    spans = spans.take(np.lexsort((spans.length, spans.first)))
    n_impure = int(np.count_nonzero(spans.impure))
    if n_impure:
        logger.info("%d of %d spans share a token with the text beside them", n_impure, len(spans))
    return spans


def _said(wish: Wish, text: str) -> str:
    where = f"of text {wish.sequence} (characters {wish.start} to {wish.end})"
    return f"{wish.kind} {brief(text[wish.start : wish.end])} {where}"


def _why_not(overlap: range, end: int, length: int) -> str:
    if not overlap or end > length:
        return "it has no token; the text was cut before it. Give a larger context=."
    if overlap[0] == 0:
        return "its first token has nothing before it to be predicted from. Pass bos=."
    return "some of its tokens are not scored. Build the set with per_sequence=None, or score='spans'."
