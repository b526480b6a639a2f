"""What is shown live costs: the training thread, the thread beside it, memory.

    python benchmarks/live.py            # about four minutes; writes a temporary file of 0.9 GB
    python benchmarks/live.py --quick    # seconds: a smoke test, whose figures mean nothing

Curves of N tokens on the paper's schedule (221 fitted steps) fall from chance to a floor of their own, and some rise
again. All but the last observations are replayed, then the live side of a watch takes the rest, under three
conditions in turn: alone; while another process trains a model on the other core; while the last refit is still going
on. Tokens fall into frequency bands; there are smoothed curves, watched tokens and tables, as by default.

Training waits for `update`; the smoothed curves are fitted by other threads, and for nothing else. Wall times are those
of a shared machine: the shortest of some rounds and, behind it, the median; where it says CPU, those of the threads.
Memory is the growth of a fresh process from before the live side exists to the end of the run, with the observations
(9 bytes a token each, of which up to three are held).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import wandb
from measures import CHANCE, MAX_STEPS, paper_steps
from measuring import CONTEXT, TINY, Aim, PeakMemory, in_fresh_process, machine, settle, table
from numpy.typing import NDArray
from overhead import Spent, Stopwatch, milliseconds

from curvewatch import Live, Observation, TokenSet
from curvewatch.live.given import Given
from curvewatch.live.showing import Showing
from curvewatch.measures.forgetting import ThresholdForgetting, Top1Forgetting
from curvewatch.measures.frequency import TargetTypes
from curvewatch.measures.recent import RecentSurprisal
from curvewatch.measures.smoother.growing import GrowingFit
from curvewatch.trackers.sinks import HostAxisWandb

VOCABULARY = 50_257
PER_SEQUENCE = 10
COUNTS, QUICK_COUNTS = (10_000, 100_000, 1_000_000), (2_000,)
CONDITIONS = ("alone", "beside training", "beside a refit")
STATE = {
    "growing fit": GrowingFit,
    "last quarter": RecentSurprisal,
    "top-1": Top1Forgetting,
    "known": ThresholdForgetting,
}
# At a million tokens, on two cores: seconds, MB.
AIM_TOKENS = 1_000_000
AIM_UPDATE, AIM_REFIT, AIM_WAIT, AIM_MEMORY = 0.025, 0.6, 0.05, 250
SECONDS_BETWEEN = 0.3  # for the other process to be at work again

Figures = dict[str, list[Spent]]


class Rows:
    """The observations of a run, in a file of plain numbers.

    Args:
        path: Of the file.
        n_tokens: N.
    """

    def __init__(self, path: Path, n_tokens: int) -> None:
        self.path, self.n_tokens = path, n_tokens
        self.steps = [0, *paper_steps(221).tolist()]

    def write(self) -> None:
        """Makes the curves: falls from chance to a gamma-distributed floor, some bits back for a third, noise."""
        rng = np.random.default_rng(0)
        with self.path.open("wb") as file:
            n = self.n_tokens
            floor_N = np.minimum(rng.gamma(1.3, 2.6, n), CHANCE).astype(np.float32)
            middle_N, steepness_N = rng.normal(3.5, 0.6, n).astype(np.float32), rng.uniform(2, 8, n).astype(np.float32)
            back_N = (rng.gamma(0.6, 1.0, n) * (rng.random(n) < 1 / 3)).astype(np.float32)
            when_N = rng.uniform(4.3, 6, n).astype(np.float32)
            noise_N = (10 ** rng.uniform(-1.3, -0.1, n)).astype(np.float32)
            for step in self.steps:
                x = np.float32(np.log10(max(step, 1)))
                y_N = floor_N + (np.float32(CHANCE) - floor_N) / (1 + np.exp((x - middle_N) * steepness_N))
                y_N += back_N * np.exp(-np.square((x - when_N) * np.float32(4)))
                y_N += noise_N * rng.standard_normal(n, np.float32)
                np.abs(y_N).tofile(file)

    def surprisal(self, step: int) -> NDArray[np.float32]:
        """The row of a step, bits."""
        return np.fromfile(self.path, np.float32, self.n_tokens, offset=self.steps.index(step) * self.n_tokens * 4)

    def observations(self) -> Iterator[tuple[int, Observation]]:
        """All of them; the first choice is what has less than a bit."""
        for step in self.steps:
            surprisal_N = self.surprisal(step)
            yield step, Observation(surprisal_N, surprisal_N < 1, surprisal_N * np.float32(0.8))


class OneSet:
    """A token set whose targets are as uneven as those of a text, and how often they occur in the training text.

    Args:
        n_tokens: N.
    """

    def __init__(self, n_tokens: int) -> None:
        rng = np.random.default_rng(1)
        ids = np.minimum(rng.zipf(1.2, (max(1, n_tokens // PER_SEQUENCE), CONTEXT)), VOCABULARY).astype(np.int32) - 1
        self.tokens = TokenSet.from_sequences(ids, per_sequence=PER_SEQUENCE, vocab_size=VOCABULARY)
        self._counts_V = np.bincount(ids.ravel(), minlength=VOCABULARY) * 100.0

    def showing(self, rows: Rows, refit_every: int = 1) -> Showing:
        """The live side of a watch of it."""
        types = TargetTypes.of(self.tokens.target)
        self.counts = {"eval": self._counts_V[types.ids_D]}
        return Showing(
            {"eval": self.tokens}, {"eval": CHANCE}, {"eval": Given(types, self.counts["eval"])},
            Live(refit_every=refit_every), MAX_STEPS, rows.steps[-1], lambda _, step: rows.surprisal(step),
        )  # fmt: skip


def write(path: Path, n_tokens: int) -> None:
    """Writes the rows. Call it in a fresh process: that of the figures shall not have held them."""
    Rows(path, n_tokens).write()


def train(go: Any) -> None:
    """Trains a small model whenever `go` is set."""
    settle(1)
    model = TINY.build(torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, TINY.vocabulary, (8, CONTEXT))
    while True:
        go.wait()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@contextmanager
def another_training() -> Iterator[Any]:
    """A process that trains while the event that this gives is set."""
    context = get_context("spawn")
    go = context.Event()
    process = context.Process(target=train, args=(go,), daemon=True)
    process.start()
    try:
        yield go
    finally:
        process.terminate()
        process.join()


def spent(work: Callable[[], object]) -> Spent:
    """Wall seconds of some work, and CPU seconds of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def timed(path: Path, n_tokens: int, rounds: int) -> Figures:
    """The figures of the last observations. Call it in a fresh process."""
    settle(1)
    os.environ["WANDB_SILENT"] = "true"
    rows = Rows(path, n_tokens)
    one = OneSet(n_tokens)
    shown = one.showing(rows)
    observations = rows.observations()
    n_before = len(rows.steps) - rounds * len(CONDITIONS)
    shown.replay("eval", (next(observations) for _ in range(n_before)), n_before, rows.steps[n_before - 1])
    smoothed = shown.sets["eval"].smoothed
    assert smoothed is not None
    watch, sink = Stopwatch(), HostAxisWandb("train/global_step")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="curvewatch-benchmark-"))
        settings = wandb.Settings(console="off")
        stack.enter_context(wandb.init(project="live", mode="offline", dir=folder, settings=settings))
        go = stack.enter_context(another_training())
        for name, owner in STATE.items():
            stack.enter_context(patch.object(owner, "update", watch.wrap(name, owner.update)))
        stack.enter_context(patch.object(type(smoothed), "refit", watch.wrap("refits", type(smoothed).refit)))
        refits = 0
        for number, (step, observation) in enumerate(observations):
            condition = CONDITIONS[number % len(CONDITIONS)]
            (go.set if condition == "beside training" else go.clear)()
            if condition != "beside a refit":
                _wait_for(watch, refits)
                time.sleep(SECONDS_BETWEEN)
            with watch.on(condition):
                metrics = shown.update(step, {"eval": observation}, one.counts)
            refits += 1
            with watch.on("W&B"):
                sink(metrics, step)
        go.clear()
        _wait_for(watch, refits)
        shown.close(tables=False)
    _refits(smoothed, step, observation, one.counts["eval"], rounds, watch.calls)
    return dict(watch.calls)


