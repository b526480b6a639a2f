"""The command that makes every figure and table of the paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import RunPaths, SetName, guarded, note, opened, out, plain, progressing, saying
from curvewatch.cli.outputs import output_option


@guarded
def paper(
    files: RunPaths,
    output: Annotated[Path, output_option("Folder.", show_default=True)] = Path("paper"),
    ngrams: Annotated[
        Path | None, typer.Option("--ngrams", help="Written by curvewatch ngrams.", show_default=False)
    ] = None,
    diversity: Annotated[
        Path | None, typer.Option("--diversity", help="Written by curvewatch diversity.", show_default=False)
    ] = None,
    sweep_ngrams: Annotated[
        Path | None,
        typer.Option(
            "--sweep-ngrams",
            help="For contexts of other orders: written by curvewatch ngrams --every-position.",
            show_default=False,
        ),
    ] = None,
    pos: Annotated[
        str | None,
        typer.Option("--pos", help="Part of speech by this spaCy pipeline, if the runs lack it.", show_default=False),
    ] = None,
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
    from curvewatch.corpus import load_diversity, load_ngrams, part_of_speech

    if output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output}: a file is there; give a folder.", param_hint="--output")
    if diversity is not None and ngrams is None:
        raise typer.BadParameter("it predicts beside n-grams: give --ngrams, too.", param_hint="--diversity")
    runs = [opened(file, set_name) for file in files]
    tokens = runs[0].tokens
    counted = load_ngrams(ngrams, tokens) if ngrams is not None else None
    seen = load_diversity(diversity) if diversity is not None else None
    every = load_ngrams(sweep_ngrams) if sweep_ngrams is not None else None
    if pos is not None:
        with progressing("tagging") as progress:
            tokens = part_of_speech(tokens, pos, progress=progress).label(tokens)
    with saying() as say:
        paths = write_paper(
            runs, output, counted, seen, tokens=tokens, sweep_ngrams=every, paper=not own, examples=examples or None,
            say=say,
        )  # fmt: skip
    for name, text in json.loads(paths[1].read_text("utf-8"))["settings"].items():
        if name.startswith("note "):
            note(text)
    out.print(str(paths[0]), markup=False, soft_wrap=True)
    note(plain(f"{len(paths)} files in {output}"))
