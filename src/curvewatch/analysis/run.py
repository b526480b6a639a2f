"""Run: a run file as people work with it: what stands in it, and all that is worked out from that.

Each way of working it out is a module of its own beside this one, loaded when first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.runfile.reader import Reader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from curvewatch.analysis.against import Against
    from curvewatch.analysis.curve import TokenCurve
    from curvewatch.analysis.differences import Differences
    from curvewatch.analysis.events import RunEvent
    from curvewatch.analysis.exposures import Exposures
    from curvewatch.analysis.units import Units
    from curvewatch.measures import MeasureTable
    from curvewatch.measures.kinds import Rho1Classes, TrendClasses


def open_run(path: str | os.PathLike[str], set_name: str | None = None) -> Run:
    """Opens a run file for reading.

    Args:
        path: The run file.
        set_name: Which token set, where there are several; the others are `run[name]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ForeignFileError: If it is not a run file.
        KeyError: If it has no such set, or several and none is named.
    """
    return Run(path, set_name)


class Run(Reader):
    """One token set's curves in a run file, and what they say.

    Attributes:
        path: Of the file.
        set_name: Of the token set.
        sets: Names of all token sets in the file.
        run_id: Random id of the run.
        n_tokens: N.
    """

    def measures(
        self,
        *,
        unit: str = "token",
        paper: bool = False,
        refresh: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> MeasureTable:
        """Every measure of every token, as of this moment's rows; or of every span of a kind.

        Computed once and kept beside the file (`<file>.<set>.measures.npz`), with everything that went in; when rows
        came or changed, or the code of the measures did, it is computed anew. A folder that can't be written costs
        only the time of doing it again.

        Args:
            unit: "token", or a kind of span: "word", "answer", ...; see `units`.
            paper: The values of the paper's released code; see `measures.measure_curves`.
            refresh: Compute it even if it is kept.
            progress: Called with the number of tokens done and in all.

        Raises:
            KeyError: If the token set has no such spans, naming those there are.

        Warns:
            MeasureWarning: What the reader should know before trusting a column; also in `table.info.warnings`.
        """
        if unit != "token":
            return self.units(unit).measures(paper=paper, progress=progress)
        from curvewatch.analysis.cache import measures_of

        return measures_of(self, paper=paper, refresh=refresh, progress=progress)

    def by_label(self, name: str) -> Any:
        """A pandas DataFrame: one row a value of a label, with its number of tokens and the means of their measures.

        The median age of acquisition is that of the learned tokens, in log10 steps. Needs `curvewatch[analysis]`.

        Args:
            name: One of `run.tokens.labels`.

        Raises:
            ValueError: If there is no such label.
        """
        from curvewatch.analysis.frames import by_label

        return by_label(self, name)

    def units(self, kind: str) -> Units:
        """The spans of one kind (words, answers, replies, ...) with curves and measures of their own.

        Args:
            kind: One of `run.tokens.spans.kinds`.

        Raises:
            KeyError: If the token set has no such spans, naming those there are.
        """
        from curvewatch.analysis.units import Units

        return Units(self, kind)

    def against(self, base: Reader | None = None) -> Against:
        """What training changed: tokens lost, gained and regained, and bits, against a base.

        Args:
            base: Another run of the same token set, whose last row is the base; None: the reference that the file
                holds (`Live(reference=...)`), else its own first row.

        Raises:
            TokenSetMismatchError: If the other run watched another set.
            ValueError: If there are no rows.
        """
        from curvewatch.analysis.against import against

        return against(self, base)

    def differences(self, other: Reader, *, at: str = "step") -> Differences:
        """Where this run and another of the same token set differ: tokens, labels, pairs and questions.

        Args:
            other: The other run.
            at: "step": the last step that both reached; "tokens": the most tokens that both saw; "loss": the lowest
                mean surprisal that both reached, where they know as much, and what is left is what they know otherwise.

        Raises:
            TokenSetMismatchError: If the other run watched another set.
            ValueError: If there is no such point.
        """
        from curvewatch.analysis.differences import differences

        return differences(self, other, at=at)

    def events(self) -> list[RunEvent]:
        """Steps at which more tokens jumped at once than the run's own past explains, in order: `print(*run.events())`.

        Each has its tokens, direction and size, the values of labels that are over-represented among them, and the step
        at which it had healed. The rows are read once.
        """
        from curvewatch.analysis.events import events_of

        return events_of(self)

    def exposures(self) -> Exposures:
        """When each passage of `Live(exposures=...)` was trained on, and what that did to its probes.

        Raises:
            ValueError: If no passages were followed.
        """
        from curvewatch.analysis.exposures import exposures_of

        return exposures_of(self)

    def kinds(self, of: str = "rho1", *, axis: str = "row", from_step: float = 0) -> Rho1Classes | TrendClasses:
        """The kind of each token's curve, by the definitions of a paper; `.names` can be a label.

        Args:
            of: "rho1" (falling, rising, low, high throughout: Lin et al. 2024), or "trends" (upward, downward,
                stagnated: Xia et al. 2023).
            axis: What lines are fitted over: "row" (as the papers, whose checkpoints were equally far apart), "step"
                or "log_step".
            from_step: For "trends", where they begin.

        Raises:
            ValueError: If there are too few rows, or no such kinds or axis.
        """
        from curvewatch.analysis.kinds import kinds_of

        return kinds_of(self, of, axis=axis, from_step=from_step)

    def curve(self, i: int) -> TokenCurve:
        """One token's curve: raw, smoothed, with its measures and its context.

        Args:
            i: Index of the token; negative counts from the end.

        Raises:
            IndexError: If there is no such token.
        """
        from curvewatch.analysis.curve import curve_of

        return curve_of(self, i)

    def show(self, i: int, width: int = 88, height: int = 16) -> str:
        """Context, target and curve of token `i`, drawn in characters: `print(run.show(17))`.

        Args:
            i: Index of the token; negative counts from the end.
            width: Columns.
            height: Lines of the drawing.

        Raises:
            IndexError: If there is no such token.
        """
        from curvewatch.analysis.characters import drawn

        return drawn(self.curve(i), width, height)

    def plot(self, name: str = "surprisal", *others: Reader) -> Figure:
        """One of the report's figures as a matplotlib figure, which can be changed.

        For example `run.plot("acquisition").axes[0].set_title("mine")`.

        Args:
            name: surprisal, accuracy, acquisition, distributions, dataset_map or correlations; with others cross_run;
                label:NAME for the mean surprisal of the tokens with each value of a label, accuracy:NAME for
                the share of them that are right; map:NAME for all curves as points, coloured by a measure or label.
            others: Further runs of the same token set, drawn beside this one.

        Raises:
            ImportError: Without matplotlib, which comes with `curvewatch[analysis]`.
            ValueError: If there is no such figure, or a run stands there twice.
            TokenSetMismatchError: If the runs' token sets differ.
        """
        from curvewatch.analysis.figures import figure
        from curvewatch.analysis.findings import gather_findings

        return figure(gather_findings([self, *others]), name)

    def _repr_html_(self) -> str:
        from curvewatch.analysis.card import run_card
        from curvewatch.display import shown

        return shown(lambda: run_card(self), f"Run {self.path.name}")

    def select(self, **conditions: Any) -> NDArray[np.int64]:
        """Indices of the tokens that fulfil all conditions; see `analysis.select.select` for what can be asked.

        For example `run.select(token="the", min_forgetting=2, sort="forgettability", limit=10)`.

        Raises:
            ValueError: If there is no such condition, naming those there are.
        """
        from curvewatch.analysis.select import select

        return select(self, **conditions)

    def to_pandas(self, *, paper: bool = False) -> Any:
        """A pandas DataFrame: one row a token, with its text, place and measures. Needs `curvewatch[analysis]`."""
        from curvewatch.analysis.frames import token_frame

        return token_frame(self, paper=paper)

    def to_xarray(self, *, measures: bool = False) -> Any:
        """An xarray Dataset with the file's names, dimensions and units. Needs `curvewatch[analysis]`.

        Curves are read when they are indexed or computed with, and only those asked for; the Dataset keeps the rows
        of this moment while the file grows.

        Args:
            measures: Add the measures, along `token`.
        """
        from curvewatch.analysis.frames import dataset_of

        return dataset_of(self, measures=measures)
