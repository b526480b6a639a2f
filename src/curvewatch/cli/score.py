"""The command that makes a run file from checkpoints: score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curvewatch.cli.common import SetName, guarded, note, out, progressing
from curvewatch.cli.outputs import output_option


@guarded
def score(
    checkpoints: Annotated[
        list[Path],
        typer.Option("--checkpoints", "-c", help="Folder of checkpoints, or a checkpoint; may be given several times."),
    ],
    tokens: Annotated[
        Path, typer.Option("--tokens", "-t", help="Token set saved by TokenSet.save, or a run file that watched it.")
    ],
    output: Annotated[Path, output_option("The run file, made or continued.", show_default=True)],
    set_name: SetName = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes an accelerator.")] = "auto",
    autocast: Annotated[
        str | None, typer.Option(help="bfloat16 or float16, if training used it.", show_default=False)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sequences at once.", show_default="auto")] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Planned last step of the training.", show_default="as the checkpoints say"),
    ] = None,
) -> None:
    """The same run file from checkpoints that exist already. Interrupted, it goes on where it stopped."""
    from curvewatch.watch.checkpoints import (
        PRECISIONS,
        find_checkpoints,
        load_tokens,
        load_transformers,
        planned_steps,
        score_checkpoints,
    )

    if autocast is not None and autocast not in PRECISIONS:
        raise typer.BadParameter(f"{autocast}: choose of {', '.join(PRECISIONS)}.", param_hint="--autocast")
    folders = find_checkpoints(checkpoints)
    token_set = load_tokens(tokens, set_name)
    _quiet_transformers()
    note(f"{len(folders)} checkpoints, steps {min(folders):,} to {max(folders):,}; {len(token_set):,} tokens")
    with progressing("scoring") as progress:
        run = score_checkpoints(
            load_transformers(folders, device, token_set),
            folders,
            token_set,
            output,
            max_steps=max_steps or planned_steps(folders),
            batch_size=batch_size or "auto",
            autocast=autocast,
            source=", ".join(str(place.absolute()) for place in checkpoints),
            progress=progress,
        )
    out.print(str(output), markup=False, soft_wrap=True)
    note(f"{len(run):,} observations")


def _quiet_transformers() -> None:
    """One progress bar is enough: not one for the weights of each checkpoint."""
    try:
        from transformers.utils import logging
    except ImportError:
        return  # said, with the way out, where a checkpoint is loaded
    logging.disable_progress_bar()
    logging.set_verbosity_error()
