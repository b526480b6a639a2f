"""What the paper's 222 observations cost in a real GPT-2 training: the same run with and without the watch."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from curvewatch import Live, Schedule, TokenSet, Watch, open_run
from tests.gpu.report import Place, Report

VOCABULARY = 50_257
CONTEXT = 128


def run_part(place: Place, report: Report) -> None:
    """Steps by themselves, and as many with a row at every other."""
    with report.check("the paper's rows in a GPT-2 124M training") as seen:
        seen.append(overhead(place, report))


def overhead(place: Place, report: Report) -> str:
    """Batches of 64 sequences of 128 in bf16 autocast; 10,000 tokens, ten in each sequence, with all live metrics."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.use_deterministic_algorithms(False)
    n_rows = place.of(222, 3)
    n_steps, batch = 2 * (n_rows - 1), place.of(64, 2)
    shape: dict[str, Any] = place.of({}, {"n_layer": 1, "n_embd": 64, "n_head": 2, "vocab_size": 1000})
    config = GPT2Config(n_positions=CONTEXT, **shape)
    rng = np.random.default_rng(0)
    # Frequencies as words have them: what is learned at once is which tokens are frequent.
    odds = 1 / np.arange(1, config.vocab_size + 1)
    ids = rng.choice(config.vocab_size, (place.of(1000, 20), CONTEXT), p=odds / odds.sum())
    tokens = TokenSet.from_sequences(ids, per_sequence=10, vocab_size=config.vocab_size)
    pool = torch.from_numpy(rng.choice(config.vocab_size, (64 * batch, CONTEXT), p=odds / odds.sum()))
    pool = pool.to(place.device).view(64, batch, CONTEXT)
    taken, weights = {}, {}
    path = place.folder / "overhead.h5"
    for watched in (False, True):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).to(place.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, **({"fused": True} if place.card else {}))
        watch: Any = nullcontext()
        if watched:
            live = Live(token_counts="training")
            watch = Watch(tokens, path, max_steps=n_steps, schedule=Schedule.every(2), live=live, log=lambda *_: None)
        with watch:
            if watched:
                with torch.autocast(place.device.type, torch.bfloat16):
                    watch.observe(model, 0)
            for step in range(1, n_steps + 1):
                if step == 11:  # what is set up once is not counted
                    synchronize(place)
                    began = time.perf_counter()
                with torch.autocast(place.device.type, torch.bfloat16):
                    loss = model(input_ids=pool[step % 64], labels=pool[step % 64]).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if watched:
                    watch.count(pool[step % 64])
                    # In the precision that is trained in, as the hosts' Trainers have it by themselves.
                    with torch.autocast(place.device.type, torch.bfloat16):
                        watch.observe(model, step)
            synchronize(place)
            if n_steps > 11:
                taken[watched] = time.perf_counter() - began
        weights[watched] = float(sum(p.detach().double().sum() for p in model.parameters()))
    run = open_run(path)
    assert len(run.steps) == n_rows, f"{len(run.steps)} rows"
    if place.card:
        timed = n_steps - 10
        rows = timed // 2
        a_step = taken[False] / timed
        a_row = (taken[True] - taken[False]) / rows
        report.figure("a training step", a_step * 1e3, "ms")
        report.figure("an observation of 10,000 tokens", a_row * 1e3, "ms")
        report.figure("222 observations", 222 * a_row, "s")
        report.figure("their share of a million such steps", 222 * a_row / (1e6 * a_step), "")
    return f"{n_rows} rows in {n_steps} steps; sums of all weights {weights[False]:.6f} and {weights[True]:.6f}"


def synchronize(place: Place) -> None:
    """Waits for the device."""
    if place.card:
        torch.cuda.synchronize()
