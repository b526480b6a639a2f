"""Lost, gained, regained, bits: against transitions counted by hand; what guessing alone does, against draws."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch.measures.against import AgainstBase, chance_transitions, item_transitions


def test_transitions_by_hand() -> None:
    base = AgainstBase(np.array([1.0, 2.0, 3.0, np.nan]), np.array([True, True, False, False]))
    base.update(np.array([2.5, 1.0, 3.0, 1.0]), np.array([False, True, True, False]))
    assert base.change_N[:3].tolist() == [1.5, -1.0, 0.0]
    assert np.isnan(base.change_N[3])
    assert base.lost_N.tolist() == [True, False, False, False]
    assert base.gained_N.tolist() == [False, False, True, False]
    assert not base.regained_N.any()
    assert base.shares()["accuracy_lost_share"] == 0, "one of two lost, one gained"
    base.update(np.array([1.0, 1.0, 3.0, np.inf]), np.array([True, False, False, False]))
    assert base.regained_N.tolist() == [True, False, False, False], "it was lost, and came back"
    assert base.lost_N.tolist() == [False, True, False, False]
    assert not base.gained_N.any(), "gained and lost again is neither now"
    assert base.shares()["accuracy_lost_share"] == 0.5
    base.update(np.array([1.0, 1.0, 3.0, 1.0]), np.array([True, True, True, True]))
    assert base.shares()["accuracy_lost_share"] == -0.5, "it grew by half"
    assert np.isnan(base.shares(np.array([False, False, True, False]))["accuracy_lost_share"]), "there was none to lose"


def test_the_first_observation_as_the_base() -> None:
    base = AgainstBase()
    base.update(np.array([1.0, 2.0]), np.array([True, False]))
    assert base.change_N.tolist() == [0, 0]
    assert not base.lost_N.any()
    base.update(np.array([3.0, 1.0]), np.array([False, True]))
    assert base.change_N.tolist() == [2, -1]
    assert base.lost_N.tolist() == [True, False]


def test_without_first_choices_nothing_is_lost() -> None:
    base = AgainstBase(np.array([1.0, 2.0]))
    base.update(np.array([3.0, 1.0]), np.array([False, True]))
    assert base.change_N.tolist() == [2, -1]
    assert not base.knows_correct
    assert not len(base.lost_N)


@pytest.mark.parametrize("chance", [0.5, 0.25])
@pytest.mark.parametrize(("known_before", "known_now"), [(0.0, 0.0), (0.4, 0.4), (0.2, 0.7), (0.8, 0.3)])
def test_guessing_alone_leaves_nothing(chance: float, known_before: float, known_now: float) -> None:
    """Items known to one model are known to the other, if it knows as many; the rest is guessed by both."""
    rng = np.random.default_rng(0)
    n, place = 400_000, np.arange(400_000)
    before = (place < known_before * n) | (rng.random(n) < chance)
    now = (place < known_now * n) | (rng.random(n) < chance)
    lost, gained = (before & ~now).mean(), (~before & now).mean()
    by_chance = chance_transitions(before.mean(), now.mean(), chance)
    really_lost = max(0.0, known_before - known_now) * (1 - chance)
    really_gained = max(0.0, known_now - known_before) * (1 - chance)
    assert lost - by_chance == pytest.approx(really_lost, abs=0.004)
    assert gained - by_chance == pytest.approx(really_gained, abs=0.004)


def test_chance_at_its_ends() -> None:
    assert chance_transitions(1.0, 1.0, 0.5) == 0
    assert chance_transitions(0.1, 0.2, 0.5) == 0.25, "worse than guessing is guessing"
    assert chance_transitions(0.5, 0.5, 1.0) == 0


def test_what_is_not_finite_is_neither_lost_nor_gained() -> None:
    base = AgainstBase(np.array([1.0, 1, 1, 1]), np.array([True, True, False, False]))
    base.update(np.array([3.0, np.nan, np.inf, 0.5]), np.array([False, False, True, True]))
    assert base.lost_N.tolist() == [True, False, False, False]
    assert base.gained_N.tolist() == [False, False, False, True]
    assert base.shares() == {
        "change_mean": 0.75, "worse_share": 0.5, "lost_share": 0.5, "gained_share": 0.5, "regained_share": 0.0,
        "accuracy_lost_share": 0.0,
    }  # fmt: skip
    assert base.shares(np.array([False, True, True, False])) == {}
    base.update(np.full(4, np.nan), np.zeros(4, bool))
    assert base.shares() == {}
    base.update(np.ones(4), np.array([True, True, False, False]))
    assert base.shares()["regained_share"] == 0.25, "only what was lost, not what was not known for a while"


def test_items_that_are_not_finite_are_left_out() -> None:
    found = item_transitions(np.array([1.0, 1, -1, np.nan]), np.array([-1.0, np.nan, 1, 1]), 0.5)
    assert (found["lost_share"], found["gained_share"]) == (0.5, 0.5)
    assert item_transitions(np.array([np.nan]), np.array([1.0]), 0.5) == {}
