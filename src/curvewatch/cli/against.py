"""The command that says what a training changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curvewatch.cli.common import RunPath, SetName, guarded, note, opened, out, plain
from curvewatch.cli.look import print_table
from curvewatch.cli.outputs import check_csv, output_option

COLUMNS = ("tokens", "base_surprisal", "change", "worse", "lost", "gained", "regained", "accuracy_lost", "kl")
ITEM_COLUMNS = ("items", "base_accuracy", "accuracy", "lost", "gained", "lost_beyond_chance", "gained_beyond_chance")


@guarded
def against(
    file: RunPath,
    base: Annotated[
        Path | None,
        typer.Option("--base", help="Run file of the base: its last row. Default: the file's own, or its first row."),
    ] = None,
    base_set: Annotated[str | None, typer.Option("--base-set", help="Token set in it, where it holds several.")] = None,
    output: Annotated[
        Path | None,
        output_option("Write each token's change to .csv."),
    ] = None,
    set_name: SetName = None,
) -> None:
    """What training changed against a base: bits, what was lost, gained and regained; of all tokens and each label."""
    from curvewatch.analysis.against import against as hold_against
    from curvewatch.analysis.against import in_words
    from curvewatch.runfile.reader import set_names

    check_csv(output)
    run = opened(file, set_name)
    other = None
    if base is not None:
        several = len(set_names(base)) > 1 if base.exists() else False
        other = opened(base, base_set or (set_name if several else None))
    found = hold_against(run, other)
    if not len(found.steps_T):
        note(f"{file}: one row, which is the base itself; nothing to compare yet")
        return
    out.print(plain(in_words(found)), soft_wrap=True)
    out.print()
    print_table(found.by(), COLUMNS)
    for name in run.tokens.labels:
        out.print()
        print_table(found.by(name).sort_values("change", ascending=False), COLUMNS)
    frame: Any = found.items_frame()
    if len(frame):
        out.print()
        print_table(frame, ITEM_COLUMNS)
    if output is not None:
        found.to_pandas().to_csv(output)
        note(f"{run.n_tokens:,} tokens written to {output}")
