"""Errors of commands name the option that was given, and not the library's argument behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from curvewatch.cli.app import app
from curvewatch.cli.common import SetName, guarded
from tests.analysis.synthetic import write_run


@pytest.mark.parametrize(
    ("raised", "printed"),
    [
        (ValueError("extra='x': wrong."), "error: --more 'x': wrong."),
        (ValueError("extra: wrong."), "error: --more: wrong."),
        (ValueError("n_max=0: wrong."), "error: --n-max 0: wrong."),
        (FileNotFoundError("file=a.h5: no such file."), "error: a.h5: no such file."),
        (FileNotFoundError("path=a.h5: no such file."), "error: a.h5: no such file."),
        (KeyError("set_name='x': there is 'eval'."), "error: --set 'x': there is 'eval'."),
        (ValueError("tagger='x': unknown."), "error: --pos 'x': unknown."),
        (ValueError("runs: none."), "error: runs: none."),
        (ValueError("No argument is at fault: so it is."), "error: No argument is at fault: so it is."),
    ],
)
def test_arguments_become_options(raised: Exception, printed: str) -> None:
    made = typer.Typer()

    @made.command()
    @guarded
    def command(
        file: Annotated[Path, typer.Argument()] = Path(),
        extra: Annotated[Any, typer.Option("--more", "-m", parser=str)] = "",
        n_max: Annotated[int, typer.Option(min=0)] = 1,
        set_name: SetName = None,
    ) -> None:
        raise raised

    done = CliRunner().invoke(made, [])
    assert done.exit_code == 1
    assert " ".join(done.output.split()) == printed


def test_in_commands(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5", n_steps=4)

    def error(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 1, done.output
        return " ".join(done.output.split())

    assert error("info", "none.h5") == "error: none.h5: no such file."
    assert error("info", str(path), "--set", "other").startswith("error: --set 'other':")
    assert error("ngrams", "-c", "none.npy", "--run", str(path), "-o", str(tmp_path / "o.npz")).startswith(
        "error: --corpus none.npy: no such file"
    )
    assert error("predict", str(path), "--ngrams", "none.npz").startswith("error: none.npz: no such file. Make it")
