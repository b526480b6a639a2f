"""The paper's learning curves of single tokens: a few of one run, and one of all runs. Suffix: N tokens."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.curve import TokenCurve, curve_of
from curvewatch.analysis.figures import WIDTH, drawn
from curvewatch.analysis.style import plain_text, run_colour, steps_axis
from curvewatch.measures import MeasureTable
from curvewatch.runfile.reader import Reader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTILES = (0.2, 0.5, 0.8)
CHARACTERS = 60


def typical(table: MeasureTable) -> list[int]:
    """Tokens of one run that were learned early, at the median age, and late."""
    age_N = np.where(table["acquisition_status"] == "learned", table["age_of_acquisition"], np.nan)
    known = np.flatnonzero(np.isfinite(age_N))
    order = known[np.argsort(age_N[known], kind="stable")]
    return [int(order[int(q * (len(order) - 1))]) for q in QUANTILES] if len(order) else []


def most_forgotten(tables: Sequence[MeasureTable], n: int = 2) -> list[int]:
    """Tokens with the highest mean forgettability over the runs, of those that every run learned."""
    learned_N: NDArray[np.bool_] = np.logical_and.reduce([one["acquisition_status"] == "learned" for one in tables])
    mean_N = np.mean([one["forgettability"] for one in tables], axis=0)
    mean_N[~(learned_N & np.isfinite(mean_N))] = -np.inf
    order = np.argsort(-mean_N, kind="stable")[:n]
    return [int(i) for i in order if np.isfinite(mean_N[i])]


def one_run(run: Reader, tokens: Sequence[int]) -> Figure:
    """Raw and smoothed curves of some tokens of one run."""
    curves = [curve_of(run, token) for token in tokens]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for k, curve in enumerate(curves):
            after = curve.steps_T > 0
            axes.plot(curve.steps_T[after], curve.surprisal_T[after], color="black", lw=0.4, alpha=0.6)
            axes.plot(curve.steps_T[after], curve.smoothed_T[after], color=run_colour(k), label=_said(curve))
        steps_axis(axes)
        axes.set_ylabel("surprisal (bits)")
        figure.legend(loc="outside upper left", fontsize=6.5)

    return drawn(draw, (WIDTH * 1.3, 2.4 + 0.2 * len(curves)))


def all_runs(runs: Sequence[Reader], token: int) -> Figure:
    """Raw and smoothed curves of one token in every run."""
    curves = [curve_of(run, token) for run in runs]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for curve in curves:
            after = curve.steps_T > 0
            axes.plot(curve.steps_T[after], curve.surprisal_T[after], color="black", lw=0.4, alpha=0.3)
        for k, curve in enumerate(curves):
            after = curve.steps_T > 0
            axes.plot(curve.steps_T[after], curve.smoothed_T[after], color=run_colour(k), label=runs[k].path.stem)
        if len(curves) > 1:
            axes.legend()
        axes.set_title(_said(curves[0]), loc="left", fontsize=7)
        steps_axis(axes)
        axes.set_ylabel("surprisal (bits)")

    return drawn(draw, (WIDTH * 1.3, 2.4))


def _said(curve: TokenCurve) -> str:
    before = " ".join(curve.token.context.split())[-CHARACTERS:]
    return plain_text("\n".join(textwrap.wrap(f"…{before} → {curve.token.target.strip()}", 60)))
