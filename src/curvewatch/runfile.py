"""RunFile: one training run's observations in one HDF5 file; create, append, resume. It says WHERE TO.

Each append is one transaction: after it returns the row is on disk whole, and before that no reader sees any of it.
What the file holds stands in `layout`.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch import layout
from curvewatch.errors import ForeignFileError, RunFileError, TokenSetMismatchError
from curvewatch.observation import Observation
from curvewatch.sampling.sample import Sample
from curvewatch.storage.journal import JournaledFile, snapshot
from curvewatch.tokens import TokenSet
from curvewatch.trust import attribute, check_trusted, refused
from curvewatch.unpacking import check_unpacked

logger = logging.getLogger("curvewatch")

# Padded sequences are written in blocks of about this many ids, so that a ragged set is never padded as a whole.
BLOCK_IDS = 1 << 22


@dataclass(frozen=True)
class Counted:
    """What is known of how often the targets of a set occur in the training text.

    Attributes:
        ids_D: The distinct targets.
        corpus_count_D: Their occurrences, as given; None if they are not.
        training: Whether each row comes with their occurrences in the batches trained on so far.
    """

    ids_D: NDArray[np.int64]
    corpus_count_D: NDArray[Any] | None
    training: bool


@dataclass(frozen=True)
class SetRecord:
    """What a run file keeps of one token set and of how it is scored.

    Attributes:
        tokens: The set.
        model_vocab_size: Outputs of the model; chance is their log2.
        scorer: Settings of the scorer (road, batch size, precision).
        counted: How often its targets occur; None if that is not asked for.
    """

    tokens: TokenSet
    model_vocab_size: int
    scorer: Mapping[str, Any]
    counted: Counted | None = None


@dataclass(frozen=True)
class RunPlan:
    """What a run file keeps of the run as a whole.

    Attributes:
        max_steps: Planned last step; None if open-ended.
        planned_steps: Steps planned to be scored, int64; empty if open-ended.
        schedule: The rule behind them, as text.
        provenance: Host, model, versions, seeds: anything that JSON can hold; one entry a session.
        max_overhead: Budget as a share of wall time; None if there is none.
    """

    max_steps: int | None
    planned_steps: NDArray[np.int64]
    schedule: str
    provenance: Mapping[str, Any]
    max_overhead: float | None = None


@dataclass(frozen=True)
class Row:
    """One step's observations, as they are appended.

    Attributes:
        step: Updates done.
        seconds: Wall time of scoring.
        time: Unix time.
        observations: By name of the set.
        counts: By name of the set, occurrences of its distinct targets in the batches trained on so far; without an
            entry they are not known.
    """

    step: int
    seconds: float
    time: float
    observations: Mapping[str, Observation]
    counts: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class RunFile:
    """One writer's handle on a run file.

    Use `start`, which creates the file or continues it.

    Attributes:
        path: Of the file.
        steps: Steps that it holds, ascending.
        dropped_steps: Steps that were dropped when it was opened, because training resumed from before them.
    """

    def __init__(self, file: JournaledFile, path: Path, names: Sequence[str], dropped_steps: Sequence[int]) -> None:
        self._file = file
        self._names = tuple(names)
        self.path = path
        self.dropped_steps = tuple(dropped_steps)
        with refused(path), snapshot(path) as h5:
            self.steps: list[int] = _group(h5, self._names, self._names[0])["step"][:].tolist()

    @classmethod
    def start(
        cls, path: str | os.PathLike[str], sets: Mapping[str, SetRecord], plan: RunPlan, keep_through: int
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

        Raises:
            TokenSetMismatchError: If the file's token sets are others.
            ForeignFileError: If it is not a run file.
            FileBusyError: If another process writes it.
            RunFileError: If it can't be created or opened.
        """
        path = Path(path)
        if os.path.lexists(path):
            file = JournaledFile(path)
            try:
                with refused(path), snapshot(path) as h5:
                    _check_same(h5, path, sets)
                    steps = _group(h5, list(sets), next(iter(sets)))["step"][:]
                later = steps[steps > keep_through]
                anew = keep_through <= 0 and bool((later > 0).any())
                if not anew:
                    with refused(path), file.transaction() as h5:
                        _keep_rows(h5, list(sets), len(steps) - len(later), keep_through)
                        _write_plan(h5, list(sets), plan)
                        _add_session(h5, plan, keep_through, later)
            except BaseException:
                file.close()
                raise
            if not anew:
                if len(later):
                    logger.warning(
                        "%s: training goes on from step %d, so %d later rows (steps %d to %d) were dropped; they "
                        "will be scored again",
                        path, max(keep_through, 0), len(later), later[0], later[-1],
                    )  # fmt: skip
                return cls(file, path, list(sets), later.tolist())
            file.close()
            _set_aside(path, int(steps[-1]))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFileError(f"path={path}: its folder can't be made ({error}). Choose another path.") from error

        def build(h5: h5py.File) -> None:
            _build(h5, sets, plan)
            _add_session(h5, plan, keep_through, [])

        return cls(JournaledFile.create(path, build), path, list(sets), [])

    def append(self, row: Row) -> None:
        """Adds a row; when this returns it is committed.

        Args:
            row: Of a later step than all before, with an observation for each set.

        Raises:
            ValueError: If the step is not later, or an observation has the wrong length.
            OSError: If it can't be written (a full disk, say); the file is as it was, and the row can be tried again.
        """
        if self.steps and row.step <= self.steps[-1]:
            raise ValueError(f"step={row.step}: the file already holds step {self.steps[-1]}; rows come in order.")
        with self._file.transaction() as h5:
            for name in self._names:
                _append(_group(h5, self._names, name), row, row.observations[name], row.counts.get(name))
        self.steps.append(row.step)

    def skip(self, step: int, why: str) -> None:
        """Puts on record that a planned step was not scored."""
        with self._file.transaction() as h5:
            for name in self._names:
                group = _group(h5, self._names, name)
                n = group["skipped_step"].shape[0]
                for key, value in (("skipped_step", step), ("skipped_why", why)):
                    group[key].resize((n + 1,))
                    group[key][n] = value

    def save_counts(self, step: int, counts: Mapping[str, NDArray[Any]]) -> None:
        """Keeps the counts at a step with a checkpoint and without a row, for a run that is resumed there.

        Args:
            step: Of the checkpoint.
            counts: As in a `Row`.
        """
        with self._file.transaction() as h5:
            for name, counts_D in counts.items():
                group = _group(h5, self._names, name)
                if "saved_count" in group:
                    n = _keep_saved(group, step - 1)
                    for key, value in (("saved_step", step), ("saved_count", counts_D)):
                        group[key].resize(n + 1, axis=0)
                        group[key][n] = value

    def surprisal(self, name: str, step: int) -> NDArray[np.float32]:
        """Surprisal of a set at one of `steps`, bits, shape [N].

        Raises:
            RunFileError: If there is no such row.
        """
        with snapshot(self.path) as h5:
            group = _group(h5, self._names, name)
            found = np.flatnonzero(group["step"][:] == step)
            if not found.size:
                raise RunFileError(f"step={step}: {self.path} has no such row.")
            surprisal_N: NDArray[np.float32] = group["surprisal"][found[-1]]
        return surprisal_N

    def counts_at(self, name: str, step: int) -> NDArray[np.float64] | None:
        """Occurrences of a set's distinct targets in the batches trained on up to `step`; None if not known."""
        with snapshot(self.path) as h5:
            group = _group(h5, self._names, name)
            for steps, counts in (("step", "training_count"), ("saved_step", "saved_count")):
                if counts in group:
                    found = np.flatnonzero(group[steps][:] == step)
                    counts_D = group[counts][found[-1]] if found.size else np.full(1, np.nan)
                    if np.isfinite(counts_D).all():
                        return np.asarray(counts_D, np.float64)
        return None

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Puts on record what the model wrote at one step; earlier records of that step, or of later ones, give way.

        Args:
            samples: Of one step.
        """
        if not samples:
            return
        with self._file.transaction() as h5:
            for name in self._names:
                _add_samples(_group(h5, self._names, name), samples)

    def rewrite_scorer(self, name: str, settings: Mapping[str, Any]) -> None:
        """Puts changed scorer settings on record (a batch size made smaller by lack of memory)."""
        with self._file.transaction() as h5:
            _group(h5, self._names, name).attrs["scorer"] = json.dumps(settings)

    def scorer_settings(self, name: str) -> dict[str, Any]:
        """The scorer settings on record."""
        with snapshot(self.path) as h5:
            settings: dict[str, Any] = json.loads(_group(h5, self._names, name).attrs["scorer"])
        return settings

    def rows(self, name: str) -> Iterator[tuple[int, Observation]]:
        """All rows of a set in order, read a few at a time."""
        block = 16
        for start in range(0, len(self.steps), block):
            with snapshot(self.path) as h5:
                group, rows = _group(h5, self._names, name), slice(start, start + block)
                parts = [group[key][rows] for key in ("step", "surprisal", "correct", "entropy")]
            for step, surprisal, correct, entropy in zip(*parts, strict=True):
                yield int(step), Observation(surprisal, correct.astype(bool), entropy.astype(np.float32))

    def close(self) -> None:
        """Lets go of the file; may be called again."""
        self._file.close()


# ---------------------------------------------------------------------- opening


def check_format(h5: h5py.File, path: Path) -> None:
    """Refuses what is not a run file of a version that this code knows.

    Raises:
        ForeignFileError: If it was not written by curvewatch.
        RunFileError: If a newer version wrote it, or it isn't to be trusted.
    """
    with refused(path):
        ours = "format" in h5.attrs and attribute(h5, "format") == layout.FORMAT
        version = attribute(h5, "format_version") if ours else 0
    if not ours:
        raise ForeignFileError(f"path={path}: an HDF5 file, but not a run file of curvewatch. Choose another path.")
    if version > layout.FORMAT_VERSION:
        raise RunFileError(
            f"path={path}: written in format {version}, this curvewatch knows formats up to {layout.FORMAT_VERSION}. "
            "Upgrade curvewatch."
        )
    check_trusted(h5, path)


def _check_same(h5: h5py.File, path: Path, sets: Mapping[str, SetRecord]) -> None:
    check_format(h5, path)
    names = json.loads(h5.attrs["sets"])
    if list(names) != list(sets):
        raise TokenSetMismatchError(
            f"path={path}: it holds the token sets {names}, this run has {list(sets)}. Give the same sets in the same "
            "order, or choose another path."
        )
    for name, record in sets.items():
        kept = str(_group(h5, names, name).attrs["set_hash"])
        if kept != record.tokens.hash:
            raise TokenSetMismatchError(
                f"path={path}: it holds the curves of token set {kept[:16]}…, but the set given as {name!r} is "
                f"{record.tokens.hash[:16]}…. Give the set that the run began with (open_run(path).tokens has it), or "
                "choose another path."
            )
        group = _group(h5, names, name)
        for dataset in layout.DATASETS:  # HDF5 cuts them where training goes on
            if (dataset.grows or dataset.dims[0] in layout.RESIZABLE_DIMS) and dataset.name in group:
                check_unpacked(group[dataset.name].id)


def _group(h5: h5py.File, names: Sequence[str], name: str) -> h5py.Group:
    """Where a set's datasets stand: the root if it is the only one."""
    return h5 if len(names) == 1 else h5[name]


