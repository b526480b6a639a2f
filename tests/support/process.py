"""The environment of a process of its own."""

from __future__ import annotations

import os


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what W&B left in it: a child would join our own W&B service."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "_WANDB"))}
    return {**clean, "OMP_NUM_THREADS": "1", **extra}
