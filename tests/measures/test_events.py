"""Events that were put in are found, where and when they were; quiet runs have none."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch.measures.events import EventDetector
from curvewatch.tokens.labels import Label
from curvewatch.tokens.over import over_represented

N = 2_000


def run(seed: int, rows: int = 80, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that fall from chance at times of their own, with noise of their own and some that all share."""
    rng = np.random.default_rng(seed)
    steps = np.unique(
        np.round(np.concatenate([[0], np.geomspace(1, 1000, rows // 2), np.linspace(50, 4000, rows // 2)]))
    )
    x = np.log10(np.maximum(steps, 0.5))
    when, low = rng.normal(2, 0.7, n), rng.uniform(1, 9, n)
    bits = low + (12 - low) / (1 + np.exp(4 * (x[:, None] - when)))
    noise = rng.normal(0, 1, (len(steps), n)) * rng.uniform(0.1, 0.8, n)
    shared = rng.normal(0, 0.05, (len(steps), 1))
    return steps, np.maximum(bits + noise + shared, 0)


def events_of(steps: np.ndarray, bits: np.ndarray) -> list:
    detector = EventDetector(bits.shape[1])
    for step, row in zip(steps.tolist(), bits, strict=True):
        detector.update(int(step), row)
    return detector.events


def test_quiet_runs_have_none() -> None:
    found = [len(events_of(*run(seed))) for seed in range(20)]
    assert sum(found) <= 1, found


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_an_event_is_found_where_it_is(up: bool, seed: int) -> None:
    """A tenth of the tokens moves by two bits, and comes back after three rows."""
    steps, bits = run(seed)
    rng = np.random.default_rng(seed)
    moved = rng.choice(N, N // 10, replace=False)
    at = 55
    bits[at : at + 3, moved] += 2.5 if up else -2.5
    if not up:
        bits += 3  # room below
    (first, *others) = events_of(steps, bits)
    assert (first.step, first.before, first.up) == (steps[at], steps[at - 1], up)
    assert np.isin(first.tokens_n, moved).mean() > 0.75
    assert len(np.intersect1d(first.tokens_n, moved)) > 0.5 * len(moved)
    assert first.mean_bits == pytest.approx(2.5 if up else -2.5, abs=0.7)
    assert first.healed == steps[at + 3]
    assert all(one.step == steps[at + 3] and one.up is not up for one in others), "the way back is one, too"


def test_a_spike_of_all_tokens_that_stays() -> None:
    steps, bits = run(3)
    bits[60:] += 1.5
    (event,) = events_of(steps, bits)
    assert event.step == steps[60]
    assert event.share > 0.2
    assert event.healed is None


def test_too_early_or_broken() -> None:
    steps, bits = run(1)
    bits[4:, :500] += 4  # before what is usual is known
    assert events_of(steps[:12], bits[:12]) == []
    bits[40, :900] = np.nan
    assert events_of(steps, bits) == [], "what is not finite does not jump"
    assert events_of(np.arange(30), np.full((30, 50), 3.0)) == []


def test_labels_that_are_over_represented() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.random(N) < 0.1
    label = Label(np.where(numbers, 0, 1).astype(np.int32), ("number", "word"))
    of_all = np.concatenate(
        [rng.choice(np.flatnonzero(numbers), 60, False), rng.choice(np.flatnonzero(~numbers), 60, False)]
    )
    (only,) = over_represented({"kind": label}, of_all, N)
    assert (only.label, only.value, only.count) == ("kind", "number", 60)
    assert only.ratio == pytest.approx(60 / (120 * numbers.mean()))
    assert over_represented({}, of_all, N) == []
    assert over_represented({"kind": label}, of_all[:0], N) == []
    false = 0
    many = {f"l{k}": Label(rng.integers(0, 10, N).astype(np.int32), tuple("abcdefghij")) for k in range(10)}
    for _ in range(200):
        false += bool(over_represented(many, rng.choice(N, 150, replace=False), N))
    assert false <= 8, f"{false} of 200 random draws had a value named, 1 % were to"
