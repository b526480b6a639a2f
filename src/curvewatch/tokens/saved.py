"""A token set on disk: an .npz without pickled objects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from curvewatch.errors import brief
from curvewatch.storage.replacing import replacing

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
    with replacing(path) as file:
        np.savez_compressed(
            file,
            ids=tokens.ids,
            starts=tokens.starts,
            sequence_index=tokens.sequence_index,
            position=tokens.position,
            vocabulary_id=np.array(list(texts), np.int64),
            vocabulary_text=np.array(json.dumps(list(texts.values()))),
            about=np.array(json.dumps(about)),
        )
    return path


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
        return make(**arrays, **known, vocabulary=vocabulary or None, extras=about)
    except (FileNotFoundError, _NewerFormatError):
        raise
    except Exception as error:
        # What is no .npz NumPy takes for a pickle, and says how to load it all the same: nobody should.
        why = "no .npz file" if "allow_pickle" in str(error) else error
        raise ValueError(f"{name}: not a token set saved by curvewatch ({why}). Save it again.") from error


class _NewerFormatError(ValueError):
    """A file that is in order, but for a newer curvewatch."""
