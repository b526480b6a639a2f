"""Follower: reads a run file as it grows, and keeps what a person watches. It knows no screen.

Its numbers come from `LiveMetrics`, as the ones that are logged during the run do, and are equal to them; only the
mean entropy differs in the fourth digit where an older file keeps entropies as float16. Suffixes: T observations, N
tokens.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.observation import Observation
from curvewatch.runfile.reader import Reader, set_names, skipped_in
from curvewatch.runfile.trust import attribute, read, refused
from curvewatch.storage.redolog import SUFFIX
from curvewatch.terminal.forgotten import ForgottenTokens
from curvewatch.terminal.measuring import Measuring, counts_of
from curvewatch.terminal.state import State
from curvewatch.tokens.view import TokenView, view_of

BLOCK_BYTES = 32 << 20
"""Read at once. A reader in the file makes the writer's commits wait in the journal, so each visit is short."""
ROW_BYTES = 9
CONTEXT_TOKENS = 40
IDLE_POLLS = 30
"""After so many looks at the file's date alone it is opened anyway: some file systems are late with dates."""


class Follower:
    """One token set of a run file, followed while it is written; also one that is finished, or not there yet.

    Memory: what the token set takes, about 40 bytes a token for the metrics, and some rows.

    Args:
        path: The run file; it may come later.
        set_name: Which token set; None takes the first.
        ngrams: N-gram surprisals of the set that the run was given; see `Measuring`.

    Attributes:
        state: What is known, as `poll` returned it last.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        set_name: str | None = None,
        ngrams: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._ngrams = ngrams
        self._wanted = set_name
        self._run: Reader | None = None
        self._inode: int | None = None
        self._seen: tuple[Any, ...] | None = None
        self._idle = 0
        self.state = State(self.path)
        self._forget()

    def _forget(self) -> None:
        """Back to the first row."""
        self._measuring: Measuring | None = None
        self._forgotten = ForgottenTokens()
        self._steps: list[int] = []
        self._times: list[float] = []
        self._history: dict[str, list[float]] = {}
        self._texts: dict[int, TokenView] = {}

    def poll(self, budget_s: float = 0.5) -> State:
        """Looks at the file, and reads what is new.

        Args:
            budget_s: About how long it may take; what is left then is read by the next call, and `state.behind` says
                how much that is.

        Raises:
            ForeignFileError: If it is not a run file.
            FileBusyError: If another program has it open for writing, or the writer has been busy for long.
            RunFileError: If it is damaged, or the writer could not wait; the next call may succeed.
            KeyError: If it has no such token set.
        """
        seen = self._look()
        if seen is None:
            return self._publish(there=False, open=False)
        self._idle += 1
        if seen == self._seen and not self.state.behind and self._idle < IDLE_POLLS:
            return self.state
        deadline = time.monotonic() + budget_s
        try:
            if self._run is None or self._inode != seen[0]:
                self._open(seen[0])
            while self._read_block() and time.monotonic() < deadline:
                pass
        except (FileNotFoundError, RunFileError):
            if self._look() is None:  # moved away meanwhile
                return self._publish(there=False, open=False)
            raise
        self._seen, self._idle = seen, 0
        return self.state

    # ------------------------------------------------------------------ the file

    def _look(self) -> tuple[Any, ...] | None:
        """What tells whether anything was written, without opening the file; None if it is not there."""
        found: list[Any] = []
        real = os.path.realpath(self.path)
        for path in (real, real + SUFFIX):
            try:
                about = os.stat(path)
            except FileNotFoundError:
                if path == real:
                    return None
                found.append(None)
            else:
                found += [about.st_ino, about.st_size, about.st_mtime_ns]
        return tuple(found)

    def _open(self, inode: int) -> None:
        """Opens the file that stands at the path now, which may be another one than before."""
        run = Reader(self.path, self._wanted if self._wanted is not None else set_names(self.path)[0])
        before = self._run
        if before is not None and (run.run_id, run.set_hash) != (before.run_id, before.set_hash):
            self._forget()
            self._publish(notice="another run has taken the file's place")
        self._run, self._inode = run, inode

    def _read_block(self) -> bool:
        """Reads some rows; whether more are waiting."""
        run = self._run
        assert run is not None
        with refused(self.path), run.group() as group:
            if attribute(group.file, "run_id") != run.run_id:  # replaced since it was opened: the next poll opens it
                self._inode = None
                return False
            steps_T, times_T = read(group["step"]), read(group["time"])
            about: dict[str, Any] = {
                "seconds_T": read(group["seconds"]).astype(np.float64),
                "planned": np.unique(read(group["planned_step"])),
                "skipped": tuple(skipped_in(group).items()),
                "max_steps": int(attribute(group.file, "max_steps")) or None,
            }
            notice = self._rewind_if_rewritten(steps_T, times_T)
            done = len(self._steps)
            n = max(1, BLOCK_BYTES // (ROW_BYTES * max(1, run.n_tokens)))
            new = slice(done, done + n)
            rows: list[Any] = [read(group[key], new) for key in ("surprisal", "correct", "entropy")]
            rows.append(read(group["boundary"], new) if "boundary" in group else [None] * len(rows[0]))
            counts = counts_of(group, new)
        if self._measuring is None:
            self._measuring = Measuring(run.tokens, run.chance, about["max_steps"], self._ngrams)
        for t, (surprisal_N, correct_N, entropy_N, boundary_N) in enumerate(zip(*rows, strict=True), start=done):
            # The numbers as the scorer gave them, in the types that it gave them in.
            observation = Observation(
                surprisal_N.astype(np.float32), correct_N.astype(bool), entropy_N.astype(np.float32), boundary_N
            )
            self._advance(int(steps_T[t]), float(times_T[t]), observation, counts[t - done])
        n_read = len(self._steps)
        about["seconds_T"] = about["seconds_T"][:n_read]
        self._publish(
            **about,
            **self._told(),
            **({"notice": notice} if notice else {}),
            there=True,
            open=os.path.lexists(os.path.realpath(self.path) + SUFFIX),
            behind=len(steps_T) - n_read,
        )
        return n_read < len(steps_T)

    def _rewind_if_rewritten(self, steps_T: NDArray[np.int64], times_T: NDArray[np.float64]) -> str:
        """Starts over if rows that were read are gone or were scored again; says so in words."""
        n = len(self._steps)
        same = n <= len(steps_T) and self._steps == steps_T[:n].tolist() and self._times == times_T[:n].tolist()
        if same:
            return ""
        kept = min(n, len(steps_T))
        equal_t = (np.array(self._steps[:kept]) == steps_T[:kept]) & (np.array(self._times[:kept]) == times_T[:kept])
        kept = int(np.argmin(equal_t)) if not equal_t.all() else kept
        dropped = n - kept
        last = f" after step {self._steps[kept - 1]:,}" if kept else ""
        self._forget()
        return f"training was resumed{last}: {dropped:,} later observation{'s' * (dropped != 1)} dropped"

    # ------------------------------------------------------------------ what is kept of it

    def _advance(self, step: int, when: float, observation: Observation, counts_D: NDArray[np.float64] | None) -> None:
        assert self._measuring is not None
        scalars = self._measuring.update(step, observation, counts_D)
        self._forgotten.update(step, observation, self._measuring.live)
        done = len(self._steps)
        for key in scalars:
            self._history.setdefault(key, [np.nan] * done)
        for key, values in self._history.items():
            values.append(scalars.get(key, np.nan))
        self._steps.append(step)
        self._times.append(when)

    def _told(self) -> dict[str, Any]:
        """The parts of the state that follow from the rows read so far."""
        run, measuring = self._run, self._measuring
        assert run is not None
        assert measuring is not None
        latest, often = list(self._forgotten.latest), self._forgotten.often(measuring.live)
        which = {*(one.token for one in latest), *(one.token for one in often)}
        texts = {i: self._texts.get(i) or view_of(run.tokens, i, CONTEXT_TOKENS) for i in which}
        self._texts = texts
        return {
            "set_name": run.set_name,
            "sets": tuple(run.sets),
            "run_id": run.run_id,
            "n_tokens": run.n_tokens,
            "chance": run.chance,
            "steps_T": np.array(self._steps, np.int64),
            "time_T": np.array(self._times, np.float64),
            "scalars": {key: np.array(values) for key, values in self._history.items()},
            "latest": tuple(
                replace(one, context=texts[one.token].context, target=texts[one.token].target) for one in latest
            ),
            "often": tuple(
                replace(one, context=texts[one.token].context, target=texts[one.token].target) for one in often
            ),
        }

    def _publish(self, **changes: Any) -> State:
        differs = any(not _equal(getattr(self.state, key), value) for key, value in changes.items())
        if differs:
            self.state = replace(self.state, **changes, version=self.state.version + 1)
        return self.state


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)
