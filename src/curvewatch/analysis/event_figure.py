"""The figure of a run's events: where in training many tokens jumped, how many, and in which direction."""

from __future__ import annotations

from typing import Any

from curvewatch.analysis.events import events_of
from curvewatch.analysis.findings import Findings
from curvewatch.analysis.style import plain_text, run_colour, steps_axis

UP, DOWN = run_colour(1), run_colour(0)
NAMED = 4
"""Events whose label is written beside them: the largest."""


def draw_events(figure: Any, findings: Findings) -> None:
    """Mean surprisal of the first run over the share of tokens that jumped at each event.

    The largest are named by what is over-represented among their tokens.
    """
    one = findings.runs[0]
    steps_T, mean_T, events = one.summary.steps_T, one.summary.mean_T, events_of(one.run)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    after = steps_T > 0
    above.plot(steps_T[after], mean_T[after], color="0.25")
    above.set_ylabel("surprisal (bits)")
    for found in events:
        colour, share = UP if found.event.up else DOWN, 100 * found.event.share
        above.axvline(found.event.step, color=colour, lw=0.6, alpha=0.6)
        below.vlines(found.event.step, 0, share if found.event.up else -share, color=colour, lw=1.6)
    below.axhline(0, color="0.25", lw=0.6)
    for found in sorted(events, key=lambda found: -found.event.share)[:NAMED]:
        if found.over:
            share = 100 * found.event.share * (1 if found.event.up else -1)
            text = plain_text(found.over[0].value)
            below.annotate(text, (found.event.step, share), (2, 0), textcoords="offset points", fontsize=6, va="center")
    below.set_ylabel("jumped (% of tokens)")
    below.margins(y=0.15)
    steps_axis(below)
