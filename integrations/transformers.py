"""The Hugging Face Trainer: `CurveWatchCallback` turns its events into `Watch.observe`."""

from __future__ import annotations

import logging
import math
import sys
from functools import wraps
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import transformers
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, WandbCallback
from transformers.trainer_callback import CallbackHandler

from curvewatch.live import Metrics
from curvewatch.schedule import StepArray, StepRule
from curvewatch.scoring import ranks
from curvewatch.trackers.sinks import HostAxisWandb, OwnAxisWandb, Sink

from .callback import WatchCallback

T = TypeVar("T")
logger = logging.getLogger("curvewatch")

# WandbCallback's own step axis: with it our charts line up with the Trainer's.
WANDB_AXIS = "train/global_step"
# What the Trainer logs once, when training has ended; each by itself may also come earlier.
SUMMARY = {"train_runtime", "train_loss", "total_flos"}


class CurveWatchCallback(WatchCallback, TrainerCallback):
    """Watches a run of the Trainer.

    ```python
    tokens = TokenSet.from_text("heldout.txt", tokenizer)
    trainer = Trainer(..., callbacks=[CurveWatchCallback(tokens, "runs/gpt2/curves.h5")])
    ```

    Model, logging steps, planned steps and W&B run are the Trainer's own. Scalars also reach its other reporters, where
    the Trainer puts "train/" before each key (TensorBoard, Trackio, Comet) or not (MLflow).

    Key | What is logged
    --- | ---
    `curvewatch/<set>/...` | see `curvewatch.live.keys.SET_KEYS` (histograms, tables and charts in W&B only)
    `curvewatch/text/...` | of sampled text, see `curvewatch.live.keys.TEXT_METRICS`
    `curvewatch/watch/...` | what the watch costs, see `curvewatch.live.keys.WATCH_METRICS`

    Arguments: see `WatchCallback`.
    """

    _of_a_run = ("_tried", "_counted", "_attached")  # a copy looks for its own Trainer
    _tried: int | None = None  # the batch size of a training that has not ended
    _counted: tuple[Trainer | None, Any, Any] = (None, None, None)  # the Trainer, its method now, and what was there
    _attached: Trainer | None = None

    def attach(self, trainer: Trainer) -> CurveWatchCallback:
        """Tells the callback whose events it gets, where it does not find that out by itself (a warning says so then).

        Args:
            trainer: The Trainer; the callback is added to its callbacks unless it is one of them.

        Returns:
            The callback.

        Raises:
            TypeError: If it is no `transformers.Trainer`.
        """
        if not isinstance(trainer, Trainer):
            raise TypeError(
                f"trainer={str(trainer)[:80]}: a transformers.Trainer is expected, got {type(trainer).__name__}."
            )
        if not any(one is self for one in trainer.callback_handler.callbacks):
            trainer.add_callback(self)
        self._attached = trainer
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The model is on its device and any checkpoint is loaded: everything is checked, and step 0 scored."""
        self._uncount()
        # `auto_find_batch_size` begins again with fewer rows a batch, after whatever it took for a lack of memory.
        smaller = (
            self._tried is not None and state.train_batch_size is not None and state.train_batch_size < self._tried
        )
        again = bool(args.auto_find_batch_size and smaller)
        self._tried = state.train_batch_size
        self.watch.max_steps = state.max_steps
        trainer, handler = self._sender()
        self.watch.start(
            kwargs["model"],
            state.global_step,
            logging_steps=logging_steps(args, state, kwargs.get("train_dataloader")),
            sinks=_sinks(args, state, control, kwargs, handler),
            host={"name": "transformers.Trainer", "arguments": args.to_sanitized_dict()},
            counts_batches=trainer is not None,
            optimizers=[kwargs.get("optimizer")],
            again=again,
        )
        by_steps = args.logging_strategy == "steps"
        self.warn_of_few_rows(
            f"logging_steps={args.logging_steps:g}" if by_steps else f'logging_strategy="{args.logging_strategy.value}"'
        )
        if self.watch.wants_batches and trainer is not None:
            self._count_batches(trainer, kwargs["model"])
        self.watch.observe(kwargs["model"], state.global_step, tokens_seen=_tokens_seen(args, state))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An update is done and its gradients are gone."""
        self.watch.observe(kwargs["model"], state.global_step, tokens_seen=_tokens_seen(args, state))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Logging by epochs happens here; it can't always be planned, since not every dataset knows its length."""
        schedule = self.watch.schedule
        if args.logging_strategy == "epoch" and schedule is not None and schedule.follows_logging:
            self.watch.observe_late(kwargs["model"], state.global_step)
        self._last(control, state, kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Early stopping is decided here, and the best checkpoint loaded after it."""
        self._last(control, state, kwargs)

    def _last(self, control: TrainerControl, state: TrainerState, kwargs: dict[str, Any]) -> None:
        if control.should_training_stop:
            self.watch.observe_last(kwargs["model"], state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Of a run that is resumed here the token counts are known."""
        self.watch.checkpoint(state.global_step)
        self._last(control, state, kwargs)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The Trainer's summary is the last event before its reporters end their runs, so the last metrics go now.

        In `on_train_end` they come before this callback, and what is logged after it begins another run (MLflow,
        Trackio). What only looks like the summary, logged by a subclass while training goes on, is not the end.
        """
        ending = control.should_training_stop or state.global_step >= state.max_steps
        if ending and set(kwargs.get("logs") or ()) >= SUMMARY:
            self.watch.finish(kwargs["model"], state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The end, should the Trainer have logged no summary."""
        self._tried = None
        self._uncount()
        self.watch.finish(kwargs["model"], state.global_step)

    def _sender(self) -> tuple[Trainer | None, CallbackHandler | None]:
        """The Trainer that the event comes from, and its list of callbacks.

        An event is told neither, and transformers has no documented way from a callback to its Trainer. So both are
        looked for among the callers, unless `attach` has named the Trainer. What is not found is said, with the way
        out; a test holds that each version has them there.
        """
        if self._attached is not None:
            return self._attached, self._attached.callback_handler
        trainer, handler = _caller(Trainer, sys._getframe(1)), _caller(CallbackHandler, sys._getframe(1))
        lost = []
        if handler is None:
            lost.append("metrics don't reach its reporters (report_to=) other than W&B")
        if trainer is None:
            lost.append("what it trains on is not counted (token_counts=, exposures=, batches=)")
        if lost and ranks.rank() == 0:
            logger.warning(
                "the Trainer was not found among the callers of on_train_begin (transformers %s): %s. The way out: "
                "callback.attach(trainer) before trainer.train().",
                transformers.__version__,
                ", and ".join(lost),
            )
        return trainer, handler

    def _count_batches(self, trainer: Trainer, live: Any) -> None:
        """Lets each batch be counted on its way into `training_step`.

        That is where a batch that is trained on passes exactly once, on each rank, outside of anything compiled. (A
        collator runs ahead of training, in other processes; a hook on the model breaks compiled graphs.)
        """
        original, watch = trainer.training_step, self.watch
        replaced = trainer.__dict__.get("training_step")

        @wraps(original)
        def counted(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            # Left behind under another's wrapper it still passes batches on, but counts none twice.
            if self._counted[1] is counted:
                watch.before_batch(live, inputs)
                watch.count_batch(inputs)
            return original(model, inputs, *args, **kwargs)

        trainer.training_step = counted
        self._counted = (trainer, counted, replaced)

    def _uncount(self) -> None:
        """Puts the Trainer's method back, unless another has replaced it meanwhile."""
        trainer, counted, replaced = self._counted
        if trainer is not None and trainer.__dict__.get("training_step") is counted:
            if replaced is None:
                del trainer.training_step
            else:
                trainer.training_step = replaced
        self._counted = (None, None, None)


def logging_steps(args: TrainingArguments, state: TrainerState, dataloader: Any) -> StepRule:
    """The steps at which the Trainer will log, by its own arithmetic."""

    def rule(limit: int) -> StepArray:
        first = [1] if args.logging_first_step else []
        interval = 0
        if args.logging_strategy == "steps":
            interval = int(state.logging_steps)
        elif args.logging_strategy == "epoch":
            interval = _steps_per_epoch(args, dataloader)
        regular = range(interval, limit + 1, interval) if interval else ()
        return np.array([*first, *regular], np.int64)

    return rule


def _steps_per_epoch(args: TrainingArguments, dataloader: Any) -> int:
    """Updates in an epoch; 0 if the data can't tell its length."""
    try:
        return max(1, math.ceil(len(dataloader) / int(args.gradient_accumulation_steps)))
    except TypeError:
        return 0


def _sinks(
    args: TrainingArguments,
    state: TrainerState,
    control: TrainerControl,
    kwargs: dict[str, Any],
    handler: CallbackHandler | None,
) -> list[Sink]:
    """W&B by its own interface (histograms, one row), the Trainer's other reporters through their `on_log`.

    Reporters are what `report_to=` names, and the same callbacks where they are given in `callbacks=`.
    """
    known = tuple(INTEGRATION_TO_CALLBACK.values())
    reporters = [one for one in handler.callbacks if isinstance(one, known)] if handler is not None else []
    # A run of W&B that the Trainer doesn't report to is the script's, and nobody has given it the Trainer's axis.
    of_host = handler is None or any(isinstance(one, WandbCallback) for one in reporters)
    sinks: list[Sink] = [HostAxisWandb(WANDB_AXIS) if of_host else OwnAxisWandb()]
    for reporter in reporters:
        if not isinstance(reporter, WandbCallback):
            sinks.append(_through(reporter, args, state, control, {**kwargs}))
    return sinks


def _caller(kind: type[T], frame: FrameType | None) -> T | None:
    """The object of that kind that the event came from, however many methods have passed it on."""
    while frame is not None:
        if isinstance(caller := frame.f_locals.get("self"), kind):
            return caller
        frame = frame.f_back
    return None


def _through(
    reporter: TrainerCallback, args: TrainingArguments, state: TrainerState, control: TrainerControl, kwargs: Any
) -> Sink:
    def sink(metrics: Metrics, step: int) -> None:
        if metrics.scalars:
            reporter.on_log(args, state, control, logs=dict(metrics.scalars), **kwargs)

    sink.__name__ = type(reporter).__name__
    return sink


def _tokens_seen(args: TrainingArguments, state: TrainerState) -> float | None:
    """The Trainer's own number, where it is told to count; with "all" that is padding, too."""
    asked = getattr(args, "include_num_input_tokens_seen", "no")
    return None if asked in (False, "no") else float(state.num_input_tokens_seen)
