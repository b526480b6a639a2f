"""What is drawn: the charts that a state's metrics make, those of groups of tokens as soon as they are there."""

from __future__ import annotations

import re

from curvewatch.analysis.characters import visible
from curvewatch.analysis.style import RUN_COLOURS
from curvewatch.live import METRICS
from curvewatch.measures.frequency import THIRDS
from curvewatch.terminal import meaning
from curvewatch.terminal.charting import Chart, Curve, bits
from curvewatch.terminal.state import State

BLUE, ORANGE, GREEN, PINK, VIOLET = RUN_COLOURS[:5]
PALE = "#8fb4dc"
_NGRAM = re.compile(r"ngram/(\d+)gram_correlation")
_GROUPED = re.compile(r"([^/]+)/([^/]+)/([^/]+)")


def charts_of(state: State) -> list[Chart]:
    """The charts that this state's metrics make; empty before the first observation."""
    if not len(state.steps_T):
        return []
    fixed = [
        Chart(
            "Surprisal · bits",
            (Curve("surprisal_p90", "p90", PALE), Curve("surprisal_p10", "p10", PALE),
             Curve("surprisal_mean", "mean", BLUE, thick=True)),
            bits, has_chance=True,
        ),
        Chart(
            "Learned · % of tokens",
            (Curve("acquired_share", "ever", GREEN), Curve("known_share", "known", BLUE),
             Curve("accuracy_top1", "top-1", ORANGE)),
            "{:.1f}".format, times=100,
        ),
        Chart(
            "Forgotten · tokens",
            (Curve("threshold_forgetting_events", "threshold", BLUE), Curve("forgetting_events", "top-1", ORANGE)),
            "{:,.0f}".format,
        ),
    ]  # fmt: skip
    orders = sorted(int(match[1]) for key in state.scalars if (match := _NGRAM.fullmatch(key)))
    ngrams = Chart(
        "Resembles n-grams · correlation",
        tuple(Curve(f"ngram/{n}gram_correlation", f"{n}-gram", RUN_COLOURS[n % len(RUN_COLOURS)]) for n in orders),
        "{:.2f}".format,
    )
    there = [
        Chart(chart.title, present, chart.shown, chart.times, chart.has_chance)
        for chart in fixed
        if (present := tuple(curve for curve in chart.curves if curve.key in state.scalars))
    ]
    return [*there, *meaning.charts_of_meaning(state), *_of_groups(state), *([ngrams] if orders else [])]


def _of_groups(state: State) -> list[Chart]:
    """A chart for each metric that is there by group of tokens: `frequency/<band>/surprisal_mean`."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in state.scalars:
        match = _GROUPED.fullmatch(key)
        if match and match[1] not in meaning.PREFIXES:
            group, name, metric = match.groups()
            found.setdefault((metric, group), []).append(name)
    return [_of_group(metric, group, names) for (metric, group), names in found.items()]


def _of_group(metric: str, group: str, names: list[str]) -> Chart:
    # A band without tokens at first is seen later than others; the order is that of frequency all the same.
    names = sorted(names, key=lambda name: (THIRDS.index(name) if name in THIRDS else len(THIRDS), name))
    curves = tuple(
        Curve(f"{group}/{name}/{metric}", visible(name)[:16], RUN_COLOURS[k % len(RUN_COLOURS)])
        for k, name in enumerate(names)
    )
    title = visible(f"{metric.removesuffix('_mean')} by {group}".replace("_", " ").capitalize())
    unit = METRICS.get(metric, ("", ""))[0]
    if unit == "share":
        return Chart(f"{title} · %", curves, "{:.1f}".format, times=100)
    if unit == "bit":
        return Chart(f"{title} · bits", curves, bits)
    return Chart(f"{title} · {unit}" if unit else title, curves, "{:,.4g}".format)
