"""Batches are followed from the device, and a base runs beside the model: exact, and training is left alone."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch

from curvewatch import Live, Scorer, fingerprints, open_run
from curvewatch.scoring.batches import Batches
from curvewatch.scoring.roads import plain_logits
from curvewatch.watch.trained_on import TrainedOn
from tests.gpu.report import Place, Report
from tests.support.hosts import HOSTS, Watching, run
from tests.support.models import gpt2, random_tokens
from tests.support.passages import exposures, in_rows, passages_of
from tests.support.trainings import Training

KL_BITS = 2e-5
"""Rounding of float32 against float64."""


def run_part(place: Place, report: Report) -> None:
    """Every host with passages and fingerprints, batches that are overwritten, and the divergence from a base."""
    for host in HOSTS:
        with report.check(f"bit for bit, and all of the batches told: {host}") as seen:
            seen.append(host_followed(host, place))
    with report.check("a batch that is overwritten as soon as it was counted") as seen:
        seen.append(overwritten(place))
    with report.check("divergence from a base beside float64") as seen:
        seen.append(divergence(place))


def host_followed(host: str, place: Place) -> str:
    """One host's training alone, and followed."""
    training = Training(steps=7, rows=24, log_every=2, shuffle=False, accumulate=2, device=place.device.type)
    folder = place.folder / f"followed-{host}"
    play = partial(run, host, training)
    alone = play(folder / "alone")
    live = Live(exposures=passages_of(training), batches=True, reference="first")
    followed = play(folder / "followed", Watching(random_tokens(), folder / "curves.h5", live=live))
    assert not alone.differences(followed), f"differ: {', '.join(alone.differences(followed))[:200]}"
    for name, row in (("one", 1), ("nine", 9)):
        assert exposures(folder / "curves.h5", name) == in_rows(training, row), name
    trained = open_run(folder / "curves.h5").trained
    assert trained is not None
    order = np.arange(training.steps * training.batch * 2) % training.rows
    expected = fingerprints(training.data().ids.numpy())[order]
    assert trained.fingerprint_S.tolist() == expected.tolist(), "other sequences"
    return f"{len(order)} sequences"


def overwritten(place: Place) -> str:
    """Ids are sent to the host behind what the stream has to do, and before what comes after."""
    training = Training(rows=4096)
    ids = training.data().ids
    on = TrainedOn(passages_of(training), fingerprinted=True)
    on.begin(0)
    a = torch.randn(2048, 2048, device=place.device) if place.card else torch.randn(64, 64)
    buffer = torch.empty(512, ids.shape[1], dtype=ids.dtype, device=place.device)
    for step in range(1, 9):
        for _ in range(20):
            a = a @ a.softmax(dim=-1)
        buffer.copy_(ids[512 * (step - 1) : 512 * step])
        on.add(buffer, torch.ones_like(buffer), buffer)
        buffer.zero_()
        on.stamp(step)
    part = on.part(8)
    assert part is not None
    assert part.known
    assert part.fingerprint_S.tolist() == fingerprints(ids.numpy()).tolist()
    assert (part.step_E.tolist(), part.count_E.tolist()) == ([1, 1], [1, 1])
    return f"{len(ids)} sequences"


def divergence(place: Place) -> str:
    """Each token's divergence, beside that of two models in float64 on the CPU."""
    base, model, tokens = gpt2(seed=1), gpt2(seed=2), random_tokens(64, 30)
    scorer, of_base = Scorer(tokens), Scorer(tokens)
    live, frozen = copy.deepcopy(model).to(place.device), copy.deepcopy(base).to(place.device)
    scorer.prepare(live)
    of_base.prepare(frozen)
    scorer.base = lambda batch: of_base.logits(frozen, batch)
    found = scorer.score(live).kl_bits
    assert found is not None
    base, model, off = base.double().eval(), model.double().eval(), 0.0
    batches = Batches(tokens, 8)
    with torch.no_grad():
        for index in range(len(batches)):
            batch = batches.build(index, torch.device("cpu"))
            p, q = (plain_logits(one, batch)[batch.keep].log_softmax(-1) for one in (base, model))
            exact = (p.exp() * (p - q)).sum(-1) / np.log(2)
            off = max(off, float(np.abs(exact.numpy() - found[batch.token_index.numpy()]).max()))
    assert off <= KL_BITS, f"off by {off:.2g} bit"
    return f"within {off:.2g} bit"
