"""Units: the spans of one kind, with curves and measures of their own, as tokens have them.

A unit's surprisal is the sum over its tokens, in bits; it is right where all of them are the model's first choice; its
chance is that of a token times its length. Suffixes: T rows, N tokens, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.frames import need
from curvewatch.analysis.items import Items
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.seen import seen_columns
from curvewatch.measures import MeasureTable, measure_curves
from curvewatch.runfile.curves import Curves
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.spans import WORD, Spans

BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class UnitCurves:
    """One [step, unit] array that is worked out from the curves of tokens when it is indexed.

    Attributes:
        of: The curves of tokens, [T, N].
        spans: The units, in order of their first token.
        dtype: Of the values: float64 for sums, bool for whether all are right.
        added: What is added to each token's value, [T, N]; None for nothing.
    """

    of: Curves
    spans: Spans
    dtype: np.dtype[Any]
    added: Curves | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Steps, units."""
        return (len(self.of), len(self.spans))

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, index: Any) -> Any:
        rows, units = index if isinstance(index, tuple) else (index, slice(None))
        single = isinstance(units, (int, np.integer))
        if single:
            units = np.array([range(len(self.spans))[int(units)]])
        spans = self.spans.take(np.arange(len(self.spans))[units])
        one_row = not isinstance(rows, slice)
        rows = slice(rows, rows + 1 or None) if one_row else slice(*rows.indices(len(self.of)))
        found = self._read(rows, spans)
        found = found[0] if one_row else found
        return found[..., 0] if single else found

    def _read(self, rows: slice, spans: Spans) -> NDArray[Any]:
        """The rows of some units, whose tokens are read in blocks of neighbours."""
        parts, start = [], 0
        ends = spans.first + spans.length
        while start < len(spans):
            # As many units as have their tokens within a block, at least one.
            low = int(spans.first[start])
            width = max(1, BLOCK_VALUES // max(1, len(self.of)))
            within = np.maximum.accumulate(ends[start:]) <= low + width
            stop = start + max(1, int(np.argmin(within)) if not within.all() else len(within))
            part = spans.take(np.arange(start, stop))
            high = int((part.first + part.length).max())
            values = self.of[rows, low:high]
            if self.added is not None:
                values = values + self.added[rows, low:high]
            moved = part.moved(-low)
            parts.append(moved.all_of(values) if self.dtype == bool else moved.sums(values))
            start = stop
        return np.concatenate(parts, axis=-1) if parts else np.zeros((len(range(*rows.indices(len(self.of)))), 0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:]
        return whole.astype(dtype) if dtype is not None else whole


class Units:
    """The spans of one kind in a run, with their curves.

    Attributes:
        kind: Of the spans.
        spans: The units: first token, length, name, group, U of each.
        steps_T: Scored steps.
        surprisal: Bits a unit, [T, U]; read when indexed.
        boundary: "corrected" where words are scored as words (`TokenSet.words`); else "none".
        correct: Whether all tokens of the unit were the model's first choice, [T, U].
    """

    def __init__(self, run: Reader, kind: str) -> None:
        self.kind = kind
        self.spans = run.tokens.spans.of_kind(kind)
        self._run, self._moment = run, Moment.now(run)
        self.steps_T = self._moment.steps_T
        added = run.boundary if kind == WORD else None
        self.boundary = "none" if added is None else "corrected"
        self.surprisal = UnitCurves(
            self._moment.surprisal, self.spans, np.dtype(np.float64),
            None if added is None else added.first(len(self.steps_T)),
        )  # fmt: skip
        self.correct = UnitCurves(self._moment.correct, self.spans, np.dtype(bool))

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        steps, units = self.surprisal.shape
        return f"<Units {self.kind!r} of {self._run.path.name}: {units:,} at {steps:,} steps>"

    @property
    def chance_U(self) -> NDArray[np.float64]:
        """Surprisal of guessing all tokens of each unit, bits."""
        chance: NDArray[np.float64] = self.spans.length.astype(np.float64) * self._run.chance
        return chance

    @property
    def n_bytes_U(self) -> NDArray[np.int64] | None:
        """UTF-8 bytes of each unit's tokens; None where they are not known."""
        bytes_N = self._run.tokens.n_bytes
        return None if bytes_N is None else self.spans.sums(bytes_N).astype(np.int64)

    def measures(self, *, paper: bool = False, progress: Callable[[int, int], None] | None = None) -> MeasureTable:
        """Every measure of every unit, as of tokens: see `measures.measure_curves`."""
        return measure_curves(
            self.surprisal, self.steps_T, chance=self.chance_U, max_steps=self._run.max_steps, correct=self.correct,
            paper=paper, progress=progress,
        )  # fmt: skip

    @cached_property
    def items(self) -> Items:
        """The pairs or questions that the units belong to.

        Raises:
            ValueError: If they belong to none.
        """
        return Items(self.kind, self.spans, self.steps_T, self.surprisal, self.n_bytes_U)

    def to_pandas(self, *, paper: bool = False) -> Any:
        """A pandas DataFrame: one row a unit, with its name, place and measures. Needs `curvewatch[analysis]`."""
        need("pandas", "to_pandas")
        frame, spans = self.measures(paper=paper).to_pandas(), self.spans
        frame.index.name = "unit"
        tokens = self._run.tokens
        columns = {"name": spans.name, "group": spans.group, "item": spans.item, "member": spans.member,
                   "sequence_index": tokens.sequence_index[spans.first], "first": spans.first,
                   "length": spans.length, "impure": spans.impure}  # fmt: skip
        columns |= seen_columns(self._run.trained, spans)
        for at, (name, values) in enumerate(columns.items()):
            frame.insert(at, name, np.array(values, object) if isinstance(values, tuple) else values)
        return frame
