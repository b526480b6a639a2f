"""Which kernel turns logits into scores on a device: the fused one where it runs and is right, PyTorch's own else."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache

import torch

from curvewatch.scoring.logits import score_logits

logger = logging.getLogger("curvewatch")

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Largest difference to PyTorch's own operations, bits; rounding makes a tenth of it.
ROUNDING = 2e-4


@cache
def kernel_for(device: torch.device) -> Kernel:
    """The kernel for `device`, tried out once a process before it is trusted.

    Args:
        device: Where the logits will be.

    Returns:
        `kernel(logits_nV, target_n) -> scores_3n`, as `score_logits`; which one makes no difference but in rounding.
    """
    if device.type != "cuda":
        return score_logits
    try:
        # Triton comes with PyTorch for accelerators, and compiles by the machine's C compiler, which may be missing.
        from curvewatch.scoring.fused import score_rows

        off = _difference(score_rows, device)
    except Exception as error:
        logger.info("logits are scored by PyTorch's own operations: the fused kernel does not run here (%s)", error)
        return score_logits
    if not off <= ROUNDING:
        logger.warning("the fused kernel is off by %.2g bit on this device and is not used", off)
        return score_logits
    return score_rows


def _difference(kernel: Kernel, device: torch.device) -> float:
    """Largest difference of any score to PyTorch's own operations, on peaked, masked and ordinary rows."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(24, 5_003, generator=generator) * torch.logspace(-2, 1.5, 24)[:, None]
    logits[8:12, ::3] = -math.inf
    target = torch.randint(0, 5_003, (24,), generator=generator)
    target[::2] = logits[::2].argmax(dim=-1)
    largest = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given = logits.to(device, dtype), target.to(device)
        ours, plain = kernel(*given), score_logits(*given)
        same = ours == plain  # where both are infinite, too
        off = torch.where(same, torch.zeros_like(ours), (ours - plain).abs())
        # Equal logits may be ranked either way; elsewhere the first choice is the same.
        off[1, (given[0] == given[0].amax(dim=-1, keepdim=True)).sum(dim=-1) > 1] = 0
        largest.append(off.max())
    return float(torch.stack(largest).max())  # NaN, if any is
