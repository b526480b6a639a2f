"""How what is done with a run grows with its tokens and with its rows: seconds, memory, and the exponent of growth.

    python benchmarks/scale.py               # 10^5 to 10^7 tokens, 10^2 to 10^4 rows; some 20 minutes, 3 GB on disk
    python benchmarks/scale.py --huge        # 10^8 tokens, too; 30 GB on disk, 16 GB of memory
    python benchmarks/scale.py --quick       # seconds: does it run at all?

Curves are made up row by row. Each part runs in a process of its own, so that its peak memory is its own; seconds are
wall time. The exponent is the slope of log seconds over the log of what grows, between the two largest sizes: 1 is
proportional, 0 means that it does not matter.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import MIB, in_fresh_process, machine, table

from curvewatch import Live, Observation, RunFile, TokenSet, open_run
from curvewatch.live.given import given_for
from curvewatch.live.showing import Showing
from curvewatch.runfile.records import Row, RunPlan, SetRecord

VOCABULARY, LENGTH, MAX_STEPS = 50_257, 128, 1_000_000
CHANCE = math.log2(VOCABULARY)
FEW_ROWS, FEW_TOKENS = 12, 10_000


def token_set(n_tokens: int) -> TokenSet:
    """Random ids, each position but the first scored, with a label of five values."""
    rng = np.random.default_rng(0)
    rows = -(-n_tokens // (LENGTH - 1))
    ids = rng.integers(0, VOCABULARY, (rows, LENGTH), dtype=np.int32)
    tokens = TokenSet.from_sequences(ids, n_tokens=n_tokens, vocab_size=VOCABULARY)
    return tokens.label("kind", np.array(list("abcde"))[tokens.target % 5])


def steps_of(n_rows: int) -> list[int]:
    """Step 0, and the others evenly on a log axis as far as they are distinct, then evenly."""
    found = np.unique(np.rint(np.geomspace(1, MAX_STEPS, n_rows)).astype(np.int64))
    spare = np.setdiff1d(np.linspace(1, MAX_STEPS, 2 * n_rows).astype(np.int64), found)
    more = np.random.default_rng(0).choice(spare, max(0, n_rows - 1 - len(found)), replace=False)
    return [0, *np.sort(np.concatenate([found, more]))[: n_rows - 1].tolist()]


class Curves:
    """Surprisal of each token at any step: falls from chance at a time of its own, with noise of the run's.

    Args:
        n_tokens: N.
        seed: Of the run.
    """

    def __init__(self, n_tokens: int, seed: int = 0) -> None:
        of_tokens = np.random.default_rng(1)
        self.when_N = of_tokens.uniform(1, 5.5, n_tokens).astype(np.float32)
        self.final_N = of_tokens.uniform(0.5, 14, n_tokens).astype(np.float32)
        self.noise = np.random.default_rng(seed).normal(0, 0.4, n_tokens + 9973).astype(np.float32)

    def at(self, step: int) -> Observation:
        """The observation of a step."""
        bits_N = np.exp((np.float32(math.log10(max(step, 1))) - self.when_N) * np.float32(4))
        np.divide(self.final_N - np.float32(CHANCE), 1 + 1 / np.maximum(bits_N, 1e-30), out=bits_N)
        bits_N += np.float32(CHANCE)
        bits_N += self.noise[(step * 37) % 9973 :][: len(bits_N)]
        np.maximum(bits_N, np.float32(0.01), out=bits_N)
        return Observation(bits_N, bits_N < 2, bits_N / 2)


def writing(path: str, n_tokens: int, n_rows: int, seed: int) -> dict[str, float]:
    """A run file, row by row. Seconds are those of a row, the median of the last half."""
    tokens, steps = token_set(n_tokens), steps_of(n_rows)
    curves = Curves(n_tokens, seed)
    before = peak()
    record = SetRecord(tokens, VOCABULARY, {"road": "full", "batch_size": 8, "compute_dtype": "float32"})
    file = RunFile.start(path, {"eval": record}, RunPlan(MAX_STEPS, np.array(steps), "made up", {}), -1)
    spent = []
    for t, step in enumerate(steps):
        row = Row(step, 1.0, 1.7e9 + t, {"eval": curves.at(step)})
        began = time.perf_counter()
        file.append(row)
        spent.append(time.perf_counter() - began)
    file.close()
    return {"seconds": float(np.median(spent[len(spent) // 2 :])), "mib": peak() - before,
            "disk": Path(path).stat().st_size / MIB}  # fmt: skip


def curve(path: str) -> dict[str, float]:
    """The file opened, and one token's curve read and smoothed."""
    return clocked(lambda: open_run(path).curve(7))


def measuring(path: str) -> dict[str, float]:
    """All measures of all tokens, anew."""
    run = open_run(path)
    return clocked(lambda: run.measures(refresh=True))


def labels(path: str) -> dict[str, float]:
    """Means of a label's values, step by step, and of their measures, which are kept."""
    from curvewatch.analysis.by_label import label_curves
    from curvewatch.analysis.moment import Moment

    run = open_run(path)
    return clocked(lambda: (label_curves(Moment.now(run), ["kind"]), run.by_label("kind")))


