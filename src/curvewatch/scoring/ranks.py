"""What the ranks of a distributed run agree on. Everything here is a no-op in a single process.

Agreements go through a process group of their own, on CPUs, with its own time limit. So a rank that says it has failed
is never taken for one that does its part in a collective of the model's, and one that says nothing holds nobody up for
longer than the limit. A rank on which an agreement fails leaves the group, and then it fails for all at once.
"""

from __future__ import annotations

import logging
import weakref
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from curvewatch.errors import RanksApartError

logger = logging.getLogger("curvewatch")

LIMIT_SECONDS = 600.0
"""How long a rank is waited for when something is to be agreed on: as long as by PyTorch's collectives on GPUs.

One may save a checkpoint, or evaluate, while the others are here already."""

T = TypeVar("T")


def in_group() -> bool:
    """Whether this process belongs to an initialised process group of more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's rank, 0 in a single process."""
    return dist.get_rank() if in_group() else 0


def size() -> int:
    """Number of ranks, 1 in a single process."""
    return dist.get_world_size() if in_group() else 1


def smallest(value: int) -> int:
    """The smallest of all ranks' values. A collective: every rank must call it.

    Raises:
        RanksApartError: If a rank has ended, or does not answer in `LIMIT_SECONDS`.
    """
    if not in_group():
        return value
    return int(_reduced(torch.tensor([value], dtype=torch.int64, device="cpu"), dist.ReduceOp.MIN).item())


def all_true(flag: bool) -> bool:
    """Whether `flag` is true on every rank. A collective, as `smallest`."""
    return bool(smallest(int(flag)))


def sum_in_place(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of all ranks' tensors, on the CPU. A collective, as `smallest`."""
    return _reduced(tensor.cpu(), dist.ReduceOp.SUM) if in_group() else tensor


def from_first(value: T) -> T:
    """Rank 0's `value` on every rank. A collective; for small things."""
    if not in_group():
        return value
    box: list[T] = [value]
    dist.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def gathered(value: T) -> list[T] | None:
    """All ranks' values on rank 0, in their order; None on the others. A collective; for things of some megabytes."""
    if not in_group():
        return [value]
    found: list[T] | None = [value] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, found, dst=0)
    return found


def leave(reason: str) -> RanksApartError:
    """Takes part in no agreement any more; the other ranks' agreements fail then, too.

    Args:
        reason: Why.

    Returns:
        The error that says so.
    """
    world = dist.group.WORLD
    group = _own.group() if _own is not None and _own.world() is world else None
    if _own is not None and group is not None:
        _own.left = reason
        if group is not world:
            with suppress(Exception):  # its connections may be closed already
                dist.destroy_process_group(group)
    return RanksApartError(
        f"the ranks can't agree on anything any more: {reason}. Nothing more is scored until training is started again."
    )


class _Own:
    """The group for agreements among the ranks of `world`, and why this rank has left it, if it has.

    Referred to weakly: PyTorch keeps both until the host destroys them, and what lives longer may abort the process
    when Python ends.
    """

    def __init__(self, world: Any, group: Any) -> None:
        self.world, self.group, self.left = weakref.ref(world), weakref.ref(group), ""


_own: _Own | None = None


def _reduced(tensor: torch.Tensor, operation: Any) -> torch.Tensor:
    group = _agreements()
    moved = tensor.to(_device()) if group is dist.group.WORLD else tensor
    try:
        dist.all_reduce(moved, operation, group=group)
    except RuntimeError as error:
        why = next(iter(str(error).splitlines()), "")
        raise leave(f"a rank has ended, or did not answer in {LIMIT_SECONDS:.0f} s ({why})") from error
    return moved.cpu()


def _agreements() -> Any:
    """The group for agreements; made by the first one, which all ranks come to alike."""
    global _own
    world = dist.group.WORLD
    if _own is None or _own.world() is not world:
        _own = _Own(world, _made())
    group = _own.group()
    if _own.left or group is None:
        raise leave(_own.left or "the process groups were destroyed")
    return group


def _made() -> Any:
    group, made = None, torch.zeros(1, dtype=torch.int64, device=_device())
    if dist.is_gloo_available():
        try:
            group = dist.new_group(backend="gloo", timeout=timedelta(seconds=LIMIT_SECONDS))
            made += 1
        except RuntimeError as error:
            logger.info("no process group on CPUs: %s", error)
    dist.all_reduce(made, dist.ReduceOp.MIN)
    if not made.item():
        logger.warning(
            "ranks agree through the training's own process group, whose time limit holds: gloo can't be used"
        )
        return dist.group.WORLD
    return group


def _device() -> torch.device:
    """Where collectives take their tensors: the CPU if the group can (gloo), else this rank's accelerator (NCCL)."""
    backend = dist.get_backend_config() if hasattr(dist, "get_backend_config") else dist.get_backend()
    if "gloo" in str(backend) or "mpi" in str(backend):
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator() if hasattr(torch, "accelerator") else torch.device("cuda")
    return torch.device(str(accelerator), torch.cuda.current_device() if torch.cuda.is_available() else 0)
