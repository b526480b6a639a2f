"""Reader: what stands in a run file, also while training is still writing it.

The file is opened for each access and closed again, so a reader neither blocks the writer nor sees half a row, and
what it shows grows as the file does. What is worked out from it (measures, tables, single curves) is `analysis.run`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.observation import Sample
from curvewatch.runfile import layout
from curvewatch.runfile.annotations import annotate, read_annotations
from curvewatch.runfile.curves import Curves
from curvewatch.runfile.matching import check_format, weights_of
from curvewatch.runfile.objective import read_objective
from curvewatch.runfile.trained import Trained, read_trained
from curvewatch.runfile.trust import attribute, parsed, read, refused
from curvewatch.storage.journal import snapshot
from curvewatch.tokens.tokenset import TokenSet

OneSet = TypeVar("OneSet", bound="Reader")


class Reader:
    """One token set's curves in a run file.

    Attributes:
        path: Of the file.
        set_name: Of the token set.
        sets: Names of all token sets in the file.
        run_id: Random id of the run.
        n_tokens: N.
    """

    def __init__(self, path: str | os.PathLike[str], set_name: str | None = None) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"path={self.path}: no such file.")
        with refused(self.path), snapshot(self.path) as h5:
            check_format(h5, self.path)
            self.sets: list[str] = json.loads(h5.attrs["sets"])
            self.run_id = str(h5.attrs["run_id"])
        if set_name is None:
            if len(self.sets) > 1:
                raise KeyError(f"set_name: {self.path} holds {self.sets}; name one: open_run(path, {self.sets[0]!r}).")
            set_name = self.sets[0]
        if set_name not in self.sets:
            raise KeyError(f"set_name={set_name!r}: {self.path} holds {self.sets}.")
        self.set_name = set_name
        with refused(self.path), self.group() as group:
            self.n_tokens = int(group["token"].shape[0])
            self._attributes = {
                key: attribute(group, key) for key in layout.SET_ATTRIBUTES if key not in layout.OPTIONAL_ATTRIBUTES
            }
        self.surprisal = Curves(self, "surprisal", np.float32)
        self.correct = Curves(self, "correct", bool)
        self.entropy = Curves(self, "entropy", np.float32)
        self._tokens: TokenSet | None = None

    def group(self) -> _Open:
        """The set's HDF5 group, read-only, as a context manager: a consistent state of this moment."""
        return _Open(self.path, self.set_name if len(self.sets) > 1 else None)

    def __getitem__(self: OneSet, set_name: str) -> OneSet:
        """The same file's curves of another token set."""
        return type(self)(self.path, set_name)

    def __len__(self) -> int:
        """Number of observations so far."""
        with refused(self.path), self.group() as group:
            return int(group["step"].shape[0])

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"a {type(self).__name__} is not iterable; use its .steps and .surprisal.")

    def __repr__(self) -> str:
        kind, what = type(self).__name__, f"{len(self):,} observations of {self.n_tokens:,} tokens"
        return f"<{kind} {self.path.name}, set {self.set_name!r}: {what}>"

    @property
    def boundary(self) -> Curves | None:
        """How much more surprising a word boundary is behind each token than before it, bits, [T, N].

        None in files whose words are not corrected. Added to `surprisal` and summed over a word's tokens it gives the
        surprisal of the word.
        """
        return self._curves("boundary")

    @property
    def base_kl(self) -> Curves | None:
        """Kullback-Leibler divergence from the base's predictions, bits, [T, N]; None if not measured."""
        return self._curves("base_kl")

    @property
    def dropout_sd(self) -> Curves | None:
        """Standard deviation of surprisal over passes with dropout, bits, [T, N]; None if not measured."""
        return self._curves("dropout_sd")

    def _curves(self, name: str) -> Curves | None:
        with refused(self.path), self.group() as group:
            there = name in group
        return Curves(self, name, np.float32) if there else None

    @property
    def steps(self) -> NDArray[np.int64]:
        """Scored steps so far, ascending, shape [T]."""
        return self._read("step")

    @property
    def due_steps(self) -> NDArray[np.int64]:
        """The planned step that each observation stands for, shape [T]; `steps` in files that don't say."""
        with refused(self.path), self.group() as group:
            return read(group["due_step" if "due_step" in group else "step"])

    @property
    def skipped(self) -> dict[int, str]:
        """Planned steps that were not scored, and why not."""
        with refused(self.path), self.group() as group:
            return skipped_in(group)

    @property
    def weights(self) -> str:
        """Which weights the observations are of: "training", or "averaged"."""
        with refused(self.path), snapshot(self.path) as h5:
            return weights_of(h5)

    @property
    def seconds(self) -> NDArray[np.float32]:
        """Wall time of each observation's scoring, s, shape [T]."""
        return self._read("seconds")

    @property
    def time(self) -> NDArray[np.float64]:
        """Unix time of each observation, shape [T]."""
        return self._read("time")

    @property
    def tokens_seen(self) -> NDArray[np.float64]:
        """Tokens in the batches trained on up to each observation, shape [T]; NaN where they were not counted."""
        return self._seen("tokens_seen")

    @property
    def words_seen(self) -> NDArray[np.float64]:
        """Words between blanks in them, shape [T]; NaN where they are not known."""
        return self._seen("words_seen")

    @property
    def bytes_seen(self) -> NDArray[np.float64]:
        """UTF-8 bytes of their text, shape [T]; NaN where they are not known."""
        return self._seen("bytes_seen")

    def _seen(self, name: str) -> NDArray[np.float64]:
        with refused(self.path), self.group() as group:
            if name not in group:
                return np.full(group["step"].shape[0], np.nan)
            return read(group[name])

    @property
    def planned_steps(self) -> NDArray[np.int64]:
        """Steps planned to be scored; empty if the run is open-ended."""
        return self._read("planned_step")

    @property
    def chance(self) -> float:
        """Surprisal of guessing, log2 of the number of the model's outputs, bits."""
        return float(self._attributes["chance"])

    @property
    def max_steps(self) -> int | None:
        """Planned last step; None if the run is open-ended."""
        with refused(self.path), snapshot(self.path) as h5:
            return int(attribute(h5, "max_steps")) or None

    @property
    def schedule(self) -> str:
        """The rule that chose the scored steps, as text."""
        with refused(self.path), snapshot(self.path) as h5:
            return str(attribute(h5, "schedule"))

    @property
    def set_hash(self) -> str:
        """SHA-256 of the token set; runs of equal hash can be compared token by token."""
        return str(self._attributes["set_hash"])

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each session of training: host, model, versions, where it began."""
        with refused(self.path), snapshot(self.path) as h5:
            return [parsed(text, dict) for text in read(h5[layout.PROVENANCE]["sessions"])]

    @property
    def samples(self) -> list[Sample]:
        """What the model wrote behind fixed prompts so far, by step, then by prompt; empty if it was given none."""
        with refused(self.path), self.group() as group:
            if "sample" not in group:
                return []
            names = ("step", "prompt_index", "text", "ids", "repetition", "status", "prompt")
            columns = [read(group[f"sample_{name}"]).tolist() for name in names]
            return [
                Sample(step, p, text, tuple(map(int, ids.split())), repetition, status, prompt)
                for step, p, text, ids, repetition, status, prompt in zip(*columns, strict=True)
            ]

    @property
    def trained(self) -> Trained | None:
        """What was trained on: exposures of passages, fingerprints of sequences; None if that was not followed."""
        with refused(self.path), snapshot(self.path) as h5:
            return read_trained(h5)

    @property
    def tokens(self) -> TokenSet:
        """The token set, as it was given (its texts as kept in the file, without the tokenizer)."""
        if self._tokens is None:
            with refused(self.path), self.group() as group:
                lengths, padded = read(group["length"]).astype(np.int64), read(group["sequences"])
                vocabulary = None
                if "vocabulary_id" in group:
                    texts = read(group["vocabulary_text"])
                    vocabulary = dict(zip(read(group["vocabulary_id"]).tolist(), texts.tolist(), strict=True))
                self._tokens = TokenSet(
                    ids=padded[np.arange(padded.shape[1])[None, :] < lengths[:, None]],
                    starts=np.concatenate([[0], np.cumsum(lengths)]),
                    sequence_index=read(group["sequence_index"]),
                    position=read(group["position"]),
                    vocab_size=int(self._attributes["vocab_size"]) or None,
                    objective=str(self._attributes["objective"]),
                    made_by=parsed(self._attributes["made_by"], dict),
                    vocabulary=vocabulary,
                    annotations=read_annotations(group, lengths),
                    **read_objective(group),
                )
        return self._tokens

    def annotate(self, tokens: TokenSet) -> None:
        r"""Puts the labels and spans of a token set into the file, in the place of those there; no row is touched.

        For example `run.annotate(run.tokens.label("number", r"\d+"))`. Texts that the file holds stay.

        Args:
            tokens: This run's token set, with its annotations.

        Raises:
            FileBusyError: If training is writing the file.
            TokenSetMismatchError: If it is another set.
            RunFileError: If the file can't be written.
        """
        if not isinstance(tokens, TokenSet):
            raise TypeError(f"tokens={brief(tokens)}: a token set is expected, for example run.tokens.label(...).")
        annotate(self.path, self.sets, self.set_name, tokens)
        self._tokens = None

    def _read(self, name: str) -> NDArray[Any]:
        with refused(self.path), self.group() as group:
            return read(group[name])


def set_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the token sets in a run file.

    Raises:
        FileNotFoundError: If there is no such file.
        CurvewatchError: If it is no run file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={path}: no such file.")
    with snapshot(path) as h5:
        check_format(h5, path)
        sets: list[str] = json.loads(h5.attrs["sets"])
    return sets


def skipped_in(group: h5py.Group) -> dict[int, str]:
    """Planned steps that a set's group has noted as not scored, and why not; the first files have no such notes."""
    if "skipped_step" not in group:
        return {}
    steps, reasons = read(group["skipped_step"]), read(group["skipped_why"])
    return dict(zip(steps.tolist(), reasons.tolist(), strict=True))


class _Open:
    """A set's group in a snapshot of the file."""

    def __init__(self, path: Path, set_name: str | None) -> None:
        self._snapshot = snapshot(path)
        self._set_name = set_name

    def __enter__(self) -> h5py.Group:
        h5 = self._snapshot.__enter__()
        return h5 if self._set_name is None else h5[self._set_name]

    def __exit__(self, *failure: Any) -> None:
        self._snapshot.__exit__(*failure)
