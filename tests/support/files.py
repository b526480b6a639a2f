"""Run files without a model: rows of made-up numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch import Observation, RunFile, TokenSet
from curvewatch.runfile.records import Row, RunPlan, SetRecord

from .models import VOCABULARY, random_tokens


def observation(n: int, step: int) -> Observation:
    """Numbers that tell step and token: surprisal is step + token / 1000."""
    surprisal = (step + np.arange(n) / 1000).astype(np.float32)
    return Observation(surprisal, np.arange(n) % 3 == step % 3, (surprisal / 2).astype(np.float32))


def row(step: int, n: int | dict[str, int] = 35) -> Row:
    """A row of one set, or of several by name."""
    sizes = n if isinstance(n, dict) else {"eval": n}
    return Row(step, 0.5, 1e9 + step, {name: observation(size, step) for name, size in sizes.items()})


def start(
    path: Path,
    tokens: TokenSet | dict[str, TokenSet] | None = None,
    keep: int = -1,
    planned: Sequence[int] = (0, 5),
    weights: str = "training",
) -> RunFile:
    """Creates or continues a run file."""
    given: Any = tokens if tokens is not None else random_tokens()
    sets = given if isinstance(given, dict) else {"eval": given}
    records = {name: SetRecord(one, VOCABULARY, {"batch_size": 4, "road": "full"}) for name, one in sets.items()}
    plan = RunPlan(100, np.array(planned, np.int64), "every 5 steps", {"host": {"name": "test"}}, weights=weights)
    return RunFile.start(path, records, plan, keep)


def write(path: Path, steps: Sequence[int], **settings: Any) -> None:
    """A whole run file with these steps."""
    file = start(path, **settings)
    for step in steps:
        file.append(row(step))
    file.close()
