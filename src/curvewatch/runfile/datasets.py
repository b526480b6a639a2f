"""The datasets of a run file: made as `layout` says, grown by rows, cut back where training resumes.

Each function works inside a transaction of the file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.observation import Observation, Sample
from curvewatch.runfile import layout
from curvewatch.runfile.records import NOTHING_KNOWN, Row, RunPlan, Seen, SetRecord
from curvewatch.tokens.given import storable

# Padded sequences are written in blocks of about this many ids, so that a ragged set is never padded as a whole.
BLOCK_IDS = 1 << 22


def group_of(h5: h5py.File, names: Sequence[str], name: str) -> h5py.Group:
    """Where a set's datasets stand: the root if it is the only one."""
    return h5 if len(names) == 1 else h5[name]


def build(h5: h5py.File, sets: Mapping[str, SetRecord], plan: RunPlan) -> None:
    """Makes all that a run file has before its first row."""
    h5.attrs["format"] = layout.FORMAT
    h5.attrs["format_version"] = layout.FORMAT_VERSION
    h5.attrs["run_id"] = uuid.uuid4().hex
    h5.attrs["created"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
    h5.attrs["sets"] = json.dumps(list(sets))
    h5.attrs["weights"] = plan.weights
    for name, record in sets.items():
        group = h5 if len(sets) == 1 else h5.create_group(name)
        _build_set(group, name, record)
    provenance = h5.create_group(layout.PROVENANCE)
    provenance.create_dataset("sessions", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(16,))
    write_plan(h5, list(sets), plan)


def _build_set(group: h5py.Group, name: str, record: SetRecord) -> None:
    tokens, texts = record.tokens, record.tokens.texts()
    group.attrs["set_name"] = name
    group.attrs["set_hash"] = tokens.hash
    group.attrs["objective"] = tokens.objective
    group.attrs["vocab_size"] = tokens.vocab_size or 0
    group.attrs["model_vocab_size"] = record.model_vocab_size
    group.attrs["chance"] = record.chance
    group.attrs["scorer"] = json.dumps(dict(record.scorer))
    group.attrs["made_by"] = json.dumps(dict(tokens.made_by), default=str)
    extents = {"step": 0, "token": len(tokens), "sequence": tokens.n_sequences, "place": tokens.context,
               "vocabulary_id": len(texts or ()), "planned_step": 0, "skipped_step": 0}  # fmt: skip
    without_texts = ("target_text", "vocabulary_id", "vocabulary_text")
    wanted = [*layout.STEPS, *layout.SEEN, *layout.CURVES, *layout.TOKENS]
    flags_V = tokens.annotations.boundary
    if record.kl:
        wanted += layout.BASE_KL
    if record.dropout:
        wanted += layout.DROPOUT
    if flags_V is not None:
        extents["boundary_id"] = len(flags_V)
        wanted += layout.BOUNDARY
    if tokens.masking is not None:
        group.attrs["mask_id"] = tokens.masking.mask_id
        wanted += layout.MASKED
    if tokens.encoder is not None:
        extents["encoder_place"] = tokens.encoder.context
        wanted += layout.ENCODER
    counted = record.counted
    if counted is not None:
        extents |= {"counted_id": len(counted.ids_D), "saved_step": 0}
        wanted += [*layout.COUNTED, *(layout.TRAINING_COUNTS if counted.training else ())]
    create_all(group, [one for one in wanted if texts is not None or one.name not in without_texts], extents)
    if counted is not None:
        group["counted_id"][:] = counted.ids_D
        group["corpus_count"][:] = np.nan if counted.corpus_count_D is None else counted.corpus_count_D
    if flags_V is not None:
        group["boundary_id"][:] = np.arange(len(flags_V), dtype=np.int32)
        group["boundary_kind"][:] = flags_V
    group["token"][:] = np.arange(len(tokens), dtype=np.int32)
    group["sequence"][:] = np.arange(tokens.n_sequences, dtype=np.int32)
    group["place"][:] = np.arange(tokens.context, dtype=np.int32)
    group["sequence_index"][:] = tokens.sequence_index
    group["position"][:] = tokens.position
    group["target"][:] = tokens.target
    group["length"][:] = tokens.lengths
    for rows, ids in padded(tokens.starts, tokens.ids):
        group["sequences"][rows] = ids
    if tokens.masking is not None:
        group["mask_row"][:] = tokens.masking.row_N
        group["masked_behind"][:] = tokens.masking.behind_N
    if tokens.encoder is not None:
        group["encoder_place"][:] = np.arange(tokens.encoder.context, dtype=np.int32)
        group["encoder_length"][:] = tokens.encoder.lengths
        for rows, ids in padded(tokens.encoder.starts, tokens.encoder.ids):
            group["encoder_sequences"][rows] = ids
    if texts is not None:
        group["vocabulary_id"][:] = np.fromiter(texts, np.int32, len(texts))
        kept = {i: storable(text) for i, text in texts.items()}
        group["vocabulary_text"][:] = np.array(list(kept.values()), object)
        group["target_text"][:] = np.array([kept[i] for i in tokens.target.tolist()], object)


def create_all(group: h5py.Group, datasets: Sequence[layout.Dataset], extents: Mapping[str, int]) -> None:
    """Makes datasets, those that are scales first, and attaches the scales of their dimensions."""
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


def padded(starts: NDArray[np.int64], values_I: NDArray[Any]) -> Iterator[tuple[slice, NDArray[np.int32]]]:
    """One value a token of all sequences as rows of equal length, -1 behind a sequence's end, some rows at a time.

    Args:
        starts: Where each sequence begins, and their end.
        values_I: Of the tokens of all sequences, one behind the other.
    """
    lengths_S = np.diff(starts)
    widest = int(lengths_S.max())
    block = max(1, BLOCK_IDS // widest)
    for start in range(0, len(lengths_S), block):
        lengths = lengths_S[start : start + block]
        rows = np.full((len(lengths), widest), -1, np.int32)
        rows[np.arange(widest)[None, :] < lengths[:, None]] = values_I[starts[start] : starts[start + len(lengths)]]
        yield slice(start, start + len(lengths)), rows


def write_plan(h5: h5py.File, names: Sequence[str], plan: RunPlan) -> None:
    """Writes the plan that training goes on by over the one before."""
    h5.attrs["max_steps"] = plan.max_steps or 0
    h5.attrs["schedule"] = plan.schedule
    h5.attrs["max_overhead"] = plan.max_overhead or 0.0
    for name in names:
        group = group_of(h5, names, name)
        group["planned_step"].resize((len(plan.planned_steps),))
        group["planned_step"][:] = plan.planned_steps


def settle_plan(h5: h5py.File, names: Sequence[str]) -> None:
    """Notes planned steps that training is past, and that have neither row nor note: lost rows, a denser schedule."""
    for name in names:
        group = group_of(h5, names, name)
        rows, noted, planned = (group[key][:] for key in ("step", "skipped_step", "planned_step"))
        due = group["due_step"][:] if "due_step" in group else rows
        past = max([-1, *rows[-1:].tolist(), *noted[-1:].tolist()])
        found = np.setdiff1d(planned[planned <= past], np.concatenate([rows, due, noted]))
        if not found.size:
            continue
        reasons = dict(zip(noted.tolist(), group["skipped_why"].asstr()[:], strict=True))
        reasons |= dict.fromkeys(found.tolist(), f"no row of it; training was at step {past} when this was seen")
        steps = sorted(reasons)
        for key, values in (("skipped_step", steps), ("skipped_why", [reasons[step] for step in steps])):
            group[key].resize((len(steps),))
            group[key][:] = values


def add_session(h5: h5py.File, plan: RunPlan, keep_through: int, dropped: Sequence[int] | NDArray[np.int64]) -> None:
    """Notes that a session of training began, and which rows it dropped."""
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


def keep_rows(h5: h5py.File, names: Sequence[str], n_rows: int, keep_through: int) -> None:
    """Cuts the datasets back to the first `n_rows` rows, and notes back to what was made up to `keep_through`."""
    for name in names:
        group = group_of(h5, names, name)
        if "skipped_step" not in group:  # the first files have no such notes: from now on there may be some
            create_all(group, layout.SKIPPED, {"skipped_step": 0})
        for dataset in layout.DATASETS:
            if dataset.grows and dataset.name in group:
                group[dataset.name].resize(n_rows, axis=0)
        n_skipped = int(np.searchsorted(group["skipped_step"][:], keep_through, side="right"))
        for key in ("skipped_step", "skipped_why"):
            group[key].resize((n_skipped,))
        if "sample" in group:
            _keep_samples(group, keep_through)
        if "saved_step" in group:
            keep_saved(group, keep_through)


def keep_saved(group: h5py.Group, keep_through: int) -> int:
    """Cuts the counts at checkpoints back to those up to `keep_through`; how many are left."""
    n_kept = int(np.searchsorted(group["saved_step"][:], keep_through, side="right"))
    for key in ("saved_step", "saved_count", *of_seen(NOTHING_KNOWN, "saved_")):
        if key in group:
            group[key].resize(n_kept, axis=0)
    return n_kept


def of_seen(seen: Seen, prefix: str = "") -> dict[str, float]:
    """What was seen, by the names of datasets."""
    return {f"{prefix}{name}_seen": value for name, value in asdict(seen).items()}


def _keep_samples(group: h5py.Group, keep_through: int) -> int:
    n_kept = int(np.searchsorted(group["sample_step"][:], keep_through, side="right"))
    for dataset in layout.SAMPLES:
        group[dataset.name].resize((n_kept,))
    return n_kept


def add_samples(group: h5py.Group, samples: Sequence[Sample]) -> None:
    """Adds the texts of one step, in the place of any of that step or later ones."""
    if "sample" not in group:
        create_all(group, layout.SAMPLES, {"sample": 0})
    n = _keep_samples(group, samples[0].step - 1)
    values = {
        "sample": np.arange(n, n + len(samples)),
        "sample_step": [one.step for one in samples],
        "sample_prompt_index": [one.prompt_index for one in samples],
        "sample_prompt": [storable(one.prompt) for one in samples],
        "sample_text": [storable(one.text) for one in samples],
        "sample_ids": [" ".join(map(str, one.token_ids)) for one in samples],
        "sample_repetition": [one.repetition_length for one in samples],
        "sample_status": [one.status for one in samples],
    }
    for key, value in values.items():
        group[key].resize((n + len(samples),))
        group[key][n:] = value


def append_row(group: h5py.Group, row: Row, observation: Observation, counts_D: NDArray[Any] | None) -> None:
    """Adds a row to the datasets of one set."""
    n_tokens = group["token"].shape[0]
    if len(observation) != n_tokens:
        raise ValueError(f"observations: {len(observation):,} tokens were scored, the file has {n_tokens:,}.")
    with np.errstate(over="ignore"):  # beyond the float16 of an older file: inf, which says as much
        values = {
            "surprisal": observation.surprisal_bits,
            "correct": observation.correct.astype(np.uint8),
            "entropy": observation.entropy_bits.astype(group["entropy"].dtype),
            "step": row.step,
            "seconds": row.seconds,
            "time": row.time,
        }
    if "base_kl" in group:
        values["base_kl"] = np.nan if observation.kl_bits is None else observation.kl_bits
    if "dropout_sd" in group:
        spread = observation.dropout_sd_bits
        values["dropout_sd"] = np.nan if spread is None else spread
    if "boundary" in group:
        values["boundary"] = np.nan if observation.boundary_bits is None else observation.boundary_bits
    if "training_count" in group:
        values["training_count"] = np.nan if counts_D is None else counts_D
    values |= {name: value for name, value in of_seen(row.seen).items() if name in group}
    if "due_step" in group:
        values["due_step"] = row.step if row.due_step is None else row.due_step
    t = group["step"].shape[0]
    for name, value in values.items():
        group[name].resize(t + 1, axis=0)
        group[name][t] = value
