"""A long job over a corpus that goes on where it was stopped: how far it has come, and what it found so far, in a file.

The corpus is checked by what was read of it: a checksum of all places so far must come out again when they are skipped,
and every pass over the corpus must read the same. Suffix: M places of a block.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.corpus.keys import Int64
from curvewatch.corpus.sources import Corpus
from curvewatch.storage.replacing import replacing

FORMAT = "curvewatch job over a corpus 1"
SECONDS = 60.0
"""Between two writings: no more work than this is done twice."""


def checksum_of(ids_M: Int64, before: int = 0) -> int:
    """Of numbers behind those that `before` is of."""
    return zlib.crc32(np.ascontiguousarray(ids_M, np.int64).data, before)


@dataclass
class Progressed:
    """How far a job has come.

    Attributes:
        done_passes: Passes over the corpus that are over.
        places: Places of laid ids (see `counting`) that the present pass has gone through.
        checksum: Of them.
        whole: Of all places, as the first pass read them; None before its end.
        counted: Numbers that the job adds up.
        arrays: What it found.
    """

    done_passes: int = 0
    places: int = 0
    checksum: int = 0
    whole: int | None = None
    counted: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def next_pass(self) -> None:
        """The present pass is over."""
        self.done_passes, self.places, self.checksum = self.done_passes + 1, 0, 0


class Resume:
    """The file of a job.

    Args:
        path: Where it is kept while the job goes on.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._job: Mapping[str, Any] = {}
        self._written = time.monotonic()

    def load(self, job: Mapping[str, Any]) -> Progressed:
        """How far this job has come; the beginning, if there is no file.

        Args:
            job: All that decides what comes out, as JSON has it.

        Raises:
            ValueError: If the file is of another job, or can't be read.
            FileNotFoundError: If there is no folder for it.
        """
        self._job = json.loads(json.dumps(job, default=str))
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"resume={self.path}: there is no folder {self.path.parent}.")
        if not self.path.exists():
            return Progressed()
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                about = json.loads(str(saved["about"]))
                if about["format"] != FORMAT:
                    raise ValueError(f"its format is {about['format']!r}")
                arrays = {name: saved[name] for name in saved.files if name != "about"}
        except Exception as error:
            # zipfile, zlib, NumPy and json each have their own words for a file that is not what it should be.
            raise ValueError(
                f"resume={self.path}: not the state of such a job, or damaged ({error}). Remove it to begin anew, or "
                "give another path."
            ) from error
        other = [name for name in {**self._job, **about["job"]} if self._job.get(name) != about["job"].get(name)]
        if other:
            told = "; ".join(f"{k}: {about['job'].get(k)} there, {self._job.get(k)} here" for k in other)
            raise ValueError(
                f"resume={self.path}: it was begun with other settings, or of another corpus ({told}). Give those "
                "again to go on, or remove the file to begin anew."
            )
        return Progressed(**about["progressed"], arrays=arrays)

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= SECONDS

    def save(self, progressed: Progressed) -> None:
        """Writes the file, replacing what is there in one step."""
        numbers = {k: v for k, v in vars(progressed).items() if k != "arrays"}
        about = {"format": FORMAT, "job": self._job, "progressed": numbers}
        with replacing(self.path) as file:
            np.savez(file, about=np.array(json.dumps(about)), **progressed.arrays)  # type: ignore[arg-type]
        self._written = time.monotonic()

    def remove(self) -> None:
        """Removes the file, and what processes that were killed while they wrote have left of it."""
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f"{self.path.name}.*.tmp"):
            left.unlink(missing_ok=True)

    def blocks(self, source: Corpus, progressed: Progressed, keep: Callable[[], None]) -> Iterator[tuple[Int64, int]]:
        """What the present pass has not gone through yet, as `Corpus.blocks` gives it; writes the file now and then.

        Args:
            source: The corpus.
            progressed: Is kept up to date.
            keep: Called before the file is written, to put what was found into `progressed`.

        Raises:
            ValueError: If the corpus is not what was read before.
        """
        skip, checksum = progressed.places, 0
        for laid_M, done in source.blocks():
            rest_M = laid_M
            if skip:
                rest_M = laid_M[skip:]
                checksum = checksum_of(laid_M[:skip], checksum)
                skip -= len(laid_M) - len(rest_M)
                if not skip and checksum != progressed.checksum:
                    raise self._changed()
                if not len(rest_M):
                    continue
            checksum_now = checksum_of(rest_M, progressed.checksum)
            yield rest_M, done
            # Only what was worked through is counted.
            progressed.places += len(rest_M)
            progressed.checksum = checksum_now
            if self.due:
                keep()
                self.save(progressed)
        if skip or progressed.whole not in (None, progressed.checksum):
            raise self._changed()
        progressed.whole = progressed.checksum

    def _changed(self) -> ValueError:
        return ValueError(
            f"resume={self.path}: the corpus is not the one, or not in the order, that was read before. Give that one "
            "again to go on, or remove the file to begin anew."
        )
