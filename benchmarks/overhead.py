"""What an observation costs besides scoring: in the training thread, in the background, in memory.

    python benchmarks/overhead.py            # a few minutes
    python benchmarks/overhead.py --quick    # seconds: a smoke test, whose figures mean nothing

A real `Watch` observes N tokens (ten in each sequence of 128) with everything in place: run file, live metrics, an
offline W&B run. Only the forward passes are left out: a stand-in hands over ready-made logits of 16 outputs, and its
own time is taken off. What is left is what the training thread pays beyond the forward passes.

Its share is of the time that scoring N tokens takes with a model of GPT-2 small's shape. That time is NOT measured at
each N: it is measured for a few sequences and scaled to N / 10 of them. A faster machine has a larger share, so the
table also says how fast scoring would have to be for the aim to be missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import torch
import wandb
from measuring import (
    CONTEXT,
    GPT2_SMALL,
    TINY,
    Aim,
    PeakMemory,
    Shape,
    in_fresh_process,
    machine,
    pick_device,
    random_tokens,
    settle,
    table,
)

from curvewatch import RunFile, Watch
from curvewatch.live import LiveMetrics
from curvewatch.runfile.recorder import Recorder
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.scorer import Scorer
from curvewatch.trackers.sinks import HostAxisWandb

PER_SEQUENCE = 10
OUTPUTS = 16
# Share of scoring time that the training thread may pay, by N.
AIMS = {10_000: 0.01, 100_000: 0.01, 1_000_000: 0.03}
QUICK_COUNTS = (1_000,)
PARTS = ("batches, gathering", "live metrics", "queueing", "W&B", "the rest")


@dataclass(frozen=True)
class Spent:
    """Seconds of one call: on the wall, and of the thread that made it."""

    wall: float
    cpu: float


class Stopwatch:
    """Times calls of methods where they stand, by name; from any thread."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Spent]] = defaultdict(list)

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Times the block."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.calls[name].append(Spent(time.perf_counter() - wall, time.thread_time() - cpu))

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.on(name):
                return function(*arguments, **keywords)

        return timed

    @contextmanager
    def methods(self, **owners: type) -> Iterator[None]:
        """Times methods, given as `method=Class`, inside the block."""
        with ExitStack() as stack:
            for method, owner in owners.items():
                stack.enter_context(patch.object(owner, method, self.wrap(method, getattr(owner, method))))
            yield

    def total(self, name: str) -> Spent:
        """The sum of all calls."""
        calls = self.calls[name]
        return Spent(sum(one.wall for one in calls), sum(one.cpu for one in calls))


