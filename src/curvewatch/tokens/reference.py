"""Reference: what a base model says of a token set, for what a training changes against it.

An annotation: never a row of the run file (a row has a step, and forgetting counts would see it). Suffix: N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = "first"
"""The run's own first row: the model that the training began with."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The scores of a base model.

    Attributes:
        name: Of the model, or "first" for the run's own first row, which holds the scores.
        surprisal_N: Bits, float32, shape [N]; None for the first row.
        correct_N: Whether the target was the base's first choice, bool, shape [N]; None where that is not known, or
            for the first row.
    """

    name: str
    surprisal_N: NDArray[np.float32] | None = None
    correct_N: NDArray[np.bool_] | None = None

    def same_as(self, other: Reference | None) -> bool:
        """Whether it says the same."""
        if other is None:
            return False
        return (
            self.name == other.name
            and _same(self.surprisal_N, other.surprisal_N)
            and _same(self.correct_N, other.correct_N)
        )

    def check(self, n_tokens: int) -> None:
        """Makes sure that it fits a set.

        Raises:
            ValueError: Naming what does not.
        """
        for name, values in (("surprisal", self.surprisal_N), ("correct", self.correct_N)):
            if values is not None and values.shape != (n_tokens,):
                raise ValueError(f"reference: {values.size:,} values of {name}; the set has {n_tokens:,} tokens.")
        if (self.surprisal_N is None) != (self.name == FIRST):
            raise ValueError(
                f"reference {self.name!r}: the run's own first row, and nothing else, is called {FIRST!r} and has no "
                "scores."
            )


def _same(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
