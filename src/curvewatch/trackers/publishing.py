"""What goes to W&B when a run has ended: the report page, and the run file if that is wanted."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curvewatch.live.given import ngrams_of
from curvewatch.trackers.sinks import active_wandb_run

logger = logging.getLogger("curvewatch")

NEEDED = ("plotly",)


def publish(path: str, sets: Sequence[str], *, report: bool, artifact: bool, ngrams: Any = None) -> None:
    """Sends report and run file to the active W&B run, if there is one; never raises, since training has ended well.

    Args:
        path: The run file, closed.
        sets: Names of its token sets.
        report: Write the report page beside the run file, one a set, and log it.
        artifact: Log the run file as an artifact.
        ngrams: What `Live(ngrams=...)` was given: the report then says what predicts learning.
    """
    run = active_wandb_run()
    if run is None:
        return
    wandb, file = sys.modules["wandb"], Path(path)
    try:
        if report and _can_report():
            for name in sets:
                page = _write_report(file, name, only=len(sets) == 1, ngrams=ngrams)
                # Into the summary and not a row of its own, which would move the script's numbering of rows.
                run.summary[f"curvewatch/{name}/report"] = wandb.Html(str(page), inject=False)
    except Exception as error:
        logger.error("no report in W&B: %s (`curvewatch report %s` makes it)", error, path, exc_info=error)
    try:
        if artifact:
            kept = wandb.Artifact(f"{run.id}-curves", type="curvewatch-run", metadata={"sets": list(sets)})
            kept.add_file(str(file), name=file.name)
            run.log_artifact(kept)
    except Exception as error:
        logger.error("run file not logged to W&B: %s (it is %s)", error, path, exc_info=error)


def _can_report() -> bool:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        logger.info("no report: it needs %s (pip install 'curvewatch[analysis]')", ", ".join(missing))
    return not missing


def _write_report(file: Path, set_name: str, *, only: bool, ngrams: Any) -> Path:
    from curvewatch.analysis.report import write_report
    from curvewatch.analysis.run import open_run

    began = time.perf_counter()
    page = file.with_name(f"{file.stem}.report.html" if only else f"{file.stem}.{set_name}.report.html")
    run = open_run(file, set_name)
    counted = None
    if isinstance(ngrams, Mapping):
        ngrams = ngrams.get(set_name)
    if ngrams is not None:
        counted = ngrams_of(ngrams, {set_name: run.tokens})[set_name]
    write_report([run], page, ngrams=counted)
    logger.info("report written to %s in %.1f s", page, time.perf_counter() - began)
    return page
