"""Whatever holds a corpus, opened: files (text, an array of ids, a saved dataset) and objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch.corpus.arrow import DatasetCorpus, is_dataset
from curvewatch.corpus.sources import ArrayCorpus, Corpus, RowsCorpus, TextCorpus


def open_corpus(
    path: str | os.PathLike[str], tokenizer: Any = None, *, column: str = "input_ids", split: str | None = None
) -> Corpus:
    """The corpus at `path`, to be handed to `count_ngrams` or `count_tokens`; nothing is read yet.

    Args:
        path: An `.npy` array of ids, [tokens] or [sequences, tokens], which is memory-mapped; a folder written by
            `datasets`' save_to_disk; or else a UTF-8 text file.
        tokenizer: Encodes a text file; see `curvewatch.tokens.text`.
        column: The dataset's column of token ids.
        split: Of a dataset that has several; None takes "train".

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it can't be read, or needs a tokenizer that isn't given.
        KeyError: If the dataset has no such split or column.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"corpus={path}: no such file or folder.")
    if path.is_dir():
        return DatasetCorpus(_loaded_dataset(path, split), column, {"path": str(path.absolute())})
    if split is not None:
        raise ValueError(f"split={split!r}: only a saved dataset has splits; {path} is a file.")
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"corpus={path}: not an array saved by numpy.save ({error}).") from error
        return ArrayCorpus(array, {"kind": "npy", "path": str(path.absolute())})
    if tokenizer is None:
        raise ValueError(
            f"corpus={path}: taken for a text file, which needs the tokenizer that the model is trained with. Give it, "
            "or the ids as .npy or a saved dataset."
        )
    return TextCorpus(path, tokenizer)


def as_corpus(corpus: Any, column: str = "input_ids", tokenizer: Any = None) -> Corpus:
    """Whatever holds token ids, as something to be counted.

    Args:
        corpus: As `count_ngrams` takes it.
        column: The column of token ids.
        tokenizer: Encodes a text file.

    Raises:
        ValueError: If an array has no shape that is understood.
        TypeError: If `corpus` is nothing that holds token ids.
    """
    if isinstance(corpus, (str, os.PathLike)):
        corpus = open_corpus(corpus, tokenizer, column=column)
    if hasattr(corpus, "blocks") and hasattr(corpus, "about"):
        found: Corpus = corpus
        return found
    if is_dataset(corpus):
        return DatasetCorpus(corpus, column)
    if hasattr(corpus, "shape") and hasattr(corpus, "dtype"):
        return ArrayCorpus(corpus)
    if isinstance(corpus, Mapping):
        raise TypeError(f"corpus: a mapping of {', '.join(map(str, corpus))}; give one of them, as corpus[...].")
    if not hasattr(corpus, "__iter__") and not hasattr(corpus, "__getitem__"):
        raise TypeError(
            f"corpus: token ids are expected (an array, rows, a dataset, the path of a file), not "
            f"{type(corpus).__name__}."
        )
    return RowsCorpus(corpus, column)


def _loaded_dataset(path: Path, split: str | None) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise ValueError(
            f"corpus={path}: a folder is read by Hugging Face datasets. Install it with: pip install datasets"
        ) from error
    try:
        found = load_from_disk(str(path))
    except Exception as error:
        raise ValueError(f"corpus={path}: not a folder saved by datasets' save_to_disk ({error}).") from error
    if not isinstance(found, dict):
        if split is not None:
            raise KeyError(f"split={split!r}: the dataset at {path} has no splits.")
        return found
    wanted = split or "train"
    if wanted not in found:
        raise KeyError(f"split={wanted!r}: the dataset at {path} has {', '.join(map(repr, found))}; name one.")
    return found[wanted]
