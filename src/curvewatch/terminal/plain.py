"""A state as plain text, for a pipe or a log: numbers, one chart, and the forgotten tokens."""

from __future__ import annotations

import math

from rich.text import Text

from curvewatch.live import METRICS
from curvewatch.live.keys import TEXT_SET_METRICS
from curvewatch.terminal import meaning, words
from curvewatch.terminal.charts import charts_of
from curvewatch.terminal.pace import Pace
from curvewatch.terminal.state import State

CHART_ROWS = 14
TOKENS = 12
LABEL_ROWS = 40
UNITS = {**METRICS, **TEXT_SET_METRICS}


def snapshot_text(state: State, now: float, width: int) -> Text:
    """Everything that is known, in lines of at most `width` columns.

    Args:
        state: The run.
        now: Unix time, for what depends on it.
        width: Columns.
    """
    pace = Pace.of(state, now)
    lines = [words.where(state, pace, width), words.how(state, pace, width)]
    charts = charts_of(state)
    if charts:
        lines += [Text(""), Text(charts[0].title, "bold"), charts[0].text(state, width, CHART_ROWS, True), Text("")]
        lines += _numbers(state)
        labelled = meaning.label_lines(state, width, LABEL_ROWS)
        if labelled:
            lines += [Text(""), Text("Labels: tokens, and what they are like now", "bold"), *labelled]
        lines += [Text(""), Text("Forgotten last: step, bits before → then, ▼ no longer known", "bold")]
        lines += words.latest_lines(state, width, TOKENS)
        lines += [Text(""), Text("Forgotten most often: events, bits now, ● first choice now", "bold")]
        lines += words.often_lines(state, width, TOKENS)
    for one in lines:
        one.end = ""
    return Text("\n").join(lines)


def _numbers(state: State) -> list[Text]:
    """The metrics of the last observation, one a line, as they are logged; labels have a table of their own."""
    kept = {key: values for key, values in state.scalars.items() if not key.startswith("label/")}
    wide = max(len(key) for key in kept)
    lines = []
    for key, values in kept.items():
        value = float(values[-1])
        unit = UNITS.get(key.rsplit("/", 1)[-1], ("",))[0]
        shown = f"{value:.6g}" if math.isfinite(value) else "-"
        lines.append(Text(f"{key:<{wide}}  {shown:>10}  {unit}".rstrip()))
    return lines
