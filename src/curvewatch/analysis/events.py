"""The events of a run, with what kind of tokens they were. Suffix: n tokens of an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from curvewatch.analysis.frames import need
from curvewatch.analysis.moment import Moment
from curvewatch.measures.events import Event, EventDetector
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.over import Over, over_represented

BLOCK_VALUES = 1 << 22
COLUMNS = ("step", "before", "direction", "tokens", "share", "usual_share", "z", "mean_bits", "healed", "labels")


@dataclass(frozen=True)
class RunEvent:
    """An event, and what its tokens are.

    Attributes:
        event: Step, direction, tokens, size, and whether it healed.
        over: Values of labels that are over-represented among its tokens, the largest ratio first.
    """

    event: Event
    over: tuple[Over, ...]

    def __str__(self) -> str:
        return self.event.in_words(self.over)

    def examples(self, k: int = 5) -> list[int]:
        """Indices of the tokens that jumped farthest."""
        order = np.argsort(-np.abs(self.event.bits_n), kind="stable")[:k]
        found: list[int] = self.event.tokens_n[order].tolist()
        return found


def events_of(run: Reader) -> list[RunEvent]:
    """The events of a run, in order; the same as were told live.

    Args:
        run: The run; its rows are read once.
    """
    moment = Moment.now(run)
    detector = EventDetector(run.n_tokens)
    rows = max(1, BLOCK_VALUES // max(1, run.n_tokens))
    for start in range(0, len(moment), rows):
        block = slice(start, min(start + rows, len(moment)))
        for step, bits_N in zip(moment.steps_T[block].tolist(), moment.surprisal[block], strict=True):
            detector.update(step, bits_N)
    moment.check()
    labels = run.tokens.labels
    return [RunEvent(event, tuple(over_represented(labels, event.tokens_n, run.n_tokens))) for event in detector.events]


def events_frame(events: list[RunEvent]) -> Any:
    """A pandas DataFrame: one row an event. Needs `curvewatch[analysis]`."""
    pandas = need("pandas", "events")
    rows = [
        (one.event.step, one.event.before, "up" if one.event.up else "down", len(one.event.tokens_n), one.event.share,
         one.event.usual_share, one.event.z, one.event.mean_bits, one.event.healed, ", ".join(map(str, one.over)))
        for one in events
    ]  # fmt: skip
    return pandas.DataFrame(rows, columns=list(COLUMNS))
