"""The look that all pictures share: one order of colours, one meaning for each."""

from __future__ import annotations

from typing import Any

# Runs, in this order; distinguishable with any colour vision and on white and on near-black (after Okabe and Ito).
RUN_COLOURS = ("#2f7ed8", "#e07b39", "#2a9d6f", "#c05299", "#8a6fd1", "#b08900", "#1ba7b8", "#d64550")
CHANCE = "#8a8f98"
# Correlations: blue for negative, white or black for none, orange for positive.
DIVERGING = ("#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b")


def run_colour(index: int) -> str:
    """Colour of the `index`-th run."""
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def steps_axis(axes: Any) -> None:
    """The axis that training is drawn on."""
    axes.set_xscale("log")
    axes.set_xlabel("training step")


def plain_text(text: str) -> str:
    """Text in which matplotlib sees no formulas."""
    return text.replace("$", r"\$").replace("⟦", "[").replace("⟧", "]")
