"""Which weights a model has at a moment: those that train, or others that a host has put in their place.

At the end of training, or to evaluate, hosts put averages (Lightning's WeightAveraging and SWA, schedule-free
optimizers) or a better checkpoint into the model. No row may be of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

# Looked at after every update, so few, and without waiting for the device.
PROBED_PARAMETERS = 16
# What a schedule-free optimizer's way to its averages and back may round off, relative to a weight.
ROUNDING = 1e-5


class WeightMark:
    """A few weights of a model as they are now, to be recognised by later.

    Args:
        model: Unwrapped; each rank looks at its own part of a sharded one.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad] or list(model.parameters())
        step = max(1, -(-len(parameters) // PROBED_PARAMETERS))
        self._probed = [p for p in map(_local, parameters[::step]) if p.numel() and p.device.type != "meta"]
        with torch.no_grad():
            self._values = [_middle(p).clone() for p in self._probed]

    def holds(self, model: nn.Module) -> bool:
        """Whether `model` has the same weights still (up to rounding), on this rank."""
        now = WeightMark(model)
        return len(now._values) == len(self._values) and all(
            torch.isclose(a.cpu().float(), b.cpu().float(), rtol=ROUNDING, atol=0.0, equal_nan=True)
            for a, b in zip(now._values, self._values, strict=True)
        )


def _local(parameter: Any) -> torch.Tensor:
    local: torch.Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return local.detach()


def _middle(tensor: torch.Tensor) -> torch.Tensor:
    index = [extent // 2 for extent in tensor.shape]
    return tensor[tuple(index)]


@contextmanager
def training_weights(optimizers: Iterable[Any]) -> Iterator[None]:
    """The weights that train, where a schedule-free optimizer shows its averages at the moment; put back bit for bit.

    Args:
        optimizers: The host's, wrapped or not.
    """
    showing = [one for one in map(_inner, optimizers) if _shows_averages(one)]
    kept = [(p, p.detach().clone()) for one in showing for group in one.param_groups for p in group["params"]]
    try:
        for one in showing:
            one.train()
        yield
    finally:
        for one in showing:
            if not _shows_averages(one):
                one.eval()
        with torch.no_grad():
            for parameter, before in kept:
                parameter.copy_(before)


def _inner(optimizer: Any) -> Any:
    while type(optimizer).__module__.startswith(("accelerate.", "lightning.")) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _shows_averages(optimizer: Any) -> bool:
    """Whether it is a schedule-free optimizer in evaluation mode (which its groups know)."""
    groups = getattr(optimizer, "param_groups", None) or [{}]
    return callable(getattr(optimizer, "train", None)) and groups[0].get("train_mode", True) is False
