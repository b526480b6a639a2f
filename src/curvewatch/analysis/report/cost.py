"""What the page says of a training that began with a model that knew things: what it cost, on the first screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.against import Against, against, in_words
from curvewatch.analysis.findings import RunFindings

MOST_LABELS = 4
MOST_VALUES = 12


def cost_of(one: RunFindings, rows: NDArray[np.int64]) -> dict[str, Any] | None:
    """The block's data; None where the run is held against nothing, or has no row after the base.

    Args:
        one: The run.
        rows: Its rows on the page.
    """
    if one.run.tokens.annotations.reference is None or len(one.moment) < 2:
        return None
    found = against(one.run)
    steps_T = found.steps_T
    chosen = np.flatnonzero(np.isin(steps_T, one.moment.steps_T[rows]))
    return {
        "words": in_words(found),
        "base": found.base,
        "steps": steps_T[chosen],
        "change": found.change_mean_T[chosen],
        "worse": found.worse_share_T[chosen],
        "lost": found.lost_share_T[chosen],
        "gained": found.gained_share_T[chosen],
        "regained": found.regained_share_T[chosen],
        **_table(found),
    }


def _table(found: Against) -> dict[str, Any]:
    whole = found.by()
    rows = [["all tokens", *whole.iloc[0].tolist()]]
    for name in list(found.run.tokens.labels)[:MOST_LABELS]:
        frame = found.by(name).sort_values("tokens", ascending=False)[:MOST_VALUES]
        frame = frame.sort_values("change", ascending=False)
        rows += [[f"{name}: {value}", *row.tolist()] for value, row in frame.iterrows()]
    items = found.items_frame()
    return {
        "columns": whole.columns.tolist(),
        "rows": rows,
        "item_columns": items.columns.tolist(),
        "item_rows": [[kind, *row.tolist()] for kind, row in items.iterrows()],
    }
