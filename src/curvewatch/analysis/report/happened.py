"""The events on the page: marked in the curve of mean surprisal, and listed with what their tokens were."""

from __future__ import annotations

from typing import Any

from curvewatch.analysis.events import events_of
from curvewatch.analysis.findings import RunFindings

MOST = 40
EXAMPLES = 4


def events_on_page(one: RunFindings) -> list[dict[str, Any]]:
    """The events of a run, the last ones where there are very many."""
    texts = one.run.tokens.texts() or {}
    found = []
    for event in events_of(one.run)[-MOST:]:
        tokens = [(i, texts.get(int(one.run.tokens.target[i]), f"#{i}")) for i in event.examples(EXAMPLES)]
        found.append({
            "step": event.event.step,
            "up": event.event.up,
            "words": event.event.in_words(event.over),
            "tokens": tokens,
        })  # fmt: skip
    return found