def comparing(path: str, other: str) -> dict[str, float]:
    """Two runs beside each other."""
    from curvewatch.analysis.compare import compare

    return clocked(lambda: compare([open_run(path), open_run(other)]))


def reporting(path: str) -> dict[str, float]:
    """The page, with measures that are kept."""
    from curvewatch.analysis.report import write_report

    return clocked(lambda: write_report([open_run(path)], Path(path).with_suffix(".html")))


def live(path: str, n_tokens: int, n_rows: int) -> dict[str, float]:
    """What training waits for at the last observations, and the refit of the last."""
    tokens, steps = open_run(path).tokens, steps_of(n_rows)
    curves = Curves(n_tokens)
    before = peak()
    settings = Live(watched=12)
    given = given_for(settings, {"eval": tokens})
    showing = Showing({"eval": tokens}, {"eval": CHANCE}, given, settings, MAX_STEPS, MAX_STEPS,
                      lambda _, step: curves.at(step).surprisal_bits)  # fmt: skip
    *first, before_last, last = steps
    showing.replay("eval", ((step, curves.at(step)) for step in first), len(first), before_last)
    waited = []
    for step in (before_last, last):
        observation = curves.at(step)
        began = time.perf_counter()
        showing.update(step, {"eval": observation}, {})
        waited.append(time.perf_counter() - began)
    began = time.perf_counter()
    showing.close(tables=False)
    return {"seconds": waited[-1], "mib": peak() - before, "beside": time.perf_counter() - began}


def clocked(work: Any) -> dict[str, float]:
    """Seconds, and peak memory added."""
    warnings.simplefilter("ignore")
    before, began = peak(), time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - began, "mib": peak() - before}


def peak() -> float:
    """Peak memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sized(folder: str, n_tokens: int, n_rows: int) -> dict[str, dict[str, float]]:
    """All parts at one size."""
    path, other = (f"{folder}/{n_tokens}-{n_rows}-{k}.h5" for k in range(2))
    found = {"a row, until it is on disk": in_fresh_process(writing, path, n_tokens, n_rows, 0)}
    in_fresh_process(writing, other, n_tokens, n_rows, 1)
    found["one curve"] = in_fresh_process(curve, path)
    found["all measures"] = in_fresh_process(measuring, path)
    found["a label"] = in_fresh_process(labels, path)
    found["two runs compared"] = in_fresh_process(comparing, path, other)
    found["the report"] = in_fresh_process(reporting, path)
    found["live, what training waits for"] = in_fresh_process(live, path, n_tokens, n_rows)
    for one in Path(folder).glob(f"{n_tokens}-{n_rows}-*"):
        one.unlink()
    return found


def shown(sizes: list[tuple[int, int]], found: list[dict[str, dict[str, float]]], grows: int) -> str:
    """A table: a line a part, seconds and MiB at each size, the exponent of the last step."""
    lines = []
    for part in found[0]:
        cells = [f"{one[part]['seconds']:.3g} s, {one[part]['mib']:,.0f} MiB" for one in found]
        exponent = "-"
        if len(found) > 1:
            before, last = (one[part]["seconds"] for one in found[-2:])
            exponent = f"{math.log(last / before) / math.log(sizes[-1][grows] / sizes[-2][grows]):.2f}"
        lines.append([part, *cells, exponent])
    disk = [one["a row, until it is on disk"]["disk"] for one in found]
    lines.append(["on disk", *(f"{size:,.0f} MiB" for size in disk), ""])
    beside = [one["live, what training waits for"]["beside"] for one in found]
    lines.append(["live, the rest, beside training", *(f"{seconds:.3g} s" for seconds in beside), ""])
    heads = [f"{n_tokens:,} x {n_rows:,}" for n_tokens, n_rows in sizes]
    return table(["tokens x rows", *heads, "exponent"], lines)


def main() -> None:
    """Prints two tables: more tokens, more rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run at all?")
    parser.add_argument("--huge", action="store_true", help="10^8 tokens, too")
    parser.add_argument("--folder", help="where the files go for as long; default: the system's")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    more_tokens = [(n, FEW_ROWS) for n in (100_000, 1_000_000, 10_000_000)]
    more_rows = [(FEW_TOKENS, n) for n in (100, 1_000, 10_000)]
    if options.huge:
        more_tokens.append((100_000_000, FEW_ROWS))
    if options.quick:
        more_tokens, more_rows = [(500, 12), (1000, 12)], [(200, 12), (200, 24)]
    found: dict[str, Any] = {"machine": machine(torch.device("cpu"))}
    print(found["machine"], flush=True)
    with tempfile.TemporaryDirectory(prefix="curvewatch-scale-", dir=options.folder) as folder:
        for title, sizes, grows in (("more tokens", more_tokens, 0), ("more rows", more_rows, 1)):
            made = []
            for size in sizes:
                made.append(sized(folder, *size))
                print(f"{size[0]:,} tokens x {size[1]:,} rows: done", flush=True)
            found[title] = dict(zip(map(str, sizes), made, strict=True))
            print(f"\n{title}\n{shown(sizes, made, grows)}\n", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
