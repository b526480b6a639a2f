"""The end of each example: what was learned and forgotten, in words and numbers, and where to see more."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch import Run, open_run
from curvewatch.analysis.report import write_report
from curvewatch.corpus import NgramSurprisals
from curvewatch.live.resemblance import NgramResemblance
from curvewatch.measures import MeasureTable, MeasureWarning
from curvewatch.measures.forgetting import ThresholdForgetting
from curvewatch.measures.frequency import TargetTypes, band_names, frequency_bands

WIDTH = 100


def print_summary(path: str, ngrams: NgramSurprisals | None = None) -> None:
    """Prints what there is to see in a finished run, and ends the W&B run if one is active.

    Args:
        path: The run file.
        ngrams: n-gram surprisals of its tokens.
    """
    wandb_folder = _finish_wandb()
    run = open_run(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasureWarning)  # they are printed below
        table = run.measures()
    means = [run.surprisal[t].mean(dtype=np.float64) for t in (0, -1)]
    _head(f"{len(run)} observations of {run.n_tokens:,} tokens, {run.seconds.sum():.0f} s of scoring")
    print(f"Mean surprisal {means[0]:.2f} bit at step {run.steps[0]} (chance is {run.chance:.2f}), ", end="")
    print(f"{means[1]:.2f} bit at step {run.steps[-1]}.\n")
    bands = _bands(run)
    _print_measures(table, bands)
    _print_first_known(run, bands)
    if ngrams is not None:
        _print_ngrams(run, ngrams)
    _print_forgotten(run, table)
    _print_samples(run)
    _print_places(Path(path), run, wandb_folder, ngrams)


def _bands(run: Run) -> dict[str, np.ndarray]:
    """Which tokens are in which band of frequency, and all."""
    bands = {"all": np.ones(run.n_tokens, bool)}
    counts_D = _training_counts(run)
    if counts_D is not None:
        band_N = frequency_bands(TargetTypes.of(run.tokens.target), counts_D)
        bands |= {name: band_N == i for i, name in enumerate(band_names(3)) if (band_N == i).any()}
    return bands


def _print_measures(table: MeasureTable, bands: dict[str, np.ndarray]) -> None:
    learned = table["acquisition_status"] == "learned"
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "tokens": lambda chosen: float(chosen.sum()),
        "final surprisal, bit": lambda chosen: _mean(table["final_surprisal"][chosen]),
        "within-run variability, bit": lambda chosen: _mean(table["within_run_variability"][chosen]),
        "learned, %": lambda chosen: 100 * _mean(learned[chosen]),
        "median age of acquisition, step": lambda chosen: _median_step(table["age_of_acquisition"][chosen & learned]),
        "forgettability, bit": lambda chosen: _mean(table["forgettability"][chosen]),
        "forgetting events (top-1)": lambda chosen: _mean(table["forgetting_events_top1"][chosen]),
    }
    print(f"{'':<32}" + "".join(f"{name:>10}" for name in bands))
    for title, measure in measures.items():
        print(f"{title:<32}" + "".join(f"{_number(measure(chosen)):>10}" for chosen in bands.values()))
    if len(bands) > 1:
        print("rare, mid, frequent: thirds of the tokens by how often they occur in what was trained on")
    for note in table.info.warnings:
        print(textwrap.fill(f"Note: {note}", WIDTH))


def _print_first_known(run: Run, bands: dict[str, np.ndarray]) -> None:
    known = ThresholdForgetting(run.n_tokens, threshold=run.chance / 2)
    for t, step in enumerate(run.steps):
        known.update(int(step), run.surprisal[t])
    _head("Which tokens are learned first? Share that was known for the first time by a step, %")
    steps = run.steps[_spread(run.steps)]
    print(f"{'step':<10}" + "".join(f"{step:>8,}" for step in steps))
    for name, chosen in bands.items():
        shares = [100 * float((known.first_known_step_N[chosen] <= step).mean()) for step in steps]
        print(f"{name:<10}" + "".join(f"{share:>8.0f}" for share in shares))


def _print_ngrams(run: Run, ngrams: NgramSurprisals) -> None:
    resemblance = NgramResemblance(ngrams.surprisal_bits_nN)
    _head("Which n-gram model of the training text it resembled: Pearson's r of surprisals, * the nearest")
    print(f"{'step':<10}" + "".join(f"{n:>6}-gram" for n in range(1, ngrams.n_max + 1)))
    for t in _spread(run.steps):
        found = resemblance.update(run.surprisal[t])
        cells = []
        for n in range(1, ngrams.n_max + 1):
            r = found[f"ngram/{n}gram_correlation"]
            cells.append(f"{r:>10.2f}{'*' if found.get('ngram/nearest') == n else ' '}")
        print(f"{run.steps[t]:<10}" + "".join(cells))


def _print_forgotten(run: Run, table: MeasureTable) -> None:
    # First choice and well predicted at some time, and later neither; if there is none, as much of that as there is.
    lost = {"max_min_surprisal": run.chance / 2, "min_forgetting_events_threshold": 1.0}
    for events in ({"min_forgetting": 1.0, **lost}, lost, {"min_forgetting": 1.0}):
        chosen = run.select(limit=1, measures=table, sort="forgettability", **events)
        if len(chosen):
            _head("A token that was learned and forgotten again")
            print(run.show(int(chosen[0]), WIDTH, 12))
            return


def _print_samples(run: Run) -> None:
    samples = run.samples
    if not samples:
        return
    _head("What it wrote, always taking its first choice")
    ends = (samples[0].step, samples[-1].step)
    for prompt in dict.fromkeys(one.prompt for one in samples):
        print(f'"{prompt} ..."')
        for one in (one for one in samples if one.prompt == prompt and one.step in ends):
            text = textwrap.shorten(one.text, WIDTH - 14, placeholder=" ...")
            print(f"  step {one.step:<6} {text}")


def _print_places(path: Path, run: Run, wandb_folder: str | None, ngrams: NgramSurprisals | None) -> None:
    # With an active W&B run the callback has written the report already.
    report = path.with_suffix(".report.html")
    if not report.exists() or report.stat().st_mtime < path.stat().st_mtime:
        write_report([run], report, ngrams=ngrams)
    _head("Where things are")
    print("The run file:", path)
    print("The report:  ", report)
    if wandb_folder is not None:
        print("The W&B run: ", wandb_folder)
        print(f"              {_command('wandb')} leet {wandb_folder}  # in the terminal")
        print(f"              {_command('wandb')} sync {wandb_folder}  # sends it, if the run was offline")
    curvewatch = _command("curvewatch")
    _head("Three things to do next")
    print(f"1. Open the report in a browser: {report}")
    print("2. Ask the file. What was forgotten most, what does one of these look like, how did it go?")
    print(f"     {curvewatch} table {path} --sort forgettability -n 10")
    print(f"     {curvewatch} show {path} 0")
    print(f"     {curvewatch} watch {path}")
    print("3. Watch a training of your own. Three lines in its script (README.md; docs/start has each host):")
    print("     tokens = TokenSet.from_text(text, tokenizer)")
    print('     callback = CurveWatchCallback(tokens, "curves.h5")')
    print("     trainer = Trainer(..., callbacks=[callback])")


def _spread(steps: np.ndarray, n: int = 9) -> np.ndarray:
    """Rows whose steps are spread evenly in log step, the last among them."""
    return np.unique([np.abs(steps - step).argmin() for step in steps[-1] ** np.linspace(0, 1, n)])


def _training_counts(run: Run) -> np.ndarray | None:
    """Occurrences of each distinct target in what was trained on: as counted, else as given."""
    with run.group() as group:
        found: list[Any] = [group[name] for name in ("training_count", "corpus_count") if name in group]
        for counts in found:
            counts_D = counts[-1] if counts.ndim == 2 else counts[:]
            if np.isfinite(counts_D).all():
                return counts_D
    return None


def _head(text: str) -> None:
    print(f"\n── {text} ".ljust(WIDTH, "─"))


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"  # a band of which nothing was learned has no age of acquisition
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.2f}"


def _median_step(log10_steps: np.ndarray) -> float:
    return float(10 ** np.median(log10_steps)) if log10_steps.size else float("nan")


def _command(name: str) -> str:
    """How to call a command of this environment, activated or not."""
    if shutil.which(name) is not None:
        return name
    return os.path.relpath(Path(sys.executable).parent / name)


def _finish_wandb() -> str | None:
    """Ends the active W&B run, and says where it is on disk."""
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if wandb is None or run is None:
        return None
    folder = Path(run.dir).parent
    wandb.finish()
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
