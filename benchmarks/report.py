"""What the report costs for a million tokens, and the comparison of five runs: seconds, peak memory, bytes.

    python -m benchmarks.report                       # 1,000,000 tokens x 221 steps, and 5 x 200,000 x 221
    python -m benchmarks.report --tokens 100000       # a tenth of it

Each part runs in a process of its own, so that its peak memory is its own; the run files are made up beforehand.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from curvewatch import Observation, RunFile, Schedule, TokenSet
from curvewatch.runfile.records import Row, RunPlan, SetRecord

VOCABULARY = 50_004
CHANCE = float(np.log2(VOCABULARY))
WORKER = """
import resource, sys, time
began = time.perf_counter()
{code}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{{time.perf_counter() - began:.1f}} {{peak:.0f}}")
"""


def write_run(path: Path, n_tokens: int, n_steps: int, seed: int) -> None:
    """A run file whose curves fall from chance at their own time, and are noisy."""
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, VOCABULARY, (-(-n_tokens // 10), 128))
    tokens = TokenSet.from_sequences(sequences, n_tokens=n_tokens, per_sequence=10, vocab_size=VOCABULARY)
    texts = {int(i): f" word{i}" for i in np.unique(tokens.ids)}
    parts = {name: getattr(tokens, name) for name in ("ids", "starts", "sequence_index", "position", "vocab_size")}
    tokens = TokenSet(**parts, vocabulary=texts)
    steps = Schedule.paper().plan(1_000_000).steps()
    steps = steps[np.linspace(0, len(steps) - 1, n_steps).round().astype(int)]
    when, final = rng.uniform(2.5, 5.5, n_tokens).astype("f4"), rng.uniform(0.5, 14, n_tokens).astype("f4")
    noise = np.random.default_rng(seed).normal(0, 0.4, n_tokens + 9_973).astype("f4")
    record = SetRecord(tokens, VOCABULARY, {"road": "full", "batch_size": 8, "compute_dtype": "float32"})
    file = RunFile.start(path, {"eval": record}, RunPlan(1_000_000, steps, "paper", {}), -1)
    for t, step in enumerate(steps.tolist()):
        y_N = CHANCE + (final - CHANCE) / (1 + np.exp(-4 * (np.log10(max(step, 1)) - when)))
        y_N += noise[(t * 37) % 9_973 :][:n_tokens]
        np.maximum(y_N, 0.01, out=y_N)
        file.append(Row(step, 1.0, 1.7e9 + t, {"eval": Observation(y_N, y_N < 2, y_N / 2)}))
    file.close()


def measured(what: str, code: str) -> None:
    """Runs `code` in a process of its own and prints what it took."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORKER.format(code=code)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-2000:]}")
    seconds, peak = done.stdout.split()[-2:]
    print(f"{what:<58} {seconds:>7} s {peak:>7} MiB", flush=True)


def main() -> None:
    """Makes the files, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=221)
    parser.add_argument("--runs", type=int, default=5, help="runs to compare, each of a fifth of the tokens")
    parser.add_argument("--folder", type=Path, default=None, help="for the files (4 GB at full size); kept if given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        one = folder / f"one-{options.tokens}.h5"
        few = options.tokens // 5
        several = [folder / f"run{seed}-{few}.h5" for seed in range(options.runs)]
        began = time.perf_counter()
        for seed, (path, n_tokens) in enumerate([(one, options.tokens), *((path, few) for path in several)]):
            if not path.exists():
                write_run(path, n_tokens, options.steps, seed)
        print(f"files made in {time.perf_counter() - began:.0f} s, {one.stat().st_size / 1e9:.2f} GB the largest")
        open_one = f"from curvewatch import open_run; run = open_run({str(one)!r})"
        size = f"{options.tokens:,} tokens x {options.steps} steps"
        measured(f"measures, {size}", f"{open_one}\nrun.measures(refresh=True)")
        page = folder / "report.html"
        report = f"{open_one}\nfrom curvewatch.analysis.report import write_report\n"
        measured(f"report, {size}, measures kept", f"{report}write_report([run], {str(page)!r})")
        next(folder.glob(f"{one.name}.*.measures.npz")).unlink()
        measured(f"report, {size}, from nothing", f"{report}write_report([run], {str(page)!r})")
        print(f"{'page':<58} {page.stat().st_size / 1e6:>7.2f} MB")
        opened(page, folder)
        runs = f"from curvewatch import open_run\nruns = [open_run(p) for p in {[str(p) for p in several]!r}]\n"
        compare = f"{runs}from curvewatch.analysis.compare import compare\ncompare(runs)"
        measured(f"compare, {options.runs} runs of {few:,} tokens x {options.steps} steps", compare)
        together = f"{runs}from curvewatch.analysis.report import write_report\nwrite_report(runs, {str(page)!r})"
        measured(f"report of these {options.runs} runs, from nothing", together)
        print(f"{'page':<58} {page.stat().st_size / 1e6:>7.2f} MB")
        opened(page, folder)
    print(f"(this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB)")


def opened(page: Path, folder: Path) -> None:
    """Prints how long a real browser takes from opening the page to all charts drawn."""
    from tests.analysis.browser import browser

    with tempfile.TemporaryDirectory(dir=folder) as profile, browser(Path(profile)) as window:
        for _ in range(2):  # the first opening also warms the browser up
            began = time.perf_counter()
            window.open(page)
            taken = time.perf_counter() - began
        inside = float(window.run("return document.documentElement.dataset.ready")) / 1000
    print(f"{'opened in Chromium, all charts drawn':<58} {taken:>7.1f} s ({inside:.1f} s in the page's own script)")


if __name__ == "__main__":
    main()
