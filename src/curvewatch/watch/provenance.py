"""Where a run file's numbers come from: versions, machine, model. All of it plain JSON."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import torch
from torch import nn

from curvewatch.scoring import ranks

PACKAGES = ("curvewatch", "torch", "numpy", "h5py", "transformers", "accelerate", "lightning", "wandb")


def of_session(model: nn.Module, host: dict[str, Any]) -> dict[str, Any]:
    """What is known when a session begins.

    Args:
        model: The unwrapped model.
        host: The adapter's own part: its name and its settings.
    """
    config = getattr(model, "config", None)
    described = config.to_dict() if config is not None and hasattr(config, "to_dict") else None
    parameter = next(model.parameters(), None)
    return {
        "host": host,
        "model": {
            "class": f"{type(model).__module__}.{type(model).__qualname__}",
            "parameters": sum(p.numel() for p in model.parameters()),
            "dtype": str(parameter.dtype).removeprefix("torch.") if parameter is not None else None,
            "device": str(parameter.device) if parameter is not None else None,
            "config": described,
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "torch_seed": torch.initial_seed(),
        "ranks": ranks.size(),
        "platform": platform.platform(),
    }


def _versions() -> dict[str, str]:
    # Only what is loaded: a package that merely lies there took no part.
    return {name: metadata.version(name) for name in PACKAGES if name in sys.modules and _installed(name)}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