class StandIn:
    """Ready-made logits for as many tokens as are wanted, which slowly learn to favour the targets.

    Args:
        stopwatch: Takes the time that it takes.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._noise = torch.randn(1 << 14, OUTPUTS, generator=torch.Generator().manual_seed(0))
        self._stopwatch = stopwatch
        self._at = 0
        self.learned = 0.0

    def __call__(self, model: object, batch: Batch) -> torch.Tensor:
        """Logits of the wanted positions, shape [n, OUTPUTS]."""
        with self._stopwatch.on("forward"):
            n = len(batch.target)
            if self.learned:  # before that, when it is looked over, equal calls give equal logits
                self._at = (self._at + n) % (len(self._noise) - n)
            logits = self._noise[self._at : self._at + n].to(batch.target.device, copy=True)
            logits[torch.arange(n, device=logits.device), batch.target] += self.learned
            return logits


def scoring_seconds(shape: Shape, device: torch.device, threads: int, n_sequences: int, rounds: int) -> float:
    """Wall seconds in which a sequence is scored: the shortest of some rounds. Call it in a fresh process."""
    settle(threads)
    model, scorer = shape.build(device), Scorer(random_tokens(n_sequences, shape.vocabulary, PER_SEQUENCE))
    scorer.score(model)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        scorer.score(model)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / n_sequences


def observe(n_tokens: int, shape: Shape, device: torch.device, threads: int, rounds: int) -> dict[str, Any]:
    """What `rounds` observations of `n_tokens` tokens cost, each after the last one is committed.

    Call it in a fresh process.
    """
    settle(threads)
    os.environ["WANDB_SILENT"] = "true"
    model, tokens = shape.build(device), random_tokens(n_tokens // PER_SEQUENCE, OUTPUTS, PER_SEQUENCE)
    stopwatch = Stopwatch()
    stand_in = StandIn(stopwatch)
    sink = stopwatch.wrap("wandb", HostAxisWandb("train/global_step"))
    timed = {"score": Scorer, "update": LiveMetrics, "submit": Recorder, "append_all": RunFile}
    observations = []
    with (
        tempfile.TemporaryDirectory(prefix="curvewatch-benchmark-") as folder,
        wandb.init(project="overhead", mode="offline", dir=folder, settings=wandb.Settings(console="off")),
        stopwatch.methods(**timed),
    ):
        memory = PeakMemory(torch.device("cpu"))
        watch = Watch(tokens, os.path.join(folder, "curves.h5"), max_steps=1_000, schedule=1, forward=stand_in)
        with watch:
            watch.start(model, sinks=[sink])
            for step in range(rounds + 1):
                stand_in.learned = 4.0 * step / rounds
                observations.append(_one(watch, model, step, stopwatch))
        added_mib = memory.mib()
    del observations[0]  # it warms up
    return {
        "n_tokens": n_tokens,
        "observations": rounds,
        "seconds": {name: asdict(_median([one[name] for one in observations])) for name in observations[0]},
        "added_mib": added_mib,
    }


def _one(watch: Watch, model: torch.nn.Module, step: int, stopwatch: Stopwatch) -> dict[str, Spent]:
    """One observation, part by part; then its commit is waited for."""
    stopwatch.calls.clear()
    with stopwatch.on("observe"):
        watch.observe(model, step)
    with stopwatch.on("flush"):
        watch.flush()
    total = stopwatch.total
    whole = _less(total("observe"), total("forward"))
    parts = (_less(total("score"), total("forward")), total("update"), total("submit"), total("wandb"))
    return {
        "whole": whole,
        **dict(zip(PARTS, (*parts, _less(whole, *parts)), strict=True)),
        "commit": total("append_all"),
        "behind": total("flush"),
    }


def _less(a: Spent, *others: Spent) -> Spent:
    return Spent(a.wall - sum(one.wall for one in others), a.cpu - sum(one.cpu for one in others))


def _median(spent: list[Spent]) -> Spent:
    return Spent(statistics.median(one.wall for one in spent), statistics.median(one.cpu for one in spent))


def show(results: list[dict[str, Any]], per_sequence: float, aims: dict[int, float]) -> str:
    """All figures as text, with a verdict on each aim that is given."""
    header = ("tokens", "whole", "of it CPU", *PARTS, "scoring", "share")
    training = [
        (
            f"{result['n_tokens']:,}",
            *(milliseconds(result["seconds"]["whole"][clock]) for clock in ("wall", "cpu")),
            *(milliseconds(result["seconds"][part]["wall"]) for part in PARTS),
            f"{scaled(result, per_sequence):,.0f} s",
            f"{share(result, per_sequence):.4%}",
        )
        for result in results
    ]
    background = [
        (
            f"{result['n_tokens']:,}",
            *(milliseconds(result["seconds"]["commit"][clock]) for clock in ("wall", "cpu")),
            milliseconds(result["seconds"]["behind"]["wall"]),
            f"{result['added_mib']:.0f} MiB",
            f"{result['added_mib'] * 2**20 / result['n_tokens']:.0f}",
        )
        for result in results
    ]
    return "\n".join(
        (
            "\nThe training thread, for each observation, beyond the forward passes (wall; medians of "
            f"{results[0]['observations']} observations):",
            table(header, training),
            "\nIn the background, and in memory (behind: how long after `observe` returned the row was not on disk):",
            table(("tokens", "commit", "of it CPU", "behind", "peak added", "bytes a token"), background),
            "",
            *(
                _verdict(result, per_sequence, aims[result["n_tokens"]])
                for result in results
                if result["n_tokens"] in aims
            ),
        )
    )


def _verdict(result: dict[str, Any], per_sequence: float, limit: float) -> str:
    aim = Aim(f"share at {result['n_tokens']:,} tokens", share(result, per_sequence), limit)
    bound = result["seconds"]["whole"]["wall"] / limit / (result["n_tokens"] / PER_SEQUENCE)
    return f"{aim}; holds where a sequence is scored in {milliseconds(bound)} or more"


def scaled(result: dict[str, Any], per_sequence: float) -> float:
    """Seconds of scoring all the tokens, scaled from a few sequences."""
    return per_sequence * result["n_tokens"] / PER_SEQUENCE


def share(result: dict[str, Any], per_sequence: float) -> float:
    """What the training thread pays beyond the forward passes, as a share of scoring time."""
    seconds: float = result["seconds"]["whole"]["wall"]
    return seconds / scaled(result, per_sequence)


def milliseconds(seconds: float) -> str:
    """Three digits, in ms."""
    return f"{1e3 * seconds:,.3g} ms" if seconds < 1 else f"{1e3 * seconds:,.0f} ms"


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model and few tokens: does it run at all?")
    parser.add_argument("--rounds", type=int, default=7, help="observations at each N (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=int, action="append", choices=sorted(AIMS), help="only this N; may be repeated"
    )
    parser.add_argument("--device", default="auto", help='"cpu", "cuda" or "auto" (default): a GPU if there is one')
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads on a CPU (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to FILE")
    options = parser.parse_args()

    settle(options.threads)
    device = pick_device(options.device)
    shape = TINY if options.quick else GPT2_SMALL
    rounds = 2 if options.quick else options.rounds
    print(machine(device), flush=True)
    timed_sequences = 4096 if device.type == "cuda" else 16
    per_sequence = in_fresh_process(scoring_seconds, shape, device, options.threads, timed_sequences, rounds)
    print(
        f"\nScoring with {shape.name} takes {milliseconds(per_sequence)} a sequence of {CONTEXT} tokens "
        f"({timed_sequences} sequences, the best of {rounds} rounds). The scoring times below are this "
        "times the number of sequences, not measurements.",
        flush=True,
    )
    counts = QUICK_COUNTS if options.quick else options.tokens or AIMS
    results = [
        in_fresh_process(observe, n_tokens, shape, device, options.threads, rounds) for n_tokens in sorted(counts)
    ]
    print(show(results, per_sequence, {} if options.quick else AIMS))
    if options.json:
        figures = {"machine": machine(device), "scoring_seconds_per_sequence": per_sequence, "results": results}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
