"""The hosts: each runs the same `Training`, with whatever is to sit beside it.

What sits beside is made by a `Beside`: the adapter of a watch, or an intruder that a negative control needs.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from curvewatch import Live, Watch
from curvewatch.scoring.undisturbed import unwrap

from .trainings import Notes, Outcome, Training, outcome_of

# What an intruder does with the live model after a step.
Intrusion = Callable[[nn.Module], None]
HOSTS = ("trainer", "lightning", "loop")


class Beside(Protocol):
    """What sits beside a training, for each host."""

    def trainer(self) -> Any: ...
    def lightning(self) -> Any: ...
    def loop(self, training: Training) -> Any: ...


class Watching:
    """A watch; `watch` is known once the training has begun."""

    def __init__(self, tokens: Any, path: Any, **settings: Any) -> None:
        self.tokens, self.path, self.settings = tokens, path, settings
        self.watch: Watch | None = None

    def trainer(self) -> Any:
        from curvewatch.integrations.transformers import CurveWatchCallback

        callback = CurveWatchCallback(self.tokens, self.path, **self.settings)
        self.watch = callback.watch
        return callback

    def lightning(self) -> Any:
        from curvewatch.integrations.lightning import CurveWatchCallback

        callback = CurveWatchCallback(self.tokens, self.path, **self.settings)
        self.watch = callback.watch
        return callback

    def loop(self, training: Training) -> Watch:
        # The hosts' Trainers count the tokens that they train on by themselves.
        live = Live(token_counts="training")
        settings = {"schedule": training.log_every, "max_steps": training.steps, "live": live, **self.settings}
        self.watch = Watch(self.tokens, self.path, **settings)
        return self.watch


class Intruding:
    """Something that does to the model what a careless callback would, every third step."""

    def __init__(self, intrusion: Intrusion, every: int = 3) -> None:
        self.intrusion, self.every = intrusion, every

    def observe(self, model: nn.Module, step: int) -> None:
        if step % self.every == 0:
            self.intrusion(model)

    def trainer(self) -> Any:
        from transformers import TrainerCallback

        observe = self.observe

        class Intruder(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                observe(kwargs["model"], state.global_step)

        return Intruder()

    def lightning(self) -> Any:
        from lightning.pytorch import Callback

        observe = self.observe

        class Intruder(Callback):
            def on_train_batch_end(self, trainer, pl_module, *_):
                observe(pl_module.model, trainer.global_step)

        return Intruder()

    def loop(self, training: Training) -> Any:
        return self


def ids_like(model: nn.Module) -> torch.Tensor:
    """A batch for an intruder."""
    return torch.arange(8, device=next(model.parameters()).device)[None].repeat(2, 1)


def forward_in_training_mode(model: nn.Module) -> None:
    """Draws dropout masks from the stream that training draws from, un-freezing what was frozen."""
    model.train()
    with torch.no_grad():
        ids = ids_like(model)
        both = getattr(unwrap(model).config, "is_encoder_decoder", False)
        model(input_ids=ids, **({"labels": ids} if both else {}))


def iterate_a_dataloader(model: nn.Module) -> None:
    """Draws the loader's base seed, though it shuffles nothing."""
    for _ in DataLoader(torch.arange(4)):
        pass


def unfreeze(model: nn.Module) -> None:
    """What `model.eval()` ... `model.train()` does to a part that was in evaluation mode."""
    model.eval()
    for module in model.modules():
        module.training = True


def leave_in_evaluation_mode(model: nn.Module) -> None:
    """Forgets to put the modes back."""
    model.eval()


def run(host: str, training: Training, folder: Path, beside: Beside | None = None, **settings: Any) -> Outcome:
    """Runs `training` in `host`, from fixed seeds."""
    torch._dynamo.reset()
    Path(folder).mkdir(parents=True, exist_ok=True)
    quiet = [logging.getLogger(name) for name in ("lightning.pytorch", "transformers", "accelerate")]
    for one in quiet:
        one.setLevel(logging.ERROR)
    logging.getLogger("torch.__trace").setLevel(logging.CRITICAL)  # else pytest formats all that the compiler says
    # Hosts leave settings in the environment: a Trainer that compiles would have the next one's models compiled, too.
    with warnings.catch_warnings(), mock.patch.dict(os.environ):
        warnings.simplefilter("ignore")
        return _HOSTS[host](training, Path(folder), beside, **settings)


