"""Draws the pictures of the measures' pages: `python docs/measures/pictures.py` writes them beside itself.

The curves are made up; what is drawn on them comes from the library's own functions. Each picture says in its metadata
what it shows, number by number, and the tests hold that against what the functions return today. Suffixes: T scored
steps, N tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from curvewatch import measures
from curvewatch.analysis.figures import STYLE
from curvewatch.analysis.style import CHANCE as CHANCE_COLOUR
from curvewatch.analysis.style import run_colour
from curvewatch.live.resemblance import NgramResemblance
from curvewatch.measures import (
    MeasureTable,
    RunCurves,
    SmoothedCurves,
    ThresholdForgetting,
    cross_run,
    final_window,
    measure_curves,
    smooth_curves,
)
from curvewatch.measures.frequency import (
    TargetTypes,
    band_means,
    band_names,
    frequency_bands,
    frequency_correlations,
)
from curvewatch.scoring.logits import score_logits

Curves = NDArray[np.float64]

CHANCE = float(np.log2(50_257))
MAX_STEPS = 10_000
# Dense on a log axis, and twenty even steps so that the last quarter has rows enough.
STEPS = np.unique(np.rint(np.concatenate([[0], np.geomspace(1, MAX_STEPS, 60), np.linspace(500, MAX_STEPS, 20)])))
X = np.log10(np.maximum(STEPS, 0.5))
AFTER = STEPS > 0
BLUE, ORANGE, GREEN = run_colour(0), run_colour(1), run_colour(2)


def falling(when: float, low: float, speed: float = 4.0) -> Curves:
    """A curve that falls from chance to `low` bits, halfway down at step 10 to the power of `when`."""
    return CHANCE - (CHANCE - low) / (1 + np.exp(-speed * (X - when)))


def bump(at: float, bits: float, width: float = 0.2) -> Curves:
    """A rise by `bits` around step 10 to the power of `at`, and the way back."""
    return bits * np.exp(-(((X - at) / width) ** 2))


def noise(seed: int, bits: float) -> Curves:
    """The unsteadiness of a curve from one observation to the next."""
    return np.random.default_rng(seed).normal(0.0, bits, STEPS.size)


def measured(*curves: Curves) -> tuple[MeasureTable, SmoothedCurves, Curves]:
    """The measures of some curves, the smoothed curves, and the curves as one array [T, N]."""
    curves_TN = np.stack(curves, axis=1)
    table = measure_curves(curves_TN, STEPS, chance=CHANCE, max_steps=MAX_STEPS)
    return table, smooth_curves(curves_TN, STEPS), curves_TN


def raw(axes: Any, curve_T: Curves, colour: str = BLUE, **how: Any) -> None:
    """Draws the observations after step 0."""
    axes.plot(STEPS[AFTER], curve_T[AFTER], ".", ms=3, alpha=0.6, color=colour, **how)


def level(axes: Any, bits: float, text: str, colour: str = CHANCE_COLOUR, at: float = 1.0, va: str = "bottom") -> None:
    """Draws a horizontal line with its name above or (`va="top"`) below it, `at` a share of the width."""
    axes.axhline(bits, color=colour, lw=0.8, ls=(0, (4, 3)))
    side = "right" if at == 1 else "left"
    place = (at, bits)
    axes.annotate(text, place, xycoords=("axes fraction", "data"), ha=side, va=va, fontsize=6.5, color=colour)


def steps_axis(axes: Any, top: float = 18.0) -> None:
    """Steps on a log axis, bits from 0."""
    axes.set_xscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel("surprisal (bits)")
    axes.set_ylim(0, top)


def final_surprisal(figure: Figure) -> str:
    """The last quarter of training, and the mean of the raw curve in it."""
    table, _, curves_TN = measured(falling(2.0, 4.0) + bump(3.2, 2.0) + noise(1, 0.5))
    axes, value = figure.subplots(), float(table["final_surprisal"][0])
    window = final_window(STEPS, MAX_STEPS)
    axes.axvspan(0.75 * MAX_STEPS, MAX_STEPS, color=ORANGE, alpha=0.15, lw=0)
    axes.plot(STEPS, curves_TN[:, 0], ".", ms=3, alpha=0.6, color=BLUE)
    axes.plot(STEPS[window], curves_TN[window, 0], ".", ms=5, color=ORANGE)
    axes.hlines(value, 0.75 * MAX_STEPS, MAX_STEPS, color=ORANGE)
    axes.annotate(f"mean {value:.2f} bits", (0.875 * MAX_STEPS, 6.0), ha="center", color=ORANGE)
    axes.annotate("last quarter", (0.875 * MAX_STEPS, 16.5), ha="center", color=ORANGE)
    level(axes, CHANCE, "chance", at=0.4)
    axes.set(xlabel="training step", ylabel="surprisal (bits)", ylim=(0, 18))
    return f"final surprisal {value:.2f} bits over {table['window_rows'][0]} rows"


def within_run_variability(figure: Figure) -> str:
    """Two tokens with one mean and two spreads."""
    table, _, curves_TN = measured(falling(2.0, 5.0) + noise(2, 0.25), falling(2.0, 5.0) + noise(3, 1.2))
    said = []
    window = final_window(STEPS, MAX_STEPS)
    for index, (axes, colour) in enumerate(zip(figure.subplots(1, 2, sharey=True), (BLUE, ORANGE), strict=True)):
        mean, spread = float(table["final_surprisal"][index]), float(table["within_run_variability"][index])
        axes.fill_between([0.75 * MAX_STEPS, MAX_STEPS], mean - spread, mean + spread, color=colour, alpha=0.25, lw=0)
        axes.plot(STEPS, curves_TN[:, index], ".", ms=2.5, alpha=0.4, color=colour)
        axes.plot(STEPS[window], curves_TN[window, index], ".", ms=4.5, color=colour)
        axes.set(xlabel="training step", ylim=(0, 18), title=f"standard deviation {spread:.2f} bits")
        axes.xaxis.set_major_locator(MaxNLocator(3))
        level(axes, CHANCE, "chance")
        said.append(f"{spread:.2f}")
    figure.axes[0].set_ylabel("surprisal (bits)")
    return f"within-run variability {' and '.join(said)} bits"


def age_of_acquisition(figure: Figure) -> str:
    """The threshold halfway from chance to the minimum, where the curve gets down to it, and the other cases."""
    table, smooth, curves_TN = measured(
        falling(2.2, 3.0) + bump(3.5, 2.0) + noise(4, 0.6),
        np.minimum(falling(0.0, 3.0, 2.0), 6.0) + noise(5, 0.4),
        CHANCE + 1.2 - 0.2 * np.sin(2 * X) + noise(6, 0.2),
    )
    said = []
    for index, axes in enumerate(figure.subplots(1, 3, sharey=True)):
        status, age = str(table["acquisition_status"][index]), float(table["age_of_acquisition"][index])
        threshold, lowest = float(table["acquisition_threshold"][index]), float(table["min_surprisal"][index])
        raw(axes, curves_TN[:, index])
        axes.plot(smooth.steps_T, smooth.curves_TN[:, index], color=BLUE)
        level(axes, CHANCE, "chance", va="top" if status == "never" else "bottom")
        if status != "never":
            level(axes, lowest, "minimum", at=0.05, va="top")
            level(axes, threshold, "threshold", ORANGE)
            axes.plot(10**age, smooth.at(10**age, [index])[0], "o", mfc="white", mec=ORANGE, ms=5)
        if status == "learned":
            axes.annotate(
                f"$10^{{{age:.2f}}}$ = {10**age:.0f}", (10**age, threshold), xytext=(0.06, 0.2),
                textcoords="axes fraction", color=ORANGE, arrowprops={"arrowstyle": "-", "color": ORANGE, "lw": 0.6},
            )  # fmt: skip
        steps_axis(axes)
        axes.set_title(status)
        said.append(f"{status} {age:.2f}, threshold {threshold:.2f}")
        if index:
            axes.set_ylabel("")
    return "; ".join(said)


def surprisal(figure: Figure) -> str:
    """What is stored of a token at each step: surprisal, entropy, and whether the model's first choice is right."""
    n_outputs, rival, target = 64, 3, 5
    logits_TV = np.random.default_rng(7).normal(0.0, 0.4, (STEPS.size, n_outputs))
    logits_TV[:, rival] += 7 / (1 + np.exp(-5 * (X - 1.0)))  # the model first learns another token
    logits_TV[:, target] += 10 / (1 + np.exp(-4 * (X - 2.2)))
    scores_3T = score_logits(torch.from_numpy(logits_TV), torch.full((STEPS.size,), target)).numpy()
    surprisal_T, correct_T, entropy_T = scores_3T[0], scores_3T[1] > 0, scores_3T[2]
    axes = figure.subplots()
    axes.plot(STEPS[AFTER], entropy_T[AFTER], color=GREEN, lw=1, label="entropy")
    axes.plot(STEPS[AFTER], surprisal_T[AFTER], color=BLUE, lw=1, label="surprisal")
    for chosen, fill, label in ((True, BLUE, "first choice"), (False, "white", "not")):
        which = AFTER & (correct_T == chosen)
        axes.plot(STEPS[which], surprisal_T[which], "o", ms=3.5, mfc=fill, mec=BLUE, mew=0.8, label=label)
    level(axes, np.log2(n_outputs), "chance: 6 bits")
    axes.legend(loc="upper right")
    steps_axis(axes, 11)
    return f"surprisal up to {surprisal_T.max():.2f} bits, first choice at {int(correct_T.sum())} of {STEPS.size} steps"


