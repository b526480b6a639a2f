"""The figures of the paper, of one run or several, as PDF, PNG or SVG: single-column width, small serif-free type.

matplotlib's object interface is used: no window opens, no global state changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from curvewatch.analysis.by_label import label_curves
from curvewatch.analysis.event_figure import draw_events
from curvewatch.analysis.findings import CORRELATED, Findings, mean_known
from curvewatch.analysis.frames import need
from curvewatch.analysis.map_figure import draw_map
from curvewatch.analysis.style import CHANCE, DIVERGING, plain_text, run_colour, steps_axis
from curvewatch.analysis.summary import QUANTILES
from curvewatch.analysis.unit_figures import draw_items, draw_label, draw_label_accuracy
from curvewatch.analysis.units import Units
from curvewatch.tokens.names import unique_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    # A curve draws itself with what is here.
    from curvewatch.analysis.curve import TokenCurve

WIDTH = 3.3  # inches: a column of a two-column page
STYLE = {
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def save_curve(curve: TokenCurve, path: str | os.PathLike[str] | IO[str]) -> None:
    """Draws one token's curve to `path` (.png, .svg or .pdf), or as SVG to an open file."""
    save_figure(curve_figure(curve), path)


def curve_figure(curve: TokenCurve) -> Figure:
    """One token's curve as a matplotlib figure, which can be changed, and which notebooks show.

    Raises:
        ImportError: Without matplotlib.
    """

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        after = curve.steps_T > 0
        axes.axhline(curve.chance, color=CHANCE, lw=0.8, ls=(0, (4, 3)))
        axes.annotate(
            "chance", (1, curve.chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=6.5,
            color=CHANCE,
        )  # fmt: skip
        axes.plot(curve.steps_T[after], curve.surprisal_T[after], ".", ms=2.5, alpha=0.55, color=run_colour(0))
        axes.plot(curve.steps_T, curve.smoothed_T, color=run_colour(0), label="smoothed")
        age = curve.measures["age_of_acquisition"]
        if curve.measures["acquisition_status"] == "learned":
            axes.plot(10**age, curve.measures["acquisition_threshold"], "o", mfc="white", mec=run_colour(0), ms=5)
        steps_axis(axes)
        axes.set_ylabel("surprisal (bits)")
        axes.set_ylim(bottom=0)
        before = " ".join(curve.token.context.split())[-48:]
        axes.set_title(plain_text(f"…{before}⟦{curve.token.target}⟧"), loc="left", fontsize=7)

    return drawn(draw, (WIDTH * 1.3, 2.3))


def figure(findings: Findings, name: str = "surprisal") -> Figure:
    """One of the figures as a matplotlib figure, which can be changed, and which notebooks show.

    Args:
        findings: Of one run or several.
        name: One of `FIGURES`; of the first run also "label:NAME": mean surprisal of the tokens with each value of a
            label; "accuracy:NAME": how many of them are the model's first choice; "items:KIND": the share of pairs or
            questions that are right; "map:NAME": all curves as points, coloured by a measure or a label.

    Raises:
        ImportError: Without matplotlib.
        ValueError: If there is no such figure or label, or not of one run.
    """
    # With step 0 alone, or nothing, there is no axis of steps to draw on.
    empty = all((one.moment.steps_T <= 0).all() for one in findings.runs)
    if name.startswith(("label:", "accuracy:")):
        what, _, label = name.partition(":")
        (curves,) = label_curves(findings.runs[0].moment, [label])
        of_label = partial(
            draw_label if what == "label" else draw_label_accuracy,
            steps_T=findings.runs[0].moment.steps_T,
            curves=curves,
        )
        return drawn(_nothing if empty else of_label, (1.4 * WIDTH, 2.4))
    if name.startswith("map:"):
        draw_it = partial(draw_map, findings=findings, by=name.removeprefix("map:"))
        return drawn(_nothing if empty else draw_it, (1.4 * WIDTH, 2.8))
    if name.startswith("items:"):
        units = Units(findings.runs[0].run, name.removeprefix("items:"))
        return drawn(_nothing if empty else lambda figure: draw_items(figure, units), (WIDTH, 2.2))
    if name not in FIGURES:
        raise ValueError(
            f"name={name!r}: no such figure. There are {', '.join(FIGURES)}, "
            "label:NAME, accuracy:NAME, map:NAME and items:KIND."
        )
    if name == "cross_run" and findings.comparison is None:
        raise ValueError(
            "name='cross_run': it compares runs. Give several of one token set: run.plot('cross_run', other)."
        )
    draw, size = FIGURES[name]
    return drawn(_nothing if empty else lambda figure: draw(figure, findings), size)


def figures(findings: Findings, folder: str | os.PathLike[str], formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Writes every figure to `folder`, made if need be; one for each label, and for each kind of pairs or questions.

    Args:
        findings: Of one run or several.
        folder: Where to.
        formats: Of "pdf", "png", "svg".

    Returns:
        The files, in the order of the figures.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    first = findings.runs[0]
    names = [name for name in FIGURES if name != "cross_run" or findings.comparison is not None]
    if len(first.moment):
        names += [f"label:{name}" for name in first.run.tokens.labels]
        spans = first.run.tokens.spans
        names += [f"items:{kind}" for kind in spans.kinds if (spans.of_kind(kind).item >= 0).all()]
    files = dict(zip(names, unique_names([name.replace(":", "_") for name in names]), strict=True))
    for name, file in files.items():
        drawn = figure(findings, name)
        for ending in formats:
            paths.append(folder / f"{file.replace(' ', '_')}.{ending}")
            save_figure(drawn, paths[-1])
    return paths


def drawn(draw: Callable[[Any], None], size: tuple[float, float]) -> Figure:
    matplotlib, room = need("matplotlib", "figures"), need("matplotlib.figure", "figures")

    class Shown(room.Figure):  # type: ignore[misc, name-defined]
        """A figure without a window, which notebooks show without being asked to."""

        def _repr_png_(self) -> bytes:
            picture = BytesIO()
            self.savefig(picture, dpi=150, format="png")
            return picture.getvalue()

    with matplotlib.rc_context(STYLE):
        figure: Figure = Shown(figsize=size, layout="constrained")
        draw(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str] | IO[str]) -> None:
    """Writes a figure by the ending of `path`, or as SVG to an open file."""
    with need("matplotlib", "figures").rc_context(STYLE):
        figure.savefig(path, dpi=300, format=None if isinstance(path, (str, os.PathLike)) else "svg")


def _nothing(figure: Any) -> None:
    figure.text(0.5, 0.5, "no observation after step 0", ha="center", va="center", color=CHANCE)


def _legend(axes: Any, findings: Findings) -> None:
    if len(findings.runs) > 1 and axes.get_legend_handles_labels()[0]:
        axes.legend()


def _surprisal(figure: Any, findings: Findings) -> None:
    axes = figure.subplots()
    for index, one in enumerate(findings.runs):
        summary, after = one.summary, one.moment.steps_T > 0
        steps, colour = summary.steps_T[after], run_colour(index)
        if len(findings.runs) == 1:
            for low, high, alpha in ((0, 4, 0.12), (1, 3, 0.2)):
                between = summary.quantiles_QT[low, after], summary.quantiles_QT[high, after]
                label = f"{100 * (QUANTILES[high] - QUANTILES[low]):.0f} % of tokens"
                axes.fill_between(steps, *between, color=colour, alpha=alpha, lw=0, label=label)
        axes.plot(steps, summary.mean_T[after], color=colour, label=one.name if len(findings.runs) > 1 else "mean")
    axes.axhline(findings.runs[0].run.chance, color=CHANCE, lw=0.8, ls=(0, (4, 3)))
    axes.set_ylabel("surprisal (bits)")
    axes.set_ylim(bottom=0)
    steps_axis(axes)
    axes.legend()


def _accuracy(figure: Any, findings: Findings) -> None:
    axes = figure.subplots()
    for index, one in enumerate(findings.runs):
        after = one.moment.steps_T > 0
        accuracy = one.summary.accuracy_T[after]
        axes.plot(one.summary.steps_T[after], 100 * accuracy, color=run_colour(index), label=one.name)
    axes.set_ylabel("top-1 accuracy (%)")
    steps_axis(axes)
    _legend(axes, findings)


def _acquisition(figure: Any, findings: Findings) -> None:
    axes = figure.subplots()
    for index, one in enumerate(findings.runs):
        x, share = one.acquired_share()
        axes.plot(10**x, 100 * share, color=run_colour(index), label=one.name)
    axes.set_ylabel("tokens acquired (%)")
    axes.set_ylim(0, 100)
    steps_axis(axes)
    _legend(axes, findings)


def _distributions(figure: Any, findings: Findings) -> None:
    left, right = figure.subplots(1, 2)
    for index, one in enumerate(findings.runs):
        forgettability_N = one.measures["forgettability"]
        for axes, values_N in ((left, one.age_N), (right, forgettability_N)):
            values_n = values_N[np.isfinite(values_N)]
            if len(values_n):
                top = np.quantile(values_n, 0.995) if axes is right else values_n.max()
                edges = np.linspace(values_n.min(), max(top, values_n.min() + 1e-9), 50)
                weights = np.full(len(values_n), 100 / len(values_N))
                colour = run_colour(index)
                axes.hist(values_n, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
                axes.hist(values_n, edges, weights=weights, histtype="step", color=colour, lw=1, label=one.name)
        left.set_xlabel("age of acquisition (log10 step)")
        right.set_xlabel("forgettability (bits)")
    left.set_ylabel("tokens (%)")
    _legend(right, findings)


def _map(figure: Any, findings: Findings) -> None:
    axes, one = figure.subplots(), findings.runs[0]
    known_N = np.isfinite(one.confidence_N)
    if known_N.any():
        bins = axes.hexbin(
            one.unsteadiness_N[known_N], one.confidence_N[known_N], gridsize=40, bins="log", cmap="viridis", mincnt=1,
            linewidths=0.1,
        )  # fmt: skip
        figure.colorbar(bins, ax=axes, label="tokens", fraction=0.05)
    axes.set_xlabel("standard deviation of p(token)")
    axes.set_ylabel("mean p(token), last quarter")


def _correlations(figure: Any, findings: Findings) -> None:
    colours = need("matplotlib.colors", "figures").LinearSegmentedColormap.from_list("diverging", DIVERGING)
    axes, names = figure.subplots(), list(CORRELATED.values())
    r_MM = mean_known([one.correlation_MM for one in findings.runs])
    axes.imshow(r_MM, cmap=colours, vmin=-1, vmax=1)
    for a in range(len(names)):
        for b in range(len(names)):
            if np.isfinite(r_MM[a, b]):
                shade = "white" if abs(r_MM[a, b]) > 0.7 else "black"
                axes.text(b, a, f"{r_MM[a, b]:.2f}", ha="center", va="center", fontsize=6.5, color=shade)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _cross_run(figure: Any, findings: Findings) -> None:
    assert findings.comparison is not None
    axes, cross = figure.subplots(), findings.comparison.cross
    after = cross.steps_S > 0
    axes.plot(cross.steps_S[after], findings.comparison.step_correlation()[after], color="0.2")
    axes.set_ylabel("correlation of surprisal")
    axes.set_ylim(top=1)
    steps_axis(axes)


FIGURES: dict[str, tuple[Callable[[Any, Findings], None], tuple[float, float]]] = {
    "surprisal": (_surprisal, (WIDTH, 2.2)),
    "accuracy": (_accuracy, (WIDTH, 2.2)),
    "acquisition": (_acquisition, (WIDTH, 2.2)),
    "distributions": (_distributions, (2 * WIDTH, 2.2)),
    "dataset_map": (_map, (WIDTH, 2.6)),
    "events": (draw_events, (1.4 * WIDTH, 3.0)),
    "correlations": (_correlations, (WIDTH, 3.0)),
    "cross_run": (_cross_run, (WIDTH, 2.2)),
}
"""By name: what draws it, and its size in inches. The last takes several runs."""
