"""One training, described once and run by every host; and what is left of it afterwards, bit for bit."""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from .models import ARCHITECTURES, CONTEXT, MASK, VOCABULARY, gpt2


@dataclass(frozen=True)
class Training:
    """What is trained, and how; each host translates it into its own settings.

    `freeze` leaves the first block in evaluation mode throughout; `compiled` is "model" or "blocks"; `fp16` comes with
    a scaler of gradients, as every host has it.
    """

    steps: int = 7
    epochs: int | None = None
    dropout: float = 0.1
    bf16: bool = False
    fp16: bool = False
    accumulate: int = 1
    checkpointing: str | None = None
    workers: int = 0
    log_every: int | None = 3
    log_first: bool = False
    log_epochs: bool = False
    evaluate_every: int | None = None
    save_every: int | None = None
    freeze: bool = False
    compiled: str | None = None
    backend: str = "aot_eager"
    compile_mode: str | None = None
    tied: bool = True
    shuffle: bool = True
    rows: int = 40
    batch: int = 4
    seed: int = 11
    device: str = "cpu"
    architecture: str = "gpt2"

    def model(self) -> Any:
        """The model before the first step, the same each time."""
        layers = 1 if self.compiled else 2  # compiling takes seconds
        if self.architecture == "gpt2":
            model = gpt2(self.dropout, tie_word_embeddings=self.tied, seed=5, n_layer=layers)
        else:
            model = ARCHITECTURES[self.architecture](self.dropout, seed=5)
        if self.freeze:
            model.__class__ = _freezing(type(model))
        if self.checkpointing is not None:
            model.gradient_checkpointing_enable({"use_reentrant": self.checkpointing == "reentrant"})
        if self.compiled == "blocks":
            for block in model.transformer.h:
                block.compile(backend=self.backend)
        return model.to(self.device)

    def autocast(self) -> Any:
        """The precision that it computes in, as a context."""
        kind = torch.bfloat16 if self.bf16 else torch.float16 if self.fp16 else None
        return torch.autocast(self.device, kind) if kind is not None else nullcontext()

    def data(self) -> Rows:
        """The training rows."""
        return {"gpt2": Rows, "bert": MaskedRows, "t5": Pairs}[self.architecture](self.rows, seed=21)

    def seed_everything(self) -> None:
        """Sets the three global streams."""
        seed = self.seed + int(os.environ.get("RANK", "0"))
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (the global stream is what is under test)
        torch.manual_seed(seed)


class Rows(Dataset):
    """Rows of random ids, each with its labels."""

    def __init__(self, n_rows: int, seed: int) -> None:
        self.ids = torch.from_numpy(np.random.default_rng(seed).integers(0, VOCABULARY, (n_rows, CONTEXT)))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


class MaskedRows(Rows):
    """The same with every fifth token hidden, and labels of these alone."""

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        hidden = (torch.arange(CONTEXT) + i) % 5 == 0
        ids = self.ids[i]
        return {"input_ids": ids.masked_fill(hidden, MASK), "labels": ids.masked_fill(~hidden, -100)}


class Pairs(Rows):
    """Rows for an encoder, which its decoder learns to say backwards."""

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i, :8], "labels": self.ids[i].flip(0)}


def _freezing(parent: type) -> type:
    class Freezing(parent):  # the usual way to keep a part in evaluation mode under hosts that call train()
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self.transformer.h[0].eval()
            return self

    return Freezing


@dataclass
class Outcome:
    """What a training leaves behind.

    Attributes:
        weights: Parameters and buffers by name.
        optimizer: The optimizer's tensors, in order.
        streams: States of the random streams: torch, NumPy, Python, and the accelerator's where there is one.
        losses: Loss of each training forward pass.
        modes: For each training forward pass, the mode of every submodule.
        logged_steps: Steps at which the host logged a loss.
    """

    weights: dict[str, torch.Tensor]
    optimizer: list[torch.Tensor]
    streams: list[Any]
    losses: list[float] = field(default_factory=list)
    modes: list[tuple[bool, ...]] = field(default_factory=list)
    logged_steps: list[int] = field(default_factory=list)

    def differences(self, other: Outcome) -> list[str]:
        """What differs, by name."""
        found = [name for name, tensor in self.weights.items() if not _same(tensor, other.weights[name])]
        if len(self.optimizer) != len(other.optimizer) or not all(map(_same, self.optimizer, other.optimizer)):
            found.append("optimizer state")
        for name, mine, theirs in zip(
            ("torch", "numpy", "python", "accelerator"), self.streams, other.streams, strict=True
        ):
            if mine != theirs:
                found.append(f"{name} stream")
        if self.losses != other.losses:
            found.append("losses")
        if self.modes != other.modes:
            found.append("modes during training")
        return found


class Notes:
    """Notes loss and modes of each training forward pass, from hooks on the model."""

    def __init__(self, model: nn.Module) -> None:
        self.losses: list[float] = []
        self.modes: list[tuple[bool, ...]] = []
        model.register_forward_hook(self._note)

    @torch._dynamo.disable  # a compiled model runs it as it stands
    def _note(self, model: nn.Module, _arguments: Any, output: Any) -> None:
        if torch.is_grad_enabled() and getattr(output, "loss", None) is not None:
            self.losses.append(float(output.loss.detach()))
            self.modes.append(tuple(module.training for module in model.modules()))


def outcome_of(model: nn.Module, optimizer: Any, notes: Notes, logged_steps: list[int]) -> Outcome:
    """The outcome of a training that has just ended."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # inside accelerate's or Lightning's wrapper
    tensors = [
        _whole(value)
        for state in optimizer.state_dict()["state"].values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    numpy_state = np.random.get_state()  # noqa: NPY002
    return Outcome(
        weights={name: _whole(value) for name, value in model.state_dict().items()},
        optimizer=tensors,
        streams=[
            torch.get_rng_state().numpy().tobytes(),
            (numpy_state[1].tobytes(), *numpy_state[2:]),
            random.getstate(),
            torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_available() else None,
        ],
        losses=notes.losses,
        modes=notes.modes,
        logged_steps=logged_steps,
    )


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, put together if it is sharded."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and _bytes(a) == _bytes(b)


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