def smoothed_curve(figure: Figure) -> str:
    """A steady curve and an unsteady one, and how smooth a fit each of them gets."""
    table, smooth, curves_TN = measured(
        falling(2.0, 3.0) + bump(3.1, 2.0) + noise(8, 0.15), falling(2.0, 8.0, 1.5) + noise(9, 2.2)
    )
    said = []
    for index, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        weight = float(table["smoothing_lambda"][index])
        raw(axes, curves_TN[:, index])
        axes.plot(smooth.steps_T, smooth.curves_TN[:, index], color=ORANGE)
        level(axes, CHANCE, "chance")
        steps_axis(axes)
        axes.set_title(f"$\\lambda$ = {weight:.3g}")
        said.append(f"{weight:.3g}")
    figure.axes[1].set_ylabel("")
    return f"smoothing_lambda {' and '.join(said)}"


def forgettability(figure: Figure) -> str:
    """The rises of a smoothed curve, whose sum it is."""
    table, smooth, curves_TN = measured(falling(1.8, 3.0) + bump(2.7, 3.0) + bump(3.5, 1.5) + noise(10, 0.3))
    axes, curve_T = figure.subplots(), smooth.curves_TN[:, 0]
    raw(axes, curves_TN[:, 0])
    axes.plot(smooth.steps_T, curve_T, color=BLUE)
    rises = np.flatnonzero(np.diff(curve_T) > 0)
    for t in rises:
        axes.plot(smooth.steps_T[t : t + 2], curve_T[t : t + 2], color=ORANGE, lw=2.4, solid_capstyle="round")
    total = float(table["forgettability"][0])
    axes.annotate(f"all rises: {total:.2f} bits", (0.62, 0.5), xycoords="axes fraction", color=ORANGE)
    level(axes, CHANCE, "chance")
    steps_axis(axes)
    return f"forgettability {total:.2f} bits in {rises.size} rises"