def run_trainer(
    training: Training,
    folder: Path,
    beside: Beside | None = None,
    *,
    resume: str | None = None,
    callbacks: tuple[Any, ...] = (),
    model: Any = None,
    before: Callable[[Any], None] = lambda trainer: None,
    catch: tuple[type[BaseException], ...] = (),
    trainings: int = 1,
    **arguments: Any,
) -> Outcome:
    """The HF Trainer."""
    from accelerate.state import AcceleratorState
    from transformers import Trainer, TrainingArguments, default_data_collator

    AcceleratorState._reset_state()  # older versions keep the first Trainer's precision
    model = training.model() if model is None else model
    notes = Notes(model)
    strategy = "epoch" if training.log_epochs else "steps" if training.log_every else "no"
    settings: dict[str, Any] = {
        "output_dir": str(folder / "trainer"),
        "use_cpu": training.device == "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "seed": training.seed,
        "per_device_train_batch_size": training.batch,
        "per_device_eval_batch_size": training.batch,
        "gradient_accumulation_steps": training.accumulate,
        "max_steps": -1 if training.epochs is not None else training.steps,
        "num_train_epochs": training.epochs or 3,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "weight_decay": 0.01,
        "optim": "adamw_torch",
        "bf16": training.bf16,
        "fp16": training.fp16,
        "logging_strategy": strategy,
        "logging_steps": training.log_every or 500,
        "logging_first_step": training.log_first,
        "eval_strategy": "steps" if training.evaluate_every else "no",
        "eval_steps": training.evaluate_every,
        "save_strategy": "steps" if training.save_every else "no",
        "save_steps": training.save_every or 500,
        "dataloader_num_workers": training.workers,
        "torch_compile": training.compiled == "model",
        "torch_compile_backend": training.backend if training.compiled == "model" else None,
        "torch_compile_mode": training.compile_mode,
        **arguments,
    }
    if training.checkpointing is not None:
        settings["gradient_checkpointing"] = True
        settings["gradient_checkpointing_kwargs"] = {"use_reentrant": training.checkpointing == "reentrant"}
    # Before transformers 5 the order was no argument.
    orders = hasattr(TrainingArguments, "train_sampling_strategy")
    if not training.shuffle and orders:
        settings["train_sampling_strategy"] = "sequential"
    trainer = Trainer(
        model,
        TrainingArguments(**settings),
        train_dataset=training.data(),
        eval_dataset=training.data() if training.evaluate_every else None,
        data_collator=default_data_collator,
        callbacks=[*callbacks, *([beside.trainer()] if beside is not None else [])],
    )
    if not training.shuffle and not orders:
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    before(trainer)
    training.seed_everything()
    for _ in range(trainings):
        try:
            trainer.train(resume_from_checkpoint=resume)
        except catch:
            pass
    logged = [row["step"] for row in trainer.state.log_history if "loss" in row]
    return outcome_of(model, trainer.optimizer, notes, logged)


def run_lightning(
    training: Training,
    folder: Path,
    beside: Beside | None = None,
    *,
    resume: str | None = None,
    callbacks: tuple[Any, ...] = (),
    catch: tuple[type[BaseException], ...] = (),
    trainings: int = 1,
    **arguments: Any,
) -> Outcome:
    """Lightning's Trainer."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import Logger

    class Steps(Logger):
        """Notes at which update the host logs its loss."""

        name = version = "steps"

        def __init__(self) -> None:
            super().__init__()
            self.steps: list[int] = []

        def log_hyperparams(self, *_: Any, **__: Any) -> None: ...

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if "loss" in metrics:
                self.steps.append(int(step) + 1)  # Lightning counts the update under way from 0

    module = lightning_module(training)
    notes = Notes(module.model)
    steps = Steps()
    saving = []
    if training.save_every:
        saving = [ModelCheckpoint(folder / "lightning", every_n_train_steps=training.save_every, save_top_k=-1)]
    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu" if training.device == "cpu" else "gpu",
        "devices": 1,
        "max_steps": -1 if training.epochs is not None else training.steps,
        "max_epochs": training.epochs,
        "accumulate_grad_batches": training.accumulate,
        "precision": "bf16-mixed" if training.bf16 else "16-mixed" if training.fp16 else "32-true",
        "log_every_n_steps": training.log_every or 0,
        "val_check_interval": training.evaluate_every * training.accumulate if training.evaluate_every else None,
        "check_val_every_n_epoch": None if training.evaluate_every else 1,
        "limit_val_batches": 2 if training.evaluate_every else 0,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": bool(training.save_every),
        "logger": [steps],
        **arguments,
    }
    trainer = Trainer(
        callbacks=[*callbacks, *saving, *([beside.lightning()] if beside is not None else [])], **settings
    )
    training.seed_everything()
    fitted = torch.compile(module, backend="aot_eager") if training.compiled == "model" else module
    for _ in range(trainings):
        try:
            trainer.fit(fitted, ckpt_path=resume)
        except catch:
            pass
    if type(trainer.strategy).__name__ == "ModelParallelStrategy":
        assert hasattr(module.model, "reshard"), "the model was not sharded"
    return outcome_of(module.model, trainer.optimizers[0], notes, steps.steps)


def blocks_of(model: Any) -> list[Any]:
    """Its transformer blocks."""
    if hasattr(model, "transformer"):
        return list(model.transformer.h)
    if hasattr(model, "bert"):
        return list(model.bert.encoder.layer)
    return [*model.encoder.block, *model.decoder.block]


def shard(model: Any, mesh: Any) -> Any:
    """Blocks, then the rest, as FSDP2 is used."""
    from torch.distributed.fsdp import fully_shard

    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def lightning_module(training: Training, model: Any = None) -> Any:
    """A LightningModule around the training's model."""
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = training.model() if model is None else model
            self.model.train()

        def configure_model(self) -> None:
            # Set where the strategy shards models; None otherwise.
            if self.device_mesh is not None and not hasattr(self.model, "reshard"):
                shard(self.model, self.device_mesh["data_parallel"])

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.model(**batch).loss

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("loss", outputs["loss"])  # not in the step: torch.compile fails on it there

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self.model(**batch).loss)

        def train_dataloader(self) -> Any:
            return loader(training)

        def val_dataloader(self) -> Any:
            return DataLoader(training.data(), training.batch)

        def configure_optimizers(self) -> Any:
            return adamw(self.model)

    return Module()


