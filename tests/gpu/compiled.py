"""Compiled training and training in CUDA graphs: no graph more than without the watch, and the same bits."""

from __future__ import annotations

from dataclasses import replace

import torch

from curvewatch import Watch
from tests.gpu.report import Place, Report, card_needed
from tests.support.hosts import Watching, run
from tests.support.models import gpt2, random_tokens
from tests.support.recomputing import FLOAT32_BITS, plain_bits
from tests.support.trainings import Rows, Training


def run_part(place: Place, report: Report) -> None:
    """`torch.compile` in its modes; a training step captured whole and replayed."""
    backend = place.of("inductor", "aot_eager")
    base = Training(compiled="model", backend=backend, steps=4, log_every=2, device=place.device.type, bf16=True)
    cases = {
        "loop, torch.compile": ("loop", base),
        "trainer, torch_compile": ("trainer", base),
        "loop, compiled blocks": ("loop", replace(base, compiled="blocks")),
    }
    if place.card:
        cases["loop, reduce-overhead (CUDA graphs)"] = ("loop", replace(base, compile_mode="reduce-overhead"))
    for name, (host, training) in cases.items():
        with report.check(f"compiled: {name}") as seen:
            seen.append(compare(host, training, place, name))
    with report.check("a training step captured as a CUDA graph") as seen:
        card_needed(place)
        seen.append(captured(place))


def compare(host: str, training: Training, place: Place, name: str) -> str:
    """A compiled training alone and watched; how many graphs each made."""
    folder = place.folder / name.replace(" ", "-")
    graphs()
    alone = run(host, training, folder / "alone")
    made = graphs()
    watched = run(host, training, folder / "watched", Watching(random_tokens(), folder / "curves.h5"))
    made_watched = graphs()
    assert made > 0, "nothing was compiled"
    assert made_watched == made, f"{made} graphs without the watch, {made_watched} with it"
    assert not alone.differences(watched), f"differ: {', '.join(alone.differences(watched))[:200]}"
    return f"{made} graphs with and without"


def graphs() -> int:
    """Graphs compiled since the last call."""
    counters = torch._dynamo.utils.counters
    found: int = counters["stats"]["unique_graphs"]
    counters.clear()
    return found


def captured(place: Place) -> str:
    """Forward, backward and update in one graph, replayed with and without a watch that scores between replays."""
    weights = {}
    for watched in (False, True):
        # Dropout's stream is part of the graph: replays draw from it, and scoring must not.
        model = gpt2(dropout=0.1).to(place.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, capturable=True)
        rows = Rows(40, seed=21).ids.to(place.device).view(10, 4, -1)
        ids = rows[0].clone()
        torch.cuda.manual_seed(7)

        def step(model: torch.nn.Module = model, ids: torch.Tensor = ids, optimizer: torch.optim.Optimizer = optimizer):
            optimizer.zero_grad(set_to_none=True)
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        watch = None
        if watched:
            watch = Watch(random_tokens(), place.folder / "captured.h5", max_steps=10, schedule=2)
            watch.observe(model, 0)
        for turn in range(1, 11):
            ids.copy_(rows[turn - 1])
            graph.replay()
            if watch is not None:
                watch.observe(model, turn)
                last = plain_bits(model.eval(), random_tokens(), device=place.device)
                model.train()
        weights[watched] = [p.detach().clone() for p in model.parameters()]
        if watch is not None:
            watch.close()
            from curvewatch import open_run

            run_ = open_run(place.folder / "captured.h5")
            assert run_.steps.tolist() == [0, 2, 4, 6, 8, 10], run_.steps.tolist()
            off = float(abs(run_.surprisal[-1] - last).max())
            assert off <= FLOAT32_BITS, f"the last row is off by {off:.2g} bit"
    assert all(map(torch.equal, weights[False], weights[True])), "the weights differ"
    return f"6 rows between 10 replays, the last within {off:.2g} bit"