def forgetting_events_top1(figure: Figure) -> str:
    """Three tokens, at each step the model's first choice or not, and where they are forgotten."""
    t = np.arange(STEPS.size)
    correct_TN = np.stack([t < 0, t >= 30, (t >= 22) & ~np.isin(t, (28, 29, 44, 45, 46))], axis=1)
    table = measure_curves(np.where(correct_TN, 1.0, 9.0), STEPS, chance=CHANCE, correct=correct_TN)
    axes, said = figure.subplots(), []
    for n in range(3):
        events = np.flatnonzero(correct_TN[:-1, n] & ~correct_TN[1:, n]) + 1
        for chosen, fill in ((True, BLUE), (False, "white")):
            which = AFTER & (correct_TN[:, n] == chosen)
            axes.plot(STEPS[which], np.full(which.sum(), -n), "o", ms=4, mfc=fill, mec=BLUE, mew=0.7)
        axes.plot(STEPS[events], np.full(events.size, -n + 0.28), "v", ms=6, color=ORANGE)
        status, count = table["top1_status"][n], int(table["forgetting_events_top1"][n])
        axes.annotate(f"{status}, {count} events", (1, -n + 0.3), fontsize=7)
        said.append(f"{status} {count}, first learned step {table['first_learned_step'][n]:g}")
    axes.set(xscale="log", xlabel="training step", ylim=(-2.4, 0.7), yticks=[])
    axes.spines["left"].set_visible(False)
    return "; ".join(said)


