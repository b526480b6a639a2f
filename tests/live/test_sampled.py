"""Of a very large set the smoothed curves of a random sample are followed live: the same as of a set of just those."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from curvewatch import Live, Observation, TokenSet
from curvewatch.live import SmoothedMetrics, smoothed
from curvewatch.live.given import given_for
from curvewatch.live.showing import Showing
from curvewatch.measures.frequency import TargetTypes

N, KEPT, CHANCE = 900, 300, 6.0
STEPS = [0, *range(1, 200, 4)]


def row(step: int, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(step)
    when = np.linspace(10, 300, n)
    return (CHANCE / (1 + np.exp((step - when) / 20)) + rng.uniform(0, 0.3, n)).astype(np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothed, "MOST_TOKENS", N - 1)
    monkeypatch.setattr(smoothed, "SAMPLED", KEPT)


def test_a_sample_says_what_a_set_of_just_those_tokens_says(monkeypatch: pytest.MonkeyPatch) -> None:
    types = TargetTypes.of(np.arange(N) % 40)
    rank = TargetTypes.of_values(np.arange(N) % 7)
    counts = np.arange(1, 41)
    sampled = SmoothedMetrics(N, CHANCE, STEPS[-1], row, types, {"context_length": rank})
    which_n = sampled.which_n
    assert which_n is not None
    assert len(np.unique(which_n)) == KEPT
    assert (np.diff(which_n) > 0).all()
    some = TargetTypes(types.ids_D, types.index_N[which_n])
    ranks = {"context_length": TargetTypes(rank.ids_D, rank.index_N[which_n])}
    alone = SmoothedMetrics(KEPT, CHANCE, STEPS[-1], lambda step: row(step)[which_n], some, ranks)
    assert alone.which_n is None
    for step in STEPS:
        sampled.advance(step, row(step))
        alone.advance(step, row(step)[which_n])
    found = sampled.refit(STEPS[-1], row(STEPS[-1]), counts)
    expected = alone.refit(STEPS[-1], row(STEPS[-1])[which_n], counts)
    assert found.scalars.pop("smoothed/sampled_tokens") == KEPT
    assert len(found.scalars) > 12
    assert found.scalars == expected.scalars
    again = SmoothedMetrics(N, CHANCE, STEPS[-1], row, types, {"context_length": rank})
    for step in STEPS:  # resumed from the file
        again.replay(step, row(step), STEPS[-1])
    assert again.refit(STEPS[-1], row(STEPS[-1]), counts).scalars == found.scalars | {"smoothed/sampled_tokens": KEPT}


def test_it_is_said_once_and_in_every_row(caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenSet.from_sequences(np.random.default_rng(0).integers(0, 64, (90, 11)), vocab_size=64)
    assert len(tokens) == N
    live = Live(token_counts=None, watched=0)
    with caplog.at_level(logging.INFO, "curvewatch"):
        showing = Showing({"eval": tokens}, {"eval": CHANCE}, given_for(live, {"eval": tokens}), live, 200, 197,
                          lambda _, step: row(step))  # fmt: skip
        rows = [showing.update(step, {"eval": Observation(row(step), row(step) < 3, row(step))}, {}) for step in STEPS]
    assert "for a random sample of 300 of its 900 tokens" in caplog.text
    told = [one.scalars for one in rows if "curvewatch/eval/smoothed/step" in one.scalars]
    assert len(told) > 10
    assert all(one["curvewatch/eval/smoothed/sampled_tokens"] == KEPT for one in told)
    showing.close(tables=True)
    assert all(len(one.scalars) > 5 for one in rows), "what is of all tokens goes on"
