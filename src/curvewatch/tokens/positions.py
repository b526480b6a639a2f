"""Seeded choice of the scored positions. Suffixes: S sequences, L the longest sequence, N scored tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Random keys are drawn for this many positions at a time (float64: 32 MB), however many sequences there are.
BLOCK_POSITIONS = 1 << 22


def choose_positions(
    lengths_S: NDArray[np.int64], per_sequence: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which positions of each sequence are scored; never position 0, which has nothing before it.

    Args:
        lengths_S: Tokens in each sequence.
        per_sequence: How many to draw in each, without repetition (all, where it has fewer); None takes all.
        rng: Where the draw comes from.

    Returns:
        Sequence and position of each scored token, both shape [N], by sequence, then by position.
    """
    n_sequences, longest = len(lengths_S), int(lengths_S.max(initial=0))
    sequence_blocks, position_blocks = [], []
    step = max(1, BLOCK_POSITIONS // max(1, longest))
    for start in range(0, n_sequences, step):
        lengths_B = lengths_S[start : start + step]
        places_L = np.arange(1, max(longest, 1))
        chosen_BL = places_L[None, :] < lengths_B[:, None]
        if per_sequence is not None and per_sequence < len(places_L):
            keys_BL = rng.random(chosen_BL.shape)
            keys_BL[~chosen_BL] = np.inf
            # The k smallest keys of a row are k positions drawn without repetition.
            kth_B = np.partition(keys_BL, per_sequence - 1, axis=1)[:, per_sequence - 1]
            chosen_BL &= keys_BL <= kth_B[:, None]
        rows, columns = np.nonzero(chosen_BL)
        sequence_blocks.append(rows + start)
        position_blocks.append(places_L[columns])
    if not sequence_blocks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(sequence_blocks), np.concatenate(position_blocks)