def forgetting_events_threshold(figure: Figure) -> str:
    """A rise that crosses the threshold by more than the margin, and one that does not."""
    table, smooth, curves_TN = measured(falling(1.5, 3.0) + bump(2.5, 8.5) + bump(3.5, 6.2) + noise(11, 0.4))
    axes, curve_T = figure.subplots(), smooth.curves_TN[:, 0]
    threshold = float(table["acquisition_threshold"][0])
    raw(axes, curves_TN[:, 0])
    axes.plot(smooth.steps_T, curve_T, color=BLUE)
    level(axes, threshold, "threshold: known at or below", ORANGE, at=0.01, va="top")
    level(axes, threshold + 1, "1 bit above: forgotten", ORANGE, at=0.01)
    counter = ThresholdForgetting(1, threshold, decay=0.0)
    for step, bits in zip(smooth.steps_T, curve_T, strict=True):
        counter.update(step, np.array([bits]))
        if counter.last_events:
            axes.plot(step, bits, "v", ms=7, color=ORANGE)
    level(axes, CHANCE, "chance")
    steps_axis(axes)
    events = int(table["forgetting_events_threshold"][0])
    assert events == counter.events_N[0]
    return f"forgetting_events_threshold {events}, threshold {threshold:.2f} bits"


def sigmoid_acquisition(figure: Figure) -> str:
    """A curve that a sigmoid describes, and one that turns round, which it does not."""
    table, smooth, curves_TN = measured(
        falling(2.0, 3.0) + noise(12, 0.5), falling(0.8, 4.0, 6.0) + 4.5 * np.maximum(X - 1.4, 0) + noise(13, 0.5)
    )
    fitted, said = measures.sigmoid_acquisition(curves_TN, STEPS, chance=CHANCE), []
    for index, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        start, end, middle, scale = fitted.parameters_PN[:, index]
        raw(axes, curves_TN[:, index])
        axes.plot(smooth.steps_T, smooth.curves_TN[:, index], color=BLUE, lw=1, label="smoothed")
        axes.plot(
            STEPS[AFTER],
            start + (end - start) / (1 + np.exp((middle - X[AFTER]) / scale)),
            color=ORANGE,
            label="sigmoid",
        )
        level(axes, float(fitted.threshold_N[index]), "threshold", at=0.02)
        level(axes, CHANCE, "chance")
        by_sigmoid, by_spline = float(fitted.age_N[index]), float(table["age_of_acquisition"][index])
        axes.plot(10**by_sigmoid, fitted.threshold_N[index], "o", mfc="white", mec=ORANGE, ms=5)
        axes.plot(10**by_spline, table["acquisition_threshold"][index], "o", mfc="white", mec=BLUE, ms=5)
        steps_axis(axes)
        said.append(f"{fitted.status_N[index]} {by_sigmoid:.2f}, smoothed {by_spline:.2f}")
        axes.set_title(f"{fitted.status_N[index]}, age {by_sigmoid:.2f}; smoothed {by_spline:.2f}")
    figure.axes[1].set_ylabel("")
    figure.axes[0].legend(loc="lower left")
    return "; ".join(said)


def cross_run_variability(figure: Figure) -> str:
    """One token on which three runs agree, and one on which they don't."""
    runs = []
    for seed, late in enumerate((0.0, 0.35, -0.3)):
        alike = falling(1.8, 3.0) + bump(3.0, 1.5) + noise(20 + seed, 0.4)
        unlike = falling(1.8 + late, 3.0 + 4 * late) + noise(30 + seed, 0.4)
        runs.append(RunCurves(np.stack([alike, unlike], axis=1), STEPS, CHANCE, MAX_STEPS))
    found = cross_run(runs)
    for index, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        for number, run in enumerate(runs):
            smooth = smooth_curves(run.surprisal, STEPS)
            axes.plot(smooth.steps_T, smooth.curves_TN[:, index], color=run_colour(number), label=f"run {number + 1}")
        level(axes, CHANCE, "chance")
        steps_axis(axes)
        axes.set_title(f"{found.variability_N[index]:.2f} bits²")
    figure.axes[1].set_ylabel("")
    figure.axes[1].legend(loc="lower left")
    return f"cross-run variability {' and '.join(f'{v:.2f}' for v in found.variability_N)} bits squared"


