"""A training on two ranks under accelerate's launchers and torch's; a program, as they want a process without threads.

Usage: python -m tests.support.launching LAUNCHER LOOP FOLDER

LAUNCHER is "debug_launcher", "notebook_launcher" (both fork) or "spawn"; LOOP is "plain" or "trainer". The
watch is made before the ranks are, with functions that have no name. Rank 0 leaves its copies of the weights of each
step in FOLDER/weights.pt.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from curvewatch import Watch
from tests.support.models import gpt2, random_tokens
from tests.support.recomputing import Snapshots
from tests.support.trainings import Rows

STEPS = 6


def plain(folder: Path, watch: Watch) -> None:
    """accelerate's loop."""
    from accelerate import Accelerator

    torch.set_num_threads(1)
    accelerator, taken = Accelerator(cpu=True), Snapshots()
    assert accelerator.num_processes == 2
    model = gpt2()
    wrapped, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.5))
    rows = Rows(4 * STEPS, seed=accelerator.process_index).ids.view(STEPS, 4, -1)
    watch.observe(wrapped, 0)
    taken.take(0, model)
    for step, ids in enumerate(rows, 1):
        accelerator.backward(wrapped(input_ids=ids, labels=ids).loss)
        optimizer.step()
        optimizer.zero_grad()
        watch.observe(wrapped, step)
        taken.take(step, model)
    watch.finish(wrapped, STEPS)
    if accelerator.is_main_process:
        torch.save(taken.weights, folder / "weights.pt")


def trainer(folder: Path, callback: Any) -> None:
    """The HF Trainer with the callback."""
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(1)
    taken = Snapshots()
    arguments = TrainingArguments(
        str(folder / "out"), max_steps=STEPS, per_device_train_batch_size=2, learning_rate=0.01, use_cpu=True,
        report_to="none", save_strategy="no", logging_steps=2, disable_tqdm=True,
    )  # fmt: skip
    assert arguments.world_size == 2
    Trainer(
        gpt2(), arguments, train_dataset=Rows(4 * STEPS, seed=0),
        callbacks=[callback, taken.trainer()],
    ).train()  # fmt: skip
    if arguments.process_index == 0:
        torch.save(taken.weights, folder / "weights.pt")


def spawned(rank: int, port: str, function: Callable[[Path, Any], None], folder: Path, watch: Any) -> None:
    """A rank that torch has spawned."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
        LOCAL_WORLD_SIZE="2",
    )  # fmt: skip
    function(folder, watch)
    torch.distributed.barrier()  # else one may take down what the other still talks to, and that aborts
    torch.distributed.destroy_process_group()


def main(launcher: str, loop: str, folder: Path) -> None:
    """Trains on two ranks, scoring every other step."""
    import accelerate

    from curvewatch.integrations.transformers import CurveWatchCallback

    torch.set_num_threads(1)
    given: dict[str, Any] = {"schedule": lambda step: step % 2 == 0, "model": lambda module: module}
    path = folder / "curves.h5"
    watch: Any = CurveWatchCallback(random_tokens(), path, **given)
    function = trainer
    if loop == "plain":
        watch, function = Watch(random_tokens(), path, max_steps=STEPS, **given), plain
    if launcher == "debug_launcher":
        accelerate.debug_launcher(function, (folder, watch), num_processes=2)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    if launcher == "spawn":
        torch.multiprocessing.spawn(spawned, (port, function, folder, watch), nprocs=2)
    else:
        accelerate.notebook_launcher(function, (folder, watch), num_processes=2, use_port=port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