def _set_aside(path: Path, last_step: int) -> None:
    for n in range(1, 10_000):
        aside = path.with_name(f"{path.stem}.{n}{path.suffix}")
        if not os.path.lexists(aside):
            os.rename(path, aside)
            logger.warning(
                "%s holds a run up to step %d, and training starts anew: it is kept as %s", path, last_step, aside.name
            )
            return
    raise RunFileError(f"path={path}: 9,999 earlier runs stand beside it. Choose another path.")


# ---------------------------------------------------------------------- writing


def _build(h5: h5py.File, sets: Mapping[str, SetRecord], plan: RunPlan) -> None:
    h5.attrs["format"] = layout.FORMAT
    h5.attrs["format_version"] = layout.FORMAT_VERSION
    h5.attrs["run_id"] = uuid.uuid4().hex
    h5.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    h5.attrs["sets"] = json.dumps(list(sets))
    for name, record in sets.items():
        group = h5 if len(sets) == 1 else h5.create_group(name)
        _build_set(group, name, record)
    provenance = h5.create_group(layout.PROVENANCE)
    provenance.create_dataset("sessions", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(16,))
    _write_plan(h5, list(sets), plan)


def _build_set(group: h5py.Group, name: str, record: SetRecord) -> None:
    tokens, texts = record.tokens, record.tokens.texts()
    group.attrs["set_name"] = name
    group.attrs["set_hash"] = tokens.hash
    group.attrs["objective"] = tokens.objective
    group.attrs["vocab_size"] = tokens.vocab_size or 0
    group.attrs["model_vocab_size"] = record.model_vocab_size
    group.attrs["chance"] = float(np.log2(record.model_vocab_size))
    group.attrs["scorer"] = json.dumps(dict(record.scorer))
    group.attrs["made_by"] = json.dumps(dict(tokens.made_by), default=str)
    extents = {"step": 0, "token": len(tokens), "sequence": tokens.n_sequences, "place": tokens.context,
               "vocabulary_id": len(texts or ()), "planned_step": 0, "skipped_step": 0}  # fmt: skip
    without_texts = ("target_text", "vocabulary_id", "vocabulary_text")
    wanted = [*layout.STEPS, *layout.CURVES, *layout.TOKENS]
    counted = record.counted
    if counted is not None:
        extents |= {"counted_id": len(counted.ids_D), "saved_step": 0}
        wanted += [*layout.COUNTED, *(layout.TRAINING_COUNTS if counted.training else ())]
    _create_all(group, [one for one in wanted if texts is not None or one.name not in without_texts], extents)
    if counted is not None:
        group["counted_id"][:] = counted.ids_D
        group["corpus_count"][:] = np.nan if counted.corpus_count_D is None else counted.corpus_count_D
    group["token"][:] = np.arange(len(tokens), dtype=np.int32)
    group["sequence"][:] = np.arange(tokens.n_sequences, dtype=np.int32)
    group["place"][:] = np.arange(tokens.context, dtype=np.int32)
    group["sequence_index"][:] = tokens.sequence_index
    group["position"][:] = tokens.position
    group["target"][:] = tokens.target
    group["length"][:] = tokens.lengths
    _write_sequences(group["sequences"], tokens)
    if texts is not None:
        group["vocabulary_id"][:] = np.fromiter(texts, np.int32, len(texts))
        clean = {i: _clean(text) for i, text in texts.items()}
        group["vocabulary_text"][:] = np.array(list(clean.values()), object)
        group["target_text"][:] = np.array([clean[i] for i in tokens.target.tolist()], object)