def many(seed: int, late_N: Curves, low_N: Curves, bits: float = 1.0) -> Curves:
    """Curves of many tokens, [T, N]: their own rise and fall, and a run's noise."""
    shape = (STEPS.size, late_N.size)
    drop_TN = (CHANCE - low_N) / (1 + np.exp(-3 * (X[:, None] - late_N)))
    return CHANCE - drop_TN + np.random.default_rng(seed).normal(0.0, bits, shape)


def correlations_between_runs(figure: Figure) -> str:
    """Correlation of surprisal between two runs, step by step, and of two measures."""
    rng = np.random.default_rng(40)
    late_N, low_N = rng.normal(2.0, 0.5, 300), rng.uniform(2, 10, 300)
    found = cross_run(
        [
            RunCurves(many(41 + seed, late_N + rng.normal(0, 0.15, 300), low_N), STEPS, CHANCE, MAX_STEPS)
            for seed in (0, 1)
        ]
    )
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
    after = found.steps_S > 0
    left.plot(found.steps_S[after], found.step_correlation_SRR[after, 0, 1], color=BLUE)
    left.set(xscale="log", xlabel="training step", ylabel="r of surprisal", ylim=(-0.3, 1))
    names = ("final_surprisal", "age_of_acquisition", "forgettability", "within_run_variability")
    values = [float(found.measure_correlation[name][0, 1]) for name in names]
    right.barh([name.replace("_", " ") for name in names][::-1], values[::-1], color=BLUE, alpha=0.7)
    right.set(xlabel="r of the measure", xlim=(-0.1, 1))
    right.axvline(0, color="0.4", lw=0.6)
    last = float(found.step_correlation_SRR[-1, 0, 1])
    return f"r at the last step {last:.2f}; " + ", ".join(f"{n} {v:.2f}" for n, v in zip(names, values, strict=True))


def known_and_acquired(figure: Figure) -> str:
    """The moving average, the fixed threshold, and what is read off them."""
    curve_T = falling(1.6, 3.0) + bump(2.7, 8.0, 0.25) + noise(14, 0.7)
    counter, axes = ThresholdForgetting(1, CHANCE / 2), figure.subplots()
    averages, known, forgotten = [], [], []
    for step, bits in zip(STEPS, curve_T, strict=True):
        counter.update(int(step), np.array([bits]))
        averages.append(float(counter.average_N[0]))
        known.append(bool(counter.known_N[0]))
        if counter.last_events:
            forgotten.append((step, averages[-1]))
    raw(axes, curve_T)
    axes.plot(STEPS[AFTER], np.array(averages)[AFTER], color=BLUE, label="moving average")
    axes.fill_between(STEPS, 0, 0.7, where=known, step="post", color=GREEN, alpha=0.5, lw=0, label="known")
    level(axes, CHANCE / 2, "half of chance", ORANGE, at=0.01, va="top")
    level(axes, CHANCE / 2 + 1, "1 bit above", ORANGE, at=0.01)
    level(axes, CHANCE, "chance")
    acquired = float(counter.first_known_step_N[0])
    axes.plot(acquired, averages[list(STEPS).index(acquired)], "o", mfc="white", mec=ORANGE, ms=6, label="acquired")
    axes.plot(*zip(*forgotten, strict=True), "v", ms=7, ls="", color=ORANGE, label="forgotten")
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.88))
    steps_axis(axes)
    return f"acquired at step {acquired:g}, forgotten {counter.events_N[0]} times"