def run_loop(
    training: Training,
    folder: Path,
    beside: Beside | None = None,
    *,
    resume: int | None = None,
    until: int | None = None,
    wrap: Callable[[Any], Any] = lambda model: model,
    after: Callable[[int, Any], None] = lambda step, model: None,
) -> Outcome:
    """A loop as people write it: evaluation and saving are its own."""
    model = training.model()
    model.train()
    notes = Notes(model)
    training.seed_everything()
    called = wrap(
        torch.compile(model, backend=training.backend, mode=training.compile_mode)
        if training.compiled == "model"
        else model
    )
    optimizer = adamw(model)
    observer = beside.loop(training) if beside is not None else None
    scaler = torch.amp.GradScaler(training.device, enabled=training.fp16)
    step, logged = 0, []
    if resume is not None:
        saved = torch.load(folder / f"loop-{resume}.pt")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step = resume
    elif observer is not None:
        observer.observe(called, 0)
    last = until if until is not None else training.steps
    batches = _batches(training, skip=step * training.accumulate)
    if resume is not None:
        torch.set_rng_state(saved["stream"])
    while step < last:
        for micro in range(training.accumulate):
            batch = next(batches)
            if isinstance(observer, Watch):
                observer.count(batch["input_ids"])
            with training.autocast():
                loss = called(**{name: ids.to(training.device) for name, ids in batch.items()}).loss
            scaler.scale(loss / training.accumulate).backward()
            if observer is not None and micro + 1 < training.accumulate and isinstance(observer, Watch):
                observer.observe(called, step)  # between micro-batches: must do nothing
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        step += 1
        after(step, model)
        if training.log_every and step % training.log_every == 0:
            logged.append(step)
        if training.evaluate_every and step % training.evaluate_every == 0:
            with torch.no_grad():
                model.eval()
                model(**{name: ids.to(training.device) for name, ids in batch.items()})
                model.train()
        if observer is not None:
            observer.observe(called, step)
        if training.save_every and step % training.save_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "stream": torch.get_rng_state()}
            torch.save(state, folder / f"loop-{step}.pt")
            if isinstance(observer, Watch):
                observer.checkpoint(step)
    if isinstance(observer, Watch):
        observer.close()
    return outcome_of(model, optimizer, notes, logged)


def loader(training: Training, sampler: Any = None) -> Any:
    """The training batches of one epoch."""
    shuffle = training.shuffle if sampler is None else None
    return DataLoader(
        training.data(),
        batch_size=training.batch,
        shuffle=shuffle,
        sampler=sampler,
        num_workers=training.workers,
        # Forked workers inherit everything that is open, the run file's locks among it.
        multiprocessing_context="fork" if training.workers else None,
    )


def _batches(training: Training, skip: int = 0) -> Any:
    seen = 0
    while True:
        sampler = DistributedSampler(training.data()) if dist.is_initialized() else None
        for batch in loader(training, sampler):
            seen += 1
            if seen > skip:
                yield batch


def adamw(model: nn.Module) -> Any:
    """The optimizer of every host; decay as the HF Trainer does it, on matrices only."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.999), eps=1e-8)


_HOSTS: dict[str, Callable[..., Outcome]] = {"trainer": run_trainer, "lightning": run_lightning, "loop": run_loop}
