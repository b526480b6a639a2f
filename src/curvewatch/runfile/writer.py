"""RunFile: one training run's observations in one HDF5 file; create, append, resume. It says WHERE TO.

Each append is one transaction: after it returns the row is on disk whole, and before that no reader sees any of it.
What the file holds stands in `layout`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.observation import Observation, Sample
from curvewatch.runfile.annotations import settle_annotations, write_annotations
from curvewatch.runfile.datasets import (
    add_samples,
    add_session,
    append_row,
    build,
    group_of,
    keep_rows,
    keep_saved,
    of_seen,
    settle_plan,
    write_plan,
)
from curvewatch.runfile.matching import check_same, check_weights, weights_of
from curvewatch.runfile.records import NOTHING_KNOWN, Row, RunPlan, Seen, SetRecord, TrainedPart
from curvewatch.runfile.trained import Trained, add_trained, read_trained, settle_trained
from curvewatch.runfile.trust import refused
from curvewatch.storage.committed import explained
from curvewatch.storage.journal import JournaledFile, snapshot
from curvewatch.storage.replacing import move

logger = logging.getLogger("curvewatch")


class RunFile:
    """One writer's handle on a run file.

    Use `start`, which creates the file or continues it.

    Attributes:
        path: Of the file.
        steps: Steps that it holds, ascending.
        says_due: Whether each row says which planned step it stands for; files before format 3 don't.
        dropped_steps: Steps that were dropped when it was opened, because training resumed from before them.
    """

    def __init__(self, file: JournaledFile, path: Path, names: Sequence[str], dropped_steps: Sequence[int]) -> None:
        self._file = file
        self._names = tuple(names)
        self.path = path
        self.dropped_steps = tuple(dropped_steps)
        with refused(path), snapshot(path) as h5:
            group = group_of(h5, self._names, self._names[0])
            self.steps: list[int] = group["step"][:].tolist()
            self.says_due = "due_step" in group

    @classmethod
    def start(
        cls,
        path: str | os.PathLike[str],
        sets: Mapping[str, SetRecord],
        plan: RunPlan,
        keep_through: int,
        again: bool = False,
    ) -> RunFile:
        """Creates the file, or continues the one that is there.

        A file whose run starts anew (`keep_through` of 0 or less, while it holds later rows) is never cut: it is kept
        under another name, which is logged, and a new file is begun.

        Args:
            path: Where; missing folders are made.
            sets: By name; one set stands in the file's root whatever its name.
            plan: Of this session.
            keep_through: The step that training goes on from: later rows are dropped, since they will be scored again.
                -1 if it starts anew.
            again: It starts anew because the host gave its last try up: the rows of that one are dropped.

        Raises:
            TokenSetMismatchError: If the file's token sets are others.
            ForeignFileError: If it is not a run file.
            FileBusyError: If another process writes it.
            RunFileError: If it can't be created or opened, or its rows are of other weights than the plan says.
        """
        path = Path(path)
        if os.path.lexists(path):
            file = JournaledFile(path)
            try:
                with refused(path), snapshot(path) as h5:
                    check_same(h5, path, sets)
                    steps = group_of(h5, list(sets), next(iter(sets)))["step"][:]
                    weights = weights_of(h5)
                later = steps[steps > keep_through]
                anew = keep_through <= 0 and bool((later > 0).any()) and not again
                if not anew:
                    if len(later) < len(steps):
                        check_weights(path, weights, plan.weights)
                    with refused(path), file.transaction() as h5:
                        keep_rows(h5, list(sets), len(steps) - len(later), keep_through)
                        write_plan(h5, list(sets), plan)
                        settle_plan(h5, list(sets))
                        for name, record in sets.items():
                            settle_annotations(group_of(h5, list(sets), name), record.tokens, name)
                        if weights != plan.weights:
                            h5.attrs["weights"] = plan.weights
                        settle_trained(h5, path, plan.passages, batches=plan.batches, step=max(keep_through, 0))
                        add_session(h5, plan, keep_through, later)
            except BaseException:
                file.close()
                raise
            if not anew:
                if len(later):
                    logger.warning(
                        "%s: training goes on from step %d, so %d later row%s (steps %d to %d) were dropped; they will "
                        "be scored again",
                        path, max(keep_through, 0), len(later), "s" * (len(later) != 1), later[0], later[-1],
                    )  # fmt: skip
                return cls(file, path, list(sets), later.tolist())
            file.close()
            _set_aside(path, int(steps[-1]))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFileError(f"path={path}: its folder can't be made ({error}). Choose another path.") from error

        def make(h5: h5py.File) -> None:
            build(h5, sets, plan)
            for name, record in sets.items():
                write_annotations(group_of(h5, list(sets), name), record.tokens)
            settle_trained(h5, path, plan.passages, batches=plan.batches, step=max(keep_through, 0))
            add_session(h5, plan, keep_through, [])

        return cls(JournaledFile.create(path, make), path, list(sets), [])

    def append(self, row: Row) -> None:
        """Adds a row; when this returns it is committed.

        Args:
            row: Of a later step than all before, with an observation for each set.

        Raises:
            ValueError: If the step is not later, or an observation has the wrong length.
            OSError: If it can't be written (a full disk, say); the file is as it was, and the row can be tried again.
        """
        self.append_all([row])

    def append_all(self, rows: Sequence[Row]) -> None:
        """Adds rows in one transaction, which costs a slow disk no more than one row does; all of them or none.

        Args:
            rows: In the order of their steps; each as `append` takes it.

        Raises:
            ValueError: If a step is not later than those before, or an observation has the wrong length.
            OSError: If they can't be written; the file is as it was.
        """
        steps = [*self.steps[-1:], *(row.step for row in rows)]
        for before, step in pairwise(steps):
            if step <= before:
                raise ValueError(f"step={step}: the file already holds step {before}; rows come in order.")
        with self._file.transaction() as h5:
            for row in rows:
                for name in self._names:
                    append_row(group_of(h5, self._names, name), row, row.observations[name], row.counts.get(name))
        self.steps += [row.step for row in rows]

    def skip(self, step: int, why: str) -> None:
        """Puts on record that a planned step was not scored."""
        self.skip_all([step], why)

    def skip_all(self, steps: Sequence[int], why: str) -> None:
        """Puts on record that several planned steps were not scored, all of them in one transaction.

        Args:
            steps: In ascending order, and later than all on record.
            why: The budget, or what failed.
        """
        if not len(steps):
            return
        with self._file.transaction() as h5:
            for name in self._names:
                group = group_of(h5, self._names, name)
                n = group["skipped_step"].shape[0]
                for key, value in (("skipped_step", list(steps)), ("skipped_why", [why] * len(steps))):
                    group[key].resize((n + len(steps),))
                    group[key][n:] = value

    @property
    def skipped_steps(self) -> list[int]:
        """Planned steps on record as not scored, ascending."""
        with snapshot(self.path) as h5:
            steps: list[int] = group_of(h5, self._names, self._names[0])["skipped_step"][:].tolist()
        return steps

    def save_counts(self, step: int, counts: Mapping[str, NDArray[Any]], seen: Seen = NOTHING_KNOWN) -> None:
        """Keeps the counts at a step with a checkpoint and without a row, for a run that is resumed there.

        Args:
            step: Of the checkpoint.
            counts: As in a `Row`.
            seen: As in a `Row`.
        """
        with self._file.transaction() as h5:
            for name, counts_D in counts.items():
                group = group_of(h5, self._names, name)
                if "saved_count" in group:
                    n = keep_saved(group, step - 1)
                    values = {"saved_step": step, "saved_count": counts_D, **of_seen(seen, "saved_")}
                    for key, value in values.items():
                        if key in group:
                            group[key].resize(n + 1, axis=0)
                            group[key][n] = value

    def add_trained(self, part: TrainedPart) -> None:
        """Adds what was trained on up to a step."""
        with self._file.transaction() as h5:
            add_trained(h5, part)

    @property
    def trained(self) -> Trained | None:
        """What was trained on so far; None if that is not followed."""
        with snapshot(self.path) as h5:
            return read_trained(h5)

    def surprisal(self, name: str, step: int) -> NDArray[np.float32]:
        """Surprisal of a set at one of `steps`, bits, shape [N].

        Raises:
            RunFileError: If there is no such row.
        """
        with snapshot(self.path) as h5:
            group = group_of(h5, self._names, name)
            found = np.flatnonzero(group["step"][:] == step)
            if not found.size:
                raise RunFileError(f"step={step}: {self.path} has no such row.")
            surprisal_N: NDArray[np.float32] = group["surprisal"][found[-1]]
        return surprisal_N

    def counts_at(self, name: str, step: int) -> NDArray[np.float64] | None:
        """Occurrences of a set's distinct targets in the batches trained on up to `step`; None if not known."""
        with snapshot(self.path) as h5:
            group = group_of(h5, self._names, name)
            for steps, counts in (("step", "training_count"), ("saved_step", "saved_count")):
                if counts in group:
                    found = np.flatnonzero(group[steps][:] == step)
                    counts_D = group[counts][found[-1]] if found.size else np.full(1, np.nan)
                    if np.isfinite(counts_D).all():
                        return np.asarray(counts_D, np.float64)
        return None

    def seen_at(self, step: int) -> Seen:
        """What the batches held that were trained on up to `step`; NaN where that is not known."""
        with snapshot(self.path) as h5:
            group = group_of(h5, self._names, self._names[0])
            for steps, prefix in (("step", ""), ("saved_step", "saved_")):
                if steps in group:
                    found = np.flatnonzero(group[steps][:] == step)
                    if found.size:
                        names = {one.name: f"{prefix}{one.name}_seen" for one in fields(Seen)}
                        at = int(found[-1])
                        return Seen(**{key: float(group[name][at]) for key, name in names.items() if name in group})
        return NOTHING_KNOWN

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Puts on record what the model wrote at one step; earlier records of that step, or of later ones, give way.

        Args:
            samples: Of one step.
        """
        if not samples:
            return
        with self._file.transaction() as h5:
            for name in self._names:
                add_samples(group_of(h5, self._names, name), samples)

    def rewrite_scorer(self, name: str, settings: Mapping[str, Any]) -> None:
        """Puts changed scorer settings on record (a batch size made smaller by lack of memory)."""
        with self._file.transaction() as h5:
            group_of(h5, self._names, name).attrs["scorer"] = json.dumps(settings)

    def scorer_settings(self, name: str) -> dict[str, Any]:
        """The scorer settings on record."""
        with snapshot(self.path) as h5:
            settings: dict[str, Any] = json.loads(group_of(h5, self._names, name).attrs["scorer"])
        return settings

    def rows(self, name: str) -> Iterator[tuple[int, Observation]]:
        """All rows of a set in order, read a few at a time."""
        block = 16
        for start in range(0, len(self.steps), block):
            with snapshot(self.path) as h5:
                group, rows = group_of(h5, self._names, name), slice(start, start + block)
                parts = [group[key][rows] for key in ("step", "surprisal", "correct", "entropy")]
                parts.append(group["boundary"][rows] if "boundary" in group else [None] * len(parts[0]))
            for step, surprisal, correct, entropy, boundary in zip(*parts, strict=True):
                yield int(step), Observation(surprisal, correct.astype(bool), entropy.astype(np.float32), boundary)

    def close(self) -> None:
        """Lets go of the file; may be called again."""
        self._file.close()


# ---------------------------------------------------------------------- opening


def _set_aside(path: Path, last_step: int) -> None:
    for n in range(1, 10_000):
        aside = path.with_name(f"{path.stem}.{n}{path.suffix}")
        if not os.path.lexists(aside):
            with explained(path, f"keep it as {aside.name}"):
                move(path, aside)
            logger.warning(
                "%s holds a run up to step %d, and training starts anew: it is kept as %s", path, last_step, aside.name
            )
            return
    raise RunFileError(f"path={path}: 9,999 earlier runs stand beside it. Choose another path.")