def _create_all(group: h5py.Group, datasets: Sequence[layout.Dataset], extents: Mapping[str, int]) -> None:
    for dataset in datasets:
        _create(group, dataset, tuple(extents[dim] for dim in dataset.dims))
    scales = [dataset.name for dataset in datasets if dataset.dims == (dataset.name,)]
    for dim in scales:
        group[dim].make_scale(dim)
    for dataset in datasets:
        for axis, dim in enumerate(dataset.dims):
            if dataset.name != dim:
                group[dataset.name].dims[axis].attach_scale(group[dim])


def _create(group: h5py.Group, dataset: layout.Dataset, shape: tuple[int, ...]) -> None:
    dtype = h5py.string_dtype() if dataset.dtype == layout.TEXT else np.dtype(dataset.dtype)
    resizable = dataset.grows or dataset.dims[0] in layout.RESIZABLE_DIMS
    created = group.create_dataset(
        dataset.name,
        shape,
        dtype,
        maxshape=(None, *shape[1:]) if resizable else shape,
        chunks=layout.chunks(dataset, shape),
        # New space comes as zeros and rows are written whole; filling it first would make every 16th append slow.
        fill_time="never" if dataset.grows else "ifset",
        # What is written once is compressed; what training waits for is not (it would save a fifth and cost 20 times).
        **({} if dataset.grows or dataset.dtype == layout.TEXT else {"compression": "gzip", "shuffle": True}),
    )
    created.attrs["long_name"] = dataset.about
    if dataset.units:
        created.attrs["units"] = dataset.units
    if dataset.name == "correct":
        created.attrs["dtype"] = "bool"  # how xarray is told that these bytes are truth values


