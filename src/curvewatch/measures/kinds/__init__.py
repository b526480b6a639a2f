"""Kinds of curves: classes that papers sort tokens into, each exact to its definition, and the learning-time spectrum.

Comes in: curves and steps. Goes out: a class a token, with the numbers that it was chosen by. The axis is explicit:
both papers had checkpoints at equal distances, which scored steps mostly have not.
"""

from curvewatch.measures.kinds.axis import AXES
from curvewatch.measures.kinds.rho1 import RHO1, Rho1Classes, rho1_classes
from curvewatch.measures.kinds.running import RunningRho1, RunningTrends
from curvewatch.measures.kinds.spectrum import Spectrum, learning_time_spectrum
from curvewatch.measures.kinds.trends import TRENDS, TrendClasses, trend_classes

__all__ = [
    "AXES",
    "RHO1",
    "TRENDS",
    "Rho1Classes",
    "RunningRho1",
    "RunningTrends",
    "Spectrum",
    "TrendClasses",
    "learning_time_spectrum",
    "rho1_classes",
    "trend_classes",
]
