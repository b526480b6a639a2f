"""Schedule: which training steps are scored. It says WHEN.

A schedule is a rule; `plan` turns it into the plan of one run, whose steps are known before the first of them and are
kept in the run file. Every decision comes from the step number alone, so that all ranks decide alike.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.portable import arrived, leaving

LARGEST_STEP = 1 << 62
StepArray = NDArray[np.int64]
# steps(limit): all scored steps from 0 to limit, ascending.
StepRule = Callable[[int], StepArray]


# Rules are plain data, not closures: launchers that start processes (ddp_spawn, Ray Train) pickle a schedule.


@dataclass(frozen=True)
class _Every:
    k: int

    def __call__(self, limit: int) -> StepArray:
        return np.arange(0, limit + 1, self.k, dtype=np.int64)


@dataclass(frozen=True)
class _Log:
    per_decade: float

    def __call__(self, limit: int) -> StepArray:
        n = np.arange(0, math.ceil(self.per_decade * math.log10(max(limit, 1))) + 2)
        # Cut off behind the limit, where few steps a decade would overflow.
        return np.unique(np.rint(np.minimum(10 ** (n / self.per_decade), limit + 1)).astype(np.int64))


@dataclass(frozen=True)
class _Listed:
    listed: tuple[int, ...]

    def __call__(self, limit: int) -> StepArray:
        return np.array(self.listed, np.int64)


@dataclass(frozen=True)
class _Paper:
    s0: float
    s1: float
    t1: int

    def __call__(self, limit: int) -> StepArray:
        rate = (self.s1 - self.s0) / self.t1
        n = np.arange(0, math.ceil(math.log1p(limit * rate / self.s0) / rate) + 2)
        return np.unique(np.rint(self.s0 / rate * np.expm1(n * rate)).astype(np.int64))


@dataclass(frozen=True)
class _Where:
    scored: Callable[[int], bool]

    def __call__(self, limit: int) -> StepArray:
        return np.array([s for s in range(limit + 1) if self.scored(s)], np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return leaving(self.__dict__, scored="schedule")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(arrived(state))


def _is_whole(value: object) -> bool:
    """Whether it is a whole number, of Python, NumPy or PyTorch; 3.0 is one."""
    value = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and value == int(value)


def check_last(max_steps: object) -> None:
    """Refuses what is no last step of a run.

    Raises:
        ValueError: Naming it.
    """
    if max_steps is not None and not (_is_whole(max_steps) and 1 <= max_steps <= LARGEST_STEP):  # type: ignore[operator]
        raise ValueError(f"max_steps={brief(max_steps)}: a whole number of at least 1 is expected, or None.")


def _is_positive(value: object) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0  # type: ignore[arg-type, operator]


@dataclass(frozen=True)
class Schedule:
    """Which training steps are scored; `a | b` scores the steps of both.

    Step 0 (before the first update) and the last step are scored whatever the rule says, unless `first=False` or
    `last=False`.

    Attributes:
        description: The rule as a person reads it; kept in the run file.
        first: Score step 0.
        last: Score the last step.
        behind_exposures: So many steps behind each exposure of a passage are scored, too, and the one before it.
    """

    description: str
    first: bool = True
    last: bool = True
    behind_exposures: int = 0
    _rules: tuple[StepRule, ...] = field(default=(), repr=False, compare=False)
    _logging: bool = field(default=False, repr=False)

    @classmethod
    def logging(cls, *, first: bool = True, last: bool = True) -> Schedule:
        """Each logging step of the host. The default."""
        return cls("every logging step", first, last, _logging=True)

    @classmethod
    def every(cls, k: int, *, first: bool = True, last: bool = True) -> Schedule:
        """Every `k`-th step.

        Raises:
            ValueError: If `k` is less than 1.
        """
        if not _is_whole(k) or k < 1:
            raise ValueError(f"k={brief(k)}: a whole number of at least 1 is expected.")
        return cls(f"every {k} steps", first, last, 0, (_Every(int(k)),))

    @classmethod
    def log(cls, per_decade: int = 10, *, first: bool = True, last: bool = True) -> Schedule:
        """Steps evenly spaced on a logarithmic axis, from step 1 on: the early, fast phase is seen in detail.

        Args:
            per_decade: Scored steps for each factor of ten (fewer where they would fall on the same step).
            first: Score step 0.
            last: Score the last step.

        Raises:
            ValueError: If `per_decade` is not above 0.
        """
        if not _is_positive(per_decade):
            raise ValueError(f"per_decade={brief(per_decade)}: a number above 0 is expected.")
        return cls(f"{per_decade:g} steps per decade", first, last, 0, (_Log(per_decade),))

    @classmethod
    def steps(cls, steps: Iterable[int], *, first: bool = True, last: bool = True) -> Schedule:
        """The listed steps.

        Raises:
            ValueError: If the list is empty or holds anything but steps.
        """
        listed = list(steps) if hasattr(steps, "__iter__") else []
        if not listed or not all(_is_whole(s) and 0 <= s <= LARGEST_STEP for s in listed):
            raise ValueError(f"steps={brief(listed or steps)}: whole numbers of 0 or more are expected, at least one.")
        ascending = tuple(sorted({int(s) for s in listed}))
        return cls(f"{len(ascending)} listed step{'s' * (len(ascending) != 1)}", first, last, 0, (_Listed(ascending),))

    @classmethod
    def paper(
        cls, s0: float = 100, s1: float = 25_000, t1: int = 1_000_000, *, first: bool = True, last: bool = True
    ) -> Schedule:
        """The checkpoint steps of Chang, Tu & Bergen (2024): 222 from 0 to 981,536 in a run of a million steps.

        Step n is round(s0 * t1 / (s1 - s0) * (exp(n * (s1 - s0) / t1) - 1)): `s0` steps between checkpoints at first,
        `s1` at step `t1`, the distance growing linearly with the step.

        Raises:
            ValueError: Unless 0 < s0 < s1 and t1 > 0.
        """
        if not (all(map(_is_positive, (s0, s1, t1))) and s0 < s1):
            raise ValueError(f"s0={brief(s0)}, s1={brief(s1)}, t1={brief(t1)}: 0 < s0 < s1 and t1 > 0 are expected.")
        return cls(f"paper (s0={s0:g}, s1={s1:g}, t1={t1:g})", first, last, 0, (_Paper(s0, s1, t1),))

    @classmethod
    def where(cls, scored: Callable[[int], bool], *, first: bool = True, last: bool = True) -> Schedule:
        """The steps for which `scored(step)` is true. It must depend on the step alone.

        It goes to other processes if `scored` does: a function of a module, or with cloudpickle installed any.

        Raises:
            ValueError: If `scored` is no function.
        """
        if not callable(scored):
            raise ValueError(f"scored={brief(scored)}: a function of the step is expected.")
        return cls(f"steps chosen by {getattr(scored, '__name__', 'a function')}", first, last, 0, (_Where(scored),))

    @classmethod
    def after_exposures(cls, n: int = 50, *, first: bool = True, last: bool = True) -> Schedule:
        """The step before each update that is trained on a passage of `Live(exposures=...)`, and `n` steps behind it.

        For a set of few probes, in a file of its own. Join it to another: `Schedule.after_exposures() |
        Schedule.log(10)`. Ranks agree after each update on whether one of them has met a passage.

        Raises:
            ValueError: If `n` is less than 1.
        """
        if not _is_whole(n) or n < 1:
            raise ValueError(f"n={brief(n)}: a whole number of at least 1 is expected.")
        return cls(f"{n} steps behind each exposure", first, last, int(n))

    @classmethod
    def of(cls, value: object) -> Schedule:
        """A schedule from what a caller may pass: a Schedule, None, k, a list of steps, a function.

        Raises:
            ValueError: If `value` is none of these.
        """
        if value is None:
            return cls.logging()
        if isinstance(value, Schedule):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls.every(value)
        if callable(value):
            return cls.where(value)
        if isinstance(value, Iterable) and not isinstance(value, str):
            return cls.steps(value)
        raise ValueError(
            f"schedule={brief(value)}: no such schedule. Use Schedule.logging(), .every(k), .log(per_decade), "
            ".steps([...]), .paper(), a whole number, a list of steps, or a function of the step."
        )

    def __or__(self, other: object) -> Schedule:
        other = Schedule.of(other)
        return Schedule(
            f"{self.description}; {other.description}",
            self.first or other.first,
            self.last or other.last,
            max(self.behind_exposures, other.behind_exposures),
            self._rules + other._rules,
            self._logging or other._logging,
        )

    @property
    def follows_logging(self) -> bool:
        """Whether the host's logging steps belong to it."""
        return self._logging

    def plan(self, max_steps: int | None, logging: StepRule | None = None) -> Plan:
        """The plan of one run.

        Args:
            max_steps: The last step; None if the run is open-ended.
            logging: The host's logging steps; None if it has none (then `Schedule.logging()` can't be planned).

        Raises:
            ValueError: If the schedule follows logging steps and there are none, or `max_steps` is below 1.
        """
        check_last(max_steps)
        if self._logging and logging is None:
            raise ValueError(
                "schedule=Schedule.logging(): this loop has no logging steps to follow. Pass another schedule, for "
                "example Schedule.every(100) or Schedule.log(10)."
            )
        rules = self._rules + ((logging,) if self._logging and logging is not None else ())
        return Plan(self, max_steps, rules)


