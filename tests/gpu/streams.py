"""Streams: scores don't depend on what else the device is doing, or on the stream that training runs in."""

from __future__ import annotations

import numpy as np
import torch

from curvewatch import Scorer
from tests.gpu.report import Place, Report, card_needed
from tests.support.models import gpt2, random_tokens
from tests.support.trainings import Rows


def run_part(place: Place, report: Report) -> None:
    """A busy side stream; training in a stream of its own, whose last update is still under way when scoring begins."""
    with report.check("scores beside a busy stream") as seen:
        card_needed(place)
        seen.append(busy(place))
    with report.check("scores in the stream of training, without waiting in between") as seen:
        card_needed(place)
        seen.append(own_stream(place))
    with report.check("scoring twice gives the same bits") as seen:
        seen.append(twice(place))


def twice(place: Place) -> str:
    """The same weights, the same scores."""
    model, tokens = gpt2().to(place.device), random_tokens(64, 30)
    scorer = Scorer(tokens)
    first, second = scorer.score(model), scorer.score(model)
    for one, two in zip(vars(first).values(), vars(second).values(), strict=True):
        assert np.array_equal(one, two)
    return f"{len(tokens)} tokens"


def busy(place: Place) -> str:
    """Matrix products in a side stream all the while."""
    model, tokens = gpt2().to(place.device), random_tokens(512, 30, None)
    scorer = Scorer(tokens, batch_size=16)
    idle = scorer.score(model)
    side, big = torch.cuda.Stream(), torch.randn(4096, 4096, device=place.device)
    with torch.cuda.stream(side):
        for _ in range(400):
            big = torch.nn.functional.normalize(big @ big, dim=0)
    pending = not side.query()
    found = scorer.score(model)
    still = not side.query()
    assert pending, "the side stream was not busy"
    assert np.array_equal(idle.surprisal_bits, found.surprisal_bits), "scores differ"
    return "busy to the end" if still else "busy at the beginning"


def own_stream(place: Place) -> str:
    """A slow update is queued in the stream of training, and the watch scores at once: it must wait for it."""
    tokens, rows = random_tokens(64, 30, None), Rows(4, seed=1).ids.to(place.device)
    found = {}
    for wait in (True, False):
        model = gpt2().to(place.device)
        scorer = Scorer(tokens)
        scorer.prepare(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        slow = torch.randn(8192, 8192, device=place.device)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(3):
                for _ in range(20):
                    slow = torch.nn.functional.normalize(slow @ slow, dim=0)
                optimizer.zero_grad()
                model(input_ids=rows, labels=rows).loss.backward()
                optimizer.step()
            if wait:
                torch.cuda.synchronize()
            found[wait] = scorer.score(model).surprisal_bits
        torch.cuda.synchronize()
        after = scorer.score(model).surprisal_bits
        assert np.array_equal(after, found[wait]), "scores are not of the weights after the update"
    assert np.array_equal(found[True], found[False])
    return "equal to those after waiting"
