"""How logits become surprisal, correctness and entropy. Suffixes: n rows of logits, V vocabulary."""

from __future__ import annotations

import math

import torch

BITS_PER_NAT = 1 / math.log(2)
# Logits are widened to float32 and worked on in blocks of rows of about this many elements, whatever their number: on
# a CPU few enough that a block stays in the cache (1 MB) from one operation to the next, on an accelerator (64 MB)
# enough to keep it busy.
CPU_BLOCK_ELEMENTS = 1 << 18
ACCELERATOR_BLOCK_ELEMENTS = 1 << 24
# Natural log of a probability that is 0 in float32. It stands for -inf where -inf would be multiplied by 0.
LOG_OF_NOTHING = -1e4


def score_logits(logits_nV: torch.Tensor, target_n: torch.Tensor) -> torch.Tensor:
    """Surprisal, correctness and entropy of each row of logits, in float32 whatever their dtype.

    Args:
        logits_nV: Any floating dtype; -inf is a token ruled out.
        target_n: Ids, int64.

    Returns:
        float32, shape [3, n]: surprisal (bits), correct (0 or 1), entropy (bits).
    """
    scores_3n = torch.empty(3, len(target_n), dtype=torch.float32, device=logits_nV.device)
    elements = CPU_BLOCK_ELEMENTS if logits_nV.device.type == "cpu" else ACCELERATOR_BLOCK_ELEMENTS
    rows = max(1, elements // max(1, logits_nV.shape[-1]))
    for start in range(0, len(target_n), rows):
        block = slice(start, start + rows)
        _score_block(logits_nV[block], target_n[block], scores_3n[:, block])
    return scores_3n


def boundary_bits(logits_nV: torch.Tensor, begins_V: torch.Tensor) -> torch.Tensor:
    """Surprisal of the next token's being one of some tokens, whichever.

    Args:
        logits_nV: As for `score_logits`.
        begins_V: Those tokens, bool, shape [V].

    Returns:
        Bits, float32, shape [n]; inf where they have no probability at all.
    """
    bits_n = torch.empty(len(logits_nV), dtype=torch.float32, device=logits_nV.device)
    elements = CPU_BLOCK_ELEMENTS if logits_nV.device.type == "cpu" else ACCELERATOR_BLOCK_ELEMENTS
    rows = max(1, elements // max(1, logits_nV.shape[-1]))
    for start in range(0, len(bits_n), rows):
        block_nV = logits_nV[start : start + rows].float()
        all_n = block_nV.logsumexp(dim=-1)
        # Their own sum, not all less the others': what is improbable stays exact.
        some_n = block_nV.masked_fill(~begins_V, -math.inf).logsumexp(dim=-1)
        bits_n[start : start + rows] = (all_n - some_n).clamp_(min=0) * BITS_PER_NAT
    return bits_n


def _score_block(logits_nV: torch.Tensor, target_n: torch.Tensor, out_3n: torch.Tensor) -> None:
    largest_n1, argmax_n1 = logits_nV.max(dim=-1, keepdim=True)
    # Shifted by the maximum, so that the log of the sum is at most log(V): large logits cost no precision.
    shifted_nV = logits_nV.float() - largest_n1.float()
    target_n1 = target_n[:, None]
    target_shifted_n = shifted_nV.gather(-1, target_n1)[:, 0]
    # A token that is ruled out adds nothing to the entropy, where 0 * -inf would be NaN.
    shifted_nV.clamp_(min=LOG_OF_NOTHING)
    weight_nV = shifted_nV.exp()
    sum_n = weight_nV.sum(dim=-1)
    log_sum_n = sum_n.log()
    mean_shifted_n = weight_nV.mul_(shifted_nV).sum(dim=-1) / sum_n
    out_3n[0] = (log_sum_n - target_shifted_n) * BITS_PER_NAT
    # A row with NaN has no arg-max to be right about.
    out_3n[1] = (argmax_n1 == target_n1)[:, 0] & torch.isfinite(log_sum_n)
    # -sum p ln p = ln(sum of weights) - mean of the shifted logits; rounding must not take it below 0.
    out_3n[2] = (log_sum_n - mean_shifted_n).clamp_(min=0) * BITS_PER_NAT