def _write_sequences(target: h5py.Dataset, tokens: TokenSet) -> None:
    block = max(1, BLOCK_IDS // tokens.context)
    for start in range(0, tokens.n_sequences, block):
        lengths = tokens.lengths[start : start + block]
        padded = np.full((len(lengths), tokens.context), -1, np.int32)
        padded[np.arange(tokens.context)[None, :] < lengths[:, None]] = tokens.ids[
            tokens.starts[start] : tokens.starts[start + len(lengths)]
        ]
        target[start : start + len(lengths)] = padded


def _write_plan(h5: h5py.File, names: Sequence[str], plan: RunPlan) -> None:
    h5.attrs["max_steps"] = plan.max_steps or 0
    h5.attrs["schedule"] = plan.schedule
    h5.attrs["max_overhead"] = plan.max_overhead or 0.0
    for name in names:
        group = _group(h5, names, name)
        group["planned_step"].resize((len(plan.planned_steps),))
        group["planned_step"][:] = plan.planned_steps


def _add_session(h5: h5py.File, plan: RunPlan, keep_through: int, dropped: Sequence[int] | NDArray[np.int64]) -> None:
    sessions = h5[layout.PROVENANCE]["sessions"]
    session = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "from_step": max(keep_through, 0),
        "dropped_rows": len(dropped),
        "dropped_steps": [int(dropped[0]), int(dropped[-1])] if len(dropped) else [],
        **plan.provenance,
    }
    sessions.resize((len(sessions) + 1,))
    # What JSON can't hold (a tuple as a key, say) is left out: no reason to refuse a training.
    sessions[-1] = json.dumps(session, default=str, skipkeys=True)


