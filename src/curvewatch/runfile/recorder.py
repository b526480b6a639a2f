"""Recorder: commits rows off the training thread, so that training never waits for a disk."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.forks import tell_in_child
from curvewatch.observation import Sample
from curvewatch.runfile.records import Row, Seen, TrainedPart
from curvewatch.runfile.writer import RunFile

logger = logging.getLogger("curvewatch")

# Memory for rows that wait for a slow or full disk. One of a million tokens takes 9 MB, and any some hundred bytes.
WAITING_BYTES = 512 << 20
ROW_BYTES = 1024
RETRY_SECONDS = 5.0
# Rows that wait are committed together, so that a disk that takes seconds for a commit keeps up; this many at most.
TOGETHER_BYTES = 64 << 20
# At the end: when it is said that a slow disk is waited for, and how long it is if nothing more gets written.
SAY_SECONDS = 5.0
PATIENCE_SECONDS = 60.0

# Open recorders by path: a training that was interrupted in a notebook leaves one behind.
_open: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()


class Recorder:
    """A queue in front of a run file, with one thread that commits.

    A row that can't be written (a full disk, say) stays in the queue and is tried again, in order, until it can. Only
    when too many wait is the newest one given up; `lost` counts them and the log says so.

    Args:
        file: The open run file; nobody else may append to it from now on.

    Attributes:
        error: The last failure while rows are waiting because of it; None when all is well.
        lost: Rows given up.
    """

    def __init__(self, file: RunFile) -> None:
        self._file = file
        self._rows: deque[Row] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._inherited = False
        self._n_commits = 0
        self.error: Exception | None = None
        self.lost = 0
        self._thread = threading.Thread(target=self._work, name="curvewatch-recorder", daemon=True)
        self._thread.start()
        _open[str(file.path)] = self
        tell_in_child(self)
        # The thread is a daemon, so that it never keeps a process alive by itself; what is queued is written at exit.
        me = weakref.ref(self)
        process = os.getpid()
        self._at_exit = lambda: _close(me, process)
        atexit.register(self._at_exit)
        # A process that `multiprocessing` has forked, a rank of a launcher's say, ends without its atexit functions.
        self._at_process_end = Finalize(None, self._at_exit, exitpriority=0)

    @property
    def behind(self) -> int:
        """Rows not yet committed."""
        return len(self._rows)

    def submit(self, row: Row) -> bool:
        """Queues a row; returns at once.

        Returns:
            False if this one was given up: too many are waiting, or the recorder is closed or of another process.
        """
        with self._changed:
            if self._closing:
                self.lost += 1
                logger.error("%s is closed: step %d is not recorded", self._file.path, row.step)
                return False
            if len(self._rows) >= max(2, WAITING_BYTES // (_size(row) + ROW_BYTES)):
                self.lost += 1
                logger.error(
                    "the run file can't keep up or can't be written (%s): step %d is not recorded (%d lost so far)",
                    self.error or "slow disk", row.step, self.lost,
                )  # fmt: skip
                return False
            self._rows.append(row)
            self._changed.notify_all()
        return True

    def rewrite_scorer(self, name: str, settings: dict[str, Any]) -> None:
        """Queues a change of the scorer settings on record."""
        self._add_job(lambda: self._file.rewrite_scorer(name, settings))

    def save_counts(self, step: int, counts: Mapping[str, NDArray[Any]], seen: Seen) -> None:
        """Queues the counts at a checkpoint."""
        self._add_job(lambda: self._file.save_counts(step, counts, seen))

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Queues what the model wrote behind fixed prompts."""
        self._add_job(lambda: self._file.add_samples(samples))

    def add_trained(self, part: TrainedPart) -> None:
        """Queues what was trained on up to a step."""
        self._add_job(lambda: self._file.add_trained(part))

    def surprisal(self, name: str, step: int) -> NDArray[np.float32]:
        """Surprisal of a set at an earlier step, bits, wherever its row is by now.

        Raises:
            RunFileError: If the row was given up.
        """
        for row in tuple(self._rows):
            if row.step == step:
                return row.observations[name].surprisal_bits
        return self._file.surprisal(name, step)

    def skip(self, step: int, why: str) -> None:
        """Queues a note that a planned step was not scored."""
        self._add_job(lambda: self._file.skip(step, why))

    def skip_all(self, steps: Sequence[int], why: str) -> None:
        """Queues a note that several planned steps were not scored."""
        noted = tuple(steps)
        self._add_job(lambda: self._file.skip_all(noted, why))

    def _add_job(self, job: Callable[[], None]) -> None:
        with self._changed:
            if self._inherited:
                return
            self._jobs.append(job)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all queued rows are committed.

        Args:
            timeout: Seconds; None waits without end, as long as there is progress.

        Returns:
            Whether none is left. False too if the disk refuses them.
        """
        with self._changed:
            self._changed.wait_for(lambda: not (self._rows or self._jobs) or self.error is not None, timeout)
            return not (self._rows or self._jobs)

    def close(self, timeout: float | None = None) -> bool:
        """Commits what is queued, tries once more what was refused, and closes the file.

        Args:
            timeout: Seconds without any progress after which a slow disk is no longer waited for; None: a minute.

        Returns:
            Whether every row is in the file, and that is in order.
        """
        timeout = PATIENCE_SECONDS if timeout is None else timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._inherited:
            # The file, and what was queued at the fork, are the parent's.
            return True
        self._wait_for_end(timeout)
        atexit.unregister(self._at_exit)
        self._at_process_end.cancel()
        if self._thread.is_alive():
            logger.error("%s: no answer from the disk in %.0f s; %d rows wait", self._file.path, timeout, self.behind)
            return False
        if _open.get(str(self._file.path)) is self:
            del _open[str(self._file.path)]
        if self._rows:
            logger.error("%s: %d rows could not be written (%s)", self._file.path, len(self._rows), self.error)
        try:
            self._file.close()
        except Exception as error:
            # A training that ends well must not fail because its file could not be put in order.
            logger.error("%s: not closed well: %s", self._file.path, error)
            return False
        return not self._rows

    def _wait_for_end(self, timeout: float) -> None:
        before, patience = self._n_commits, min(timeout, SAY_SECONDS)
        self._thread.join(patience)
        if self._thread.is_alive() and self.behind:
            logger.warning("%s: the disk is slow; waiting for %d rows to be written", self._file.path, self.behind)
        deadline = time.monotonic() + timeout - patience
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.1)
            if self._n_commits > before:
                before, deadline = self._n_commits, time.monotonic() + timeout

    def forsake(self) -> None:
        """In a forked child (a DataLoader's worker, say): neither waits for the parent's thread nor writes its file.

        The lock may have been held at the fork, by a thread that does not exist here, so it is a new one.
        """
        self._changed = threading.Condition()
        self._rows.clear()
        self._jobs.clear()
        self._closing = self._inherited = True
        if _open.get(str(self._file.path)) is self:
            del _open[str(self._file.path)]

    def _work(self) -> None:
        while True:
            with self._changed:
                # After a failure: again when some seconds have passed, not at once.
                ready = lambda: self._closing or ((self._rows or self._jobs) and self.error is None)  # noqa: E731
                self._changed.wait_for(ready, RETRY_SECONDS if self.error is not None else None)
                if self._closing and not self._rows and not self._jobs:
                    return
                # One transaction at a time, so that what is done is never done again; notes go before rows.
                queue: deque[Any] = self._jobs if self._jobs else self._rows
                now = [queue[0]] if self._jobs else self._first_rows()
            failure = self._commit(now)
            with self._changed:
                again = failure is not None and self.error is not None
                if failure is None:
                    for _ in now:
                        queue.popleft()
                    self._n_commits += 1
                    if self.error is not None:
                        logger.warning("%s: writing works again", self._file.path)
                elif self.error is None:
                    logger.error(
                        "%s: step %s could not be written (%s); nothing recorded is lost, it will be tried again",
                        self._file.path, now[0].step if isinstance(now[0], Row) else "-", failure,
                    )  # fmt: skip
                self.error = failure
                self._changed.notify_all()
                if again and self._closing:
                    return

    def _first_rows(self) -> list[Row]:
        """The first rows that wait: as many as one transaction should have, and after a failure one."""
        n = max(1, TOGETHER_BYTES // (_size(self._rows[0]) + ROW_BYTES)) if self.error is None else 1
        return list(islice(self._rows, n))

    def _commit(self, now: list[Any]) -> Exception | None:
        try:
            if isinstance(now[0], Row):
                self._file.append_all(now)
            else:
                now[0]()
        except Exception as error:
            return error
        return None


def _size(row: Row) -> int:
    return sum(9 * len(observation) for observation in row.observations.values())


def release(path: str) -> None:
    """Closes the recorder that an interrupted training of this process left open on `path`, if there is one."""
    recorder = _open.get(path)
    if recorder is not None:
        logger.info("%s: an earlier run of this process had not closed it", path)
        recorder.close()


def _close(reference: weakref.ref[Recorder], process: int) -> None:
    recorder = reference()
    # In a forked child the thread that writes does not exist, and the rows are its parent's.
    if recorder is not None and process == os.getpid():
        recorder.close()
