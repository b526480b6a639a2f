"""What is said: a state's numbers, tokens and troubles as lines of text that fit a width."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells
from rich.text import Text

from curvewatch.analysis.characters import visible
from curvewatch.terminal import pace as pacing
from curvewatch.terminal.chart import FAINT
from curvewatch.terminal.charts import BLUE, GREEN, ORANGE
from curvewatch.terminal.pace import Pace
from curvewatch.terminal.state import Forgotten, Often, State

RED, YELLOW = "#e5534b", "#d9a514"
TARGET = "bold #ffb454"
_PHASES = {
    pacing.WAITING: ("◌ waiting", YELLOW),
    pacing.READING: ("◌ reading", BLUE),
    pacing.TRAINING: ("● training", GREEN),
    pacing.QUIET: ("◌ no news", YELLOW),
    pacing.FINISHED: ("✔ finished", GREEN),
    pacing.STOPPED: ("■ stopped early", YELLOW),
    pacing.GONE: ("✘ file is gone", RED),
}
BAR_COLUMNS = 16
WITH_INDEX = 64
"""From this width on a token's index is shown, by which `curvewatch show` finds it."""


def where(state: State, pace: Pace, width: int) -> Text:
    """File, token set, phase, and how far the run has come, in one line."""
    word, colour = _PHASES[pace.phase]
    parts = [Text.assemble((visible(state.path.name), "bold"))]
    if state.set_name:
        place = f" {state.sets.index(state.set_name) + 1}/{len(state.sets)}" if len(state.sets) > 1 else ""
        parts[0].append(f" · {visible(state.set_name)}{place}")
    parts.append(Text(word, f"bold {colour}"))
    if len(state.steps_T):
        of = f" of {state.max_steps:,}" if state.max_steps else ""
        parts.append(Text(f"step {state.steps_T[-1]:,}{of}"))
    if math.isfinite(pace.share_done):
        parts.append(_bar(pace.share_done, colour))
    if pace.phase == pacing.TRAINING and math.isfinite(pace.left_s):
        parts.append(Text(f"{duration(pace.left_s)} left"))
    return _fitting(parts, "   ", width)


def how(state: State, pace: Pace, width: int) -> Text:
    """Observations, cost, and what was skipped, in one line."""
    if not len(state.steps_T):
        what = "no file yet" if not state.there else "no observation yet"
        return Text(f"{what}: waiting for {visible(str(state.path))}", no_wrap=True, overflow="ellipsis")
    of = f" of {pace.expected:,}" if pace.expected > pace.observed or state.max_steps else ""
    parts = [Text(f"{pace.observed:,}{of} observations")]
    if state.behind:
        parts.append(Text(f"{state.behind:,} still to be read", BLUE))
    if pace.phase in (pacing.TRAINING, pacing.QUIET):
        parts.append(Text(f"last {duration(pace.since_last_s)} ago", YELLOW if pace.phase == pacing.QUIET else ""))
    share = f", {pace.scoring_share:.1%} of the time" if math.isfinite(pace.scoring_share) else ""
    parts.append(Text(f"{pace.scoring_s:.2g} s each{share}"))
    if state.skipped:
        parts.append(Text(skipped(state.skipped), YELLOW))
    return _fitting(parts, " · ", width)


def skipped(skips: Sequence[tuple[int, str]]) -> str:
    """How many planned steps were not scored, and why not, most frequent reason first."""
    reasons = Counter(why for _, why in skips).most_common()
    said = "; ".join(f"{visible(why)}{f' ({n:,})' if len(reasons) > 1 else ''}" for why, n in reasons)
    return f"{len(skips):,} skipped: {said}"


def headline(state: State, width: int) -> Text:
    """The main numbers of the last observation, with their change since the one before."""
    if not len(state.steps_T):
        return Text("")
    parts = [_figure("surprisal", state, "surprisal_mean", "{:.3f}", better=-1)]
    for name, key in (("top-1", "accuracy_top1"), ("known", "known_share"), ("ever known", "acquired_share")):
        if key in state.scalars:
            parts.append(_figure(name, state, key, "{:.1%}", better=1))
    if "bits_per_byte" in state.scalars:
        parts.insert(1, _figure("per byte", state, "bits_per_byte", "{:.3f}", better=-1))
    for name, key in (("top-1 events", "forgetting_events_total"), ("threshold", "threshold_forgetting_events_total")):
        if key in state.scalars:
            parts.append(Text.assemble((f"{name} ", FAINT), (f"{state.now(key):,.0f}", "bold")))
    if state.now("events") > 0:
        counts = state.scalars["events"].tolist()
        at = int(state.steps_T[counts.index(counts[-1])])
        parts.append(Text(f"{counts[-1]:,.0f} events, last at step {at:,}", YELLOW))
    if state.now("nonfinite_tokens") > 0:
        parts.append(Text(f"{state.now('nonfinite_tokens'):,.0f} tokens are not finite", RED))
    return _fitting(parts, "   ", width)


