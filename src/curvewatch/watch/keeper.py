"""Keeper: rank 0's part of a watch. Rows go to the run file, what they say to whoever shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.live import Live, Metrics
from curvewatch.live.given import Given
from curvewatch.live.showing import Showing
from curvewatch.observation import Observation
from curvewatch.runfile.recorder import Recorder, release
from curvewatch.runfile.records import NOTHING_KNOWN, Row, RunPlan, Seen, SetRecord, TrainedPart
from curvewatch.runfile.writer import RunFile
from curvewatch.watch.exposed import Exposed

Counts = Mapping[str, NDArray[Any]]


def passed(step: int) -> str:
    """Why a planned step has no row of its own, though the one of `step` shows the model soon after it."""
    return f"training passed it without stopping; the row of step {step} stands in"


class Keeper:
    """Holds the run file and the live state of all sets while training goes on.

    Args:
        path: The run file, created or continued.
        records: The token sets by name.
        plan: Of this session.
        given: What is known of each set beforehand.
        live: The live side's settings.
        step: Updates done already; later rows of the file are dropped.
        again: Training begins again from step 0, and the rows so far are dropped.

    Attributes:
        recorder: The queue in front of the file.
        showing: The live state.
        exposed: The passages that were trained on so far.
        last_step: The file's last row when it was opened; -1 if it had none.
        settled: The later of it and the last step on record as skipped: nothing up to it will be scored any more.

    Raises:
        RunFileError: If the file can't be created or continued; see `RunFile.start`.
        ValueError: If a token to be watched does not exist.
    """

    def __init__(
        self,
        path: str,
        records: Mapping[str, SetRecord],
        plan: RunPlan,
        given: Mapping[str, Given],
        live: Live,
        step: int,
        again: bool = False,
    ) -> None:
        release(path)
        # A run that starts anew scores step 0 again, since its first weights may be others.
        self._file = RunFile.start(path, records, plan, keep_through=step if step > 0 else -1, again=again)
        self.recorder = Recorder(self._file)
        self._given = given
        self._corpus_counts = {
            name: one.corpus_count_D for name, one in given.items() if one.corpus_count_D is not None
        }
        self._behind = 0
        self.exposed = Exposed(self._file.trained)
        steps = self._file.steps
        self.last_step = steps[-1] if steps else -1
        skipped = self._file.skipped_steps
        self.settled = max([self.last_step, *skipped])
        try:
            sets = {name: record.tokens for name, record in records.items()}
            chance = {name: record.chance for name, record in records.items()}
            last_planned = int(plan.planned_steps[-1]) if len(plan.planned_steps) else None
            # It reads through the recorder, and does not know the watch: its thread must not keep that alive.
            self.showing = Showing(sets, chance, given, live, plan.max_steps, last_planned, self.recorder.surprisal)
            for name in sets if steps else ():
                self.showing.replay(name, self._file.rows(name), len(steps), steps[-1])
        except BaseException:
            self.recorder.close()
            raise

    def skip(self, steps: Sequence[int], why: str) -> None:
        """Puts on record that planned steps were not scored."""
        if len(steps):
            self.recorder.skip_all(steps, why)

    def add_trained(self, part: TrainedPart) -> None:
        """Queues what was trained on up to a step."""
        self.recorder.add_trained(part)
        self.exposed.add(part)

    def scorer_settings(self) -> dict[str, dict[str, Any]]:
        """The scorer settings on record, by set."""
        return {name: self._file.scorer_settings(name) for name in self._given}

    def counts_at(self, step: int) -> dict[str, NDArray[np.float64]] | None:
        """Occurrences of each set's targets in the batches up to `step`: none at the beginning; None if not known."""
        found = {}
        for name, given in self._given.items():
            counts_D = self._file.counts_at(name, step) if step > 0 else np.zeros(len(given.types.ids_D))
            if counts_D is None:
                return None
            found[name] = counts_D
        return found

    def seen_at(self, step: int) -> Seen:
        """What was trained on up to `step`; NaN where that is not known."""
        return self._file.seen_at(step) if step > 0 else Seen(0, 0, 0)

    @property
    def has_rows(self) -> bool:
        """Whether anything is in the file."""
        return bool(self._file.steps)

    def record(
        self,
        step: int,
        observations: Mapping[str, Observation],
        seconds: Mapping[str, float],
        counts: Counts,
        planned: Sequence[int] = (),
        seen: Seen = NOTHING_KNOWN,
        part: TrainedPart | None = None,
    ) -> Exception | None:
        """Queues a row for the file; returns what is in the way of its being written, if anything is.

        It stands for the last of the `planned` steps, if there are any; the others are noted.
        """
        if part is not None:
            self.add_trained(part)
        due = planned[-1] if planned else step
        # In a file of an older format no row says what it stands for: there a note does.
        stood_for = due if self._file.says_due else step
        self.skip([one for one in planned if one != stood_for], passed(step))
        self._behind = self.recorder.behind
        taken = self.recorder.submit(Row(step, sum(seconds.values()), time.time(), observations, counts, due, seen))
        return None if taken and self.recorder.error is None else self.recorder.error or RunFileError("row given up")

    def metrics(
        self, step: int, observations: Mapping[str, Observation], seconds: Mapping[str, float], counts: Counts
    ) -> Metrics:
        """All that is logged of an observation, except what the watch as a whole costs."""
        found = self.showing.update(step, observations, self._corpus_counts or counts)
        found.scalars.update({f"curvewatch/{name}/seconds": one for name, one in seconds.items()})
        return found

    def state(self) -> dict[str, float]:
        """How the file fares."""
        return {"rows_behind": self._behind, "rows_lost": self.recorder.lost}
