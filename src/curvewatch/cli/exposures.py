"""Commands on what was trained on: exposures of passages, the batches between two rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from curvewatch.cli.common import RunPath, SetName, guarded, note, opened, out, plain
from curvewatch.cli.outputs import check_csv, output_option

_SHOWN_TEXT = 60


@guarded
def exposures(
    file: RunPath,
    unit: Annotated[
        str | None, typer.Option("--unit", help="Kind of the spans that are probes of the passages.")
    ] = None,
    window: Annotated[int, typer.Option("--window", min=1, help="Steps behind an exposure.")] = 50,
    top: Annotated[int, typer.Option("--top", min=0, help="Passages shown.")] = 30,
    output: Annotated[
        Path | None,
        output_option("Write the rows to .csv."),
    ] = None,
    set_name: SetName = None,
) -> None:
    """When each passage was trained on; with --unit, what each exposure gained and how much of it stays."""
    from curvewatch.analysis.exposures import exposures_of

    check_csv(output)
    run = opened(file, set_name)
    found = exposures_of(run)
    frame = found.to_pandas()
    for first, last in found.trained.unknown:
        note(f"of updates {first:,} to {last:,} it is not known what they were trained on")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("passage", "occurrences", "updates", "first step", "last step"):
        table.add_column(name, justify="left" if name == "passage" else "right")
    for name, row in frame.sort_values("occurrences", ascending=False, kind="stable")[:top].iterrows():
        steps = [f"{row[key]:,}" if row[key] >= 0 else "-" for key in ("first_step", "last_step")]
        table.add_row(plain(str(name)[:_SHOWN_TEXT]), f"{row['occurrences']:,}", f"{row['updates']:,}", *steps)
    out.print(table)
    note(f"{int((frame['occurrences'] > 0).sum()):,} of {len(frame):,} passages were trained on")
    if unit is not None:
        frame = found.effects(unit, window=window)
        _effects(frame, found.retention(unit, window=window))
    if output is not None:
        frame.to_csv(output, index=unit is None)


def _effects(frame: Any, retained: Any) -> None:
    known = frame["effectivity"].dropna()
    if not len(known):
        note("effectivity: no exposure of a probe has a row before it and one behind it")
        return
    out.print(
        f"effectivity: {known.mean():+.2f} bits an exposure on average ({len(known):,} exposures of "
        f"{frame['unit'].nunique():,} probes)"
    )
    if not frame["complete"].all():
        note(
            f"{int((~frame['complete']).sum()):,} of {len(frame):,} exposures were not scored at every step around "
            "them: their gains are those of the rows there are. Schedule.after_exposures() scores them all."
        )
    decay = retained.decay
    if np.isfinite(decay.constant):
        gone = (
            f"; nothing is left after {decay.forgotten_steps:,.0f} steps, says the line"
            if np.isfinite(decay.forgotten_steps) and decay.forgotten_steps < 1e12
            else ""
        )
        out.print(
            f"retention: falls by {decay.constant:.3f} of the gain whenever the time since grows e-fold "
            f"({decay.n_points:,} points){gone}"
        )
    else:
        note("retention: too few rows behind the last exposures to say how fast it goes")


@guarded
def batches(
    file: RunPath,
    before: Annotated[int, typer.Option("--before", help="The step whose batches are wanted, a row or not.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--in",
            help="Where to look the sequences up: a `datasets` folder with a column input_ids, .jsonl with one, or "
            ".npy of token ids.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option("Write one row a sequence to .csv."),
    ] = None,
) -> None:
    """The sequences that were trained on between a step and the row before it, found again in the data."""
    from curvewatch.analysis.batches import batches_before

    check_csv(output)
    from curvewatch.runfile.reader import set_names

    run = opened(file, set_names(file)[0])
    found = batches_before(run, before, data)
    for first, last in found.unknown:
        note(f"of updates {first:,} to {last:,} it is not known what they were trained on")
    for step, rows in found.frame.groupby("step"):
        if data is not None:
            what = ", ".join("?" if row < 0 else str(row) for row in rows["row"])
        elif (rows["index"] >= 0).any():
            what = ", ".join(map(str, rows["index"]))
        else:
            what = " ".join(rows["fingerprint"])
        out.print(plain(f"step {step:,}: {what}"), soft_wrap=True)
    note(f"{len(found.frame):,} sequences in updates {found.first:,} to {found.last:,}")
    if data is not None and (found.frame["row"] < 0).any():
        missing = int((found.frame["row"] < 0).sum())
        note(f"{missing:,} are not in {data} (packed, cut or changed by a collator)")
    if output is not None:
        found.frame.to_csv(output, index=False)
