"""Where metrics are shown: an active W&B run, and any function of the caller's. No tracker is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from curvewatch.live import Metrics

LogFunction = Callable[[dict[str, float], int], None]


class Sink(Protocol):
    """Takes the metrics of one observation; called on rank 0 only."""

    def __call__(self, metrics: Metrics, step: int) -> None:
        """Shows `metrics` at `step`."""


def active_wandb_run() -> Any:
    """The W&B run of this process, or None. It is the script's or the host's: never begun or finished here."""
    wandb = sys.modules.get("wandb")
    return getattr(wandb, "run", None)


def wandb_payload(metrics: Metrics) -> dict[str, Any]:
    """Metrics as W&B takes them, histograms already binned."""
    wandb = sys.modules["wandb"]
    histograms = {
        key: wandb.Histogram(np_histogram=(histogram.counts, histogram.edges))
        for key, histogram in metrics.histograms.items()
    }
    return {**metrics.scalars, **histograms}


class OwnAxisWandb:
    """W&B in a loop whose own step axis is not known: our keys get `curvewatch/watch/step` as their axis.

    Rows are never committed and `step=` is never passed: a row waits for the script's own next `log` and joins it, so
    that the script's numbering of rows is not moved. Only if the script has logged nothing since our last row is that
    one committed first.
    """

    def __init__(self) -> None:
        self._defined_for: Any = None
        self._waiting_at: int | None = None

    def __call__(self, metrics: Metrics, step: int) -> None:
        """Logs into the active run, if there is one."""
        run = active_wandb_run()
        if run is None:
            return
        if self._defined_for is not run:
            run.define_metric("curvewatch/watch/step")
            run.define_metric("curvewatch/*", step_metric="curvewatch/watch/step")
            self._defined_for, self._waiting_at = run, None
        if self._waiting_at is not None and run.step == self._waiting_at:
            run.log({}, commit=True)
        run.log(wandb_payload(metrics), commit=False)
        self._waiting_at = run.step


class HostAxisWandb:
    """W&B in a run whose host logs against a key of its own (`train/global_step`): our rows carry the same key.

    Args:
        axis: The host's key.
    """

    def __init__(self, axis: str) -> None:
        self._axis = axis

    def __call__(self, metrics: Metrics, step: int) -> None:
        """Logs into the active run, if there is one."""
        run = active_wandb_run()
        if run is not None:
            run.log({**wandb_payload(metrics), self._axis: step})


def function_sink(log: LogFunction) -> Sink:
    """A sink over the caller's function `log(scalars, step)`."""

    def sink(metrics: Metrics, step: int) -> None:
        log(metrics.scalars, step)

    return sink
