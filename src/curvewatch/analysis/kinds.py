"""Kinds of curves of a run: as classes, and as labels that everything else can be divided by."""

from __future__ import annotations

from curvewatch.analysis.moment import Moment
from curvewatch.measures.kinds import Rho1Classes, TrendClasses, rho1_classes, trend_classes
from curvewatch.runfile.reader import Reader

KINDS = ("rho1", "trends")


def kinds_of(run: Reader, of: str, *, axis: str = "row", from_step: float = 0) -> Rho1Classes | TrendClasses:
    """See `Run.kinds`.

    Raises:
        ValueError: If there are too few rows, or no such kinds or axis.
    """
    moment = Moment.now(run)
    if of == "rho1":
        return rho1_classes(moment.surprisal, moment.steps_T, axis=axis)
    if of == "trends":
        return trend_classes(moment.surprisal, moment.steps_T, from_step=from_step, axis=axis)
    raise ValueError(f"of={of!r}: one of {', '.join(KINDS)} is expected.")
