"""Surprisal, correctness and entropy of each row of logits in one reading of them, as a Triton kernel.

PyTorch's own operations read and write a block of logits about ten times over; where the head's product is quick, that
is most of what scoring costs. Here each program reads one row once, in its own dtype, and keeps for each lane the
largest logit so far, where it was, the sum of weights and the sum of weighted logits (an online softmax).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Columns that a program reads at once, and its warps.
COLUMNS = 4096
WARPS = 8
READ = (torch.bfloat16, torch.float16, torch.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _score_row(logits, stride, target, out, n, V, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * stride
    lane = tl.arange(0, COLUMNS)
    # A finite number below all logits, so that lanes that see only -inf weigh nothing and make no NaN.
    largest = tl.full([COLUMNS], -1e30, tl.float32)
    at = tl.full([COLUMNS], 2147483647, tl.int32)
    weight = tl.zeros([COLUMNS], tl.float32)
    weighted = tl.zeros([COLUMNS], tl.float32)
    for first in range(0, V, COLUMNS):
        column = first + lane
        x = tl.load(start + column, mask=column < V, other=float("-inf")).to(tl.float32)
        now = tl.maximum(largest, x)
        at = tl.where(x > largest, column, at)
        fall = largest - now
        shrink = tl.exp(fall)
        # A token that is ruled out adds nothing to the entropy, where 0 * -inf would be NaN.
        shifted = tl.maximum(x - now, -1e4, propagate_nan=tl.PropagateNan.ALL)
        e = tl.exp(shifted)
        weighted = shrink * (weighted + fall * weight) + e * shifted
        weight = shrink * weight + e
        largest = now
    top = tl.max(largest, axis=0)
    first_top = tl.min(tl.where(largest == top, at, 2147483647), axis=0)
    fall = largest - top
    shrink = tl.exp(fall)
    sum_weighted = tl.sum(tl.where(weight > 0, shrink * (weighted + fall * weight), weight), axis=0)
    sum_weight = tl.sum(shrink * weight, axis=0)
    # A row without a finite logit has no distribution.
    sum_weight = tl.where(sum_weight > 0, sum_weight, float("nan"))
    log_sum = tl.log(sum_weight)
    wanted = tl.load(target + row)
    x_wanted = tl.load(start + wanted).to(tl.float32)
    BITS: tl.constexpr = 1.4426950408889634
    tl.store(out + row, (log_sum - (x_wanted - top)) * BITS)
    right = (first_top == wanted) & (sum_weight < float("inf"))
    tl.store(out + n + row, tl.where(right, 1.0, 0.0))
    entropy = log_sum - sum_weighted / sum_weight
    entropy = tl.where(entropy < 0, 0.0, entropy)
    tl.store(out + 2 * n + row, entropy * BITS)


def score_rows(logits_nV: torch.Tensor, target_n: torch.Tensor) -> torch.Tensor:
    """What `score_logits` gives, on an accelerator.

    Args:
        logits_nV: bfloat16, float16 or float32 (others are made float32); -inf is a token ruled out.
        target_n: Ids, int64.

    Returns:
        float32, shape [3, n]: surprisal (bits), correct (0 or 1), entropy (bits).
    """
    if logits_nV.dtype not in READ or logits_nV.stride(-1) != 1:
        logits_nV = logits_nV.to(logits_nV.dtype if logits_nV.dtype in READ else torch.float32).contiguous()
    n, V = logits_nV.shape
    scores_3n = torch.empty(3, n, dtype=torch.float32, device=logits_nV.device)
    if n:
        with torch.cuda.device_of(logits_nV):  # type: ignore[no-untyped-call]
            _score_row[(n,)](
                logits_nV, logits_nV.stride(0), target_n, scores_3n, n, V, COLUMNS=COLUMNS, num_warps=WARPS
            )
    return scores_3n
