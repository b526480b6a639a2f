"""Telling: what an observation says, sent to every sink; one that fails is reported, and the others go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from curvewatch.live import Metrics
from curvewatch.trackers.sinks import Sink, WandbSink
from curvewatch.watch.keeper import Keeper
from curvewatch.watch.trouble import Trouble


class Telling:
    """Sends metrics to the sinks of a session.

    Args:
        sinks: Where metrics are shown.
        trouble: What is done when one fails.
        about: What a tracker is told of the watch as a whole.
    """

    def __init__(self, sinks: Sequence[Sink], trouble: Trouble, about: Mapping[str, Any]) -> None:
        self._sinks = sinks
        self._trouble = trouble
        for sink in sinks:
            if isinstance(sink, WandbSink):
                sink.about = dict(about)

    def send(self, metrics: Metrics, step: int) -> None:
        """Gives metrics to every sink.

        Raises:
            Exception: What a sink fails by, with `on_error="raise"`.
        """
        for sink in self._sinks:
            try:
                sink(metrics, step)
            except Exception as error:
                if self._trouble.raises:
                    raise
                self._trouble.report(f"logging through {getattr(sink, '__name__', type(sink).__name__)}", step, error)

    def observed(self, keeper: Keeper, metrics: Metrics, step: int, own: Mapping[str, float]) -> None:
        """Sends all that is known of an observation.

        Args:
            keeper: Of the file.
            metrics: Of the observation; what is told of the watch itself is put to it.
            step: Updates done.
            own: What the observation cost.
        """
        for failed_step, error in keeper.showing.failures():
            self._trouble.report("following the smoothed curves", failed_step, error)
            if self._trouble.raises:
                raise error
        metrics.scalars.update(_own_keys({"step": step, **own, **keeper.state(), **self._trouble.scalars()}))
        self.send(metrics, step)

    def failed(self, step: int) -> None:
        """Sends that an observation failed."""
        self.send(Metrics(_own_keys({"step": step, **self._trouble.scalars()})), step)


def _own_keys(own: Mapping[str, float]) -> dict[str, float]:
    # Plain Python numbers: hosts put what they are given into JSON.
    return {f"curvewatch/watch/{key}": float(value) for key, value in own.items() if isfinite(value)}
