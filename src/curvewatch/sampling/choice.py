"""The choice of the next token from logits. In NumPy, in double precision, so that it is the same on every device.

Suffixes: B rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def choose(
    logits_BV: NDArray[np.floating], uniform_B: NDArray[np.float64], temperature: float, top_k: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """One token a row, by inverting the distribution at a uniform number, or the first choice.

    Args:
        logits_BV: Of the next token; -inf for those that are never chosen.
        uniform_B: From 0 to below 1; not used where `temperature` is 0.
        temperature: 0 takes the first choice (the lowest id of several).
        top_k: As in `Prompts`.

    Returns:
        Ids, shape [B], and whether there was a choice: False (and id 0) where a row's logits have a NaN or are
        infinite.
    """
    top_B = logits_BV.max(axis=1)  # NaN if there is one
    fine_B = np.isfinite(top_B)
    safe_BV = np.where(fine_B[:, None], logits_BV, 0).astype(np.float64)
    if temperature == 0:
        return np.where(fine_B, safe_BV.argmax(axis=1), 0), fine_B
    if top_k is not None and top_k < safe_BV.shape[1]:
        kth_B = np.partition(safe_BV, -top_k, axis=1)[:, -top_k]
        safe_BV = np.where(safe_BV >= kth_B[:, None], safe_BV, -np.inf)
    with np.errstate(over="ignore", under="ignore"):
        mass_BV = np.exp((safe_BV - safe_BV.max(axis=1, keepdims=True)) / temperature).cumsum(axis=1)
    # Of the largest number below 1 too the product lies below the total, so that the token has mass of its own.
    at_B = uniform_B * mass_BV[:, -1]
    return np.where(fine_B, (mass_BV <= at_B[:, None]).sum(axis=1), 0), fine_B


def uniform(seed: int, step: int, prompt_index: int, n: int) -> NDArray[np.float64]:
    """The draws for one prompt at one step, from 0 to below 1, from a stream of their own; shape [n]."""
    mixed = np.random.SeedSequence([seed, step, prompt_index]).generate_state(1, np.uint64)[0]
    generator = torch.Generator("cpu").manual_seed(int(mixed) >> 1)
    drawn: NDArray[np.float64] = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu").numpy()
    return drawn
