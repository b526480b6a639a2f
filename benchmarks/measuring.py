"""What the benchmarks share: models, token sets, clocks, peak memory, tables."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging as transformers_logging

from curvewatch import TokenSet

Result = TypeVar("Result")

CONTEXT = 128
PRELOADED = ["curvewatch.scoring.scorer", "transformers.trainer", "transformers.models.gpt2.modeling_gpt2"]
MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """A GPT-2's shape.

    Attributes:
        name: For the tables.
        layers: Number of blocks.
        width: Of the residual stream; heads have 64 dimensions.
        vocabulary: Number of outputs.
    """

    name: str
    layers: int
    width: int
    vocabulary: int

    def build(self, device: torch.device) -> GPT2LMHeadModel:
        """A model of this shape with random weights, in training mode, on `device`."""
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=self.vocabulary,
            n_positions=CONTEXT,
            n_layer=self.layers,
            n_embd=self.width,
            n_head=max(1, self.width // 64),
            bos_token_id=0,
            eos_token_id=0,
        )
        return GPT2LMHeadModel(config).to(device).train()


GPT2_SMALL = Shape("GPT-2 small (12 x 768)", 12, 768, 50_257)
SMALL = Shape("small (4 x 256)", 4, 256, 50_257)
TINY = Shape("tiny (2 x 64)", 2, 64, 1_000)


def random_tokens(n_sequences: int, vocabulary: int, per_sequence: int | None) -> TokenSet:
    """Sequences of `CONTEXT` random ids: what they say does not matter to what they cost."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (n_sequences, CONTEXT), dtype=np.int32)
    return TokenSet.from_sequences(ids, per_sequence=per_sequence)


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def settle(threads: int) -> None:
    """Sets the number of PyTorch threads, and silences remarks that don't belong between the tables."""
    torch.set_num_threads(threads)
    transformers_logging.set_verbosity_error()
    logging.getLogger("curvewatch").setLevel(logging.ERROR)


def machine(device: torch.device) -> str:
    """The machine and the versions, said so that nobody takes a CPU's figures for a GPU's."""
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    if device.type == "cuda":
        return f"ON A GPU: {torch.cuda.get_device_name(device)}; {versions}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    return f"ON A CPU, NO GPU: {_processor()}, {cores} cores, {threads} PyTorch thread(s); {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Clock:
    """Seconds that work on `device` takes, by the steadiest clock there is.

    With one PyTorch thread on a CPU that is the thread's CPU time, which other programs hardly disturb; otherwise wall
    time, on a GPU after all its work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._by_thread = device.type == "cpu" and torch.get_num_threads() == 1
        self.unit = "CPU seconds of one thread" if self._by_thread else "wall seconds"

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that `work` takes."""
        began = self._now()
        work()
        return self._now() - began

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.thread_time() if self._by_thread else time.perf_counter()


class PeakMemory:
    """Peak memory from here on, above what is held now: of the process on a CPU, of PyTorch's allocator on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_peak()
        self._before = self._peak()

    def mib(self) -> float:
        """MiB."""
        return (self._peak() - self._before) / MIB

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _forget_peak() -> None:
    """Makes the present memory the peak, where the system can (Linux), and hands freed memory back before."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """The result of `function(*arguments)` in a process in which nothing has run before.

    It is forked from a server that has imported the libraries and done nothing with them.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; the first column to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


@dataclass(frozen=True)
class Aim:
    """A figure held against what it should be.

    Attributes:
        what: The figure's name.
        measured: The figure.
        limit: What it should be below.
    """

    what: str
    measured: float
    limit: float

    def __str__(self) -> str:
        met = "met   " if self.measured <= self.limit else "MISSED"
        return f"aim {met}  {self.what}: {self.measured:.4g} (aim: at most {self.limit:.4g})"
