"""One token's curve with all that a reader wants to know of it.

Suffix: T rows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.moment import Moment
from curvewatch.measures import MeasureWarning, SmoothedCurves, measure_curves, smooth_curves
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.view import TokenView, view_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class TokenCurve:
    """One token over a run.

    Attributes:
        token: Context and target as text; without a tokenizer, as ids in angle brackets.
        target: Id of the target.
        steps_T: Scored steps.
        surprisal_T: Bits.
        correct_T: Whether the target was the arg-max.
        entropy_T: Entropy of the predicted distribution, bits.
        smoothed_T: The smoothed curve, bits; NaN at step 0 and where there is no fit.
        fit: The smoothed curve at any step between the first and the last.
        chance: Bits.
        measures: Value (or word) of each measure by name.
        source: Name of the run file.
    """

    token: TokenView
    target: int
    steps_T: NDArray[np.int64]
    surprisal_T: NDArray[np.float32]
    correct_T: NDArray[np.bool_]
    entropy_T: NDArray[np.float32]
    smoothed_T: NDArray[Any]
    fit: SmoothedCurves
    chance: float
    measures: dict[str, Any]
    source: str

    def __str__(self) -> str:
        from curvewatch.analysis.characters import drawn

        return drawn(self)

    __repr__ = __str__

    def plot(self) -> Figure:
        """The curve as a matplotlib figure, which can be changed.

        Raises:
            ImportError: Without matplotlib, which comes with `curvewatch[analysis]`.
        """
        from curvewatch.analysis.figures import curve_figure

        return curve_figure(self)

    def _repr_svg_(self) -> str | None:
        """How a notebook shows it; None without matplotlib, and then it is shown as text."""
        from io import StringIO

        from curvewatch.analysis.figures import save_curve

        picture = StringIO()
        try:
            save_curve(self, picture)
        except ImportError:
            return None
        return picture.getvalue()


def curve_of(run: Reader, i: int) -> TokenCurve:
    """Token `i` of a run as of this moment; see `Run.curve`."""
    tokens = run.tokens
    view = view_of(tokens, i)
    moment = Moment.now(run)
    column = slice(view.index, view.index + 1)
    surprisal_T1, correct_T1 = moment.surprisal[:, column], moment.correct[:, column]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasureWarning)  # they are of the run, not of this token
        table = measure_curves(
            surprisal_T1, moment.steps_T, chance=run.chance, max_steps=run.max_steps, correct=correct_T1
        )
        fit = smooth_curves(surprisal_T1, moment.steps_T)
    smoothed_T = np.full(len(moment), np.nan)
    smoothed_T[moment.steps_T > 0] = fit.curves_TN[:, 0]
    return TokenCurve(
        token=view,
        target=int(tokens.target[view.index]),
        steps_T=moment.steps_T,
        surprisal_T=surprisal_T1[:, 0],
        correct_T=correct_T1[:, 0],
        entropy_T=moment.entropy[:, view.index],
        smoothed_T=smoothed_T,
        fit=fit,
        chance=run.chance,
        measures={name: table[name][0].item() for name in table},
        source=run.path.name,
    )
