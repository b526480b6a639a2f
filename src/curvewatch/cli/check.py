"""Commands that judge files: compare, doctor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from curvewatch.analysis.run import Run
from curvewatch.cli.common import (
    Paper,
    RunPath,
    RunPaths,
    SetName,
    fail,
    guarded,
    note,
    opened,
    out,
    plain,
    progressing,
)
from curvewatch.cli.look import print_table
from curvewatch.cli.outputs import check_csv, output_option


@guarded
def compare(
    files: RunPaths,
    output: Annotated[
        Path | None,
        output_option("Write each token's cross-run variability to .csv."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Bits per byte instead, for tokenizers that differ: of each text, word, or value of this label.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="Where two runs differ: at the same step, after the same tokens, at the same mean surprisal (loss).",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            help="Means and spread over seeds by what the files say of their runs: learning_rate,parameters.",
            show_default=False,
        ),
    ] = None,
    set_name: SetName = None,
    paper: Paper = False,
) -> None:
    """How far runs of one token set agree: variability across runs, correlation of each measure and of surprisal."""
    if len(files) < 2:
        raise typer.BadParameter("comparing takes at least two run files.", param_hint="FILE...")
    check_csv(output)
    runs = [opened(file, set_name) for file in files]
    if sum(one is not None for one in (by, at, group)) > 1:
        raise typer.BadParameter("one of --by, --at and --group at a time.")
    if group is not None:
        from curvewatch.analysis.groups import groups

        names = [name.strip() for name in group.split(",")]
        frame = groups(runs, names)
        frame.index = [", ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in frame.index]
        frame.index.name = ", ".join(names)
        print_table(frame, None)
        return
    if at is not None:
        _differences(runs, at, output)
        return
    if by is not None:
        from curvewatch.analysis.across import bits_per_byte_of

        frame = bits_per_byte_of(runs, by=by)
        if output is not None:
            frame.to_csv(output)
            note(f"{len(frame):,} rows written to {output}")
        else:
            out.print(plain(frame.to_csv(float_format="%.4f").rstrip()), soft_wrap=True)
        return
    from curvewatch.analysis.compare import compare as compare_runs

    with progressing("comparing") as progress:
        found = compare_runs(runs, paper=paper, progress=progress)
    for text in found.notes:
        note(text)
    n_pairs = len(found.cross.pairs)
    out.print(f"[bold]{len(runs)} runs[/] of {runs[0].n_tokens:,} tokens: {plain(', '.join(found.names))}")
    made = Table(box=None, pad_edge=False, header_style="dim", title_justify="left")
    for heading in ("measure", "r, mean of pairs" if n_pairs > 1 else "r", "lowest", "highest", "tokens"):
        made.add_column(heading, justify="left" if heading == "measure" else "right")
    for name, mean, low, high, count in found.correlations():
        cells = [f"{value:.3f}" if math.isfinite(value) else "-" for value in (mean, low, high)]
        made.add_row(name.replace("_", " "), *cells, f"{count:,}")
    out.print(made)
    v_n = found.cross.variability_N[np.isfinite(found.cross.variability_N)]
    if len(v_n):
        q = np.quantile(v_n, (0.05, 0.5, 0.95))
        out.print(
            f"cross-run variability (bit²): mean {v_n.mean():.3f}, median {q[1]:.3f}, "
            f"5 to 95 % {q[0]:.3f} to {q[2]:.3f}"
        )
    r_S = found.step_correlation()
    if np.isfinite(r_S).any():
        shown = np.unique(np.linspace(0, len(r_S) - 1, min(8, len(r_S))).round().astype(int))
        steps = found.cross.steps_S
        text = ", ".join(f"{steps[s]:,}: {r_S[s]:.3f}" for s in shown if math.isfinite(r_S[s]))
        out.print(f"correlation of surprisal by step: {text}")
    if output is not None:
        variability = found.cross.variability_N
        with open(output, "w", encoding="utf-8") as file:
            file.write("token,cross_run_variability\n")
            file.writelines(f"{i},{'' if math.isnan(v) else repr(float(v))}\n" for i, v in enumerate(variability))
        note(f"{len(variability):,} tokens written to {output}")


def _differences(runs: list[Run], at: str, output: Path | None) -> None:
    from curvewatch.analysis.differences import POINTS, differences

    if at not in POINTS:
        raise typer.BadParameter(f"{at}: one of {', '.join(POINTS)}.", param_hint="--at")
    if len(runs) != 2:
        raise typer.BadParameter(f"--at compares two runs, not {len(runs)}.", param_hint="FILE...")
    found = differences(runs[0], runs[1], at=at)
    out.print(plain(str(found)), soft_wrap=True)
    out.print()
    print_table(found.by(), None)
    for name in runs[0].tokens.labels:
        out.print()
        print_table(found.by(name), None)
    items = found.items()
    if len(items):
        out.print()
        print_table(items, None)
    if output is not None:
        found.tokens().to_csv(output)
        note(f"{runs[0].n_tokens:,} tokens written to {output}")


@guarded
def doctor(
    file: RunPath,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put into the file what a crashed writer had committed to its journal.")
    ] = False,
) -> None:
    """Checks a run file and says what is wrong, what was recovered, and what to do. Exit code 1 if numbers are bad."""
    from curvewatch.analysis.doctor import BAD, GOOD, examine
    from curvewatch.analysis.doctor import repair as repair_file

    if repair:
        out.print(f"[bold]repair[/]  {plain(repair_file(file) or 'nothing to recover')}")
    findings = examine(file)
    made = Table.grid(padding=(0, 2))
    for finding in findings:
        colour = {"good": "green", "note": "yellow", "bad": "bold red"}[finding.level]
        made.add_row(f"[{colour}]{finding.level:4}[/]", f"[dim]{plain(finding.subject)}[/]", plain(finding.text))
    out.print(made)
    bad = sum(finding.level == BAD for finding in findings)
    if bad:
        fail(f"{file}: {bad} of {len(findings)} checks found something wrong.")
    out.print("healthy" if all(f.level == GOOD for f in findings) else "healthy, with notes")
