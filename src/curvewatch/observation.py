"""Observation: what is measured for all scored tokens at one training step. Suffix: N scored tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observation:
    """What was measured for all N tokens at one step.

    Attributes:
        surprisal_bits: -log2 p(token | context), float32, shape [N]. NaN where the model's logits are not numbers,
            inf where it gives the token no probability at all.
        correct: Whether the target is the arg-max (the first one, among equals), bool, shape [N].
        entropy_bits: Entropy of the predicted distribution, float32, shape [N].
    """

    surprisal_bits: NDArray[np.float32]
    correct: NDArray[np.bool_]
    entropy_bits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.surprisal_bits)
