"""How a run and a comparison show themselves in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from curvewatch.analysis.moment import Moment
from curvewatch.display import card, escaped, line

if TYPE_CHECKING:
    from curvewatch.analysis.compare import Comparison
    from curvewatch.runfile.reader import Reader

MOST_VALUES = 1 << 22
"""Surprisals that are read for the picture; of a larger file only the ends are."""


def run_card(run: Reader) -> str:
    """How far a run has come, and how its mean surprisal went."""
    moment = Moment.now(run)
    steps_T, n_tokens = moment.steps_T, run.n_tokens
    others = [name for name in run.sets if name != run.set_name]
    rows = [
        ("token set", escaped(run.set_name) + (f" (others: {escaped(', '.join(others))})" if others else "")),
        ("tokens", f"{n_tokens:,}; guessing costs {run.chance:.2f} bits"),
    ]
    if not len(moment):
        return card(run.path.name, [*rows, ("observations", "none yet")])
    planned = f" of {run.max_steps:,} planned" if run.max_steps else ""
    skipped, n_sessions = len(run.skipped), len(run.sessions)
    rows += [
        ("observations", f"{len(moment):,}, steps {steps_T[0]:,} to {steps_T[-1]:,}{planned}"),
        ("schedule", escaped(run.schedule)),
        ("sessions", f"{n_sessions:,}" + (f"; {skipped:,} planned steps not scored" if skipped else "")),
        ("weights", escaped(run.weights)),
    ]
    whole = len(moment) * n_tokens <= MOST_VALUES
    at = np.arange(len(moment)) if whole else np.array([0, len(moment) - 1])
    means = (
        moment.surprisal[:].mean(axis=1, dtype=np.float64) if whole else [moment.surprisal[int(t)].mean() for t in at]
    )
    correct = moment.correct[len(moment) - 1].mean()
    rows += [
        ("mean surprisal", f"{means[0]:.2f} bits at first, {means[-1]:.2f} at last"),
        ("first choice", f"{correct:.0%} of the tokens at last"),
    ]
    after = steps_T[at] > 0  # step 0 has no place on a logarithmic axis
    picture = line(np.log10(steps_T[at][after]), np.asarray(means)[after], "mean surprisal by log10 of the step")
    return card(run.path.name, rows, picture if whole else "")


def comparison_card(comparison: Comparison) -> str:
    """How far runs agree, measure by measure."""
    rows = [("runs", escaped(", ".join(comparison.names)))]
    for name, mean, low, high, n in comparison.correlations():
        value = f"r {mean:.2f} ({low:.2f} to {high:.2f}), {n:,} tokens" if np.isfinite(mean) else "not known"
        rows.append((name.replace("_", " "), value))
    notes = "".join(f'<div style="margin-top:.3em">{escaped(note)}</div>' for note in comparison.notes)
    return card("Comparison", rows, notes)
