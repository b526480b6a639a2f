"""What several runs on the same tokens have in common: variability across runs, and correlations between them.

Source: Chang, Tu & Bergen (2024). Cross-run variability is the mean squared difference of two runs' smoothed curves
over the scored steps, averaged over all pairs of runs. Suffixes: R runs, N tokens, S steps scored in every run,
M measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.measures import blocks
from curvewatch.measures.acquisition import LEARNED
from curvewatch.measures.blocks import CurvesLike
from curvewatch.measures.correlation import PairwiseCorrelation
from curvewatch.measures.measure import Measurer
from curvewatch.measures.smoother.smoothing import Float64, Floats, Road

COMPARED = (
    "final_surprisal",
    "within_run_variability",
    "age_of_acquisition",
    "min_surprisal",
    "forgettability",
    "forgetting_events_threshold",
    "forgetting_events_top1",
    "first_learned_step",
)
# Sums over successive observations: two schedules give two quantities.
SCHEDULE_BOUND = ("forgettability", "forgetting_events_threshold", "forgetting_events_top1", "first_learned_step")


class RunLike(Protocol):
    """One run, as `cross_run` needs it; `correct` may be None."""

    @property
    def surprisal(self) -> CurvesLike | ArrayLike:
        """Bits, [step, token]."""

    @property
    def steps(self) -> ArrayLike:
        """Training steps of the rows."""

    @property
    def chance(self) -> float:
        """Bits."""

    @property
    def max_steps(self) -> float | None:
        """Planned length of training."""

    @property
    def correct(self) -> CurvesLike | ArrayLike | None:
        """Whether the target was the arg-max, [step, token]."""


@dataclass(frozen=True)
class RunCurves:
    """One run made of arrays; see `RunLike`."""

    surprisal: CurvesLike | ArrayLike
    steps: ArrayLike
    chance: float
    max_steps: float | None = None
    correct: CurvesLike | ArrayLike | None = None


@dataclass(frozen=True)
class CrossRun:
    """What `cross_run` found.

    Attributes:
        variability_N: Mean squared difference of the smoothed curves over pairs of runs, bits squared; NaN where a
            token could not be fitted in every run.
        pairs: The pairs of runs, as indices, in the order of `pair_variability_PN`.
        pair_variability_PN: The same for each pair; NaN where a token could not be fitted in both. None if not kept.
        steps_S: The steps scored in every run.
        step_correlation_SRR: Correlation of raw surprisal between runs at each of these steps.
        measure_correlation: Correlation of each measure between runs, [R, R]; age of acquisition over the tokens
            learned in both.
        measure_count: How many tokens each of them rests on, [R, R].
        same_schedule: Whether all runs were scored at the same steps.
        notes: What was not compared, and why.
    """

    variability_N: Float64
    pairs: tuple[tuple[int, int], ...]
    pair_variability_PN: Float64 | None
    steps_S: NDArray[Any]
    step_correlation_SRR: Float64
    measure_correlation: dict[str, Float64]
    measure_count: dict[str, Float64]
    same_schedule: bool
    notes: tuple[str, ...]


def cross_run(
    runs: Sequence[RunLike],
    *,
    paper: bool = False,
    dtype: Road | None = None,
    keep_pairs: bool = False,
    block_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CrossRun:
    """Returns how far runs on the same tokens agree.

    With different schedules the curves are compared at the steps that every run scored, and the measures that depend
    on the schedule are not compared; `notes` says so.

    Args:
        runs: At least two, with the same tokens in the same order (which is for the caller to know).
        paper: The released code's values: see `measure_curves`; age of acquisition is then correlated over all tokens.
        dtype: "float32" or "float64"; None follows each run's curves.
        keep_pairs: Keep the variability of each pair of runs, 8 bytes a token and pair.
        block_tokens: Tokens in memory at a time; None chooses by their size.
        progress: Called with the number of tokens done and in all.

    Raises:
        ValueError: Fewer than two runs, different numbers of tokens, or a run that `measure_curves` would refuse.

    Warns:
        MeasureWarning: Different schedules, too few common steps, and what `measure_curves` warns of.
    """
    readers = [_Reader(run, paper=paper, dtype=dtype) for run in runs]
    if len(readers) < 2:
        raise ValueError(f"cross_run compares runs, but was given {len(readers)}. Give at least two.")
    sizes = [reader.curves_TN.shape[1] for reader in readers]
    if len(set(sizes)) > 1:
        raise ValueError(f"The runs hold {sizes} tokens. Only runs on the same token set can be compared.")
    notes: list[str] = []
    for index, reader in enumerate(readers):
        for note in reader.measurer.notes():
            blocks.warn(f"Run {index}: {note}", notes)
    steps_S = readers[0].steps_T
    for reader in readers[1:]:
        steps_S = np.intersect1d(steps_S, reader.steps_T, assume_unique=True)
    same_schedule = all(np.array_equal(reader.steps_T, steps_S) for reader in readers)
    if not same_schedule:
        blocks.warn(
            f"The runs were scored at different steps. Curves are compared at the {steps_S.size} steps they share; "
            f"{', '.join(SCHEDULE_BOUND)} depend on the schedule and are not compared.",
            notes,
        )
    compared = [name for name in COMPARED if same_schedule or name not in SCHEDULE_BOUND]
    smooth_S = steps_S[steps_S > 0]
    for reader in readers:
        reader.prepare(steps_S, smooth_S)
    comparable = smooth_S.size > 0 and all(reader.basis_SK is not None for reader in readers)
    if not comparable:
        blocks.warn("Cross-run variability is NaN: no common step at which every run has a smoothed curve.", notes)

    n_tokens, n_runs = sizes[0], len(readers)
    pairs = tuple(combinations(range(n_runs), 2))
    variability_N = np.full(n_tokens, np.nan)
    pair_variability_PN = np.full((len(pairs), n_tokens), np.nan) if keep_pairs else None
    by_step = PairwiseCorrelation(steps_S.size, n_runs)
    by_measure = PairwiseCorrelation(len(compared), n_runs)
    tallest = max(readers, key=lambda reader: reader.curves_TN.shape[0]).curves_TN
    for tokens in blocks.token_blocks(tallest, block_tokens or blocks.block_width(tallest, share=n_runs)):
        read = [reader.read(tokens) for reader in readers]
        for part, out in blocks.parts(tokens, blocks.fit_width(tallest.shape[0], share=n_runs)):
            raw, measures, smooth = zip(
                *(
                    reader.measure(
                        curves_TN[:, part], None if correct_TN is None else correct_TN[:, part], compared, paper
                    )
                    for reader, (curves_TN, correct_TN) in zip(readers, read, strict=True)
                ),
                strict=True,
            )
            by_step.update(np.stack(raw, axis=1))
            by_measure.update(np.stack(measures, axis=1))
            if comparable:
                pair_PN = np.stack([np.square(smooth[i] - smooth[j]).mean(axis=0, dtype=float) for i, j in pairs])
                variability_N[out] = pair_PN.mean(axis=0)
                if pair_variability_PN is not None:
                    pair_variability_PN[:, out] = pair_PN
        if progress is not None:
            progress(tokens.stop, n_tokens)

    correlation_MRR, count_MRR = by_measure.result(), by_measure.count_KRR
    not_compared = np.full((n_runs, n_runs), np.nan)
    return CrossRun(
        variability_N=variability_N,
        pairs=pairs,
        pair_variability_PN=pair_variability_PN,
        steps_S=steps_S,
        step_correlation_SRR=by_step.result(),
        measure_correlation={
            n: correlation_MRR[compared.index(n)] if n in compared else not_compared for n in COMPARED
        },
        measure_count={
            n: count_MRR[compared.index(n)] if n in compared else np.zeros((n_runs, n_runs)) for n in COMPARED
        },
        same_schedule=same_schedule,
        notes=tuple(notes),
    )


class _Reader:
    """Reads and measures the blocks of one run."""

    def __init__(self, run: RunLike, *, paper: bool, dtype: Road | None) -> None:
        self.curves_TN = blocks.as_curves(run.surprisal)
        self.steps_T = blocks.check_curves(self.curves_TN, run.steps)
        self.correct_TN = blocks.check_correct(run.correct, self.curves_TN)
        self.road = blocks.choose_road(self.curves_TN, dtype, paper=paper)
        self.measurer = Measurer(self.steps_T, chance=run.chance, max_steps=run.max_steps, paper=paper, road=self.road)
        self.basis_SK: Float64 | None = None
        self.common: NDArray[np.intp] = np.zeros(0, np.intp)

    def prepare(self, steps_S: NDArray[Any], smooth_S: NDArray[Any]) -> None:
        """Makes ready to give curves at the common steps."""
        self.common = np.searchsorted(self.steps_T, steps_S)
        if self.measurer.smoother is not None and smooth_S.size:
            self.basis_SK = self.measurer.smoother.basis(np.log10(smooth_S.astype(np.float64)))

    def read(self, tokens: slice) -> tuple[Floats, NDArray[np.bool_] | None]:
        """Returns the block's surprisal and whether the targets were the arg-max."""
        return blocks.read(self.curves_TN, tokens, self.road), blocks.read_correct(self.correct_TN, tokens)

    def measure(
        self, curves_TN: Floats, correct_TN: NDArray[np.bool_] | None, compared: list[str], paper: bool
    ) -> tuple[Floats, Float64, Floats | None]:
        """Returns raw surprisal [S, n], measures [M, n] and smoothed curves at the common steps."""
        columns, fit = self.measurer.measure(curves_TN, correct_TN)
        if not paper:
            learned_N = columns["acquisition_status"] == LEARNED
            columns["age_of_acquisition"] = np.where(learned_N, columns["age_of_acquisition"], np.nan)
        smooth_SN = None
        if fit is not None and self.basis_SK is not None:
            smooth_SN = fit.at(self.basis_SK)
            smooth_SN[:, ~fit.finite_N] = np.nan
        return curves_TN[self.common], np.stack([columns[name] for name in compared]), smooth_SN
