"""Where metrics are shown: an active W&B run, and any function of the caller's. No tracker is imported here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Protocol

from curvewatch.live.keys import SMOOTHED_HISTOGRAMS, SMOOTHED_METRICS
from curvewatch.live.metrics import Metrics, Table
from curvewatch.trackers.drawn import lines_figure, table_page

LogFunction = Callable[[dict[str, float], int], None]


class Sink(Protocol):
    """Takes the metrics of one observation; called on rank 0 only."""

    def __call__(self, metrics: Metrics, step: int) -> None:
        """Shows `metrics` at `step`."""


def active_wandb_run() -> Any:
    """The W&B run of this process, or None. It is the script's or the host's: never begun or finished here."""
    wandb = sys.modules.get("wandb")
    return getattr(wandb, "run", None)


def wandb_numbers(metrics: Metrics) -> dict[str, Any]:
    """Scalars and histograms as W&B takes them, histograms already binned."""
    wandb = sys.modules["wandb"]
    histograms = {
        key: wandb.Histogram(np_histogram=(histogram.counts, histogram.edges))
        for key, histogram in metrics.histograms.items()
    }
    return {**metrics.scalars, **histograms}


def wandb_media(metrics: Metrics) -> dict[str, Any]:
    """Tables and charts as W&B takes them without asking its server.

    W&B's own tables, and the charts that rest on them, are artifacts: logging one waits for an answer of the server,
    and training would hang if that is gone. Pages and Plotly figures are files, which its client sends when it can.
    """
    wandb = sys.modules["wandb"]
    media: dict[str, Any] = {}
    for key, table in metrics.tables.items():
        if isinstance(table, Table):
            media[key] = wandb.Html(table_page(table), inject=False)
        elif importlib.util.find_spec("plotly") is not None:
            media[key] = wandb.Plotly(lines_figure(table))
    return media


class WandbSink:
    """Logs into the active W&B run, if there is one; the base of all ways of doing so.

    At the first row of a run it says which axis our keys have, and puts what the watch is into the run's config.

    Args:
        axis: Key of the step axis that our rows have.

    Attributes:
        about: What the watch is, for the config: `sets` by name, and more.
    """

    def __init__(self, axis: str) -> None:
        self.axis = axis
        self.about: dict[str, Any] = {}
        self._begun_for: Any = None

    def __call__(self, metrics: Metrics, step: int) -> None:
        """Logs `metrics` at `step`."""
        run = self.run()
        if run is None:
            return
        if self._begun_for is not run:
            self._begin(run)
            self._begun_for = run
        self._log(run, wandb_numbers(metrics), step)
        if metrics.tables:
            # By themselves: should a file not be written, the numbers are logged.
            self._log(run, wandb_media(metrics), step)

    def run(self) -> Any:
        """The run that is logged into; None if there is none."""
        return active_wandb_run()

    def _begin(self, run: Any) -> None:
        for name in self.about.get("sets", ()):
            # Refits of large sets are done beside training and logged with a later row: they bring their own step.
            # Each key by itself: hosts define an axis for "*", and of two patterns that match either may be taken.
            own = f"curvewatch/{name}/smoothed/step"
            run.define_metric(own)
            for key in (*SMOOTHED_METRICS, *SMOOTHED_HISTOGRAMS):
                if (full := f"curvewatch/{name}/{key}") != own:
                    run.define_metric(full, step_metric=own)
        if self.about:
            run.config.update({"curvewatch": self.about}, allow_val_change=True)

    def _log(self, run: Any, payload: dict[str, Any], step: int) -> None:
        raise NotImplementedError


class OwnAxisWandb(WandbSink):
    """W&B in a loop whose own step axis is not known: our keys get `curvewatch/watch/step` as their axis.

    Rows are never committed and `step=` is never passed: a row waits for the script's own next `log` and joins it, so
    that the script's numbering of rows is not moved. Only if the script has logged nothing since our last row is that
    one committed first.
    """

    def __init__(self) -> None:
        super().__init__("curvewatch/watch/step")
        self._waiting_at: int | None = None

    def _begin(self, run: Any) -> None:
        run.define_metric(self.axis)
        run.define_metric("curvewatch/*", step_metric=self.axis)
        super()._begin(run)
        self._waiting_at = None

    def _log(self, run: Any, payload: dict[str, Any], step: int) -> None:
        if self._waiting_at is not None and run.step == self._waiting_at and self.axis in payload:
            run.log({}, commit=True)
        run.log(payload, commit=False)
        self._waiting_at = run.step


class HostAxisWandb(WandbSink):
    """W&B in a run whose host logs against a key of its own (`train/global_step`): our rows carry the same key."""

    def _log(self, run: Any, payload: dict[str, Any], step: int) -> None:
        run.log({**payload, self.axis: step})


def function_sink(log: LogFunction) -> Sink:
    """A sink over the caller's function `log(scalars, step)`."""

    def sink(metrics: Metrics, step: int) -> None:
        if metrics.scalars:
            log(metrics.scalars, step)

    sink.__name__ = getattr(log, "__name__", type(log).__name__)

    return sink
