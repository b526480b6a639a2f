"""The figure of the map of curves, coloured by a measure or a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from curvewatch.analysis.curve_map import curve_map
from curvewatch.analysis.select import label_named
from curvewatch.analysis.short_names import SHORT_NAMES, long_name
from curvewatch.analysis.style import plain_text, run_colour

if TYPE_CHECKING:
    from curvewatch.analysis.findings import Findings

MOST_VALUES = 8
QUANTILES = (0.01, 0.99)
"""What lies beyond has the colour of the ends."""


def draw_map(figure: Any, findings: Findings, by: str) -> None:
    """Every token of the first run, by principal components of its curve.

    Args:
        figure: To draw on.
        findings: Of the run.
        by: A label of the token set, or a measure, by its column or by its short name (`short_names`).

    Raises:
        ValueError: If there is neither.
    """
    one = findings.runs[0]
    if by not in one.run.tokens.labels:
        by = long_name(by)
    if by not in one.measures and by not in one.run.tokens.labels:
        raise ValueError(
            f"map:{by}: there is no such measure, and no such label. Measures: {', '.join(one.measures)} "
            f"(in short {', '.join(f'{k} for {v}' for k, v in SHORT_NAMES.items() if k != v)}). Labels: "
            f"{', '.join(one.run.tokens.labels) or 'none'}."
        )
    axes = figure.subplots()
    found = curve_map(one.run)
    x, y = found.points_NK.T
    size = float(np.clip(2e4 / max(1, len(x)), 0.3, 6))
    dots = {"s": size, "lw": 0, "alpha": 0.7, "rasterized": True}
    if by in one.measures and by not in ("acquisition_status", "top1_status"):
        values = np.asarray(one.measures[by], np.float64)
        known = np.isfinite(values)
        axes.scatter(x[~known], y[~known], color="0.8", **dots)
        low, high = np.quantile(values[known], QUANTILES) if known.any() else (0.0, 1.0)
        shown = axes.scatter(x[known], y[known], c=values[known], cmap="viridis", vmin=low, vmax=high, **dots)
        figure.colorbar(shown, ax=axes, label=f"{by.replace('_', ' ')} ({one.measures.units[by]})", fraction=0.05)
    else:
        label = label_named(one.run.tokens, by)
        order = np.argsort(-label.sizes, kind="stable")[:MOST_VALUES]
        axes.scatter(x, y, color="0.85", **dots)
        for k, v in enumerate(order.tolist()):
            chosen = label.codes == v
            name = plain_text(f"{label.values[v]} ({label.sizes[v]:,})")
            axes.scatter(x[chosen], y[chosen], color=run_colour(k), label=name, **dots)
        figure.legend(loc="outside right upper", markerscale=3)
    axes.set_xlabel(found.about[0])
    axes.set_ylabel(found.about[1])
