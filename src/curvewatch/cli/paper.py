"""The command that makes every figure and table of the paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import RunPaths, SetName, guarded, note, opened, out, plain, saying
from curvewatch.cli.outputs import check_folder, output_option
from curvewatch.cli.predictors import Diversity, Pos, check_beside, counted_for, tagged


@guarded
def paper(
    files: RunPaths,
    output: Annotated[Path, output_option("Folder.", show_default=True)] = Path("paper"),
    ngrams: Annotated[
        Path | None, typer.Option("--ngrams", help="Written by curvewatch ngrams.", show_default=False)
    ] = None,
    diversity: Diversity = None,
    sweep_ngrams: Annotated[
        Path | None,
        typer.Option(
            "--sweep-ngrams",
            help="For contexts of other orders: written by curvewatch ngrams --every-position.",
            show_default=False,
        ),
    ] = None,
    pos: Pos = None,
    examples: Annotated[
        list[int] | None,
        typer.Option("--example", help="Index of a token whose curve is drawn. May be repeated.", show_default=False),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own", help="curvewatch's own definitions of the measures, not the released code's.")
    ] = False,
    set_name: SetName = None,
) -> None:
    """Every figure and table of Chang, Tu & Bergen (2024), as PDF, PNG and CSV, with paper.md, which holds them all."""
    from curvewatch.analysis.paper import write_paper

    check_folder(output)
    check_beside(ngrams, diversity)
    runs = [opened(file, set_name) for file in files]
    given = counted_for(runs, ngrams, diversity, sweep_ngrams)
    tokens = tagged(runs[0].tokens, pos)
    with saying() as say:
        paths = write_paper(
            runs, output, given.ngrams, given.diversity, tokens=tokens, sweep_ngrams=given.every, paper=not own,
            examples=examples or None, say=say,
        )  # fmt: skip
    for name, text in json.loads(paths[1].read_text("utf-8"))["settings"].items():
        if name.startswith("note "):
            note(text)
    out.print(str(paths[0]), markup=False, soft_wrap=True)
    note(plain(f"{len(paths)} files in {output}"))
