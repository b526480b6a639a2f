"""Runs a function on several ranks, as torchrun would, and never waits for ever.

Processes come from a fork server that has the large imports done, so that one costs a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

PRELOADED = ["torch", "torch.distributed.fsdp", "transformers", "lightning.pytorch", "tests.support.hosts"]


def context() -> Any:
    """Where processes come from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


def on_ranks(n: int, function: Callable[..., Any], *arguments: Any, timeout: float = 90.0) -> list[Any]:
    """What `function(*arguments)` returns on each of `n` ranks.

    Args:
        n: Number of ranks.
        function: Importable by name; what it returns must pickle without torch (arrays, numbers, text).
        arguments: The same on all ranks.
        timeout: Seconds after which the ranks are taken to hang.

    Raises:
        AssertionError: If a rank hangs, dies, or raises.
    """
    answers = fates_of_ranks(n, function, *arguments, timeout=timeout)
    failed = [f"rank {rank}: {answer}" for rank, (good, answer) in enumerate(answers) if not good]
    assert not failed, "\n".join(failed)
    return [answer for _, answer in answers]


def fates_of_ranks(
    n: int, function: Callable[..., Any], *arguments: Any, timeout: float = 90.0
) -> list[tuple[bool, Any]]:
    """As `on_ranks`, where ranks may die or raise: whether each answered, and its answer or what became of it.

    Raises:
        AssertionError: If a rank hangs.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes, pipes = [], []
    for rank in range(n):
        mine, theirs = context().Pipe(duplex=False)
        process = context().Process(target=_work, args=(rank, n, port, theirs, function, arguments), daemon=False)
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(mine)
    deadline = time.monotonic() + timeout
    answers: list[tuple[bool, Any]] = []
    try:
        for rank, pipe in enumerate(pipes):
            assert pipe.poll(max(0.0, deadline - time.monotonic())), f"rank {rank} hangs: no answer in {timeout:.0f} s"
            try:
                answers.append(pipe.recv())
            except EOFError:
                answers.append((False, "it died without a word"))
    finally:
        for process in processes:
            process.join(10 if len(answers) == n else 0)
            if process.is_alive():
                process.kill()
                process.join()
    return answers


def _work(rank: int, size: int, port: int, pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        GROUP_RANK="0",
        WORLD_SIZE=str(size),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="test",
        WANDB_MODE="offline",
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
    )
    import torch

    torch.set_num_threads(1)
    try:
        pipe.send((True, function(*arguments)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    pipe.close()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
