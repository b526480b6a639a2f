"""Figures of labels, and of pairs and questions, on matplotlib's axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.by_label import LabelCurves
from curvewatch.analysis.style import CHANCE, RUN_COLOURS, plain_text, run_colour, steps_axis
from curvewatch.analysis.units import Units

MOST_GROUPS = 6


def draw_label(figure: Any, steps_T: NDArray[np.int64], curves: LabelCurves) -> None:
    """Mean surprisal of the tokens with each value of a label."""
    _lines(figure, steps_T, curves, curves.mean_TV, "surprisal (bits)")


def draw_label_accuracy(figure: Any, steps_T: NDArray[np.int64], curves: LabelCurves) -> None:
    """The share of them that are the model's first choice."""
    _lines(figure, steps_T, curves, 100 * curves.accuracy_TV, "top-1 accuracy (%)")


def _lines(
    figure: Any, steps_T: NDArray[np.int64], curves: LabelCurves, shown_TV: NDArray[np.float64], what: str
) -> None:
    """A line a value, named beside the axes in the order in which the lines end."""
    axes, after = figure.subplots(), steps_T > 0
    order = np.argsort(-np.nan_to_num(shown_TV[-1], nan=-np.inf), kind="stable")
    for v in order.tolist():
        label = plain_text(f"{curves.values[v]} ({curves.sizes_V[v]:,})")
        dashes = "-" if v < len(RUN_COLOURS) else (0, (3, 1.5))  # the colours begin anew
        axes.plot(steps_T[after], shown_TV[after, v], color=run_colour(v), ls=dashes, label=label)
    axes.set_ylabel(what)
    axes.set_ylim(bottom=0)
    axes.set_title(plain_text(curves.name), loc="left")
    steps_axis(axes)
    figure.legend(loc="outside right upper")


def draw_items(figure: Any, units: Units) -> None:
    """The share of pairs or questions that are right, of all and of each group."""
    axes, items = figure.subplots(), units.items
    after = units.steps_T > 0
    groups = [group for group in dict.fromkeys(items.group) if group]
    shown: dict[str, Any] = {f"all ({len(items):,})": items.accuracy()}
    if len(groups) > 1:
        for group in sorted(groups, key=lambda group: -items.group.count(group))[:MOST_GROUPS]:
            shown[f"{group} ({items.group.count(group):,})"] = items.accuracy(group=group)
    axes.axhline(100 * items.chance, color=CHANCE, lw=0.8, ls=(0, (4, 3)))
    for k, (label, share_T) in enumerate(shown.items()):
        axes.plot(
            units.steps_T[after], 100 * share_T[after], color=run_colour(k), label=plain_text(label), lw=1 if k else 1.8
        )
    axes.set_ylabel("right (% of items)")
    axes.set_ylim(0, 101)
    axes.set_title(plain_text(units.kind), loc="left")
    steps_axis(axes)
    axes.legend()