def _wait_for(watch: Stopwatch, refits: int) -> None:
    while len(watch.calls["refits"]) < refits:
        time.sleep(0.01)


def _refits(
    smoothed: Any, step: int, observation: Observation, counts_D: NDArray[np.float64], rounds: int, calls: Figures
) -> None:
    """The same refit, with one thread and with two in turns."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            for name, run in (("refit, 1 thread", map), ("refit, 2 threads", pool.map)):
                work = lambda run=run: smoothed.refit(step, observation.surprisal_bits, counts_D, run)  # noqa: E731
                calls[name].append(spent(work))


def memory(path: Path, n_tokens: int) -> float:
    """MB that the live side adds to the process at most, over a whole run. Call it in a fresh process."""
    settle(1)
    rows = Rows(path, n_tokens)
    one = OneSet(n_tokens)
    peak = PeakMemory(torch.device("cpu"))
    shown = one.showing(rows, refit_every=10)
    for step, observation in rows.observations():
        shown.update(step, {"eval": observation}, one.counts)
    shown.close(tables=True)
    return peak.mib() * 1.048576


def show(results: dict[int, tuple[Figures, float]]) -> str:
    """All figures as text."""
    state = [
        (f"{n:,}", *(both(f[name], "cpu") for name in STATE), f"{1e3 * update(f):.3g} ms")
        for n, (f, _) in results.items()
    ]
    waits = [
        (
            f"{n:,}",
            *(both(f[name]) for name in CONDITIONS),
            both(f["alone"], "cpu"),
            both(f["W&B"]),
            both(f["W&B"], "cpu"),
        )
        for n, (f, _) in results.items()
    ]
    refits = [
        (f"{n:,}", *(both(f[f"refit, {k}"], clock) for k in ("1 thread", "2 threads") for clock in ("wall", "cpu")))
        for n, (f, _) in results.items()
    ]
    sizes = [(f"{n:,}", f"{mb:.0f} MB", f"{1e6 * mb / n:.0f}") for n, (_, mb) in results.items()]
    return "\n".join(
        (
            "\nState, each observation; CPU of one thread, shortest / median:",
            table(("tokens", *STATE, "together"), state),
            "\nTraining waits, each observation; shortest / median:",
            table(("tokens", *CONDITIONS, "CPU", "W&B", "CPU"), waits),
            "\nRefit of all curves; shortest / median:",
            table(("tokens", "1 thread, wall", "CPU", "2 threads, wall", "CPU"), refits),
            "\nMemory:",
            table(("tokens", "peak added", "bytes a token"), sizes),
        )
    )


def both(calls: list[Spent], clock: str = "wall") -> str:
    """The shortest and the median."""
    seconds = [getattr(one, clock) for one in calls]
    return f"{milliseconds(min(seconds))} / {milliseconds(statistics.median(seconds))}"


def update(figures: Figures) -> float:
    """CPU seconds of all state together, medians."""
    return sum(statistics.median(one.cpu for one in figures[name]) for name in STATE)


def verdicts(figures: Figures, megabytes: float) -> list[Aim]:
    """The aims at a million tokens, held against the shortest wall times, which others disturbed least."""
    least = {name: min(one.wall for one in calls) for name, calls in figures.items()}
    cpu = statistics.median(one.cpu for one in figures["refit, 2 threads"])
    return [
        Aim("update of the state, s (CPU, median)", update(figures), AIM_UPDATE),
        Aim("refit with two threads, s (wall)", least["refit, 2 threads"], AIM_REFIT),
        Aim("refit with two threads, s (CPU, half of the median)", cpu / 2, AIM_REFIT),
        *(Aim(f"training waits {name}, s (wall)", least[name], AIM_WAIT) for name in CONDITIONS[:2]),
        Aim("memory, MB", megabytes, AIM_MEMORY),
    ]


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few tokens: does it run at all?")
    parser.add_argument(
        "--rounds", type=int, default=9, help="observations under each condition (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, action="append", help="only this N; may be repeated")
    parser.add_argument("--directory", default=None, help="where the temporary file goes")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to FILE")
    options = parser.parse_args()

    settle(1)
    print(machine(torch.device("cpu")), flush=True)
    results: dict[int, tuple[Figures, float]] = {}
    for n_tokens in QUICK_COUNTS if options.quick else options.tokens or COUNTS:
        with tempfile.TemporaryDirectory(dir=options.directory, prefix="curvewatch-benchmark-") as folder:
            path = Path(folder) / "rows"
            in_fresh_process(write, path, n_tokens)
            figures = in_fresh_process(timed, path, n_tokens, 1 if options.quick else options.rounds)
            results[n_tokens] = figures, in_fresh_process(memory, path, n_tokens)
    print(show(results))
    if AIM_TOKENS in results:
        print("", *verdicts(*results[AIM_TOKENS]), sep="\n")
    if options.json:
        written = {n: {"MB": mb, **{k: [vars(s) for s in v] for k, v in f.items()}} for n, (f, mb) in results.items()}
        Path(options.json).write_text(
            json.dumps({"machine": machine(torch.device("cpu")), "results": written}, indent=2)
        )


if __name__ == "__main__":
    main()
