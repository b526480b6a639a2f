"""All measures of one run, read from its curves block by block.

Each measure is defined in the module of its name; this is the one place that joins them. Suffixes: T scored steps,
N tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.acquisition import UNFITTED, Acquisition, AcquisitionGrid
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.forgettability import forgettability
from curvewatch.measures.forgetting import count_top1, threshold_events
from curvewatch.measures.smoother.smoothing import FEW_STEPS, LAMBDAS, MIN_FIT_STEPS, Fit, Floats, Road, Smoother
from curvewatch.measures.surprisal import FEW_WINDOW_ROWS, final_surprisal, final_window
from curvewatch.measures.table import TOP1_STATUS, MeasureInfo, MeasureTable
from curvewatch.measures.variability import within_run_variability

Columns = dict[str, NDArray[Any]]
NEVER_LEARNED, UNFORGETTABLE, FORGOTTEN, UNKNOWN = range(len(TOP1_STATUS))


class Measurer:
    """Measures blocks of curves of one run.

    Attributes:
        steps_T: Scored steps.
        fitted: Rows that are fitted, those after step 0.
        window: Rows of the last quarter of training.
        smoother: None when there are too few steps to fit a curve.
    """

    def __init__(
        self,
        steps_T: NDArray[Any],
        *,
        chance: float | ArrayLike,
        max_steps: float | None = None,
        paper: bool = False,
        road: Road = "float64",
        margin: float = 1.0,
    ) -> None:
        """Prepares what all tokens share; the arguments are those of `measure_curves`."""
        chances = np.asarray(chance, np.float64)
        if not (np.isfinite(chances) & (chances > 0)).all():
            raise ValueError(f"chance is {chances}; it is log2 of the vocabulary size, a positive number of bits.")
        if max_steps is not None and not max_steps > 0:
            raise ValueError(f"max_steps is {max_steps}; give the planned number of training steps, or None.")
        self.steps_T, self.paper, self.road, self.margin = steps_T, paper, road, margin
        self.chance: float | NDArray[np.float64] = float(chances) if chances.ndim == 0 else chances
        self.max_steps = max_steps if max_steps is not None or not steps_T.size else float(steps_T[-1])
        self.window = final_window(steps_T, self.max_steps or 0.0, paper=paper)
        # log10 of step 0 is -inf: it is stored, and left out of every fit.
        self.fitted = slice(int(np.searchsorted(steps_T, 0, side="right")), steps_T.size)
        x_T = np.log10(steps_T[self.fitted].astype(np.float64))
        self.smoother: Smoother | None = None
        if x_T.size >= (1 if paper else MIN_FIT_STEPS):
            self.smoother = Smoother(x_T, paper=paper, dtype=road)
            self._grid = AcquisitionGrid(self.smoother.basis, dtype=self.smoother.dtype)
            self._exact_grid = AcquisitionGrid(self.smoother.basis)

    def fit(self, curves_TN: Floats, tokens: slice = slice(None)) -> tuple[Fit, Acquisition]:
        """Returns the fitted curves of a block and when they were acquired; rounding decides neither.

        Args:
            curves_TN: Surprisal, bits.
            tokens: Which tokens of the run they are, where each has a chance of its own.
        """
        assert self.smoother is not None
        chance = self.chance[tokens] if isinstance(self.chance, np.ndarray) else self.chance
        curves_FN = curves_TN[self.fitted]
        fit = self.smoother.fit(curves_FN)
        acquisition = self._grid.search(fit, chance, paper=self.paper)
        again = np.flatnonzero(acquisition.doubtful_N)
        if again.size:
            exact = self.smoother.exact.fit(curves_FN[:, again])
            fit.overwrite(again, exact)
            exactly = self._exact_grid.search(exact, chance[again] if isinstance(chance, np.ndarray) else chance)
            for name in Acquisition._fields:
                getattr(acquisition, name)[again] = getattr(exactly, name)
        return fit, acquisition

    def measure(
        self, curves_TN: Floats, correct_TN: NDArray[np.bool_] | None = None, tokens: slice = slice(None)
    ) -> tuple[Columns, Fit | None]:
        """Returns the columns of the table for one block, and its fit if there is one.

        Args:
            curves_TN: Surprisal, bits.
            correct_TN: Whether each target was the arg-max; None where that is not known.
            tokens: Which tokens of the run they are, where each has a chance of its own.
        """
        n = curves_TN.shape[1]
        columns: Columns = {
            "final_surprisal": final_surprisal(curves_TN[self.window]),
            "within_run_variability": within_run_variability(curves_TN[self.window], paper=self.paper),
        }
        if self.smoother is None:
            for name in ("age_of_acquisition", "acquisition_threshold", "min_surprisal", "forgettability"):
                columns[name] = np.full(n, np.nan)
            columns["acquisition_status"] = np.full(n, UNFITTED, np.int8)
            columns["forgetting_events_threshold"] = columns["smoothing_lambda"] = np.full(n, np.nan)
            return columns | self._top1_measures(n, correct_TN), None
        smoothed, fit = self._smoothed_measures(curves_TN, self.smoother, tokens)
        return columns | smoothed | self._top1_measures(n, correct_TN), fit

    def _smoothed_measures(self, curves_TN: Floats, smoother: Smoother, tokens: slice) -> tuple[Columns, Fit]:
        fit, acquired = self.fit(curves_TN, tokens)
        smoothed_TN = fit.at(smoother.basis_TK)
        rises_N = forgettability(smoothed_TN)
        events_N = threshold_events(smoothed_TN, acquired.threshold_N, margin=self.margin, rises_N=rises_N)
        missing_N = ~fit.finite_N
        rises_N[missing_N] = np.nan
        columns: Columns = {
            "age_of_acquisition": acquired.age_N,
            "acquisition_status": acquired.status_N,
            "acquisition_threshold": acquired.threshold_N,
            "min_surprisal": acquired.minimum_N,
            "forgettability": rises_N,
            "forgetting_events_threshold": np.where(missing_N, np.nan, events_N),
            "smoothing_lambda": np.where(missing_N, np.nan, LAMBDAS[fit.lambda_index_N]),
        }
        return columns, fit

    def _top1_measures(self, n: int, correct_TN: NDArray[np.bool_] | None) -> Columns:
        if correct_TN is None or not self.steps_T.size:
            nothing_N = np.full(n, np.nan)
            return {
                "forgetting_events_top1": nothing_N,
                "first_learned_step": nothing_N,
                "top1_status": np.full(n, UNKNOWN, np.int8),
            }
        counter = count_top1(correct_TN, self.steps_T)
        status_N = np.where(counter.events_N > 0, FORGOTTEN, UNFORGETTABLE).astype(np.int8)
        status_N[np.isnan(counter.first_correct_step_N)] = NEVER_LEARNED
        return {
            "forgetting_events_top1": counter.events_N.astype(np.float64),
            "first_learned_step": counter.first_correct_step_N,
            "top1_status": status_N,
        }

    def notes(self) -> list[str]:
        """Returns what a reader should know before trusting the columns."""
        notes = []
        n_fitted = self.fitted.stop - self.fitted.start
        rows = self.window.stop - self.window.start
        if self.smoother is None:
            notes.append(
                f"Only {n_fitted} scored steps after step 0: no curve can be fitted (it takes {MIN_FIT_STEPS}), so age "
                "of acquisition, forgettability and threshold events are NaN."
            )
        elif n_fitted < FEW_STEPS:
            how = (
                "pyGAM's own behaviour there is reproduced" if self.paper else "only smooth enough fits were considered"
            )
            notes.append(
                f"Only {n_fitted} scored steps after step 0: below {FEW_STEPS} the smoothing parameter is hardly "
                f"determined ({how}). Score more often for a trustworthy age of acquisition."
            )
        if rows < FEW_WINDOW_ROWS:
            notes.append(
                f"Only {rows} scored steps after 75 % of the {self.max_steps or 0:g} training steps: final surprisal "
                f"and within-run variability rest on fewer than {FEW_WINDOW_ROWS} (NaN where there are too few)."
            )
        return notes


def measure_curves(
    surprisal_TN: CurvesLike | ArrayLike,
    steps: ArrayLike,
    *,
    chance: float | ArrayLike,
    max_steps: float | None = None,
    correct: CurvesLike | ArrayLike | None = None,
    paper: bool = False,
    dtype: Road | None = None,
    margin: float = 1.0,
    block_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MeasureTable:
    """Returns every measure of every token of a run.

    Columns: `final_surprisal`, `within_run_variability`, `age_of_acquisition`, `acquisition_status` (learned,
    left_censored: below the threshold from the first scored step on, so that the age is an upper bound; never: no
    point below chance; unfitted: NaN or infinity in the curve, or too few steps), `acquisition_threshold`,
    `min_surprisal` (of the smoothed curve), `forgettability`, `forgetting_events_top1`,
    `forgetting_events_threshold`, `first_learned_step`, `top1_status`, `smoothing_lambda`, `window_rows`.

    Args:
        surprisal_TN: Surprisal, bits, shape [step, token]: an array or an h5py dataset, which is read in blocks.
        steps: Training steps of the rows, increasing. Step 0 is left out of fits.
        chance: log2 of the vocabulary size, bits; of units of several tokens one for each, shape [N].
        max_steps: Planned length of training, which the last quarter is counted from; None takes the last scored
            step, which is wrong for a run that is not over.
        correct: Whether each target was the arg-max, same shape; without it the top-1 columns are NaN.
        paper: The values of the released code of Chang, Tu & Bergen (2024) in every case: the last 11 rows as the
            final window, the last step as the age of a token never below chance, pyGAM's behaviour with few steps.
        dtype: "float32" or "float64" for the fits; None follows the curves. The choice of smoothing parameter and of
            the grid point are the same in both.
        margin: Hysteresis of the threshold events, bits.
        block_tokens: Tokens in memory at a time; None chooses by their size.
        progress: Called with the number of tokens done and in all.

    Raises:
        ValueError: Shapes that don't fit, steps that don't increase, or a chance that is no number of bits.

    Warns:
        MeasureWarning: Few scored steps in all, or few in the last quarter.
    """
    curves_TN = blocks.as_curves(surprisal_TN)
    steps_T = blocks.check_curves(curves_TN, steps)
    correct_TN = blocks.check_correct(correct, curves_TN)
    road = blocks.choose_road(curves_TN, dtype, paper=paper)
    measurer = Measurer(steps_T, chance=chance, max_steps=max_steps, paper=paper, road=road, margin=margin)
    if isinstance(measurer.chance, np.ndarray) and measurer.chance.shape != (curves_TN.shape[1],):
        raise ValueError(f"chance has shape {measurer.chance.shape}; one number, or one for each column, is expected.")
    messages: list[str] = []
    for note in measurer.notes():
        blocks.warn(note, messages)

    n_tokens = curves_TN.shape[1]
    no_tokens, _ = measurer.measure(np.empty((steps_T.size, 0), road), tokens=slice(0, 0))
    columns = {name: np.empty(n_tokens, column.dtype) for name, column in no_tokens.items()}
    for tokens in blocks.token_blocks(curves_TN, block_tokens):
        block_TN = blocks.read(curves_TN, tokens, road)
        block_correct_TN = blocks.read_correct(correct_TN, tokens)
        for part, out in blocks.parts(tokens, blocks.fit_width(steps_T.size)):
            part_columns, _ = measurer.measure(
                block_TN[:, part], None if block_correct_TN is None else block_correct_TN[:, part], out
            )
            for name, values_N in part_columns.items():
                columns[name][out] = values_N
        if progress is not None:
            progress(tokens.stop, n_tokens)

    rows = measurer.window.stop - measurer.window.start
    columns["window_rows"] = np.broadcast_to(np.int32(rows), (n_tokens,))
    info = MeasureInfo(
        n_steps=steps_T.size,
        n_fitted_steps=measurer.fitted.stop - measurer.fitted.start,
        first_step=float(steps_T[0]) if steps_T.size else None,
        last_step=float(steps_T[-1]) if steps_T.size else None,
        max_steps=measurer.max_steps,
        max_steps_planned=max_steps is not None,
        window_rows=rows,
        opportunities=max(0, steps_T.size - 1),
        chance=measurer.chance if isinstance(measurer.chance, float) else float("nan"),
        margin=margin,
        paper=paper,
        precision=road,
        warnings=tuple(messages),
    )
    return MeasureTable(columns, info)
