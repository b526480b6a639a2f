"""The window in which a model is scored and after which nothing of it, or of the process, has changed."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import nn

logger = logging.getLogger("curvewatch")

# Makes a context to score in, such as the host's autocast.
Around = Callable[[], AbstractContextManager[object]]
nothing_around: Around = nullcontext


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel and torch.compile wrappers.

    Calling DDP's wrapper would broadcast buffers and skip the next step's own synchronisation; calling a compiled one
    would compile another graph for our shapes.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = cast(nn.Module, model._orig_mod)
        else:
            return model


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter (the CPU, if it has none)."""
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


class Window:
    """Opens the window again and again for one model.

    Inside it every submodule is in evaluation mode, no gradient is recorded, and compiled code runs eagerly (so that
    scoring compiles nothing and uses up none of the host's recompile limit). At the end, whatever happened: each
    submodule's own mode, the random streams (PyTorch on the CPU and the model's devices, NumPy, Python), buffers and
    FSDP sharding are as before.

    Args:
        model: The unwrapped model.
        around: The host's own context, opened innermost.
    """

    def __init__(self, model: nn.Module, around: Around = nothing_around) -> None:
        self._model = model
        self._around = around
        # Known after the first window: the buffers that a forward pass rewrites even in evaluation mode.
        self._rewritten: set[str] | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """The window; use it as a context manager around all forward passes of one observation."""
        modes = [(module, module.training) for module in self._model.modules()]
        buffers = dict(self._model.named_buffers())
        before = {name: (buffer, _version(buffer)) for name, buffer in buffers.items()}
        copies = {
            name: buffer.detach().clone()
            for name, buffer in buffers.items()
            if self._rewritten is None or name in self._rewritten
        }
        with ExitStack() as stack:
            # Entered first, so left last: even the restoring of buffers draws on no random stream.
            stack.enter_context(_random_streams(self._model))
            stack.enter_context(torch.no_grad())
            stack.enter_context(_no_casts_kept(self._model, self._around))
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.callback(_reshard, self._model)
            stack.callback(self._restore_buffers, before, copies)
            stack.callback(_restore_modes, modes)
            for module, _ in modes:
                module.training = False
            stack.enter_context(self._around())
            yield

    def _restore_buffers(
        self, before: dict[str, tuple[torch.Tensor, int | None]], copies: dict[str, torch.Tensor]
    ) -> None:
        changed = set()
        for name, buffer in self._model.named_buffers():
            if name in before and buffer is before[name][0] and _version(buffer) == before[name][1]:
                continue
            changed.add(name)
            original = before[name][0] if name in before else None
            if original is None or name not in copies:
                logger.warning("scoring changed the buffer %r of the model, and it could not be put back", name)
                continue
            original.copy_(copies[name])
            owner, _, leaf = name.rpartition(".")
            self._model.get_submodule(owner)._buffers[leaf] = original
        if self._rewritten is None:
            self._rewritten = changed
            if changed:
                logger.info("buffers put back after each scoring: %s", ", ".join(sorted(changed)))


def _version(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    # Set directly: `train()` may be overridden, and would also un-freeze a submodule left in evaluation mode.
    for module, training in modes:
        module.training = training


def _reshard(model: nn.Module) -> None:
    # FSDP2 leaves its root unsharded after a forward pass; a next forward would then use weights from before the step.
    for module in model.modules():
        if hasattr(module, "_get_fsdp_state") and hasattr(module, "reshard"):
            cast(Any, module).reshard()


@contextmanager
def _no_casts_kept(model: nn.Module, around: Around) -> Iterator[None]:
    # Inside a script's own autocast, PyTorch before 2.11 would hand casts of the weights that were made here, without
    # gradients, to the next training step, whose weights would then get no gradient, without a word.
    if not any(torch.is_autocast_enabled(kind) for kind in {"cpu", device_of(model).type} - {"meta"}):
        yield  # leaving an autocast of the host's own (`around`) drops its casts
        return
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
        # An autocast made before this one (accelerate puts one around `forward`) brings its own setting with it.
        if around is not nothing_around or hasattr(model, "_original_forward"):
            torch.clear_autocast_cache()


@contextmanager
def _random_streams(model: nn.Module) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (the host's global stream)
    devices = {p.device for p in model.parameters() if p.device.type not in ("cpu", "meta")}
    types = {device.type for device in devices}
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            for kind in types:
                stack.enter_context(
                    torch.random.fork_rng(devices=[d for d in devices if d.type == kind], device_type=kind)
                )
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