def _figure(name: str, state: State, key: str, form: str, better: int) -> Text:
    value, change = state.now(key), state.change(key)
    text = Text.assemble((f"{name} ", FAINT), (form.format(value) if math.isfinite(value) else "-", "bold"))
    if math.isfinite(change) and change != 0:
        text.append(" ▲" if change > 0 else " ▼", GREEN if change * better > 0 else ORANGE)
    return text


def latest_lines(state: State, width: int, height: int) -> list[Text]:
    """The tokens forgotten last, in their context."""
    shown = state.latest[:height]
    return _concordance([_latest(one, state) for one in shown], shown, state, width)


def often_lines(state: State, width: int, height: int) -> list[Text]:
    """The tokens forgotten most often, in their context."""
    shown = state.often[:height]
    return _concordance([_often(one, state) for one in shown], shown, state, width)


def _latest(one: Forgotten, state: State) -> Text:
    steps = len(f"{state.latest[0].step:,}")
    text = Text(no_wrap=True, end="")
    text.append(f"{one.step:>{steps},} ", FAINT)
    text.append(f"{_bits(one.before)} → ")
    text.append(_bits(one.now), ORANGE)
    text.append(" ▼ " if one.known else "   ", YELLOW)
    return text


def _often(one: Often, state: State) -> Text:
    most = max(len(str(other.events)) for other in state.often)
    text = Text(no_wrap=True, end="")
    text.append(f"{one.events:>{most}}x ", f"bold {ORANGE}")
    text.append(f"{_bits(one.now)} ")
    text.append("● " if one.correct else "○ ", GREEN if one.correct else FAINT)
    return text


def _concordance(heads: Sequence[Text], ones: Sequence[Forgotten | Often], state: State, width: int) -> list[Text]:
    """Each head with the token in its context, so that all tokens stand below one another."""
    if not heads:
        none = (
            "no token was forgotten so far" if len(state.steps_T) > 1 else "to be seen from the second observation on"
        )
        return [Text(none, FAINT)]
    if width >= WITH_INDEX:
        digits = len(f"{state.n_tokens}")
        for head, one in zip(heads, ones, strict=True):
            head.append(f"{f'#{one.token}':<{digits + 1}} ", FAINT)
    room = width - max(head.cell_len for head in heads)
    targets = ["⟦" + _first(visible(one.target), max(2, room // 2 - 2)) + "⟧" for one in ones]
    before = room - max(cell_len(target) for target in targets)
    for head, one, target in zip(heads, ones, targets, strict=True):
        context = _last(visible(one.context), before)
        head.append(" " * (before - cell_len(context)) + context)
        head.append(target, TARGET)
    return list(heads)


def _bits(value: float) -> str:
    return f"{value:>4.1f}" if math.isfinite(value) else "   -"


def _last(text: str, columns: int) -> str:
    """The end of a text that fits so many columns."""
    if cell_len(text) <= columns:
        return text
    kept, used = [], 1
    for char in reversed(text):
        used += cell_len(char)
        if used > columns:
            break
        kept.append(char)
    return ("…" if columns > 0 else "") + "".join(reversed(kept))


def _first(text: str, columns: int) -> str:
    return text if cell_len(text) <= columns else (chop_cells(text, columns - 1) or [""])[0] + "…"


def _bar(share: float, colour: str) -> Text:
    full = round(share * BAR_COLUMNS)
    return Text.assemble(("━" * full, colour), ("─" * (BAR_COLUMNS - full), FAINT), f" {math.floor(share * 100)} %")


def _fitting(parts: Iterable[Text], between: str, width: int) -> Text:
    """As many parts as fit, in their order; the last one that is shown may be cut."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for part in parts:
        room = width - text.cell_len
        if text.cell_len and cell_len(between) + part.cell_len > room and room < 12:
            break
        if text.cell_len:
            text.append(between, FAINT)
        text.append_text(part)
    text.truncate(width, overflow="ellipsis")
    return text


def duration(seconds: float) -> str:
    """A time span as a person says it."""
    s = round(seconds)
    if s < 100:
        return f"{s} s"
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60:02} min"
    return f"{days} d {hours % 24} h"
