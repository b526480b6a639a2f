"""What a command may write to: never over what it reads, and never over a file of another kind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import typer

PAGE = "an HTML page"
HINT = "--output"


def given_path(text: str | Path) -> Path:
    """The path of an option; a variable of the shell that is not set is none."""
    if not str(text).strip():
        raise typer.BadParameter("it is empty.")
    return Path(text)


def output_option(help: str, *, show_default: bool = False) -> Any:
    """The option --output of a command."""
    return typer.Option("--output", "-o", parser=given_path, metavar="PATH", help=help, show_default=show_default)


def check_csv(output: Path | None) -> None:
    """Refuses an --output that does not end in .csv, before any work is done for it."""
    if output is not None and output.suffix != ".csv":
        raise typer.BadParameter(f"{output}: use the ending .csv.", param_hint=HINT)


def check_npz(output: Path, kind: str, *inputs: Path | None) -> None:
    """Refuses what is no .npz file, has no folder to lie in, or is there as something else, before the work."""
    if output.suffix != ".npz":
        raise typer.BadParameter(f"{output}: it must end in .npz.", param_hint=HINT)
    check_output(output, kind, *inputs)


def check_folder(output: Path | None) -> None:
    """Refuses a file where a folder is to be."""
    if output is not None and output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output}: a file is there; give a folder.", param_hint=HINT)


def check_output(output: Path, kind: str, *inputs: Path | None) -> None:
    """Refuses an output that would replace an input, or a file of another kind.

    Args:
        output: The file to be written.
        kind: What it will be, as `kind_of` says; "" for any.
        inputs: What the command reads.
    """
    if output.is_dir():
        raise typer.BadParameter(f"{output}: it is a folder; give a file in it.", param_hint=HINT)
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output}: there is no folder {output.parent}.", param_hint=HINT)
    if not output.exists():
        return
    for one in inputs:
        if one is not None and one.exists() and os.path.samefile(one, output):
            raise typer.BadParameter(
                f"{output}: the command reads it, and would replace it. Give another name.", param_hint=HINT
            )
    found = kind_of(output)
    if kind and found not in ("", kind):
        raise typer.BadParameter(
            f"{output}: {found} is there, and would be replaced. Give another name, or remove it first.",
            param_hint=HINT,
        )


def kind_of(path: Path) -> str:
    """What a file is by its first bytes; "" for an empty one, and for what can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return ""
    if not head:
        return ""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "an HDF5 file"
    if head.startswith(b"\x93NUMPY"):
        return "an .npy file"
    if head.lstrip()[:15].lower().startswith(b"<!doctype html"):
        return PAGE
    if head.startswith(b"PK"):
        try:
            with np.load(path, allow_pickle=False) as saved:
                return f"a file of {json.loads(str(saved['about']))['format']}"
        except Exception:
            return "an archive of another kind"
    return "another file"
