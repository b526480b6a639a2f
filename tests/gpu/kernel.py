"""How logits become scores: exact beside float64, and how long it takes beside cross-entropy."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from curvewatch.scoring.kernels import kernel_for
from curvewatch.scoring.logits import score_logits
from tests.gpu.report import Place, Report, card_needed

VOCABULARY = 50_257


def run_part(place: Place, report: Report) -> None:
    """Random, peaked, masked and broken rows in each dtype; times for three numbers of rows."""
    ways: dict[str, Callable[..., torch.Tensor]] = {"PyTorch's operations": score_logits}
    if place.card or os.environ.get("TRITON_INTERPRET") == "1":
        from curvewatch.scoring import fused

        ways["fused"] = fused.score_rows
        with report.check("it is the fused kernel that scores"):
            card_needed(place)
            assert kernel_for(place.device) is fused.score_rows
    for name, way in ways.items():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            with report.check(f"exact: {name}, {str(dtype).removeprefix('torch.')}") as seen:
                seen.append(exact(place, way, dtype))
        with report.check(f"rows without a distribution: {name}"):
            broken(place, way)
    with report.check("time beside cross-entropy") as seen:
        card_needed(place)
        ways["cross-entropy"] = lambda logits, target: functional.cross_entropy(logits, target, reduction="none")
        ways["cross-entropy of float32"] = lambda logits, target: functional.cross_entropy(
            logits.float(), target, reduction="none"
        )
        for rows in (256, 4096, 16_384):
            logits = torch.randn(rows, VOCABULARY, device=place.device, dtype=torch.bfloat16) * 4
            target = torch.randint(0, VOCABULARY, (rows,), device=place.device)
            for name, way in ways.items():
                taken = seconds(lambda way=way, logits=logits, target=target: way(logits, target))
                report.figure(f"{rows} rows of bf16 logits: {name}", taken * 1e3, "ms")
            copied = torch.empty_like(logits)
            report.figure(f"{rows} rows: a copy", seconds(lambda: copied.copy_(logits)) * 1e3, "ms")  # noqa: B023
        seen.append("see the figures")


def rows_of(place: Place, dtype: torch.dtype, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are flat, peaked, large, masked in part; and their targets, some ruled out."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(64, vocabulary, generator=generator) * torch.logspace(-2, 1.5, 64)[:, None]
    logits[8:16] += 200
    logits[16:24, ::3] = -math.inf
    logits[24:28, 1:] = -math.inf
    target = torch.randint(0, vocabulary, (64,), generator=generator)
    target[16:20] = 3
    target[24:28] = 0
    target[32:40] = logits[32:40].argmax(-1)
    return logits.to(place.device, dtype), target.to(place.device)


def exact(place: Place, way: Callable[..., Any], dtype: torch.dtype) -> str:
    """Against float64 of the same logits."""
    largest = {"surprisal": 0.0, "entropy": 0.0}
    for vocabulary in (5, 101, 4096, VOCABULARY):
        logits, target = rows_of(place, dtype, vocabulary)
        log_p = torch.log_softmax(logits.double().cpu(), -1)
        p = log_p.exp()
        surprisal = -log_p.gather(1, target.cpu()[:, None])[:, 0] / math.log(2)
        entropy = -(p * log_p.masked_fill(p == 0, 0)).sum(-1) / math.log(2)
        found = way(logits, target).double().cpu()
        finite = torch.isfinite(surprisal)
        assert torch.equal(torch.isinf(found[0]), ~finite), "a ruled out token is not infinitely surprising"
        largest["surprisal"] = max(largest["surprisal"], float((found[0] - surprisal)[finite].abs().max()))
        largest["entropy"] = max(largest["entropy"], float((found[2] - entropy).abs().max()))
        first = (logits == logits.max(-1, keepdim=True).values).cpu().int().argmax(-1)
        tied = (logits == logits.max(-1, keepdim=True).values).cpu().sum(-1) > 1
        right = (first == target.cpu()) | (tied & (found[1] > 0))
        assert torch.equal(found[1] > 0, right), "correct where it is not, or the reverse"
    assert largest["surprisal"] < 2e-4, largest
    assert largest["entropy"] < 2e-4, largest
    return ", ".join(f"{name} within {off:.1e} bit" for name, off in largest.items())


def broken(place: Place, way: Callable[..., Any]) -> None:
    """NaN, +inf, and nothing but -inf."""
    for value in (math.nan, math.inf):
        logits = torch.zeros(3, 5000, device=place.device)
        logits[1, 4321] = value
        found = way(logits, torch.tensor([0, 1, 2], device=place.device)).cpu().numpy()
        assert np.isnan(found[[0, 2], 1]).all(), f"{value}: {found}"
        assert found[1, 1] == 0, f"{value}: {found}"
        assert np.isfinite(found[:, [0, 2]]).all(), f"{value}: {found}"
    nothing = way(torch.full((2, 300), -math.inf, device=place.device), torch.tensor([0, 1], device=place.device))
    assert nothing[[0, 2]].isnan().all(), nothing
    assert not nothing[1].any(), nothing


def seconds(work: Callable[[], Any], rounds: int = 20) -> float:
    """The median time, after two rounds that don't count."""
    taken = []
    for turn in range(rounds + 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if turn >= 2:
            taken.append(time.perf_counter() - began)
    return float(np.median(taken))