def frequency(figure: Figure) -> str:
    """Mean surprisal of rare, mid and frequent tokens, and the rank correlation of frequency with the age."""
    rng = np.random.default_rng(50)
    counts_D = np.rint(1e6 / np.arange(1, 301))
    types = TargetTypes.of(rng.choice(300, 900, p=counts_D / counts_D.sum()))
    counts = counts_D[types.ids_D]
    rarity_N = 6 - np.log10(counts[types.index_N])
    curves_TN = many(51, 1.2 + 0.8 * rarity_N + rng.normal(0, 0.3, 900), 1.5 + 3 * rarity_N)
    table = measure_curves(curves_TN, STEPS, chance=CHANCE, max_steps=MAX_STEPS)
    band_N = frequency_bands(types, counts)
    means_TB = np.array([band_means(row_N, band_N, 3) for row_N in curves_TN])
    axes = figure.subplots()
    for band, name in enumerate(band_names(3)):
        axes.plot(STEPS[AFTER], means_TB[AFTER, band], color=run_colour(band), label=name)
    rho = frequency_correlations(types, counts, {"age": table["age_of_acquisition"]})["age"]
    axes.annotate(
        f"frequency and age of acquisition:\nrank correlation {rho:.2f}", (0.02, 0.06), xycoords="axes fraction"
    )
    level(axes, CHANCE, "chance")
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.9))
    steps_axis(axes)
    return f"rank correlation {rho:.2f}; last means {', '.join(f'{m:.2f}' for m in means_TB[-1])} bits"


def ngrams(figure: Figure) -> str:
    """Which n-gram a made-up model resembles as it goes from one to the next."""
    steps_nN = np.random.default_rng(60).gamma(2.0, 1.0, (3, 400))
    bits_nN = 3 + np.stack([steps_nN[0] * 2, steps_nN[0] + steps_nN[1], steps_nN[0] / 2 + steps_nN[1] + steps_nN[2]])
    resemblance, found = NgramResemblance(bits_nN), []
    for x, noise_N in zip(X, np.random.default_rng(61).normal(0, 1, (STEPS.size, 400)), strict=True):
        weight_n = np.exp(-(((x - np.array([1.0, 2.2, 3.6])) / 0.8) ** 2)) + 1e-9
        found.append(resemblance.update((weight_n / weight_n.sum() @ bits_nN + noise_N).astype(np.float32)))
    axes = figure.subplots()
    for n in (1, 2, 3):
        r_T = np.array([one[f"ngram/{n}gram_correlation"] for one in found])
        axes.plot(STEPS[AFTER], r_T[AFTER], color=run_colour(n - 1), label=f"{n}-gram")
    axes.set(xscale="log", xlabel="training step", ylabel="r of surprisal", ylim=(0, 1))
    axes.legend(loc="lower right", ncols=3)
    nearest = [int(one["ngram/nearest"]) for one in found]
    return f"nearest is 1 at {nearest.count(1)}, 2 at {nearest.count(2)} and 3 at {nearest.count(3)} steps"


Draw = Callable[[Figure], str]
PICTURES: dict[str, tuple[Draw, tuple[float, float]]] = {
    "surprisal": (surprisal, (4.6, 2.5)),
    "final-surprisal": (final_surprisal, (4.6, 2.4)),
    "within-run-variability": (within_run_variability, (5.2, 2.4)),
    "smoothed-curve": (smoothed_curve, (5.2, 2.4)),
    "age-of-acquisition": (age_of_acquisition, (6.6, 2.4)),
    "forgettability": (forgettability, (4.6, 2.4)),
    "forgetting-events-top1": (forgetting_events_top1, (4.6, 1.8)),
    "forgetting-events-threshold": (forgetting_events_threshold, (4.6, 2.4)),
    "sigmoid-acquisition": (sigmoid_acquisition, (5.4, 2.4)),
    "cross-run-variability": (cross_run_variability, (5.2, 2.4)),
    "correlations-between-runs": (correlations_between_runs, (5.6, 2.2)),
    "known-and-acquired": (known_and_acquired, (4.6, 2.5)),
    "frequency": (frequency, (4.6, 2.4)),
    "ngrams": (ngrams, (4.6, 2.4)),
}


def draw_all(folder: Path, names: Iterable[str] = PICTURES) -> dict[str, str]:
    """Writes pictures as PNG to `folder`, the same bytes each time; what each of them shows, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {}
    with matplotlib.rc_context(STYLE):
        for name in names:
            draw, size = PICTURES[name]
            figure = Figure(figsize=size, layout="constrained")
            shown[name] = draw(figure)
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Description": shown[name], "Software": None})
    return shown


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
