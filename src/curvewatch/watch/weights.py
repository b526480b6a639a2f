"""Which weights a model has at a moment: those that train, or others that a host has put in their place.

At the end of training, or to evaluate, hosts put averages (Lightning's WeightAveraging and SWA, schedule-free
optimizers) or a better checkpoint into the model. No row may be of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from curvewatch.errors import ScoringError, brief
from curvewatch.runfile import layout
from curvewatch.scoring import ranks

# Makes a context in which the model has the averages of its weights.
Averages = Callable[[], AbstractContextManager[object]]

# Looked at after every update, so few, and without waiting for the device.
PROBED_PARAMETERS = 8
# What a schedule-free optimizer's way to its averages and back may round off, relative to a weight.
ROUNDING = 1e-5


class WeightProbe:
    """A few weights of a model, by which it is known later whether it holds the same ones.

    Args:
        model: Unwrapped; each rank looks at its own part of a sharded one.
    """

    def __init__(self, model: nn.Module) -> None:
        named = list(model.named_parameters())
        trained = [(name, p) for name, p in named if p.requires_grad] or named
        usable = [(name, p) for name, p in trained if _local(p).numel() and p.device.type != "meta"]
        # Kept, since to walk through all modules would take ten times as long as to look at these.
        self._probed = dict(usable[:: max(1, -(-len(usable) // PROBED_PARAMETERS))])

    @torch.no_grad()
    def take(self) -> list[torch.Tensor]:
        """The probed weights as they are, each of shape []; it does not wait for the device."""
        return [_middle(_local(p)).clone() for p in self._probed.values()]

    def matches(self, model: nn.Module, taken: list[torch.Tensor]) -> bool:
        """Whether `model` holds the weights of `take` (up to rounding), on this rank."""
        now = dict(model.named_parameters())
        if not self._probed.keys() <= now.keys():
            return False
        pairs = [(_middle(_local(now[name])), before) for name, before in zip(self._probed, taken, strict=True)]
        return all(
            torch.isclose(a.float().cpu(), b.float().cpu(), rtol=ROUNDING, atol=0.0, equal_nan=True) for a, b in pairs
        )


def _local(parameter: Any) -> torch.Tensor:
    local: torch.Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return local.detach()


def _middle(tensor: torch.Tensor) -> torch.Tensor:
    index = [extent // 2 for extent in tensor.shape]
    return tensor[tuple(index)]


def weights_setting(weights: str) -> str:
    """The setting `weights`, checked.

    Raises:
        ValueError: If it names none of the weights that rows can be of.
    """
    if weights not in layout.WEIGHTS:
        raise ValueError(f"weights={brief(weights)}: one of {', '.join(map(repr, layout.WEIGHTS))} is expected.")
    return weights


def averages_in(model: nn.Module, optimizers: Iterable[Any], averages: Averages | None) -> Averages:
    """What shows the averaged weights of a training.

    Args:
        model: As the host gives it.
        optimizers: The host's; schedule-free ones keep averages.
        averages: The host's own mechanism, if it has one.

    Raises:
        ValueError: If nothing is averaged.
    """
    if averages is not None:
        return averages
    if isinstance(model, AveragedModel):
        return nullcontext
    keeping = [one for one in map(_inner, optimizers) if _is_schedule_free(one)]
    if keeping:
        return lambda: _in_mode(keeping, averaged=True)
    raise ValueError(
        "weights='averaged': nothing is averaged in this training. Add Lightning's WeightAveraging, EMAWeightAveraging "
        "or StochasticWeightAveraging callback or a schedule-free optimizer (in a plain loop: watch.start(model, "
        "optimizers=[optimizer])), give torch's AveragedModel as the model, or leave weights='training'."
    )


def check_not_averaged(model: nn.Module) -> None:
    """Refuses a model of averages where rows are to be of the weights that train.

    Raises:
        ScoringError: If it is torch's AveragedModel.
    """
    if isinstance(model, AveragedModel):
        raise ScoringError(
            "model=AveragedModel: its weights are averages, not those that train. Give the model that is trained, or "
            "say weights='averaged'."
        )


def training_weights(optimizers: Iterable[Any]) -> AbstractContextManager[None]:
    """The weights that train, where a schedule-free optimizer shows its averages at the moment; put back bit for bit.

    A collective on several ranks.

    Args:
        optimizers: The host's, wrapped or not.
    """
    keeping = [one for one in map(_inner, optimizers) if _is_schedule_free(one)]
    return agreed(lambda: _in_mode(keeping, averaged=False)) if keeping else nullcontext()


@contextmanager
def agreed(context: Averages) -> Iterator[None]:
    """The context, entered on all ranks or on none: the copies that it makes may not fit in one rank's memory.

    Raises:
        ScoringError: On all ranks, if it could not be entered on one.
    """
    failure: Exception | None = None
    with ExitStack() as stack:
        try:
            stack.enter_context(context())
        except Exception as error:
            failure = error
        if not ranks.all_true(failure is None):
            raise ScoringError(f"the weights to score can't be shown: {failure or 'on another rank'}") from failure
        yield


@contextmanager
def exchanged(model: nn.Module, averaged: nn.Module) -> Iterator[None]:
    """Parameters and buffers of `averaged` in the place of those of `model`, which are put back bit for bit.

    Args:
        model: Live.
        averaged: A module of the same kind that keeps the averages.
    """
    theirs = {**dict(averaged.named_parameters()), **dict(averaged.named_buffers())}
    ours = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    kept = [(tensor, tensor.detach().clone()) for name, tensor in ours.items() if name in theirs]
    try:
        with torch.no_grad():
            for name, tensor in ours.items():
                if name in theirs:
                    tensor.copy_(theirs[name])
        yield
    finally:
        _put_back(kept)


@contextmanager
def _in_mode(optimizers: list[Any], *, averaged: bool) -> Iterator[None]:
    """Schedule-free optimizers showing their averages, or not; weights and modes are put back bit for bit."""
    other = [one for one in optimizers if _shows_averages(one) != averaged]
    # Their way there and back rounds, so it is not gone back.
    kept = [(p, p.detach().clone()) for one in other for group in one.param_groups for p in group["params"]]
    modes = [(group, group["train_mode"]) for one in other for group in one.param_groups]
    try:
        for one in other:
            one.eval() if averaged else one.train()
        yield
    finally:
        for group, mode in modes:
            group["train_mode"] = mode
        _put_back(kept)


def _put_back(kept: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for tensor, before in kept:
            tensor.copy_(before)


def _inner(optimizer: Any) -> Any:
    while type(optimizer).__module__.startswith(("accelerate.", "lightning.")) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _is_schedule_free(optimizer: Any) -> bool:
    groups = getattr(optimizer, "param_groups", None) or [{}]
    return all("train_mode" in group for group in groups) and callable(getattr(optimizer, "train", None))


def _shows_averages(optimizer: Any) -> bool:
    """Whether a schedule-free optimizer is in evaluation mode, which its groups know."""
    return optimizer.param_groups[0]["train_mode"] is False
