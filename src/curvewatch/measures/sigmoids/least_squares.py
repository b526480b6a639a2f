"""Least-squares sigmoids for many curves at once.

For a given shape s = logistic(a * (x - mean x) - b) the two levels of the sigmoid follow by linear regression, so only
a and b are searched for (variable projection, with Kaufman's Jacobian and Levenberg-Marquardt damping). In these
coordinates the limits that real curves run into, a straight line, an exponential, a jump, are approached in a few
steps; on start, end, xmid and scale the search creeps. It starts from the best of 249 shapes, which one matrix
product compares, so it seldom ends in a side valley. Every curve has its own damping and drops out when it is done.
Suffixes: T fitted steps, N curves, A curves still moving, P parameters (start, end, xmid, scale).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.smoothing import Float64

MAX_ITERATIONS = 300
TOLERANCE = 1e-8  # relative fall of the sum of squares that counts as rest
STEEPEST = 1e4  # per decade: a jump between two steps, and steeper fits no better
FARTHEST = 15.0  # of the middle from the steps, in scales: an exponential to 1e-6, and the levels keep their digits
# Starts, in ranges of x: the narrower the sigmoid, the closer the middles. The widest are near to a straight line, and
# those with a middle far outside near to an exponential.
START_GRID = [
    (scale, middle)
    for scale, low, high, n in (
        (1 / 200, 0.0, 1.0, 101),
        (1 / 60, 0.0, 1.0, 61),
        (1 / 25, -0.1, 1.1, 41),
        (1 / 10, -0.3, 1.3, 25),
        (1 / 4, -1.5, 2.5, 17),
        (1.0, -1.0, 2.0, 4),
    )
    for middle in np.linspace(low, high, n)
]


class _Shape(NamedTuple):
    """Logistic curves, centred, with what the regression on them leaves."""

    logistic_TA: Float64
    centred_TA: Float64
    height_A: Float64
    residual_TA: Float64
    cost_A: Float64


def sigmoid(x_T: Float64, parameters_PN: Float64) -> Float64:
    """Returns the sigmoids at the given points, bits, shape [T, N]."""
    start_N, end_N, xmid_N, scale_N = parameters_PN
    values_TN: Float64 = start_N + (end_N - start_N) * _logistic((x_T[:, None] - xmid_N) / scale_N)
    return values_TN


def fit_sigmoids(x_T: Float64, y_TN: Float64) -> tuple[Float64, NDArray[np.bool_]]:
    """Returns the least-squares sigmoid of each curve, shape [P, N], and whether its search came to rest.

    Args:
        x_T: log10 steps, at least as many as parameters.
        y_TN: Curves, bits, all finite.
    """
    u_T = x_T - x_T.mean()
    mean_N = y_TN.mean(axis=0)
    y_TN = y_TN - mean_N
    n = y_TN.shape[1]
    a_N, b_N = _best_start(u_T, y_TN)
    damping_N = np.full(n, 0.1)
    converged_N = np.zeros(n, bool)
    # Of a curve that a sigmoid fits perfectly rounding is all that is left.
    floor_N = 1e-24 * np.square(y_TN).sum(axis=0) + 1e-300
    active = np.arange(n)
    for _ in range(MAX_ITERATIONS):
        if active.size == 0:
            break
        y_TA, a_A, b_A = y_TN[:, active], a_N[active], b_N[active]
        here = _project(u_T, y_TA, a_A, b_A)
        da_A, db_A = _step(u_T, here, damping_N[active])
        trial_a_A = np.clip(a_A + da_A, -STEEPEST, STEEPEST)
        reach_A = FARTHEST + np.abs(trial_a_A) * u_T[-1]
        trial_b_A = np.clip(b_A + db_A, -reach_A, reach_A)
        there = _project(u_T, y_TA, trial_a_A, trial_b_A)
        better_A = there.cost_A < here.cost_A
        moved = active[better_A]
        a_N[moved], b_N[moved] = trial_a_A[better_A], trial_b_A[better_A]
        small_A = np.abs(here.cost_A - there.cost_A) <= TOLERANCE * here.cost_A + floor_N[active]
        # A whole step that changes nothing, or none that goes down however short. (A damped one is small anyway.)
        rest_A = (small_A & (damping_N[active] <= 1.0)) | (~better_A & (damping_N[active] > 1e8))
        damping_N[active] *= np.where(better_A, 0.1, 8.0)
        converged_N[active[rest_A]] = True
        active = active[~rest_A]

    last = _project(u_T, y_TN, a_N, b_N)
    start_N = mean_N - last.height_A * last.logistic_TA.mean(axis=0)
    # A sigmoid of slope 0 is a constant: its height is 0, and any finite scale will do.
    slope_N = np.where(np.abs(a_N) > 1e-12, a_N, 1e-12)
    return np.stack([start_N, start_N + last.height_A, x_T.mean() + b_N / slope_N, 1.0 / slope_N]), converged_N


def _logistic(t: Float64) -> Float64:
    result: Float64 = 1.0 / (1.0 + np.exp(np.clip(-t, -500.0, 500.0)))
    return result


def _best_start(u_T: Float64, y_TN: Float64) -> tuple[Float64, Float64]:
    """Returns a and b of the best shape on a grid, for each curve."""
    width = u_T[-1] - u_T[0]
    scale_S, middle_S = width * np.array(START_GRID).T
    a_S, b_S = 1.0 / scale_S, (u_T[0] + middle_S) / scale_S
    shape_TS = _logistic(u_T[:, None] * a_S - b_S)
    shape_TS -= shape_TS.mean(axis=0)
    norm_S = np.sqrt(np.square(shape_TS).sum(axis=0))
    usable_S = norm_S > 1e-100
    a_S, b_S, shape_TS = a_S[usable_S], b_S[usable_S], (shape_TS / np.where(usable_S, norm_S, 1.0))[:, usable_S]
    best_N = np.abs(shape_TS.T @ y_TN).argmax(axis=0)  # the more of the curve it takes up, the less it leaves
    return a_S[best_N], b_S[best_N]


def _project(u_T: Float64, y_TA: Float64, a_A: Float64, b_A: Float64) -> _Shape:
    """Returns the logistic curves and the regression of the (centred) data on them."""
    logistic_TA = _logistic(u_T[:, None] * a_A - b_A)
    centred_TA = logistic_TA - logistic_TA.mean(axis=0)
    norm_A = np.square(centred_TA).sum(axis=0)
    flat_A = norm_A < 1e-280  # far out the shape is constant to the last digit
    height_A = np.where(flat_A, 0.0, (centred_TA * y_TA).sum(axis=0) / np.where(flat_A, 1.0, norm_A))
    residual_TA = y_TA - height_A * centred_TA
    return _Shape(logistic_TA, centred_TA, height_A, residual_TA, np.square(residual_TA).sum(axis=0))


def _step(u_T: Float64, shape: _Shape, damping_A: Float64) -> tuple[Float64, Float64]:
    """Returns the damped Gauss-Newton step in a and b."""
    db_TA = -shape.height_A * shape.logistic_TA * (1.0 - shape.logistic_TA)
    da_TA = -u_T[:, None] * db_TA
    norm_A = np.maximum(np.square(shape.centred_TA).sum(axis=0), 1e-280)
    for d_TA in (da_TA, db_TA):  # what the two levels can make up for does not count
        d_TA -= d_TA.mean(axis=0)
        d_TA -= (d_TA * shape.centred_TA).sum(axis=0) / norm_A * shape.centred_TA
    aa_A, bb_A = np.square(da_TA).sum(axis=0), np.square(db_TA).sum(axis=0)
    ab_A = (da_TA * db_TA).sum(axis=0)
    ra_A, rb_A = (da_TA * shape.residual_TA).sum(axis=0), (db_TA * shape.residual_TA).sum(axis=0)
    aa_A, bb_A = aa_A * (1.0 + damping_A) + 1e-200, bb_A * (1.0 + damping_A) + 1e-200
    determinant_A = np.maximum(aa_A * bb_A - ab_A * ab_A, 1e-300)
    return (bb_A * ra_A - ab_A * rb_A) / determinant_A, (aa_A * rb_A - ab_A * ra_A) / determinant_A
