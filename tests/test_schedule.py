"""Which steps a schedule plans, and that `due` says the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvewatch import Schedule
from curvewatch.watch.arguments import default_schedule


def steps(schedule: Schedule, max_steps: int | None, **more: Any) -> list[int]:
    return schedule.plan(max_steps, **more).steps().tolist()


def every_tenth(limit: int) -> np.ndarray:
    return np.arange(10, limit + 1, 10)


def test_the_papers_222_steps() -> None:
    planned = Schedule.paper().plan(1_000_000).steps()
    # Step 0, 221 checkpoints, and the last step of the run besides.
    assert len(planned) == 223
    assert planned[-1] == 1_000_000
    paper = Schedule.paper(last=False).plan(1_000_000).steps()
    assert len(paper) == 222
    # 100 * 1e6 / 24,900 * (exp(n * 0.0249) - 1): n = 1: 101.26, n = 2: 205.07, n = 221: 981,536.
    assert paper[:3].tolist() == [0, 101, 205]
    assert paper[-1] == 981_536
    assert np.diff(paper)[-1] < 25_000 < np.diff(paper)[-1] * 1.05


def test_hand_written() -> None:
    assert steps(Schedule.every(4), 10) == [0, 4, 8, 10]
    assert steps(Schedule.every(4, first=False, last=False), 10) == [4, 8]
    # 10 ** (n / 2): 1, 3.16, 10, 31.6, 100
    assert steps(Schedule.log(2), 100) == [0, 1, 3, 10, 32, 100]
    assert steps(Schedule.log(2), 1) == [0, 1]
    assert steps(Schedule.steps([7, 3, 3, 99]), 10) == [0, 3, 7, 10]
    assert steps(Schedule.where(lambda s: s % 5 == 1), 10) == [0, 1, 6, 10]
    assert steps(Schedule.logging(), 25, logging=every_tenth) == [0, 10, 20, 25]
    assert steps(Schedule.logging() | 7, 25, logging=every_tenth) == [0, 7, 10, 14, 20, 21, 25]


def test_union_keeps_first_and_last_of_either() -> None:
    bare = Schedule.every(4, first=False, last=False)
    assert steps(bare | Schedule.steps([5], first=False, last=False), 10) == [4, 5, 8]
    assert steps(bare | Schedule.steps([5], last=False), 10) == [0, 4, 5, 8]
    assert (bare | [5]).description == "every 4 steps; 1 listed step"


def test_the_same_step_from_two_rules_is_planned_once() -> None:
    assert steps(Schedule.every(2) | Schedule.every(4), 8) == [0, 2, 4, 6, 8]


def test_open_ended() -> None:
    plan = Schedule.every(1000).plan(None)
    assert plan.steps().size == 0, "not known up front"
    assert [step for step in range(5001) if plan.due(step)] == [0, 1000, 2000, 3000, 4000, 5000]
    assert plan.due(10**7)
    assert not plan.due(10**7 + 1)


SCHEDULES = st.one_of(
    st.builds(Schedule.every, st.integers(1, 50), first=st.booleans(), last=st.booleans()),
    st.builds(Schedule.log, st.floats(0.1, 30), first=st.booleans(), last=st.booleans()),
    st.builds(Schedule.steps, st.lists(st.integers(0, 400), min_size=1), first=st.booleans(), last=st.booleans()),
    st.builds(Schedule.paper, st.just(2), st.integers(3, 50), st.integers(10, 400)),
    st.builds(Schedule.logging, first=st.booleans(), last=st.booleans()),
    st.just(Schedule.where(lambda step: step % 7 == 3)),
)


@given(schedule=st.one_of(SCHEDULES, st.builds(Schedule.__or__, SCHEDULES, SCHEDULES)), max_steps=st.integers(1, 300))
def test_due_says_what_is_planned(schedule: Schedule, max_steps: int) -> None:
    plan = schedule.plan(max_steps, every_tenth)
    planned = plan.steps().tolist()
    assert planned == sorted(set(planned))
    assert planned == [step for step in range(max_steps + 1) if schedule.plan(max_steps, every_tenth).due(step)]
    assert all(isinstance(step, int) and 0 <= step <= max_steps for step in planned)
    assert (0 in planned) == schedule.first
    assert max_steps in planned or not schedule.last


@given(schedule=SCHEDULES, asked=st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_open_ended_does_not_depend_on_what_was_asked_before(schedule: Schedule, asked: list[int]) -> None:
    plan = schedule.plan(None, every_tenth)
    known = set(schedule.plan(None, every_tenth).steps(5000).tolist())
    assert [plan.due(step) for step in asked] == [step in known for step in asked]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "every logging step"), (5, "every 5 steps"), ([1, 2], "2 listed steps"), (Schedule.log(3), "3 steps per")],
)
def test_what_a_caller_may_pass(value: Any, expected: str) -> None:
    assert Schedule.of(value).description.startswith(expected)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Schedule.every(0), "k=0"),
        (lambda: Schedule.every(2.5), "k=2.5"),
        (lambda: Schedule.every(True), "k=True"),
        (lambda: Schedule.log(0), "per_decade=0"),
        (lambda: Schedule.steps([]), "at least one"),
        (lambda: Schedule.steps([-1]), "0 or more"),
        (lambda: Schedule.steps([1.5]), "whole numbers"),
        (lambda: Schedule.paper(s0=10, s1=5), "s0=10, s1=5"),
        (lambda: Schedule.of("daily"), "no such schedule.*Schedule.log"),
        (lambda: Schedule.of(True), "no such schedule"),
        (lambda: Schedule.logging().plan(100), r"no logging steps to follow.*Schedule\.every"),
        (lambda: Schedule.every(1).plan(0), "max_steps=0"),
    ],
)
def test_what_makes_no_sense(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_the_default_of_a_plain_loop() -> None:
    # Ten steps a decade: 1, 1.26, 1.58, 2.0, 2.5, 3.2, ... 6.3, 7.9, 10; every fiftieth part of 100: every 2nd.
    assert steps(default_schedule(100), 100)[:9] == [0, 1, 2, 3, 4, 5, 6, 8, 10]
    assert default_schedule(None).plan(None).due(1000)


def by_thirds(step: int) -> bool:
    """A rule of the caller's that other processes can import."""
    return step % 3 == 1


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.logging(),
        Schedule.every(7, first=False),
        Schedule.log(10, last=False),
        Schedule.log(0.5),
        Schedule.steps([900, 3, 3, 17]),
        Schedule.paper(),
        Schedule.where(by_thirds),
        Schedule.every(100) | Schedule.log(3) | Schedule.paper() | [5, 6] | by_thirds,
        Schedule.of(50),
        Schedule.of(range(0, 90, 9)),
        default_schedule(1000),
        default_schedule(None),
    ],
    ids=lambda schedule: schedule.description,
)
def test_a_schedule_goes_to_other_processes(schedule: Schedule) -> None:
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    for max_steps in (1, 12, 1000):
        plan, expected = again.plan(max_steps, every_tenth), schedule.plan(max_steps, every_tenth)
        assert plan.steps().tolist() == expected.steps().tolist()
        assert expected.steps().size > 0
    planned = pickle.loads(pickle.dumps(schedule.plan(None, every_tenth)))
    assert [s for s in range(200) if planned.due(s)] == schedule.plan(None, every_tenth).steps(199).tolist()


@pytest.mark.parametrize("value", ["x" * 500, None, float("nan"), float("inf"), 0, -1, True, [1]])
@pytest.mark.parametrize(
    "make", [Schedule.every, Schedule.log, Schedule.paper, Schedule.where, lambda v: Schedule.steps([v, -1])]
)
def test_what_makes_no_schedule(make: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^(k|per_decade|s0|scored|steps)=") as caught:
        make(value)
    assert len(str(caught.value)) < 200


def test_steps_of_every_library() -> None:
    import torch

    for steps in ([3, 5.0], np.array([5, 3]), torch.tensor([3, 5]), (s for s in (5, 3))):
        assert Schedule.steps(steps, first=False, last=False).plan(9).steps().tolist() == [3, 5]


@pytest.mark.parametrize("steps", [None, "123", 5, [10**30], [1, "a"], [float("nan")]])
def test_what_are_no_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match=r"^steps="):
        Schedule.steps(steps)
