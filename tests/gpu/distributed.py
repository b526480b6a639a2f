"""Ranks on accelerators: NCCL with as many ranks as there are cards (gloo on a CPU), data parallel and FSDP2."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from curvewatch import Scorer, open_run
from tests.gpu.report import Place, Report
from tests.support.hosts import Watching, run, shard
from tests.support.models import random_tokens
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

LAYOUTS = ("ddp", "fsdp2")


def run_part(place: Place, report: Report) -> None:
    """Each layout; with one card the collectives are NCCL's all the same."""
    ranks = max(1, torch.cuda.device_count()) if place.card else 2
    for layout in LAYOUTS:
        with report.check(f"{'NCCL' if place.card else 'gloo'}, {ranks} rank(s), {layout}") as seen:
            answers = on_ranks(ranks, train, layout, place.device.type, place.folder, timeout=120)
            for answer in answers:
                assert not answer["differences"], f"differ: {', '.join(answer['differences'])[:200]}"
            run_ = open_run(place.folder / f"{layout}.h5")
            assert run_.steps.tolist() == [0, 2, 4, 6], run_.steps.tolist()
            off = float(np.abs(run_.surprisal[-1] - answers[0]["last"]).max())
            assert off <= 2e-5, f"the last row is off by {off:.2g} bit"
            seen.append(f"as without the watch; the last row within {off:.2g} bit of one process's")
    with report.check("collectives of scoring between ranks") as seen:
        found = on_ranks(ranks, collectives, place.device.type, timeout=120)
        assert all(found), found
        seen.append("forced on, also with one rank")


def begin(device: str) -> None:
    """This rank's device and its group."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")


def train(layout: str, device: str, folder: Path) -> dict[str, Any]:
    """On one rank: the training alone and watched, and the trained weights scored by this process alone."""
    begin(device)
    deterministic()
    training = replace(Training(steps=6, log_every=2), device=device)

    def wrap(model: Any) -> Any:
        if layout == "ddp":
            return DistributedDataParallel(model)
        from torch.distributed.device_mesh import init_device_mesh

        return shard(model, init_device_mesh(device, (dist.get_world_size(),)))

    alone = run("loop", training, folder / "alone", wrap=wrap)
    watching = Watching(random_tokens(), folder / f"{layout}.h5", batch_size=3)
    watched = run("loop", training, folder / "watched", watching, wrap=wrap)
    model = training.model()
    model.load_state_dict(watched.weights)
    dist.destroy_process_group()
    last = Scorer(random_tokens(), batch_size=3).score(model).surprisal_bits
    return {"differences": alone.differences(watched), "last": last}


def collectives(device: str) -> bool:
    """What ranks agree on goes over the wire of the group, also where one rank makes the shortcut."""
    from unittest import mock

    from curvewatch.scoring import ranks

    begin(device)
    with mock.patch.object(ranks, "in_group", return_value=True):
        n = dist.get_world_size()
        return (
            ranks.smallest(5 + dist.get_rank()) == 5
            and ranks.all_true(True)
            and ranks.sum_in_place(torch.ones(3, 4)).tolist() == [[float(n)] * 4] * 3
            and ranks.from_first({"rank": dist.get_rank()}) == {"rank": 0}
        )


def deterministic() -> None:
    """Settings with which training repeats itself to the bit."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
