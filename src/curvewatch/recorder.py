"""Recorder: commits rows off the training thread, so that training never waits for a disk."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from curvewatch.runfile import Row, RunFile

logger = logging.getLogger("curvewatch")

# Rows that may wait for a slow or full disk. One of a million tokens takes 9 MB.
WAITING_BYTES = 512 << 20
WAITING_ROWS = 64
RETRY_SECONDS = 5.0

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
        self.error: Exception | None = None
        self.lost = 0
        self._thread = threading.Thread(target=self._work, name="curvewatch-recorder", daemon=True)
        self._thread.start()
        _open[str(file.path)] = self
        # The thread is a daemon, so that it never keeps a process alive by itself; what is queued is written at exit.
        me = weakref.ref(self)
        self._at_exit = lambda: _close(me)
        atexit.register(self._at_exit)

    @property
    def behind(self) -> int:
        """Rows not yet committed."""
        return len(self._rows)

    def submit(self, row: Row) -> bool:
        """Queues a row; returns at once.

        Returns:
            False if too many are waiting and this one was given up.
        """
        size = sum(9 * len(observation) for observation in row.observations.values())
        with self._changed:
            if len(self._rows) >= max(2, min(WAITING_ROWS, WAITING_BYTES // max(1, size))):
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
        with self._changed:
            self._jobs.append(lambda: self._file.rewrite_scorer(name, settings))
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until all queued rows are committed.

        Args:
            timeout: Seconds; None waits without end, as long as there is progress.

        Returns:
            Whether none is left. False too if the disk refuses them.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._rows or self.error is not None, timeout)
            return not self._rows

    def close(self, timeout: float = 60.0) -> bool:
        """Commits what is queued, tries once more what was refused, and closes the file.

        Args:
            timeout: Seconds to wait for a slow disk.

        Returns:
            Whether every row is in the file.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        atexit.unregister(self._at_exit)
        if self._thread.is_alive():
            logger.error("%s: no answer from the disk in %.0f s; %d rows wait", self._file.path, timeout, self.behind)
            return False
        self._file.close()
        _open.pop(str(self._file.path), None)
        if self._rows:
            logger.error("%s: %d rows could not be written (%s)", self._file.path, len(self._rows), self.error)
        return not self._rows

    def _work(self) -> None:
        while True:
            with self._changed:
                # After a failure: again when the next row comes or some seconds have passed, not at once.
                ready = lambda: self._closing or ((self._rows or self._jobs) and self.error is None)  # noqa: E731
                self._changed.wait_for(ready, RETRY_SECONDS if self.error is not None else None)
                if self._closing and not self._rows:
                    return
                row = self._rows[0] if self._rows else None
                jobs = list(self._jobs)
            failure = self._commit(row, jobs)
            with self._changed:
                if failure is None:
                    if row is not None:
                        self._rows.popleft()
                    for _ in jobs:
                        self._jobs.popleft()
                    if self.error is not None:
                        logger.warning("%s: writing works again", self._file.path)
                elif self.error is None:
                    logger.error(
                        "%s: step %s could not be written (%s); nothing recorded is lost, it will be tried again",
                        self._file.path, row.step if row else "-", failure,
                    )  # fmt: skip
                self.error = failure
                self._changed.notify_all()
                if failure is not None and self._closing:
                    return

    def _commit(self, row: Row | None, jobs: list[Callable[[], None]]) -> Exception | None:
        try:
            for job in jobs:
                job()
            if row is not None:
                self._file.append(row)
        except Exception as error:
            return error
        return None


def release(path: str) -> None:
    """Closes the recorder that an interrupted training of this process left open on `path`, if there is one."""
    recorder = _open.get(path)
    if recorder is not None:
        logger.info("%s: an earlier run of this process had not closed it", path)
        recorder.close()


def _close(reference: weakref.ref[Recorder]) -> None:
    recorder = reference()
    if recorder is not None:
        recorder.close()
