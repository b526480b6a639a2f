"""A token set on disk: an .npz without pickled objects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.encoder_input import EncoderInput
from curvewatch.tokens.labels import Label
from curvewatch.tokens.masking import Masking
from curvewatch.tokens.originals import Originals
from curvewatch.tokens.reference import Reference
from curvewatch.tokens.spans import Spans

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

Made = TypeVar("Made")

SAVED_FORMAT = "curvewatch token set"
SAVED_VERSION = 1
"""Of the .npz; a file that names none is of version 1, too."""


def write(tokens: TokenSet, path: Path) -> Path:
    """Writes a set to `path`, replacing what is there in one step; see `TokenSet.save`."""
    texts = tokens.texts() or {}
    about = {
        **tokens.extras,
        "format": SAVED_FORMAT,
        "format_version": SAVED_VERSION,
        "vocab_size": tokens.vocab_size,
        "objective": tokens.objective,
        "made_by": dict(tokens.made_by),
    }
    arrays: dict[str, Any] = {
        "ids": tokens.ids,
        "starts": tokens.starts,
        "sequence_index": tokens.sequence_index,
        "position": tokens.position,
        "vocabulary_id": np.array(list(texts), np.int64),
        "vocabulary_text": _json(list(texts.values())),
        "about": _json(about),
        **_objective_arrays(tokens),
        **_annotation_arrays(tokens.annotations),
    }
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def _objective_arrays(tokens: TokenSet) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    if tokens.masking is not None:
        found |= {"mask_id": np.array(tokens.masking.mask_id), "mask_row": tokens.masking.row_N,
                  "masked_behind": tokens.masking.behind_N}  # fmt: skip
    if tokens.encoder is not None:
        found |= {"encoder_ids": tokens.encoder.ids, "encoder_starts": tokens.encoder.starts}
    return found


def _objective_parts(saved: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What `_objective_arrays` made arrays of."""
    found: dict[str, Any] = {}
    if "mask_id" in saved:
        found["masking"] = Masking(int(saved["mask_id"]), saved["mask_row"], saved["masked_behind"])
    if "encoder_ids" in saved:
        found["encoder"] = EncoderInput(saved["encoder_ids"], saved["encoder_starts"])
    return found


def _annotation_arrays(notes: Annotations) -> dict[str, NDArray[Any]]:
    """The annotations as arrays; texts as JSON."""
    found: dict[str, NDArray[Any]] = {}
    if notes.originals is not None:
        of = notes.originals
        found |= {"sequence_text": _json(of.texts), "character_end": of.ends_I, "sequence_cut": of.cut_S,
                  "texts": _json({"lossy": of.lossy, "exact": of.exact})}  # fmt: skip
    if notes.n_bytes is not None:
        found["n_bytes"] = notes.n_bytes
    if notes.boundary is not None:
        found["boundary_kind"] = notes.boundary
    if notes.reference is not None:
        of_base = {"reference_surprisal": notes.reference.surprisal_N, "reference_correct": notes.reference.correct_N}
        found |= {"reference": _json(notes.reference.name)}
        found |= {name: values for name, values in of_base.items() if values is not None}
    if notes.labels:
        found["label_code"] = np.stack([label.codes for label in notes.labels.values()])
        found["label_value"] = _json({name: label.values for name, label in notes.labels.items()})
    if len(notes.spans):
        spans = {one.name: getattr(notes.spans, one.name) for one in fields(notes.spans)}
        found |= {f"span_{name}": value for name, value in spans.items() if isinstance(value, np.ndarray)}
        found["span"] = _json({name: value for name, value in spans.items() if isinstance(value, tuple)})
    return found


def _annotations(saved: Mapping[str, NDArray[Any]]) -> Annotations:
    """What `_annotation_arrays` made arrays of; each part may be missing."""
    originals, labels, spans = None, {}, Spans()
    if "sequence_text" in saved:
        texts = tuple(json.loads(str(saved["sequence_text"])))
        about = json.loads(str(saved["texts"]))
        originals = Originals(texts, saved["character_end"], saved["sequence_cut"], about["lossy"], about["exact"])
    if "label_code" in saved:
        values = json.loads(str(saved["label_value"]))
        labels = {
            name: Label(codes, tuple(values[name])) for name, codes in zip(values, saved["label_code"], strict=True)
        }
    if "span" in saved:
        words = json.loads(str(saved["span"]))
        parts: dict[str, Any] = {
            one.name: tuple(words[one.name]) if one.name in words else saved[f"span_{one.name}"]
            for one in fields(Spans)
        }
        spans = Spans(**parts)
    reference = None
    if "reference" in saved:
        name = json.loads(str(saved["reference"]))
        reference = Reference(name, saved.get("reference_surprisal"), saved.get("reference_correct"))
    return Annotations(originals, saved.get("n_bytes"), labels, spans, saved.get("boundary_kind"), reference)


def _json(value: Any) -> NDArray[Any]:
    return np.array(json.dumps(value))


def read(path: str | os.PathLike[str], make: Callable[..., Made]) -> Made:
    """What `make` makes of that which `write` wrote, by the names of `TokenSet`'s attributes; see `TokenSet.load`.

    Raises:
        TypeError: If `path` is no path.
        ValueError: If the file is not a saved token set, or a newer curvewatch wrote it.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={brief(path)}: the path of a saved token set is expected.")
    name = f"path={os.fspath(path)}"
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = dict(json.loads(str(saved["about"])))
            kind, version = about.pop("format", SAVED_FORMAT), about.pop("format_version", 1)
            if kind != SAVED_FORMAT or type(version) is not int:
                raise ValueError(f"its format is {str(kind)[:80]!r}, version {str(version)[:80]!r}")
            if version > SAVED_VERSION:
                raise _NewerFormatError(
                    f"{name}: a token set saved in format {version}, this curvewatch knows formats up to "
                    f"{SAVED_VERSION}. Upgrade curvewatch, or save the set again with this version."
                )
            known = {key: about.pop(key) for key in ("vocab_size", "objective", "made_by")}
            texts = json.loads(str(saved["vocabulary_text"]))
            vocabulary = dict(zip(saved["vocabulary_id"].tolist(), texts, strict=True))
            arrays = {name: saved[name] for name in ("ids", "starts", "sequence_index", "position")}
            notes, beside = _annotations(saved), _objective_parts(saved)
        return make(**arrays, **known, **beside, vocabulary=vocabulary or None, extras=about, annotations=notes)
    except (FileNotFoundError, _NewerFormatError):
        raise
    except Exception as error:
        # What is no .npz NumPy takes for a pickle, and says how to load it all the same: nobody should.
        why = "no .npz file" if "allow_pickle" in str(error) else error
        raise ValueError(f"{name}: not a token set saved by curvewatch ({why}). Save it again.") from error


class _NewerFormatError(ValueError):
    """A file that is in order, but for a newer curvewatch."""