class Plan:
    """The scored steps of one run.

    Attributes:
        schedule: The rule it came from.
        max_steps: The last step of the run; None if open-ended.
    """

    def __init__(self, schedule: Schedule, max_steps: int | None, rules: tuple[StepRule, ...]) -> None:
        self.schedule = schedule
        self.max_steps = max_steps
        self._rules = rules
        self._horizon = -1
        self._known: list[int] = []

    def steps(self, limit: int | None = None) -> StepArray:
        """All planned steps up to `limit` (by default the last step), ascending; empty if open-ended and no limit."""
        end = self.max_steps if limit is None else limit
        if end is None:
            return np.zeros(0, np.int64)
        parts = [rule(end) for rule in self._rules]
        # Step 0 belongs to the plan by `first` alone, whether or not the rule happens to fall on it.
        parts.append(np.array([0] if self.schedule.first else [], np.int64))
        if self.schedule.last and self.max_steps is not None:
            parts.append(np.array([self.max_steps], np.int64))
        steps = np.unique(np.concatenate(parts).astype(np.int64))
        if not self.schedule.first:
            steps = steps[steps > 0]
        return steps[(steps >= 0) & (steps <= end)]

    def due(self, step: int) -> bool:
        """Whether `step` is to be scored."""
        return bool(self.between(step - 1, step))

    def between(self, after: int, through: int) -> list[int]:
        """The planned steps later than `after`, up to `through`, ascending."""
        if through > self._horizon:
            # Planned ahead in doublings, so that an open-ended run asks its rules rarely.
            self._horizon = max(1024, 2 * through) if self.max_steps is None else max(self.max_steps, through)
            self._known = self.steps(self._horizon).tolist()
        return self._known[bisect_right(self._known, after) : bisect_right(self._known, through)]
