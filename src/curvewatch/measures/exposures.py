"""What exposures do to a probe: how much it gains, how much of that stays, how fast it goes.

Definitions of Chang, Park, Ye et al. (2024), "How Do Large Language Models Acquire Factual Knowledge During
Pretraining?", in which l is the log-probability of a probe's target span: here minus its surprisal, bits. Their update
t starts from parameters theta_t; here the row of step s is the model after s updates, so an exposure in the update that
leads to step e has theta_t = the row of step e - 1. Suffixes: T rows, E exposures, P probes, K steps behind the last
gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW = 50
"""Steps behind an exposure within which its local acquisition maximum lies."""
OUTLIERS_IQR = 1.5
"""Probes farther than so many interquartile ranges from the quartiles are left out of the mean retainability."""
LEAST_POINTS = 3


@dataclass(frozen=True)
class ExposureEffects:
    """What each exposure of one probe did.

    Attributes:
        before_step_E: Row that stands for the model before the exposure: the last one before it; -1 if there is none.
        peak_step_E: The local acquisition maximum: the step of the least surprisal within `WINDOW` steps; -1 if none.
        effectivity_E: Bits gained from the one to the other: l(peak) - l(before); NaN if not known.
        complete_E: Whether the row just before the exposure and each step of the window were scored.
    """

    before_step_E: NDArray[np.int64]
    peak_step_E: NDArray[np.int64]
    effectivity_E: NDArray[np.float64]
    complete_E: NDArray[np.bool_]


def exposure_effects(
    surprisal_T: ArrayLike, steps_T: ArrayLike, exposures_E: ArrayLike, *, window: int = WINDOW
) -> ExposureEffects:
    """The effectivity of each exposure of a probe.

    Args:
        surprisal_T: Of the probe, bits.
        steps_T: Scored steps, ascending.
        exposures_E: Updates that were trained on its passage, counted from 1.
        window: Steps; the maximum is looked for in rows of steps e to e + window - 1.

    Returns:
        One value an exposure. With fewer rows than steps the maximum is that of the rows there are.
    """
    l_T, steps = -np.asarray(surprisal_T, np.float64), np.asarray(steps_T, np.int64)
    exposures = np.asarray(exposures_E, np.int64)
    before_step, peak_step = np.full((2, len(exposures)), -1, np.int64)
    effectivity, complete = np.full(len(exposures), np.nan), np.zeros(len(exposures), bool)
    for e, exposure in enumerate(exposures.tolist()):
        start, stop = np.searchsorted(steps, [exposure, exposure + window])
        complete[e] = start > 0 and steps[start - 1] == exposure - 1 and stop - start == window
        if start > 0:
            before_step[e] = steps[start - 1]
        inside = l_T[start:stop]
        if not np.isfinite(inside).any():
            continue
        peak = start + int(np.nanargmax(np.where(np.isfinite(inside), inside, np.nan)))
        peak_step[e] = steps[peak]
        if start > 0:
            gained = l_T[peak] - l_T[start - 1]
            effectivity[e] = gained if np.isfinite(gained) else np.nan
    return ExposureEffects(before_step, peak_step, effectivity, complete)


@dataclass(frozen=True)
class Retention:
    """How much of what the exposures brought is left.

    Attributes:
        since_K: Steps since the local acquisition maximum of the last exposure: above 0, ascending.
        retainability_K: Share of the gain over all exposures that is left: 1 at the maximum, 0 as before the first.
        gain: That gain, bits; NaN if not known. Where it is not above 0 nothing was learned, and no share is told.
    """

    since_K: NDArray[np.int64]
    retainability_K: NDArray[np.float64]
    gain: float


def retention(surprisal_T: ArrayLike, steps_T: ArrayLike, exposures_E: ArrayLike, *, window: int = WINDOW) -> Retention:
    """The retainability of a probe behind its last exposure.

    Args:
        surprisal_T: Of the probe, bits.
        steps_T: Scored steps, ascending.
        exposures_E: Updates that were trained on its passage, ascending, at least one.
        window: As in `exposure_effects`.
    """
    steps, exposures = np.asarray(steps_T, np.int64), np.asarray(exposures_E, np.int64)
    nothing = Retention(np.zeros(0, np.int64), np.zeros(0), float("nan"))
    if not len(exposures):
        return nothing
    effects = exposure_effects(surprisal_T, steps, exposures, window=window)
    first, peak = effects.before_step_E[0], effects.peak_step_E[-1]
    if first < 0 or peak < 0:
        return nothing
    l_T = -np.asarray(surprisal_T, np.float64)
    l_before, l_peak = l_T[np.searchsorted(steps, [first, peak])]
    gain = float(l_peak - l_before)
    behind = steps > peak
    if not gain > 0:
        return Retention(np.zeros(0, np.int64), np.zeros(0), gain)
    return Retention(steps[behind] - peak, (l_T[behind] - l_before) / gain, gain)


@dataclass(frozen=True)
class Decay:
    """Retainability as a line over the logarithm of time.

    Attributes:
        constant: By so much it falls when the time since grows e-fold (`decay constant a` of the paper).
        intercept: Of the line, at one step.
        forgotten_steps: Steps after which the line says that nothing is left; inf if it does not fall.
        n_points: Points that it was fitted to.
    """

    constant: float
    intercept: float
    forgotten_steps: float
    n_points: int


def decay(since_K: ArrayLike, retainability_K: ArrayLike) -> Decay:
    """Fits R = intercept - constant * ln(steps since) by least squares.

    Args:
        since_K: Steps, above 0.
        retainability_K: As `retention` has it, or a mean of it over probes; what is not finite is left out.

    Returns:
        NaN with fewer than three points.
    """
    since, share = np.asarray(since_K, np.float64), np.asarray(retainability_K, np.float64)
    known = np.isfinite(share) & (since > 0)
    n = int(known.sum())
    if n < LEAST_POINTS or len(np.unique(since[known])) < 2:
        return Decay(float("nan"), float("nan"), float("nan"), n)
    slope, intercept = np.polyfit(np.log(since[known]), share[known], 1)
    with np.errstate(over="ignore"):
        forgotten = float(np.exp(intercept / -slope)) if slope < 0 else float("inf")
    return Decay(float(-slope), float(intercept), forgotten, n)


def mean_retainability(retentions: list[Retention]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The mean over probes at each time since their maximum, outliers left out.

    Args:
        retentions: One a probe; those without a gain are left out.

    Returns:
        Steps since, mean share, and the number of probes behind it, at every time that any probe has.
    """
    times = np.concatenate([np.zeros(0, np.int64), *(one.since_K for one in retentions)])
    shares = np.concatenate([np.zeros(0), *(one.retainability_K for one in retentions)])
    known = np.isfinite(shares)
    times, shares = times[known], shares[known]
    since = np.unique(times)
    means, counts = np.full(len(since), np.nan), np.zeros(len(since), np.int64)
    order = np.argsort(times, kind="stable")
    for k, part in enumerate(np.split(shares[order], np.searchsorted(times[order], since[1:]))):
        low, high = np.percentile(part, [25, 75]) if len(part) else (0.0, 0.0)
        reach = OUTLIERS_IQR * (high - low)
        kept = part[(part >= low - reach) & (part <= high + reach)]
        if len(kept):
            means[k], counts[k] = kept.mean(), len(kept)
    return since, means, counts
