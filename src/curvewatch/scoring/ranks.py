"""What the ranks of a distributed run agree on. Everything here is a no-op in a single process."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist

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
    """The smallest of all ranks' values. A collective: every rank must call it."""
    if not in_group():
        return value
    tensor = torch.tensor([value], dtype=torch.int64, device=_device())
    dist.all_reduce(tensor, dist.ReduceOp.MIN)
    return int(tensor.item())


def all_true(flag: bool) -> bool:
    """Whether `flag` is true on every rank. A collective."""
    return bool(smallest(int(flag)))


def sum_in_place(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of all ranks' tensors, on the CPU. A collective."""
    if not in_group():
        return tensor
    moved = tensor.to(_device())
    dist.all_reduce(moved)
    return moved.cpu()


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


def _device() -> torch.device:
    """Where collectives take their tensors: the CPU if the group can (gloo), else this rank's accelerator (NCCL)."""
    backend = dist.get_backend_config() if hasattr(dist, "get_backend_config") else dist.get_backend()
    if "gloo" in str(backend) or "mpi" in str(backend):
        return torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator() if hasattr(torch, "accelerator") else torch.device("cuda")
    return torch.device(str(accelerator), torch.cuda.current_device() if torch.cuda.is_available() else 0)
