"""What the tokens of a set mean, in its run file: written with the set, or afterwards; rows are never touched by it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import TokenSetMismatchError
from curvewatch.runfile import layout
from curvewatch.runfile.datasets import create_all, group_of, padded
from curvewatch.runfile.matching import check_format
from curvewatch.runfile.trust import attribute, parsed, read, refused
from curvewatch.storage.hdf5.unpacking import check_unpacked
from curvewatch.storage.journal import JournaledFile
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.given import storable
from curvewatch.tokens.labels import Label
from curvewatch.tokens.originals import Originals
from curvewatch.tokens.reference import FIRST, Reference
from curvewatch.tokens.spans import Spans
from curvewatch.tokens.tokenset import TokenSet

logger = logging.getLogger("curvewatch")
_COLUMNS = ("kind", "name", "group", "member")
_NOT_KNOWN = 2


def write_annotations(group: h5py.Group, tokens: TokenSet) -> None:
    """Puts a set's annotations in the place of those in its group; texts that are there already stay.

    Args:
        group: Of the set, inside a transaction.
        tokens: The same set as the group's.
    """
    notes = tokens.annotations
    if notes.originals is not None and "sequence_text" not in group:
        _write_texts(group, tokens, notes.originals)
    if notes.labels or "label" in group:
        _write_labels(group, notes, len(tokens))
    if len(notes.spans) or "span" in group:
        _write_spans(group, notes.spans)
    if notes.reference is not None:
        _write_reference(group, notes.reference, len(tokens))


def read_annotations(group: h5py.Group, lengths_S: NDArray[np.int64]) -> Annotations:
    """The annotations of a set.

    Args:
        group: Of the set; the file was checked.
        lengths_S: Tokens in each sequence.
    """
    originals, n_bytes = None, None
    if "sequence_text" in group:
        about = parsed(attribute(group, "texts"), dict)
        ends = read(group["character_end"])
        originals = Originals(
            texts=tuple(read(group["sequence_text"]).tolist()),
            ends_I=ends[np.arange(ends.shape[1])[None, :] < lengths_S[:, None]],
            cut_S=read(group["sequence_cut"]),
            lossy=bool(about.get("lossy")),
            exact=bool(about.get("exact")),
        )
        _require_ends(originals, lengths_S)
        n_bytes = read(group["n_bytes"])
    flags_V = read(group["boundary_kind"]) if "boundary_kind" in group else None
    return Annotations(originals, n_bytes, _labels(group), _spans(group), flags_V, _reference(group))


def annotate(path: Path, names: Sequence[str], name: str, tokens: TokenSet) -> None:
    """Puts annotations into a run file that nobody is writing, in the place of its own; rows are not touched.

    Args:
        path: Of the file.
        names: Of all its token sets.
        name: Of the one.
        tokens: That set, with the annotations.

    Raises:
        FileBusyError: If a training is writing the file.
        TokenSetMismatchError: If the set is another.
        RunFileError: If the file can't be written.
    """
    file = JournaledFile(path)
    try:
        with refused(path), file.transaction() as h5:
            check_format(h5, path)
            group = group_of(h5, names, name)
            kept = str(attribute(group, "set_hash"))
            if kept != tokens.hash:
                raise TokenSetMismatchError(
                    f"path={path}: it holds token set {kept[:16]}…, these annotations are of {tokens.hash[:16]}…. "
                    "Annotate the set that the file holds: run.annotate(run.tokens.label(...))."
                )
            write_annotations(group, tokens)
    finally:
        file.close()


def settle_annotations(group: h5py.Group, tokens: TokenSet, name: str) -> None:
    """Brings a file that is continued together with the set that it is continued with.

    What the file lacks is added; where both say something the file's stays, and a warning tells.

    Args:
        group: Of the set, inside a transaction.
        tokens: The set that is given.
        name: Of the set.
    """
    given, kept = tokens.annotations, read_annotations(group, tokens.lengths)
    joined = Annotations(
        kept.originals or given.originals,
        given.n_bytes if kept.n_bytes is None else kept.n_bytes,
        {**given.labels, **kept.labels},
        kept.spans if len(kept.spans) else given.spans,
        kept.boundary,
        kept.reference or given.reference,
    )
    if kept.boundary is None and given.boundary is not None:
        logger.warning(
            "set %r: the run file was begun without boundaries of words, so words stay the sum of their tokens in it",
            name,
        )
    # What only the file has is no contradiction.
    differing = [name for name in given.labels if not given.labels[name].same_as(joined.labels[name])]
    if len(given.spans) and not given.spans.same_as(joined.spans):
        differing.append("spans")
    if given.reference is not None and not given.reference.same_as(joined.reference):
        differing.append("reference")
    if differing:
        logger.warning(
            "set %r: the run file's annotations are not those of the set that is given (%s): the file's are kept. "
            "Run.annotate changes them",
            name, ", ".join(differing),
        )  # fmt: skip
    if joined.differ_from(kept) or (kept.originals is None and given.originals is not None):
        write_annotations(group, tokens.with_annotations(joined))


# ---------------------------------------------------------------------- texts


def _write_texts(group: h5py.Group, tokens: TokenSet, originals: Originals) -> None:
    extents = {"token": len(tokens), "sequence": tokens.n_sequences, "place": tokens.context}
    create_all(group, layout.TEXTS, extents)
    group.attrs["texts"] = json.dumps({"exact": originals.exact, "lossy": originals.lossy})
    group["sequence_text"][:] = np.array([storable(text) for text in originals.texts], object)
    group["sequence_cut"][:] = originals.cut_S
    for rows, values in padded(tokens.starts, originals.ends_I):
        group["character_end"][rows] = values
    bytes_N = tokens.annotations.n_bytes
    group["n_bytes"][:] = originals.n_bytes(tokens.scored) if bytes_N is None else bytes_N


def _require_ends(originals: Originals, lengths_S: NDArray[np.int64]) -> None:
    """Places that a text does not have would lead astray whoever cuts it there."""
    last = np.cumsum(lengths_S) - 1
    ends = originals.ends_I
    inside = np.diff(ends, prepend=0)
    inside[last[:-1] + 1] = ends[last[:-1] + 1]
    if (inside < 0).any() or (ends[last] > originals.lengths_S).any():
        raise ValueError("character_end: not places of its texts, in order")


# ---------------------------------------------------------------------- reference


def _write_reference(group: h5py.Group, reference: Reference, n_tokens: int) -> None:
    group.attrs["reference"] = reference.name
    if reference.surprisal_N is None:
        return
    if "reference_surprisal" not in group:
        create_all(group, layout.REFERENCE, {"token": n_tokens})
    group["reference_surprisal"][:] = reference.surprisal_N
    known = reference.correct_N
    group["reference_correct"][:] = np.full(n_tokens, _NOT_KNOWN) if known is None else known.astype(np.uint8)


def _reference(group: h5py.Group) -> Reference | None:
    if "reference" not in group.attrs:
        return None
    name = str(attribute(group, "reference"))
    if name == FIRST:
        return Reference(FIRST)
    correct_N = read(group["reference_correct"])
    _require(correct_N, _NOT_KNOWN + 1, "reference_correct", lowest=0)
    return Reference(name, read(group["reference_surprisal"]), None if (correct_N > 1).any() else correct_N == 1)


# ---------------------------------------------------------------------- labels


def _write_labels(group: h5py.Group, notes: Annotations, n_tokens: int) -> None:
    values = [(k, value) for k, label in enumerate(notes.labels.values()) for value in label.values]
    extents = {"label": len(notes.labels), "label_value": len(values)}
    _make_or_resize(group, layout.LABELS, extents | {"token": n_tokens})
    group["label"][:] = np.arange(len(notes.labels))
    group["label_name"][:] = np.array([storable(name) for name in notes.labels], object)
    for k, label in enumerate(notes.labels.values()):
        group["label_code"][k] = label.codes
    group["label_value"][:] = np.arange(len(values))
    group["label_value_label"][:] = np.array([k for k, _ in values], np.int32)
    group["label_value_text"][:] = np.array([storable(value) for _, value in values], object)


def _labels(group: h5py.Group) -> dict[str, Label]:
    if "label" not in group:
        return {}
    names, of, texts = (read(group[name]).tolist() for name in ("label_name", "label_value_label", "label_value_text"))
    codes = group["label_code"]
    check_unpacked(codes.id)
    found: dict[str, Label] = {}
    for k, name in enumerate(names):
        label = Label(codes[k], tuple(text for text, label in zip(texts, of, strict=True) if label == k))
        _require(label.codes, len(label.values), f"label_code of {name!r}", lowest=-1)
        found[name] = label
    return found


# ---------------------------------------------------------------------- spans


def _write_spans(group: h5py.Group, spans: Spans) -> None:
    texts = {text: i for i, text in enumerate(dict.fromkeys(t for one in _COLUMNS for t in getattr(spans, one)))}
    _make_or_resize(group, layout.SPANS, {"span": len(spans), "span_text_index": len(texts)})
    group["span"][:] = np.arange(len(spans))
    for one in ("first", "length", "item", "impure"):
        group[f"span_{one}"][:] = getattr(spans, one)
    for one in _COLUMNS:
        group[f"span_{one}"][:] = np.array([texts[text] for text in getattr(spans, one)], np.int32)
    group["span_text_index"][:] = np.arange(len(texts))
    group["span_text"][:] = np.array([storable(text) for text in texts], object)


def _spans(group: h5py.Group) -> Spans:
    if "span" not in group:
        return Spans()
    texts = read(group["span_text"]).tolist()
    parts: dict[str, Any] = {one: read(group[f"span_{one}"]) for one in ("first", "length", "item")}
    parts["impure"] = read(group["span_impure"]).astype(bool)
    for one in _COLUMNS:
        codes = read(group[f"span_{one}"])
        _require(codes, len(texts), f"span_{one}", lowest=0)
        parts[one] = tuple(texts[i] for i in codes.tolist())
    return Spans(**parts)


# ---------------------------------------------------------------------- both


def _make_or_resize(group: h5py.Group, datasets: Sequence[layout.Dataset], extents: dict[str, int]) -> None:
    if datasets[0].name not in group:
        create_all(group, datasets, extents)
        return
    for dataset in datasets:
        if dataset.dims[0] in layout.CHANGING_DIMS:
            group[dataset.name].resize(extents[dataset.dims[0]], axis=0)


def _require(codes: NDArray[Any], n: int, name: str, *, lowest: int) -> None:
    if codes.size and not (int(codes.min()) >= lowest and int(codes.max()) < n):
        raise ValueError(f"{name}: {int(codes.min())} to {int(codes.max())}, of {n} values")
