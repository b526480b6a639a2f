"""What it costs ranks to agree: before a scoring pass, behind it, and to bring the scores together.

    python benchmarks/ranks.py            # about a minute
    python benchmarks/ranks.py --quick    # seconds: a smoke test, whose figures mean nothing

Processes on one machine, over gloo. An observation has two agreements (one number of each rank, the smallest of them)
and one sum of scores, three for each token. More processes than cores take turns on them, as they never do in a
training: `CPU` is what one process itself needs, all the rest of the time it waits.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from measuring import machine, table
from torch import multiprocessing

from curvewatch.scoring import ranks

SIZES, QUICK_SIZES = (2, 4, 8, 16), (2, 3)
TOKENS = (10_000, 100_000)
ROUNDS, QUICK_ROUNDS = 200, 5


def spent(what: Any, rounds: int) -> tuple[float, float]:
    """Milliseconds of a call, the median of some rounds on the wall, and the mean of this process's own."""
    walls, began_cpu = [], time.process_time()
    for _ in range(rounds):
        began = time.perf_counter()
        what()
        walls.append(time.perf_counter() - began)
    return 1e3 * statistics.median(walls), 1e3 * (time.process_time() - began_cpu) / rounds


def work(rank: int, size: int, port: int, rounds: int, folder: str) -> None:
    """One process; the first one leaves its figures in the folder."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    dist.init_process_group("gloo")
    for _ in range(5):
        ranks.all_true(True)
    found = [spent(lambda: ranks.all_true(True), rounds)]
    for n in TOKENS:
        scores_KN = torch.zeros(3, n)
        found.append(spent(lambda: ranks.sum_in_place(scores_KN), max(3, rounds // 10)))  # noqa: B023
    if rank == 0:
        np.save(Path(folder) / "found.npy", np.array(found))
    dist.destroy_process_group()


def measured(size: int, rounds: int) -> np.ndarray:
    """Milliseconds of an agreement and of the sums, shape [1 + sums, wall and CPU]."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="curvewatch-benchmark-") as folder:
        multiprocessing.spawn(work, (size, port, rounds, folder), nprocs=size)
        found: np.ndarray = np.load(Path(folder) / "found.npy")
    return found


def law(sizes: tuple[int, ...], ms: np.ndarray) -> str:
    """A straight line through the times, by the number of processes and by its logarithm; which one fits better."""
    fits = []
    for name, x in (("n", np.array(sizes, float)), ("log2 n", np.log2(sizes))):
        slope, offset = np.polyfit(x, ms, 1)
        fits.append((float(np.square(ms - slope * x - offset).sum()), f"{offset:.3f} + {slope:.3f} {name}"))
    (best, said), (other, _) = sorted(fits)
    return f"{said} ms (squared residuals {best:.2g}; the other law's {other:.2g})"


def main() -> None:
    """Prints the table, and the law of an agreement."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few processes and rounds: does it run at all?")
    quick = parser.parse_args().quick
    sizes, rounds = (QUICK_SIZES, QUICK_ROUNDS) if quick else (SIZES, ROUNDS)
    found = np.stack([measured(size, rounds) for size in sizes])
    lines = []
    for size, one in zip(sizes, found, strict=True):
        sums = [f"{2 * one[0, 0] + wall:.2f}" for wall, _ in one[1:]]
        lines.append([str(size), f"{one[0, 0]:.3f}", f"{one[0, 1]:.3f}", *sums])
    print(machine(torch.device("cpu")))
    print()
    all_of = [f"ms, all of an observation of {n:,} tokens" for n in TOKENS]
    print(table(["processes", "ms, an agreement", "ms, of that CPU", *all_of], lines))
    print()
    for name, column in (("an agreement", 0), ("of that CPU", 1)):
        print(f"{name}: {law(sizes, found[:, 0, column])}")


if __name__ == "__main__":
    main()
