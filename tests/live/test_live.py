"""Live metrics against an independent reference: plain Python over hand-written curves."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvewatch import Observation
from curvewatch.live import BINS, HISTOGRAMS, METRICS, Histogram, LiveMetrics, Metrics
from curvewatch.live.keys import KIND_METRICS

NAN = math.nan
CHANCE = 8.0


def observation(surprisal: list[float], correct: list[bool] | None = None) -> Observation:
    y = np.array(surprisal, np.float32)
    return Observation(y, np.array(correct if correct is not None else y < 1, bool), y / 2)


class Reference:
    """The definitions, token by token.

    Known: the moving average (0.8 of the past) at or below half of chance; forgotten: above that by more than 1 bit.
    """

    def __init__(self, n: int, chance: float) -> None:
        self.n, self.threshold = n, chance / 2
        self.average: list[float] = [NAN] * n
        self.known, self.acquired = [False] * n, [NAN] * n
        self.before: list[bool] | None = None
        self.events, self.threshold_events = [0] * n, [0] * n

    def update(self, step: int, y: list[float], correct: list[bool], entropy: list[float]) -> dict[str, float]:
        now = threshold_now = 0
        for i in range(self.n):
            if self.before is not None and self.before[i] and not correct[i]:
                self.events[i] += 1
                now += 1
            if not math.isfinite(y[i]):
                pass  # says nothing about the token
            elif math.isnan(self.average[i]):
                self.average[i] = y[i]
            else:
                self.average[i] = 0.8 * self.average[i] + 0.2 * y[i]
            if step > 0 and not self.known[i] and self.average[i] <= self.threshold:
                self.known[i] = True
                if math.isnan(self.acquired[i]):
                    self.acquired[i] = step
            elif step > 0 and self.known[i] and self.average[i] > self.threshold + 1:
                self.known[i] = False
                self.threshold_events[i] += 1
                threshold_now += 1
        self.before = list(correct)
        finite = sorted(value for value in y if math.isfinite(value))
        acquired = [step for step in self.acquired if math.isfinite(step)]
        found: dict[str, float] = {
            "accuracy_top1": sum(correct) / self.n,
            "forgetting_events": now,
            "forgetting_events_total": sum(self.events),
            "forgotten_share": sum(events > 0 for events in self.events) / self.n,
            "known_share": sum(self.known) / self.n,
            "threshold_forgetting_events": threshold_now,
            "threshold_forgetting_events_total": sum(self.threshold_events),
            "acquired_share": len(acquired) / self.n,
            "nonfinite_tokens": self.n - len(finite),
        }
        if finite:
            found["surprisal_mean"] = sum(finite) / len(finite)
            for key, share in (("surprisal_p10", 0.1), ("surprisal_median", 0.5), ("surprisal_p90", 0.9)):
                place = share * (len(finite) - 1)  # linear between neighbours
                low = finite[math.floor(place)]
                found[key] = low + (place % 1) * (finite[math.ceil(place)] - low)
        finite_entropy = [value for value in entropy if math.isfinite(value)]
        if finite_entropy:
            found["entropy_mean"] = sum(finite_entropy) / len(finite_entropy)
        if acquired:
            found["acquisition_step_median"] = statistics.median(acquired)
        return found


VALUES = st.one_of(st.floats(0, 12, width=32), st.sampled_from([NAN, math.inf, 0.0, 4.0, 5.0]))


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1, max_size=9)))
def test_against_the_reference(curves: list[list[float]]) -> None:
    live, reference = LiveMetrics(len(curves[0]), CHANCE, 100), Reference(len(curves[0]), CHANCE)
    for step, surprisal in enumerate(curves):
        one = observation(surprisal)
        expected = reference.update(step, surprisal, one.correct.tolist(), one.entropy_bits.tolist())
        average = [value for value in reference.average if not math.isnan(value)]
        found = live.update(step, one).scalars
        # Those have a reference of their own (tests/measures/test_running_kinds.py).
        assert {key for key in found if key.startswith("kind/")} == (set(KIND_METRICS) if step else set())
        found = {key: value for key, value in found.items() if key not in KIND_METRICS}
        if any(abs(value - edge) < 1e-4 for value in average for edge in (4.0, 5.0)):
            return  # on the edge, float32 and this reference may fall on different sides, now and ever after
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_hand_written() -> None:
    live = LiveMetrics(4, CHANCE, max_steps=1000)
    none, one = [False] * 4, [True, False, False, False]
    first = live.update(0, observation([8, 8, 8, 3], none)).scalars
    # Token 3 lies below half of chance, 4 bits, but step 0 counts for nothing.
    assert (first["known_share"], first["acquired_share"], first["forgetting_events"]) == (0, 0, 0)
    assert "acquisition_step_median" not in first
    second = live.update(10, observation([1, 8, NAN, 3], one)).scalars
    # Averages: 8 * 0.8 + 1 * 0.2 = 6.6, 8, 8 (NaN says nothing), 3: token 3 is acquired at step 10.
    assert second["known_share"] == second["acquired_share"] == 0.25
    assert second["acquisition_step_median"] == 10
    assert second["surprisal_mean"] == 4
    assert (second["accuracy_top1"], second["nonfinite_tokens"]) == (0.25, 1)
    third = live.update(20, observation([8, 8, 8, 12], none)).scalars
    # Token 0 was the first choice and is not; token 3: 3 * 0.8 + 12 * 0.2 = 4.8, within the margin: still known.
    assert (third["forgetting_events"], third["forgetting_events_total"], third["forgotten_share"]) == (1, 1, 0.25)
    assert (third["known_share"], third["threshold_forgetting_events"]) == (0.25, 0)
    fourth = live.update(30, observation([8, 8, 8, 12], none)).scalars
    # 4.8 * 0.8 + 2.4 = 6.24 > 5: forgotten, but it stays acquired at step 10.
    assert (fourth["known_share"], fourth["threshold_forgetting_events_total"]) == (0, 1)
    assert (fourth["acquired_share"], fourth["acquisition_step_median"]) == (0.25, 10)
    assert (fourth["forgetting_events"], fourth["forgetting_events_total"]) == (0, 1)


def test_keys_are_those_of_the_table() -> None:
    live = LiveMetrics(3, CHANCE, 100)
    live.update(0, observation([1, 1, 1]))
    found = live.update(5, observation([1, 1, 1]))
    assert set(found.scalars) == (set(METRICS) | set(KIND_METRICS)) - {"seconds"}, "which the watch adds"
    assert set(found.histograms) == set(HISTOGRAMS)


def test_values_are_plain_numbers() -> None:
    """The HF Trainer writes what is logged into JSON, and fails on NumPy's numbers."""
    found = LiveMetrics(3, CHANCE).update(5, observation([1, NAN, 3]))
    assert all(type(value) is float for value in found.scalars.values())
    assert json.loads(json.dumps(found.scalars)) == found.scalars


