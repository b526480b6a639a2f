"""What every host's callback is: a `Watch`, and the arguments that it is made with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from curvewatch.live import Live
from curvewatch.measures.smoother.smoothing import FEW_STEPS, MIN_FIT_STEPS
from curvewatch.measures.surprisal import FEW_WINDOW_ROWS, final_window
from curvewatch.scoring import ranks
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.trained import ChooseModel
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.trackers.sinks import LogFunction
from curvewatch.watch.watch import Watch

logger = logging.getLogger("curvewatch")


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
        weights: "training" (those that the next update goes on from) or "averaged": what the host's averaging callbacks
            or a schedule-free optimizer keep.

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
        weights: str = "training",
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
            weights=weights,
        )

    _of_a_run: ClassVar[tuple[str, ...]] = ()  # attributes that mean nothing to a copy, or in another process

    def __getstate__(self) -> dict[str, Any]:
        """What a copy and another process get: a callback whose training has not begun."""
        return {name: value for name, value in self.__dict__.items() if name not in self._of_a_run}

    def warn_of_few_rows(self, setting: str) -> None:
        """Says at the start if the host logs too seldom for what is measured later.

        Args:
            setting: The host's own, and its value.
        """
        plan = self.watch.plan
        if plan is None or plan.max_steps is None or not plan.schedule.follows_logging or ranks.rank() != 0:
            return
        planned = plan.steps()
        window = final_window(planned, plan.max_steps)
        n_late, n_fitted = window.stop - window.start, int((planned > 0).sum())
        if n_late >= FEW_WINDOW_ROWS and n_fitted >= MIN_FIT_STEPS:
            return
        logger.warning(
            "each logging step is scored, and with %s that makes %d rows in %d steps. A curve can be fitted "
            "from %d rows after step 0 (well from %d), and final surprisal and variability take %d in the last quarter "
            "of training (here %d). Log more often, or pass schedule=, for example Schedule.log(10) | "
            "Schedule.every(%d).",
            setting, len(planned), plan.max_steps, MIN_FIT_STEPS, FEW_STEPS, FEW_WINDOW_ROWS, n_late,
            max(1, plan.max_steps // 50),
        )  # fmt: skip
