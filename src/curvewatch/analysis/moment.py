"""Moment: a run's rows as of one moment, so that what is worked out from a growing file rests on one set of rows.

Suffixes: T rows, N tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.runfile.curves import Curves
from curvewatch.runfile.reader import Reader

BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class Moment:
    """The first T rows of a run; later ones are not seen.

    Attributes:
        run: The run.
        steps_T: Their steps.
        times_T: When each was scored, Unix time: a row that was scored again, after a resume, has another.
        surprisal: Curves, bits, [T, N]; read when indexed.
        correct: Whether the target was the arg-max, [T, N].
        entropy: Bits, [T, N].
    """

    run: Reader
    steps_T: NDArray[np.int64]
    times_T: NDArray[np.float64]
    surprisal: Curves
    correct: Curves
    entropy: Curves

    @classmethod
    def now(cls, run: Reader) -> Moment:
        """The rows that the run's file holds now."""
        with run.group() as group:
            steps_T, times_T = group["step"][:], group["time"][:]
        t = len(steps_T)
        return cls(run, steps_T, times_T, run.surprisal.first(t), run.correct.first(t), run.entropy.first(t))

    def __len__(self) -> int:
        return len(self.steps_T)

    @property
    def identity(self) -> dict[str, Any]:
        """What these rows are, in a few values: equal for equal rows, and as good as only then."""
        digest = hashlib.sha256()
        for array in (self.steps_T, self.times_T):
            digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "run_id": self.run.run_id,
            "set_name": self.run.set_name,
            "set_hash": self.run.set_hash,
            "rows": len(self),
            "rows_digest": digest.hexdigest(),
            "max_steps": self.run.max_steps,
            "chance": self.run.chance,
        }

    def check(self) -> None:
        """Makes sure that the rows are still those of the file.

        Raises:
            RunFileError: If training was resumed from before them meanwhile, or another run took the file's place.
        """
        later = Moment.now(Reader(self.run.path, self.run.set_name))
        t = len(self)
        if later.run.run_id != self.run.run_id or not np.array_equal(later.times_T[:t], self.times_T):
            raise RunFileError(
                f"{self.run.path}: its rows changed while they were read, since training was resumed or begun anew. "
                "Open it and read again."
            )


def gather(curves: Curves, tokens_n: NDArray[np.integer]) -> NDArray[Any]:
    """The curves of some tokens from anywhere in the file, shape [T, n], read block by block.

    Args:
        curves: [T, N].
        tokens_n: Indices, in any order.
    """
    steps, n_tokens = curves.shape
    tokens_n = np.asarray(tokens_n, np.int64)
    found_Tn = np.empty((steps, len(tokens_n)), curves.dtype)
    order = np.argsort(tokens_n, kind="stable")
    width = max(1, int(curves.chunks[1]))
    # Whole chunks in both directions, and never more than BLOCK_VALUES at a time.
    height = max(1, BLOCK_VALUES // width // int(curves.chunks[0])) * int(curves.chunks[0])
    blocks = tokens_n[order] // width
    for block in np.unique(blocks):
        start = int(block) * width
        inside = order[blocks == block]
        columns = tokens_n[inside] - start
        if len(inside) == 1:
            found_Tn[:, inside[0]] = curves[:, start + int(columns[0])]
            continue
        for first in range(0, steps, height):
            rows = slice(first, min(first + height, steps))
            found_Tn[rows, inside] = curves[rows, start : min(start + width, n_tokens)][:, columns]
    return found_Tn
