"""How many sequences fit in a batch, and what running out of memory looks like."""

from __future__ import annotations

import numpy as np
import torch

from curvewatch.scoring.survey import Survey
from curvewatch.tokens.tokenset import TokenSet

# Fed tokens in a batch. On a CPU larger batches only leave the cache; an accelerator needs them to be busy.
CPU_TOKENS = 1024
ACCELERATOR_TOKENS = 16_384
# Bytes for the logits of a batch and the work on them.
CPU_LOGIT_BYTES = 256 << 20
ACCELERATOR_LOGIT_BYTES = 2 << 30
# A logit's: on a CPU as the model gives it, widened, and exponentiated. On an accelerator it is read where it lies, but
# some models hold two copies themselves, to scale or cap them.
CPU_BYTES = 12
ACCELERATOR_COPIES = 2

# How allocators that have no exception of their own say it.
SIGNS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def automatic_batch_size(tokens: TokenSet, found: Survey, device: torch.device) -> int:
    """Sequences in a batch such that its logits stay within a fixed part of memory.

    Args:
        tokens: What is scored.
        found: What the model's survey found.
        device: Where the model is.

    Returns:
        At least 1.
    """
    fed = max(1, tokens.context - 1)
    scored = int(np.bincount(tokens.sequence_index).max())
    n_rows = tokens.n_sequences
    if tokens.masking is not None:
        fed, n_rows = tokens.context, tokens.masking.n_rows(tokens)
        scored = -(-len(tokens) // n_rows)
    if tokens.encoder is not None:
        fed += tokens.encoder.context
    if tokens.annotations.boundary is not None:
        fed += 1
        scored = min(2 * scored, fed)  # and the places behind them
    kept = max(1, tokens.context - 1) if found.road == "full" else scored
    token_budget, byte_budget, logit_bytes = CPU_TOKENS, CPU_LOGIT_BYTES, CPU_BYTES
    if device.type != "cpu":
        token_budget, byte_budget = ACCELERATOR_TOKENS, ACCELERATOR_LOGIT_BYTES
        logit_bytes = ACCELERATOR_COPIES * getattr(torch, found.compute_dtype).itemsize
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        byte_budget = min(byte_budget, free // 8)
    by_logits = byte_budget // (logit_bytes * kept * found.vocab_size)
    return max(1, min(token_budget // fed, by_logits, n_rows))


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a failed allocation, on an accelerator or on the CPU."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS):
            return True
        error = error.__cause__
    return False
