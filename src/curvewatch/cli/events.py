"""The command that lists events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import RunPath, SetName, guarded, note, opened, out, plain
from curvewatch.cli.outputs import check_csv, output_option


@guarded
def events(
    file: RunPath,
    output: Annotated[
        Path | None,
        output_option("Write one row an event to .csv."),
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Tokens shown of each.")] = 3,
    set_name: SetName = None,
) -> None:
    """Steps at which more tokens jumped at once than the run's own past explains, and what they were."""
    from curvewatch.analysis.characters import visible
    from curvewatch.analysis.events import events_frame, events_of

    check_csv(output)
    run = opened(file, set_name)
    found = events_of(run)
    for one in found:
        out.print(plain(str(one)), soft_wrap=True)
        for i in one.examples(examples):
            bits = dict(zip(one.event.tokens_n.tolist(), one.event.bits_n.tolist(), strict=True))[i]
            text = visible(str(run.tokens.show(i, width=12))) if run.tokens.texts() is not None else f"#{i}"
            out.print(plain(f"    {bits:+6.2f} bits  {text}"), soft_wrap=True)
    note(f"{len(found):,} events in {len(run):,} rows")
    if output is not None:
        events_frame(found).to_csv(output, index=False)
