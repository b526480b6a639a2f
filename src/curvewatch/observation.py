"""Observation: what is measured for all scored tokens at one training step, and how logits become it.

Suffixes: n rows of logits, V vocabulary, N scored tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BITS_PER_NAT = 1 / math.log(2)
# Logits are widened to float32 in blocks of rows of at most this many elements (64 MB), whatever their number.
BLOCK_ELEMENTS = 1 << 24


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


def score_logits(logits_nV: torch.Tensor, target_n: torch.Tensor) -> torch.Tensor:
    """Surprisal, correctness and entropy of each row of logits, in float32 whatever their dtype.

    Args:
        logits_nV: Any floating dtype; -inf is a token ruled out.
        target_n: Ids, int64.

    Returns:
        float32, shape [3, n]: surprisal (bits), correct (0 or 1), entropy (bits).
    """
    scores_3n = torch.empty(3, len(target_n), dtype=torch.float32, device=logits_nV.device)
    rows = max(1, BLOCK_ELEMENTS // max(1, logits_nV.shape[-1]))
    for start in range(0, len(target_n), rows):
        block = slice(start, start + rows)
        _score_block(logits_nV[block], target_n[block], scores_3n[:, block])
    return scores_3n


def _score_block(logits_nV: torch.Tensor, target_n: torch.Tensor, out_3n: torch.Tensor) -> None:
    largest_n1, argmax_n1 = logits_nV.max(dim=-1, keepdim=True)
    # Shifted by the maximum, so that the log-sum-exp is at most log(V): large logits cost no precision.
    shifted_nV = logits_nV.float() - largest_n1.float()
    target_n1 = target_n[:, None]
    target_shifted_n = shifted_nV.gather(-1, target_n1)[:, 0]
    log_sum_n = torch.logsumexp(shifted_nV, dim=-1)
    log_p_nV = shifted_nV.sub_(log_sum_n[:, None])
    out_3n[0] = (log_sum_n - target_shifted_n) * BITS_PER_NAT
    # A row with NaN has no arg-max to be right about.
    out_3n[1] = (argmax_n1 == target_n1)[:, 0] & torch.isfinite(log_sum_n)
    # entr(p) = -p ln p with entr(0) = 0: a token that is ruled out adds nothing, where p * log p would be NaN.
    out_3n[2] = torch.special.entr(log_p_nV.exp_()).sum(dim=-1) * BITS_PER_NAT
