"""Finds passages in rows of token ids: a rolling hash over a few ids of each form, then the ids themselves.

The hash only says where to look: what is counted is verified id by id, and at a passage's ends as text. What it costs
hardly depends on the number of passages. Suffixes: B rows of a batch, L tokens of a row, I tokens of all rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens import text as text_room
from curvewatch.tokens.passages import LEAST_INSIDE, Form, Passages

NO_TOKEN = -1
"""Stands in a row where there is no token (padding)."""
ANCHORS = (8, 4, LEAST_INSIDE)
"""Ids that are hashed together; powers of two, each form takes the longest that fits into it."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MOST_BITS = 24
_MOST_KNOWN = 1 << 16


class Found(NamedTuple):
    """Occurrences, one by one.

    Attributes:
        passage: Index of the passage, int64, shape [occurrences].
        row: Row of the batch, int64.
        first: Where it begins in the row, int64.
        stop: Where it ends (exclusive), int64.
    """

    passage: NDArray[np.int64]
    row: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]


class PassageFinder:
    """Looks for all passages at once.

    Args:
        passages: The passages; their tokenizer is used here only, to read the ends of what was found.

    Raises:
        ValueError: If a passage is too short.
    """

    def __init__(self, passages: Passages) -> None:
        self._texts, self._tokenizer, self._forms = passages.texts, passages.tokenizer, passages.forms
        lengths = np.array([len(one.inside) for one in self._forms])
        self._anchors = [
            _Anchors(anchor, [f for f, length in enumerate(lengths) if _anchor_for(length) == anchor], self._forms)
            for anchor in ANCHORS
            if any(_anchor_for(length) == anchor for length in lengths)
        ]
        self._inside_I = np.concatenate([one.inside for one in self._forms])
        self._first_F = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._length_F = lengths
        self._passage_F = np.array([one.passage for one in self._forms])
        self._known: dict[tuple[int, int, bytes], tuple[int, int] | None] = {}

    def find(self, rows_BL: NDArray[np.integer[Any]]) -> Found:
        """Occurrences in the rows of a batch, none of them across two rows.

        Args:
            rows_BL: Token ids; `NO_TOKEN` where there is none.
        """
        batch_BL: NDArray[np.int64] = np.ascontiguousarray(rows_BL, np.int64)
        flat_I, width = batch_BL.reshape(-1), batch_BL.shape[1]
        starts, forms = self._candidates(flat_I)
        fits = (starts >= 0) & (starts + self._length_F[forms] <= len(flat_I))
        starts, forms = starts[fits], forms[fits]
        stops = starts + self._length_F[forms]
        one_row = starts // width == (stops - 1) // width
        starts, stops, forms = starts[one_row], stops[one_row], forms[one_row]
        same = self._same_ids(flat_I, starts, forms)
        starts, stops, forms = starts[same], stops[same], forms[same]
        ends = [self._ends(batch_BL, starts[i], stops[i], forms[i]) for i in range(len(forms))]
        kept = [i for i, one in enumerate(ends) if one is not None]
        before, behind = np.array([one for one in ends if one is not None], np.int64).reshape(-1, 2).T
        row = starts[kept] // max(1, width)
        first, stop = starts[kept] - row * width - before, stops[kept] - row * width + behind
        # Several forms of a passage can fit one place.
        places = np.stack([self._passage_F[forms[kept]], row, stop, first])
        return Found(*np.unique(places, axis=1)[[0, 1, 3, 2]])

    def _candidates(self, flat_I: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where forms may begin, and which."""
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        hashes, done = flat_I.view(np.uint64), 1
        for anchors in sorted(self._anchors, key=lambda one: one.width):
            hashes, done = _widened(hashes, done, anchors.width), anchors.width
            found.append(anchors.look_up(hashes))
        return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])

    def _same_ids(
        self, flat_I: NDArray[np.int64], starts: NDArray[np.int64], forms: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        if not len(starts):
            return np.zeros(0, bool)
        lengths = self._length_F[forms]
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        within = np.arange(int(lengths.sum())) - np.repeat(begins, lengths)
        there = flat_I[np.repeat(starts, lengths) + within]
        wanted = self._inside_I[np.repeat(self._first_F[forms], lengths) + within]
        same: NDArray[np.bool_] = np.logical_and.reduceat(there == wanted, begins)
        return same

    def _ends(self, rows_BL: NDArray[np.int64], start: int, stop: int, form: int) -> tuple[int, int] | None:
        """How many tokens before and behind ids that are right hold the rest of the passage; None: it is not there.

        The tokenizer is asked once for the same ids.
        """
        reach = self._forms[form].reach
        if not reach:
            return 0, 0
        row, first = divmod(int(start), rows_BL.shape[1])
        before = _nearest(rows_BL[row, max(0, first - reach) : first][::-1])[::-1]
        behind = _nearest(rows_BL[row, first : int(stop) - int(start) + first + reach])
        around = np.concatenate([before, behind])
        key = (form, len(before), around.tobytes())
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._rest(form, around, len(before))
        return self._known[key]

    def _rest(self, form: int, around: NDArray[np.int64], first: int) -> tuple[int, int] | None:
        passage, inside, head, reach = self._forms[form]
        wanted = self._texts[passage]

        def decoded(begin: int, end: int) -> str:
            return text_room.decode(self._tokenizer, around[begin:end])

        whole = decoded(0, len(around))
        # Counted from the end: a tokenizer may drop a blank where a text begins.
        at = len(whole) - len(decoded(first, len(around))) - head
        if at < 0 or not whole.startswith(wanted, at):
            return None
        stop = first + len(inside)
        begin = next(n for n in range(min(first + reach, stop), -1, -1) if len(decoded(0, n)) <= at)
        end = next(n for n in range(max(stop - reach, begin), len(around) + 1) if decoded(0, n).startswith(wanted, at))
        return first - begin, end - stop


def _nearest(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ids up to the first place where there is none."""
    gaps = np.flatnonzero(ids == NO_TOKEN)
    return ids[: gaps[0]] if len(gaps) else ids


class _Anchors:
    """Hashes of so many ids of each form, and a table of bits that most of what passes by does not get through."""

    def __init__(self, width: int, chosen: list[int], forms: list[Form]) -> None:
        self.width = width
        offsets, hashes = [], []
        for f in chosen:
            inside = forms[f].inside
            # In most vocabularies rare tokens have high ids, and a rare anchor is seldom looked at in vain.
            offset = int(np.convolve(np.log1p(inside), np.ones(width), "valid").argmax())
            offsets.append(offset)
            hashes.append(int(_widened(inside.view(np.uint64), 1, width)[offset]))
        order = np.argsort(np.array(hashes, np.uint64), kind="stable")
        self._hash_F = np.array(hashes, np.uint64)[order]
        self._offset_F = np.array(offsets, np.int64)[order]
        self._form_F = np.array(chosen, np.int64)[order]
        bits = min(_MOST_BITS, max(16, int(np.ceil(np.log2(64 * len(chosen))))))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[self._slots(self._hash_F)] = True

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        slots: NDArray[np.uint64] = (hashes * _FACTOR) >> self._shift
        return slots

    def look_up(self, hashes_I: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where in the ids forms begin that have one of these hashes, and which forms."""
        places = np.flatnonzero(self._table[self._slots(hashes_I)])
        hashes = hashes_I[places]
        low = np.searchsorted(self._hash_F, hashes, "left")
        n = np.searchsorted(self._hash_F, hashes, "right") - low
        which = np.repeat(low, n) + np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)
        return np.repeat(places, n) - self._offset_F[which], self._form_F[which]


def _anchor_for(length: int) -> int:
    return next(anchor for anchor in ANCHORS if anchor <= length)


def _widened(hashes: NDArray[np.uint64], width: int, wanted: int) -> NDArray[np.uint64]:
    """Hashes of `wanted` ids from those of `width`, by doubling; one for each place where so many ids follow."""
    while width < wanted:
        if len(hashes) <= width:
            return np.zeros(0, np.uint64)
        factor = np.uint64(pow(int(_FACTOR), width, 1 << 64))
        hashes = hashes[:-width] * factor + hashes[width:]
        width *= 2
    return hashes
