"""Figures of what predicts learning: the effects of each predictor, and the likeness to n-gram models over training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curvewatch.analysis.figures import WIDTH, drawn, save_figure
from curvewatch.analysis.predict.across import NgramHump
from curvewatch.analysis.predict.targets import TARGETS
from curvewatch.analysis.style import run_colour, steps_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from curvewatch.analysis.predict.prediction import Prediction

BAND_SD = 5
"""As in the paper: the spread over runs is small."""


def effects_figure(prediction: Prediction) -> Figure:
    """Standardised effects with their intervals, a panel for each target."""
    return drawn(
        partial(_effects, prediction=prediction), (2.2 * WIDTH, 0.7 + 0.28 * len(prediction.predictors.numbers))
    )


def hump_figure(hump: NgramHump) -> Figure:
    """Correlation of surprisal with that of each n-gram model over training, with its spread over runs."""
    return drawn(partial(_hump, hump=hump), (WIDTH, 2.2))


def drawable(hump: NgramHump) -> bool:
    """Whether there is a correlation at any step after 0."""
    return bool(np.isfinite(hump.mean_Tn[hump.steps_T > 0]).any())


def save_figures(
    prediction: Prediction, folder: str | os.PathLike[str], formats: Sequence[str] = ("pdf", "png")
) -> list[Path]:
    """Writes `effects` and `ngram_hump`, each only if there is something to draw."""
    made = {"effects": effects_figure(prediction)} if prediction.found else {}
    if prediction.hump is not None and drawable(prediction.hump):
        made["ngram_hump"] = hump_figure(prediction.hump)
    paths = []
    for name, figure in made.items():
        for ending in formats:
            paths.append(Path(folder) / f"{name}.{ending}")
            save_figure(figure, paths[-1])
    return paths


def _effects(figure: Any, prediction: Prediction) -> None:
    panels = figure.subplots(1, max(1, len(prediction.found)), sharey=True, squeeze=False)[0]
    for axes, (target, one) in zip(panels, prediction.found.items(), strict=False):
        names = [effect.name for effect in one.effects]
        places = np.arange(len(names))[::-1]
        values = np.array([(effect.low, effect.value, effect.high) for effect in one.effects])
        axes.axvline(0, color="0.6", lw=0.6)
        for place, (low, value, high), effect in zip(places, values, one.effects, strict=True):
            colour = run_colour(0) if effect.agreed else "0.6"
            axes.plot([low, high], [place, place], color=colour, lw=1.2)
            axes.plot([value], [place], "o", color=colour, ms=3)
        axes.set_yticks(places, names)
        axes.set_title(TARGETS[target][2], fontsize=7)
        axes.set_xlabel("SD per SD", fontsize=7)


def _hump(figure: Any, hump: NgramHump) -> None:
    axes, after = figure.subplots(), hump.steps_T > 0
    steps = hump.steps_T[after]
    for n in range(hump.mean_Tn.shape[1]):
        mean, spread = hump.mean_Tn[after, n], BAND_SD * hump.sd_Tn[after, n]
        axes.fill_between(steps, mean - spread, mean + spread, color=run_colour(n), alpha=0.2, lw=0)
        axes.plot(steps, mean, color=run_colour(n), label=f"{n + 1}-gram")
    axes.set_ylabel("correlation of surprisal")
    steps_axis(axes)
    axes.legend()
