"""What every host's callback is: a `Watch`, and the arguments that it is made with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from curvewatch.batches import Batch
from curvewatch.live import Live
from curvewatch.tokens import TokenSet
from curvewatch.tracking import LogFunction
from curvewatch.trained import ChooseModel
from curvewatch.watch import Watch


class WatchCallback:
    """Base of the hosts' callbacks, which take the same arguments.

    Args:
        tokens: A token set, or several by name (`{"web": a, "code": b}`).
        path: The run file, created or continued.
        schedule: Which steps are scored; None: each logging step.
        model: `model(module) -> nn.Module`, the model to score in what the host trains; None: it is found, or refused
            where it is not clear.
        forward: `forward(model, batch) -> logits`, for models that can't be called as `model(input_ids)`.
        batch_size: Sequences scored at once, or "auto".
        on_error: "warn" (log, and train on) or "raise", for failures after the start.
        log: `log(scalars, step)`, called with each observation's metrics besides the host's loggers.
        max_overhead: Budget for the watch, as a share of the wall time; None: no limit.
        live: What is shown live besides what always is; see `curvewatch.Live`.

    Attributes:
        watch: The `Watch` behind it.

    Raises:
        TypeError: If `tokens` is no token set.
        ValueError: If another argument makes no sense.
    """

    def __init__(
        self,
        tokens: TokenSet | Mapping[str, TokenSet],
        path: str | os.PathLike[str],
        *,
        schedule: object = None,
        model: ChooseModel | None = None,
        forward: Callable[[Any, Batch], Any] | None = None,
        batch_size: int | str = "auto",
        on_error: str = "warn",
        log: LogFunction | None = None,
        max_overhead: float | None = None,
        live: Live | None = None,
    ) -> None:
        self.watch = Watch(
            tokens,
            path,
            schedule=schedule,
            model=model,
            forward=forward,
            batch_size=batch_size,
            on_error=on_error,
            log=log,
            max_overhead=max_overhead,
            live=live,
        )
