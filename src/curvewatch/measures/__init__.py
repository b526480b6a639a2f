"""The measures: one definition a file, pure numpy, shared by the live side and the analysis.

Table of contents:
    measure_curves: every measure of every token of a run, from an array or an HDF5 dataset.
    smooth_curves: the smoothed curves behind age of acquisition and forgettability.
    sigmoid_acquisition: age of acquisition by a sigmoid, the paper's second variant.
    cross_run: variability across runs of the same tokens, and correlations between them.
    Measures by themselves: final_surprisal, within_run_variability, forgettability, threshold_events, count_top1.
    Streaming, for the live side: Top1Forgetting, ThresholdForgetting.
"""

from curvewatch.measures.acquisition import ACQUISITION_STATUS, Acquisition, AcquisitionGrid
from curvewatch.measures.blocks import MeasureWarning
from curvewatch.measures.cross_run import CrossRun, RunCurves, RunLike, cross_run
from curvewatch.measures.forgettability import forgettability
from curvewatch.measures.forgetting import ThresholdForgetting, Top1Forgetting, count_top1, threshold_events
from curvewatch.measures.measure import measure_curves
from curvewatch.measures.sigmoids.sigmoid import SigmoidAcquisition, sigmoid_acquisition
from curvewatch.measures.smoothed import SmoothedCurves, smooth_curves
from curvewatch.measures.smoother.smoothing import LAMBDAS, Fit, Smoother
from curvewatch.measures.surprisal import final_surprisal, final_window
from curvewatch.measures.table import TOP1_STATUS, MeasureInfo, MeasureTable
from curvewatch.measures.variability import within_run_variability

__all__ = [
    "ACQUISITION_STATUS",
    "LAMBDAS",
    "TOP1_STATUS",
    "Acquisition",
    "AcquisitionGrid",
    "CrossRun",
    "Fit",
    "MeasureInfo",
    "MeasureTable",
    "MeasureWarning",
    "RunCurves",
    "RunLike",
    "SigmoidAcquisition",
    "SmoothedCurves",
    "Smoother",
    "ThresholdForgetting",
    "Top1Forgetting",
    "count_top1",
    "cross_run",
    "final_surprisal",
    "final_window",
    "forgettability",
    "measure_curves",
    "sigmoid_acquisition",
    "smooth_curves",
    "threshold_events",
    "within_run_variability",
]
