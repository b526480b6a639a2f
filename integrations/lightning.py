"""Lightning: `CurveWatchCallback` turns the Trainer's hooks into `Watch.observe`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import Logger, WandbLogger

from curvewatch.live import Metrics
from curvewatch.runfile.layout import AVERAGED
from curvewatch.schedule import StepArray, StepRule
from curvewatch.trackers.sinks import Sink, WandbSink
from curvewatch.watch.weights import Averages, exchanged

from .callback import WatchCallback

# WeightAveraging came with Lightning 2.6. Both keep a model of averages under the same name.
_AVERAGING = tuple(
    getattr(callbacks, name) for name in ("WeightAveraging", "StochasticWeightAveraging") if hasattr(callbacks, name)
)


class CurveWatchCallback(WatchCallback, Callback):
    """Watches a run of the Lightning Trainer.

    ```python
    tokens = TokenSet.from_text("heldout.txt", tokenizer)
    trainer = Trainer(..., callbacks=[CurveWatchCallback(tokens, "runs/gpt2/curves.h5")])
    ```

    The scored model is the LightningModule itself if its own `forward` takes token ids, or else the one model inside it
    that holds all that is trained; where that is not clear it is refused, and `model=` or `forward=` (which get the
    LightningModule) decide. Metrics go to all of the Trainer's loggers, on their own step axis.

    Key | What is logged
    --- | ---
    `curvewatch/<set>/...` | see `curvewatch.live.keys.SET_KEYS` (histograms, tables and charts in W&B only)
    `curvewatch/text/...` | of sampled text, see `curvewatch.live.keys.TEXT_METRICS`
    `curvewatch/watch/...` | what the watch costs, see `curvewatch.live.keys.WATCH_METRICS`

    Arguments: see `WatchCallback`.
    """

    _of_a_run = ("_under_way", "_early", "_ended", "log", "log_dict")  # the last two are the module's, put here by fit
    _under_way: Any = None  # a batch that is not counted yet
    _early = False  # whether this batch was counted before its end

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The end of training comes to this callback before all others, wherever it stands among them."""
        if stage == "fit":
            self.teardown(trainer, pl_module, stage)  # a training that failed has left its own
            # A new list: the Trainer is going through this one.
            trainer.callbacks = [_AheadOfTheEnd(self), *trainer.callbacks]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The Trainer's list is again as it was."""
        trainer.callbacks = [
            one for one in trainer.callbacks if not (isinstance(one, _AheadOfTheEnd) and one.of is self)
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model is on its device and any checkpoint is loaded: everything is checked, and step 0 scored."""
        self._ended, self._under_way, self._early = False, None, False
        self.watch.max_steps = planned_updates(trainer, pl_module)
        self.watch.start(
            pl_module,
            trainer.global_step,
            logging_steps=logging_steps(trainer, pl_module),
            sinks=self._sinks(trainer),
            around=trainer.precision_plugin.val_step_context,
            host={
                "name": "lightning.Trainer",
                "settings": _settings(trainer),
                "hyperparameters": dict(pl_module.hparams),
            },
            counts_batches=True,
            optimizers=trainer.optimizers,
            averages=self._averages(trainer, pl_module) if self.watch.weights == AVERAGED else None,
        )
        self.warn_of_few_rows(f"log_every_n_steps={trainer.log_every_n_steps}")
        self.watch.observe(pl_module, trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is remembered: it is counted at its end, or by a checkpoint that another callback makes there."""
        self.watch.before_batch(pl_module, batch)
        self._under_way, self._early = batch, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """An update may be done; while gradients accumulate the step stays the same, and nothing is due."""
        self._under_way = batch
        self._count()
        # Stochastic weight averaging ends with an epoch without updates, over the averages.
        if not getattr(trainer.fit_loop, "_skip_backward", False):
            self.watch.observe(pl_module, trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Of a run that is resumed here the token counts are known; checkpoints are put together on all ranks."""
        self._count(early=True)
        self.watch.checkpoint(trainer.global_step)

    def before_the_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last step, if training stopped before the planned one: averages may take the weights' place after it."""
        self._ended = True
        self.watch.observe_last(pl_module, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What was observed is committed."""
        self._ended = True
        self.watch.finish(pl_module, trainer.global_step)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What was observed is committed; the exception is the Trainer's to handle."""
        self.watch.close()

    def _count(self, *, early: bool = False) -> None:
        batch, self._under_way = self._under_way, None
        if batch is not None and not self._early:
            self.watch.count_batch(batch)
            self._early = early

    def _averages(self, trainer: Trainer, pl_module: LightningModule) -> Averages | None:
        """The averages that a callback of the Trainer's keeps; until there are any, the weights that train."""
        found = [one for one in trainer.callbacks if isinstance(one, _AVERAGING)]
        if not found:
            return None
        keeper: Any = found[0]
        if trainer.callbacks.index(self) < trainer.callbacks.index(keeper):
            raise ValueError(
                f"weights='averaged': {type(keeper).__name__} stands behind this callback, so its averages would lack "
                "the last update. Put it before this one in callbacks=[...]."
            )

        def averages() -> AbstractContextManager[object]:
            average = keeper._average_model
            of_module = isinstance(average, LightningModule)  # as StochasticWeightAveraging has it
            begun = keeper.n_averaged if of_module else average.n_averaged
            if begun is None or not int(begun):
                return nullcontext()
            return exchanged(pl_module, average if of_module else average.module)

        return averages

    def _sinks(self, trainer: Trainer) -> list[Sink]:
        """One for each of the Trainer's loggers, at the step at which Lightning's own values of an update stand."""

        def place() -> int:
            # The update under way is counted from 0; when training has ended it is counted as done.
            return int(trainer.fit_loop.epoch_loop._batches_that_stepped) - self._ended

        sinks: list[Sink] = []
        for logger in trainer.loggers:
            sinks.append(_LoggersWandb(logger, place) if isinstance(logger, WandbLogger) else _through(logger, place))
        return sinks


class _AheadOfTheEnd(Callback):
    """First among the Trainer's callbacks: others put averages into the model in `on_train_end`.

    `EarlyStopping` decides after every callback's `on_train_epoch_end`, so there is no earlier event that knows.
    """

    def __init__(self, of: CurveWatchCallback) -> None:
        self.of = of

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.of.before_the_end(trainer, pl_module)


def logging_steps(trainer: Trainer, pl_module: LightningModule) -> StepRule:
    """The steps at which the Trainer will log: every so many batches that stepped, each by all optimizers."""
    interval = int(trainer.log_every_n_steps) * _updates_per_batch(trainer, pl_module)

    def rule(limit: int) -> StepArray:
        return np.arange(interval, limit + 1, interval, dtype=np.int64) if interval > 0 else np.zeros(0, np.int64)

    return rule


def planned_updates(trainer: Trainer, pl_module: LightningModule) -> int | None:
    """The Trainer's counter when training ends; None if nobody knows.

    `Trainer.estimated_stepping_batches` knows neither a `GradientAccumulationScheduler` nor that by manual optimization
    the counter goes up by one for each optimizer.
    """
    limit = trainer.max_steps if trainer.max_steps > 0 else math.inf
    batches, epochs = trainer.num_training_batches, trainer.max_epochs
    if epochs is not None and epochs > 0 and not math.isinf(batches):
        per_batch = _updates_per_batch(trainer, pl_module)
        limit = min(limit, per_batch * _batches_that_step(trainer, int(batches), epochs, pl_module))
    return None if math.isinf(limit) or limit < 1 else int(limit)


def _updates_per_batch(trainer: Trainer, pl_module: LightningModule) -> int:
    return 1 if pl_module.automatic_optimization else max(1, len(trainer.optimizers))


def _batches_that_step(trainer: Trainer, batches: int, epochs: int, pl_module: LightningModule) -> int:
    if not pl_module.automatic_optimization:
        return batches * epochs
    schedulers = [one for one in trainer.callbacks if isinstance(one, GradientAccumulationScheduler)]
    if not schedulers:
        per_epoch: int = math.ceil(batches / trainer.accumulate_grad_batches)
        return per_epoch * epochs
    # The last one has the last word. An epoch's last batch is an update, however few came before it.
    factor = schedulers[-1].get_accumulate_grad_batches
    constant_from = min(epochs, max(schedulers[-1].scheduling))
    changing = sum(math.ceil(batches / factor(epoch)) for epoch in range(constant_from))
    return int(changing + math.ceil(batches / factor(constant_from)) * (epochs - constant_from))


class _LoggersWandb(WandbSink):
    """The W&B run of a logger, whether or not it is the active one."""

    def __init__(self, logger: WandbLogger, place: Callable[[], int]) -> None:
        super().__init__("trainer/global_step")
        self._logger, self._place = logger, place

    def run(self) -> Any:
        """The logger's run."""
        return self._logger.experiment

    def _log(self, run: Any, payload: dict[str, Any], step: int) -> None:
        run.log({**payload, self.axis: self._place()})


def _through(logger: Logger, place: Callable[[], int]) -> Sink:
    def sink(metrics: Metrics, step: int) -> None:
        if metrics.scalars:
            logger.log_metrics(dict(metrics.scalars), step=place())

    sink.__name__ = type(logger).__name__
    return sink


def _settings(trainer: Trainer) -> dict[str, Any]:
    return {
        "max_steps": trainer.max_steps,
        "max_epochs": trainer.max_epochs,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "log_every_n_steps": trainer.log_every_n_steps,
        "gradient_clip_val": trainer.gradient_clip_val,
        "precision": str(trainer.precision),
        "strategy": type(trainer.strategy).__name__,
        "num_nodes": trainer.num_nodes,
        "num_devices": trainer.num_devices,
    }
