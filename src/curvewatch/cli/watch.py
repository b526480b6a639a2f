"""The command that follows a run in the terminal: watch."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import RunPath, SetName, guarded, out


@guarded
def watch(
    file: RunPath,
    set_name: SetName = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the file.")] = 1.0,
    ngrams: Annotated[
        Path | None,
        typer.Option(
            help="N-gram surprisals that the run was given: bands by frequency in the training text, and which n-grams "
            "the model resembles.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print what there is now, and end. In a pipe that is so anyway.")
    ] = False,
) -> None:
    """Follow a run while it trains: curves, forgotten tokens, cost. The file may come later."""
    if once or not (sys.stdout.isatty() and sys.stdin.isatty()):
        _print(file, set_name, ngrams)
        return
    from curvewatch.terminal.app import WatchApp

    app = WatchApp(file, set_name, every, ngrams)
    app.run()
    if app.failure is not None:
        raise app.failure
    if app.return_code:
        raise typer.Exit(app.return_code)


def _print(file: Path, set_name: str | None, ngrams: Path | None) -> None:
    from curvewatch.terminal.follow import Follower
    from curvewatch.terminal.plain import snapshot_text

    follower = Follower(file, set_name, ngrams)
    state = follower.poll()
    if not state.there:
        raise FileNotFoundError(f"path={file}: no such file. Without --once a terminal waits for it.")
    while state.behind:
        state = follower.poll()
    out.print(snapshot_text(state, time.time(), min(out.width, 120)), soft_wrap=True)