def _keep_rows(h5: h5py.File, names: Sequence[str], n_rows: int, keep_through: int) -> None:
    for name in names:
        group = _group(h5, names, name)
        for dataset in layout.DATASETS:
            if dataset.grows and dataset.name in group:
                group[dataset.name].resize(n_rows, axis=0)
        n_skipped = int(np.searchsorted(group["skipped_step"][:], keep_through, side="right"))
        for key in ("skipped_step", "skipped_why"):
            group[key].resize((n_skipped,))
        if "sample" in group:
            _keep_samples(group, keep_through)
        if "saved_step" in group:
            _keep_saved(group, keep_through)


def _keep_saved(group: h5py.Group, keep_through: int) -> int:
    n_kept = int(np.searchsorted(group["saved_step"][:], keep_through, side="right"))
    for key in ("saved_step", "saved_count"):
        group[key].resize(n_kept, axis=0)
    return n_kept


def _keep_samples(group: h5py.Group, keep_through: int) -> int:
    n_kept = int(np.searchsorted(group["sample_step"][:], keep_through, side="right"))
    for dataset in layout.SAMPLES:
        group[dataset.name].resize((n_kept,))
    return n_kept


def _add_samples(group: h5py.Group, samples: Sequence[Sample]) -> None:
    if "sample" not in group:
        _create_all(group, layout.SAMPLES, {"sample": 0})
    n = _keep_samples(group, samples[0].step - 1)
    values = {
        "sample": np.arange(n, n + len(samples)),
        "sample_step": [one.step for one in samples],
        "sample_prompt_index": [one.prompt_index for one in samples],
        "sample_prompt": [_clean(one.prompt) for one in samples],
        "sample_text": [_clean(one.text) for one in samples],
        "sample_ids": [" ".join(map(str, one.token_ids)) for one in samples],
        "sample_repetition": [one.repetition_length for one in samples],
        "sample_status": [one.status for one in samples],
    }
    for key, value in values.items():
        group[key].resize((n + len(samples),))
        group[key][n:] = value


def _clean(text: str) -> str:
    # A NUL would end an HDF5 string early, and a lone surrogate is no UTF-8.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _append(group: h5py.Group, row: Row, observation: Observation, counts_D: NDArray[Any] | None) -> None:
    n_tokens = group["token"].shape[0]
    if len(observation) != n_tokens:
        raise ValueError(f"observations: {len(observation):,} tokens were scored, the file has {n_tokens:,}.")
    with np.errstate(over="ignore"):  # an entropy beyond float16 becomes inf, which says as much
        values = {
            "surprisal": observation.surprisal_bits,
            "correct": observation.correct.astype(np.uint8),
            "entropy": observation.entropy_bits.astype(np.float16),
            "step": row.step,
            "seconds": row.seconds,
            "time": row.time,
        }
    if "training_count" in group:
        values["training_count"] = np.nan if counts_D is None else counts_D
    t = group["step"].shape[0]
    for name, value in values.items():
        group[name].resize(t + 1, axis=0)
        group[name][t] = value
