"""Measuring: the live metrics of a set as they are logged, from what stands in the run file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.live import Live, LiveMetrics
from curvewatch.live.given import given_for
from curvewatch.observation import Observation
from curvewatch.runfile.trust import read
from curvewatch.tokens.tokenset import TokenSet


class Measuring:
    """From one observation after another to scalars.

    Args:
        tokens: The token set.
        chance: Bits.
        max_steps: Planned last step; None if open-ended.
        ngrams: N-gram surprisals that the run was given, as `curvewatch ngrams` writes them; they are not in its file.

    Raises:
        FileNotFoundError: If there is no such n-gram file.
        ValueError: If it is of another kind.
        TokenSetMismatchError: If it is of another set.
    """

    def __init__(
        self, tokens: TokenSet, chance: float, max_steps: int | None, ngrams: str | os.PathLike[str] | None = None
    ) -> None:
        given = given_for(Live(ngrams=ngrams), {"": tokens})[""]
        self._corpus_count_D = given.corpus_count_D
        self.live = LiveMetrics(
            len(tokens), chance, max_steps, types=given.types, ngram_surprisal_nN=given.ngram_surprisal_nN,
            tokens=tokens,
        )  # fmt: skip

    def update(self, step: int, observation: Observation, counts_D: NDArray[Any] | None) -> dict[str, float]:
        """The scalars after the next observation.

        Args:
            step: Updates done.
            observation: All tokens.
            counts_D: Occurrences of each distinct target in the training text; None if the run file has none.
        """
        return self.live.update(step, observation, counts_D if counts_D is not None else self._corpus_count_D).scalars


def counts_of(group: Any, rows: slice) -> list[NDArray[np.float64] | None]:
    """Occurrences of the distinct targets as they were known at some rows of a run file; None where they were not.

    Args:
        group: The set's.
        rows: Which.
    """
    n = len(range(*rows.indices(group["step"].shape[0])))
    if "corpus_count" in group:
        given_D = read(group["corpus_count"])
        if np.isfinite(given_D).all():
            return [given_D] * n
    if "training_count" in group:
        return [counts_D if np.isfinite(counts_D).all() else None for counts_D in read(group["training_count"], rows)]
    return [None] * n
