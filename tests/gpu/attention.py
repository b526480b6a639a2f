"""Scores are the model's whatever attention kernel it uses, beside a float64 model of the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from curvewatch import Scorer
from tests.gpu.report import Place, Report, card_needed
from tests.support.models import gpt2, random_tokens
from tests.support.recomputing import BFLOAT16_BITS, FLOAT32_BITS, plain_bits

KERNELS = ("MATH", "EFFICIENT_ATTENTION", "FLASH_ATTENTION", "CUDNN_ATTENTION")


def run_part(place: Place, report: Report) -> None:
    """Each kernel in each precision that it has."""
    for ragged in (True, False):
        kernels(place, report, ragged)


def kernels(place: Place, report: Report, ragged: bool) -> None:
    """With a mask over padding, and without one, which some kernels can't take."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    tokens = random_tokens(9, 30, None, ragged=ragged)
    padded = ", padded" if ragged else ""
    settings: dict[str, Any] = {"n_embd": 128, "n_head": 2, "n_positions": 64, "initializer_range": 0.1}
    exact = plain_bits(gpt2(attn_implementation="eager", **settings).double().eval(), tokens)
    for dtype, bits in ((torch.float32, 4 * FLOAT32_BITS), (torch.bfloat16, 16 * BFLOAT16_BITS)):
        model = gpt2(attn_implementation="sdpa", **settings).to(place.device, dtype)
        plain = plain_bits(model.eval(), tokens, device=place.device)
        for kernel in KERNELS:
            with report.check(f"attention{padded}: {kernel}, {str(dtype).removeprefix('torch.')}") as seen:
                if kernel != "MATH":
                    card_needed(place)
                with sdpa_kernel(getattr(SDPBackend, kernel)):
                    try:
                        found = Scorer(tokens).score(model).surprisal_bits
                    except Exception as error:
                        if "No available kernel" in str(error):
                            seen.append("PyTorch has no such kernel for these shapes, and says so")
                            continue
                        raise
                off = float(np.abs(found - exact).max())
                own = float(np.abs(found - plain).max())
                assert off <= bits, f"off by {off:.2g} bit"
                seen.append(f"within {off:.2g} bit of float64, {own:.2g} of the model called one sequence at a time")
