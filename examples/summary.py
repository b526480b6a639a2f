"""The end of each example: the report, the measures by frequency, where things are, and what to try next."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curvewatch import Run, open_run
from curvewatch.analysis.report import write_report
from curvewatch.measures import measure_curves

BANDS = ("rare", "mid", "frequent")


def print_summary(path: str, counts_V: np.ndarray | None = None) -> None:
    """Writes the report of a finished run and prints its summary.

    Args:
        path: The run file.
        counts_V: How often each token id occurs in the training text, for the frequency bands.
    """
    wandb_run = _wandb_folder()
    run = open_run(path)
    means = np.array([run.surprisal[t].mean(dtype=np.float64) for t in (0, -1)])
    print(f"\n{len(run)} observations of {run.n_tokens:,} tokens, {run.seconds.sum():.0f} s of scoring")
    print(f"mean surprisal: {means[0]:.2f} bit at step {run.steps[0]} (chance {run.chance:.2f}), ", end="")
    print(f"{means[1]:.2f} bit at step {run.steps[-1]}\n")
    _print_table(run, counts_V)
    report = Path(path).with_name("report.html")
    write_report([run], report)
    print("\nThe run file:", path)
    print("The report:  ", report)
    curvewatch = _command("curvewatch")
    commands = [f"{curvewatch} show {path} 0", f"{curvewatch} table {path} --sort forgettability -n 10"]
    if wandb_run is not None:
        print("The W&B run: ", wandb_run)
        commands.append(f"{_command('wandb')} leet {wandb_run}")
    else:
        commands.append(f"{curvewatch} info {path}")
    print("Try next:", *commands, sep="\n  ")


def _print_table(run: Run, counts_V: np.ndarray | None) -> None:
    with run.group() as group:
        table = measure_curves(
            group["surprisal"], run.steps, chance=run.chance, max_steps=run.max_steps, correct=group["correct"]
        )
    learned = table["acquisition_status"] == "learned"
    columns: dict[str, Callable[[np.ndarray], float]] = {
        "tokens": lambda chosen: float(chosen.sum()),
        "final surprisal, bit": lambda chosen: float(table["final_surprisal"][chosen].mean()),
        "within-run variability": lambda chosen: float(table["within_run_variability"][chosen].mean()),
        "learned, %": lambda chosen: 100 * float(learned[chosen].mean()),
        "median AoA, step": lambda chosen: _median_step(table["age_of_acquisition"][chosen & learned]),
        "forgettability, bit": lambda chosen: float(table["forgettability"][chosen].mean()),
        "forgetting events": lambda chosen: float(table["forgetting_events_top1"][chosen].mean()),
    }
    rows = {"all": np.ones(run.n_tokens, bool)}
    if counts_V is not None:
        # Thirds of the scored tokens by how often their target occurs in the training text.
        frequency = counts_V[run.tokens.target].argsort(kind="stable").argsort(kind="stable")
        rows |= {name: frequency * len(BANDS) // run.n_tokens == i for i, name in enumerate(BANDS)}
    print(" " * 10 + "".join(f"  {name}" for name in columns))
    for name, chosen in rows.items():
        values = ((_number(measure(chosen)), len(title) + 2) for title, measure in columns.items())
        print(f"{name:<10}" + "".join(f"{value:>{width}}" for value, width in values))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.2f}"


def _median_step(log10_steps: np.ndarray) -> float:
    return float(10 ** np.median(log10_steps)) if log10_steps.size else float("nan")


def _command(name: str) -> str:
    """How to call a command of this environment, activated or not."""
    if shutil.which(name) is not None:
        return name
    return os.path.relpath(Path(sys.executable).parent / name)


def _wandb_folder() -> str | None:
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if wandb is None or run is None:
        return None
    folder = Path(run.dir).parent
    wandb.finish()
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)
