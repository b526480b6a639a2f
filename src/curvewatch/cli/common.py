"""What all commands share: consoles, options, errors without tracebacks, progress, notes."""

from __future__ import annotations

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer.models import ArgumentInfo, OptionInfo

from curvewatch.analysis.characters import visible
from curvewatch.analysis.run import Run, open_run
from curvewatch.errors import CurvewatchError

# In a pipe nothing is known of a width, and wrapped lines are of no use there.
PIPE_WIDTH = 200
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)
err = Console(stderr=True, highlight=False)

GIVEN_AS = {"path": "", "resume": "", "set_name": "--set", "tagger": "--pos"}
"""How an argument of the library is given to commands, where they have no parameter of its name; "" for a file."""

Command = TypeVar("Command", bound=Callable[..., Any])
Progressing = Callable[[int, int], None]

RunPath = Annotated[Path, typer.Argument(help="Run file.", metavar="FILE", show_default=False)]
RunPaths = Annotated[list[Path], typer.Argument(help="Run files.", metavar="FILE...", show_default=False)]
SetName = Annotated[
    str | None, typer.Option("--set", help="Token set, where a file holds several.", show_default=False)
]
Paper = Annotated[bool, typer.Option("--paper", help="The values of the paper's released code in every case.")]


def guarded(command: Command) -> Command:
    """A command whose failures are one clear line and exit code 1; CURVEWATCH_DEBUG=1 shows tracebacks."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            # The reader of a pipe has seen enough (`| head`); what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            fail("interrupted")
        except Exception as error:
            if os.environ.get("CURVEWATCH_DEBUG"):
                raise
            known = isinstance(error, (CurvewatchError, ValueError, KeyError, IndexError, OSError, ImportError))
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            text = _by_option(text, command)
            if not known:
                text = f"{type(error).__name__}: {text} (unforeseen; CURVEWATCH_DEBUG=1 shows where)"
            fail(text)

    return run  # type: ignore[return-value]


def _by_option(text: str, command: Command) -> str:
    """A message that begins with an argument of the library (`path=...`, `corpus: ...`), with its option instead."""
    begun = re.match(r"(\w+)(=|: )", text)
    if begun is None:
        return text
    options = dict(GIVEN_AS)
    for name, kind in get_type_hints(command, include_extras=True).items():
        for about in getattr(kind, "__metadata__", ()):
            if isinstance(about, OptionInfo):
                # Within Annotated, the first name stands where the default would.
                names = [one for one in (about.default, *(about.param_decls or ())) if isinstance(one, str)]
                options[name] = next((one for one in names if one.startswith("--")), _dashed(name))
            elif isinstance(about, ArgumentInfo):
                options[name] = ""
    option = options.get(begun[1])
    if option is None:
        return text
    rest = text[begun.end() :]
    return f"{option}{begun[2] if option and begun[2] == ': ' else ' '}{rest}".lstrip()


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def plain(text: str) -> str:
    """Text from a file or a path as it may be printed: no markup of rich's, and no command to the terminal."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def fail(text: str) -> None:
    """Prints an error and ends the command with exit code 1."""
    err.print(f"[bold red]error:[/] {plain(text)}", soft_wrap=True)
    raise typer.Exit(1)


def note(text: str) -> None:
    """Prints something worth knowing, on stderr so that pipes stay clean."""
    err.print(f"[yellow]note:[/] {plain(text)}", soft_wrap=True)


def opened(path: Path, set_name: str | None = None) -> Run:
    """The run at `path`; several sets and none named is an error that lists them.

    Raises:
        FileNotFoundError: If it is not there.
        CurvewatchError: If it is no run file.
    """
    return open_run(path, set_name)


@contextmanager
def noted_warnings() -> Iterator[None]:
    """Prints warnings as notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        note(text)


@contextmanager
def saying() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each thing that is done; yields `say(what, done, of)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def say(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield say


@contextmanager
def progressing(what: str) -> Iterator[Progressing]:
    """A progress bar on stderr, if that is a terminal; yields `update(done, of)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield update
