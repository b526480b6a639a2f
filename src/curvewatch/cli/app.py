"""The commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from curvewatch.cli import against, check, events, exposures, label, look, ngrams, paper, predict, score, watch, write

app = typer.Typer(
    name="curvewatch",
    help="Learning curves of single tokens: look at run files, compare runs, write reports.\n\n"
    "Exit codes: 0 all is well, 1 something is wrong with the data or a file, 2 wrong usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        import curvewatch

        typer.echo(curvewatch.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command()(look.info)
app.command()(look.table)
app.command()(look.show)
app.command()(watch.watch)
app.command()(check.compare)
app.command()(against.against)
app.command()(events.events)
app.command()(exposures.exposures)
app.command()(exposures.batches)
app.command()(write.report)
app.command()(write.read)
app.command()(write.figures)
app.command()(check.doctor)
app.command()(write.export)
app.command()(label.label)
app.command()(score.score)
app.command()(ngrams.ngrams)
app.command()(predict.diversity)
app.command()(predict.predict)
app.command()(paper.paper)
