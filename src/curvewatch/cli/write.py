"""Commands that write files for others: report, figures, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import (
    RunPath,
    RunPaths,
    SetName,
    guarded,
    note,
    noted_warnings,
    opened,
    out,
    progressing,
    saying,
)
from curvewatch.cli.outputs import PAGE, check_output, output_option
from curvewatch.cli.predictors import check_beside, counted_for


@guarded
def export(
    file: RunPath,
    output: Annotated[
        Path,
        output_option("Ends in .npz, .parquet or .nc."),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Instead of all: one weight a token, mile, rho1 or easiness.", show_default=False
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option("--step", help="The row of the weights; else the last.", show_default=False)
    ] = None,
    gamma: Annotated[float, typer.Option("--gamma", help="Of the weights mile.")] = 1.0,
    keep: Annotated[float, typer.Option("--keep", help="Share of the tokens that the weights rho1 keep.")] = 0.6,
    set_name: SetName = None,
) -> None:
    """Curves, tokens and measures in another format: NumPy, parquet, netCDF. Or weights, .csv, .parquet or .npz."""
    from curvewatch.analysis.export import FORMATS
    from curvewatch.analysis.export import export as export_run

    if weights is not None:
        from curvewatch.analysis.weights import SUFFIXES, token_weights, write_weights

        if output.suffix not in SUFFIXES:
            raise typer.BadParameter(f"{output}: the ending chooses the format; use one of {', '.join(SUFFIXES)}.")
        run = opened(file, set_name)
        found = token_weights(run, weights, step=step, gamma=gamma, keep=keep)
        write_weights(run, found, output)
        note(f"{output}: {len(found):,} weights")
        return
    if output.suffix not in FORMATS:
        raise typer.BadParameter(f"{output}: the ending chooses the format; use one of {', '.join(FORMATS)}.")
    check_output(output, "", file)
    run = opened(file, set_name)
    with noted_warnings(), progressing("exporting") as progress:
        export_run(run, output, progress=progress)
    note(f"{output}: {output.stat().st_size / 1e6:,.1f} MB")


@guarded
def report(
    files: RunPaths,
    output: Annotated[Path, output_option("The page.", show_default=True)] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Of the page.", show_default=False)] = None,
    ngrams: Annotated[
        Path | None,
        typer.Option("--ngrams", help="Written by curvewatch ngrams: adds what predicts learning.", show_default=False),
    ] = None,
    diversity: Annotated[
        Path | None,
        typer.Option("--diversity", help="Written by curvewatch diversity; beside --ngrams.", show_default=False),
    ] = None,
    set_name: SetName = None,
) -> None:
    """One HTML page with everything, of one run or several of one token set. It needs no network, ever."""
    from curvewatch.analysis.report import write_report

    check_beside(ngrams, diversity)
    check_output(output, PAGE, *files, ngrams, diversity)
    runs = [opened(file, set_name) for file in files]
    given = counted_for(runs, ngrams, diversity)
    with saying() as say:
        write_report(runs, output, title=title, ngrams=given.ngrams, diversity=given.diversity, say=say)
    out.print(str(output), markup=False, soft_wrap=True)
    note(f"{output.stat().st_size / 1e6:.1f} MB; open it in a browser")


@guarded
def read(
    file: RunPath,
    output: Annotated[Path, output_option("The page.", show_default=True)] = Path("reading.html"),
    title: Annotated[str | None, typer.Option(help="Of the page.", show_default=False)] = None,
    set_name: SetName = None,
) -> None:
    """One HTML page of whole sequences as coloured text, with a slider over steps. It needs no network, ever."""
    from curvewatch.analysis.report.reading import write_reading

    check_output(output, PAGE, file)
    run = opened(file, set_name)
    with noted_warnings():
        write_reading(run, output, title=title)
    out.print(str(output), markup=False, soft_wrap=True)
    note(f"{output.stat().st_size / 1e6:.1f} MB; open it in a browser")


@guarded
def figures(
    files: RunPaths,
    output: Annotated[Path, output_option("Folder.", show_default=True)] = Path("figures"),
    formats: Annotated[str, typer.Option("--formats", help="Of pdf, png, svg; with commas.")] = "pdf,png",
    set_name: SetName = None,
) -> None:
    """The report's figures for a paper: one file each."""
    from curvewatch.analysis.figures import figures as write_figures
    from curvewatch.analysis.findings import gather_findings

    wanted = [name.strip() for name in formats.split(",")]
    if bad := [name for name in wanted if name not in ("pdf", "png", "svg")]:
        raise typer.BadParameter(f"{', '.join(bad)}: choose of pdf, png, svg.", param_hint="--formats")
    runs = [opened(file, set_name) for file in files]
    with saying() as say:
        findings = gather_findings(runs, say)
    for one in findings.runs:
        for text in one.notes:
            note(f"{one.name}: {text}")
    for path in write_figures(findings, output, wanted):
        out.print(str(path), markup=False, soft_wrap=True)
