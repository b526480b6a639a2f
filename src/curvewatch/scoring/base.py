"""A base model beside the live one: its logits for the same batches, and how far the live model has gone from it.

Suffixes: n wanted places, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from curvewatch.scoring.batches import Batch
from curvewatch.scoring.logits import ACCELERATOR_BLOCK_ELEMENTS, BITS_PER_NAT, CPU_BLOCK_ELEMENTS

BaseLogits = Callable[[Batch], torch.Tensor]
"""`base(batch) -> logits`, shape [n, V]: of the base model, left as it was."""


def kl_bits(base_nV: torch.Tensor, logits_nV: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the live model's prediction from the base's: sum p_base log2(p_base / p).

    Args:
        base_nV: Logits of the base, any floating dtype.
        logits_nV: Of the live model.

    Returns:
        Bits, float32, shape [n]; inf where the live model rules out what the base does not.
    """
    bits_n = torch.empty(len(logits_nV), dtype=torch.float32, device=logits_nV.device)
    elements = CPU_BLOCK_ELEMENTS if logits_nV.device.type == "cpu" else ACCELERATOR_BLOCK_ELEMENTS
    rows = max(1, elements // max(1, logits_nV.shape[-1]))
    for start in range(0, len(bits_n), rows):
        block = slice(start, start + rows)
        log_base_nV = base_nV[block].to(logits_nV.device).float().log_softmax(dim=-1)
        log_p_nV = logits_nV[block].float().log_softmax(dim=-1)
        # What the base rules out adds nothing, whatever the model says of it.
        ratio_nV = (log_base_nV - log_p_nV).masked_fill_(log_base_nV == -math.inf, 0)
        bits_n[block] = (log_base_nV.exp() * ratio_nV).sum(dim=-1).clamp_(min=0) * BITS_PER_NAT
    return bits_n


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """A PEFT model without its adapters; which of its weights are trained stays as it is.

    Raises:
        ValueError: If it has none.
    """
    off: Callable[[], AbstractContextManager[Any]] | None = getattr(model, "disable_adapter", None)
    if off is None:
        raise ValueError(
            f"reference='adapters off': the model ({type(model).__name__}) has no adapters to switch off. Give a PEFT "
            'model, or reference="first".'
        )
    trained = [(p, p.requires_grad) for p in model.parameters()]
    try:
        with off():
            yield
    finally:
        # Switching them on again would also train those that the script has frozen.
        for p, flag in trained:
            p.requires_grad_(flag)