def test_nothing_finite() -> None:
    found = LiveMetrics(2, CHANCE).update(5, observation([NAN, math.inf]))
    assert "surprisal_mean" not in found.scalars
    assert found.scalars["nonfinite_tokens"] == 2
    assert found.histograms["surprisal_histogram"].counts.sum() == 0


def test_replay_rebuilds_the_state() -> None:
    rng = np.random.default_rng(0)
    rows = [(step, observation(rng.uniform(0, 10, 50).tolist())) for step in range(0, 100, 10)]
    straight, resumed = LiveMetrics(50, CHANCE, 100), LiveMetrics(50, CHANCE, 100)
    for step, one in rows:
        straight.update(step, one)
    resumed.replay(rows[:6])
    for step, one in rows[6:]:
        last = resumed.update(step, one)
    again = LiveMetrics(50, CHANCE, 100)
    again.replay(rows[:-1])
    assert last.scalars == again.update(*rows[-1]).scalars
    forgetful = LiveMetrics(50, CHANCE, 100)
    assert forgetful.update(*rows[-1]).scalars != last.scalars, "the state matters"


def test_histogram() -> None:
    found = Histogram.of(np.array([-5.0, 0.0, 0.1, 5.0, 99.0, NAN, math.inf]), 0.0, 6.4)
    # 64 bins of 0.1: below the range and 0.0 in the first, 0.1 in the second, 5.0 in the 50th or 51st, 99 in the last.
    assert found.edges.shape == (BINS + 1,)
    assert found.counts.sum() == 5
    assert found.counts[0] == 2
    assert found.counts[-1] == 1


def test_prefixed() -> None:
    found: Any = Metrics({"a": 1.0}, {}).prefixed("curvewatch/web")
    assert found.scalars == {"curvewatch/web/a": 1.0}
