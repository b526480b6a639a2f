"""Many runs by what they were trained with: means over the seeds of a group, and their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curvewatch.analysis.frames import need
from curvewatch.analysis.moment import Moment
from curvewatch.runfile.reader import Reader


def groups(runs: Sequence[Reader], by: Sequence[str]) -> Any:
    """A pandas DataFrame: one row a group, with the number of runs, means at their last row, and their spread.

    Columns: runs, step (smallest last one), surprisal and accuracy_top1 with `_sd`, the sample standard deviation over
    the runs of a group (NaN for one). Needs `curvewatch[analysis]`.

    Args:
        runs: Of any token sets of the same tokens.
        by: What runs are grouped by, as their files say it: "learning_rate" or any other of the host's arguments,
            "parameters" or any other of what is known of the model, "weights", "schedule".

    Raises:
        ValueError: If no run says one of them, naming what they do say, or the token sets differ.
    """
    pandas = need("pandas", "compare --group")
    hashes = {run.set_hash for run in runs}
    if len(hashes) > 1:
        raise ValueError(f"runs: {len(hashes)} different token sets; group runs that watched the same one.")
    told = [_told(run) for run in runs]
    for name in by:
        if all(name not in one for one in told):
            known = sorted({key for one in told for key in one})
            raise ValueError(f"by={name!r}: no run says it. They say {', '.join(known[:60])}.")
    rows = []
    for run, one in zip(runs, told, strict=True):
        moment = Moment.now(run)
        if not len(moment):
            continue
        bits_N = moment.surprisal[-1]
        known = np.isfinite(bits_N)
        rows.append({
            **{name: str(one.get(name, "")) for name in by},
            "step": int(moment.steps_T[-1]),
            "surprisal": float(bits_N[known].mean(dtype=np.float64)) if known.any() else float("nan"),
            "accuracy_top1": float(moment.correct[-1].mean()),
        })  # fmt: skip
    grouped = pandas.DataFrame(rows).groupby(list(by), sort=True)
    return pandas.DataFrame({
        "runs": grouped.size(),
        "step": grouped["step"].min(),
        "surprisal": grouped["surprisal"].mean(),
        "surprisal_sd": grouped["surprisal"].std(),
        "accuracy_top1": grouped["accuracy_top1"].mean(),
        "accuracy_top1_sd": grouped["accuracy_top1"].std(),
    })  # fmt: skip


def _told(run: Reader) -> dict[str, Any]:
    """What a run's last session says, by plain names; the model's goes before the host's."""
    found: dict[str, Any] = {"weights": run.weights, "schedule": run.schedule}
    for session in run.sessions[-1:]:
        host, model = session.get("host"), session.get("model")
        arguments = host.get("arguments") if isinstance(host, Mapping) else None
        for part in (arguments, host, model):
            if isinstance(part, Mapping):
                found |= {str(key): value for key, value in part.items() if isinstance(value, (str, int, float, bool))}
    return found
