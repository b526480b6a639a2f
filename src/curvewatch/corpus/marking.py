"""One pass over a corpus that marks which context types stand shortly before each type. See `diversity`.

Suffixes: M places of a block, V vocabulary, K context types.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.keys import SPREAD, Int64
from curvewatch.corpus.resuming import Progressed, Resume
from curvewatch.corpus.sources import Corpus

STRETCH = 1024
"""Tokens that are chosen, or left out, together where a corpus is sampled."""
TICK = 0.5
"""Seconds between two words of progress within a block."""
Progress = Callable[[int, "int | None"], None]


@dataclass
class Marking:
    """The passes.

    Attributes:
        source: The corpus.
        rank_V: Rank of each id plus 1 among the context types; their number, for what is none.
        window: Tokens before an occurrence that are its context.
        share: Of the occurrences that are looked at.
        seed: For their draw.
        progress: See `contextual_diversity`.
        resume: The file in which the work is kept, if any.
        at: How far it has come; the pairs that were found are its array "seen", [V, K / 8], one bit each.
    """

    source: Corpus
    rank_V: Int64
    window: int
    share: float
    seed: int
    progress: Progress | None
    resume: Resume | None
    at: Progressed

    def mark(self, first: int, width: int) -> None:
        """Goes through the corpus for the context types from rank `first` on; or through what is left of that pass."""
        n_types, at = len(self.rank_V) - 1, self.at
        marks = np.zeros(n_types * width, np.uint8)
        before = np.zeros(self.window, np.int64)
        if at.places:
            marks = np.unpackbits(at.arrays["marks"], axis=1, count=width).ravel()
            before = at.arrays["before"]
        else:
            at.counted |= {"before": 0, "looked": 0}

        def keep() -> None:
            at.arrays["marks"] = np.packbits(marks.reshape(n_types, width), axis=1)
            at.arrays["before"] = before

        done_before = 0
        blocks = self.source.blocks() if self.resume is None else self.resume.blocks(self.source, at, keep)
        for laid_M, done in blocks:
            if int(laid_M.max(initial=0)) > n_types:
                raise ValueError(
                    f"corpus: token id {int(laid_M.max()) - 1} lies beyond the {n_types:,} types that were counted. "
                    "Was it made with another tokenizer than the token set?"
                )
            laid = np.concatenate([before, laid_M])
            self._mark_block(marks, laid, first, width, (done_before, done))
            before, done_before = laid[-self.window :], done
            if self.progress is not None:
                self.progress(done, self.source.size)
        keep()
        packed = at.arrays.pop("marks")
        at.arrays["seen"][:, first // 8 : first // 8 + packed.shape[1]] = packed
        at.next_pass()
        if self.resume is not None:
            self.resume.save(at)

    def _mark_block(self, marks: NDArray[np.uint8], laid: Int64, first: int, width: int, done: tuple[int, int]) -> None:
        """Marks the pairs of the places behind the first `window`."""
        place, laid_M, counted = np.arange(len(laid)), laid[self.window :], self.at.counted
        # How many tokens stand before each one in its document, as far as the window reaches.
        since = place - np.maximum.accumulate(np.where(laid == 0, place, -1)) - 1
        here = self.window + np.flatnonzero(laid_M)
        if self.share < 1:
            here = here[chosen(counted["before"] + np.arange(len(here)), self.share, self.seed)]
        counted["before"] += int(np.count_nonzero(laid_M))
        counted["looked"] += len(here)
        row, since_here = (laid[here] - 1) * width, since[here]
        rank = self.rank_V[laid] - first
        rank[(rank < 0) | (rank >= width)] = -1
        # Where no document reaches further back, no window does.
        reach, said = min(self.window, int(since_here.max(initial=0))), time.monotonic()
        for distance in range(1, reach + 1):
            context = rank[here - distance]
            inside = (context >= 0) & (since_here >= distance)
            marks[row[inside] + context[inside]] = 1
            if self.progress is not None and time.monotonic() - said > TICK:
                said = time.monotonic()
                self.progress(done[0] + (done[1] - done[0]) * distance // reach, self.source.size)


def chosen(index: Int64, share: float, seed: int) -> NDArray[np.bool_]:
    """Which tokens are looked at, by their number in the corpus: whole stretches, the same however blocks are cut."""
    mixed = ((index // STRETCH).astype(np.uint64) + np.uint64(1)) * SPREAD + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.bool_] = (mixed ^ (mixed >> np.uint64(31))) < np.uint64(min(share * 2.0**64, 2.0**64 - 2048))
    return found
