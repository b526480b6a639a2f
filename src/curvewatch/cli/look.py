"""Commands that look at one run: info, table, show."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from curvewatch.analysis.characters import number, visible
from curvewatch.analysis.run import Run
from curvewatch.analysis.select import parse_words, select
from curvewatch.analysis.sessions import count, part
from curvewatch.cli.common import (
    Paper,
    RunPath,
    SetName,
    guarded,
    note,
    noted_warnings,
    opened,
    out,
    plain,
    progressing,
)
from curvewatch.cli.outputs import output_option

Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        help="min_<measure>=x, max_<measure>=x, status=learned|left_censored|never|unfitted, top1=never_learned|"
        "unforgettable|forgotten, pattern=REGEX, context=TEXT, label.NAME=VALUE. Short names: aoa, forgetting, "
        "variability, surprisal. May be given several times; all must hold.",
        show_default=False,
    ),
]
SHOWN = (
    "target_text",
    "final_surprisal",
    "within_run_variability",
    "age_of_acquisition",
    "acquisition_status",
    "forgettability",
    "forgetting_events_top1",
)
UNIT_SHOWN = ("name", "group", *SHOWN[1:])
TEXTS = ("target_text", "name", "group")
MOST_SHOWN = 30
"""Rows in a terminal, unless more are asked for."""


@guarded
def info(file: RunPath, set_name: SetName = None) -> None:
    """What a run file is, how far it has come, how big it is and what it cost."""
    first = opened(file, set_name) if set_name else None
    runs = [first] if first else [opened(file, name) for name in _sets(file)]
    for run in runs:
        grid = Table.grid(padding=(0, 2))
        for name, value in facts(run):
            grid.add_row(f"[dim]{name}[/]", plain(value))
        named = f" · set {plain(run.set_name)}" if len(run.sets) > 1 else ""
        out.print(f"[bold]{plain(str(file))}[/]{named}", soft_wrap=True)
        out.print(grid)


def facts(run: Run) -> list[tuple[str, str]]:
    """What `info` prints, name and value."""
    steps, planned, tokens = run.steps, run.planned_steps, run.tokens
    size = run.path.stat().st_size
    meaning = [f"label {name}" for name in tokens.labels]
    meaning += [f"{len(tokens.spans.of_kind(kind)):,} spans of kind {kind}" for kind in tokens.spans.kinds]
    if tokens.n_bytes is not None:
        meaning.insert(0, f"{int(tokens.n_bytes.sum(dtype=np.int64)):,} bytes of text")
    rows = [
        ("run", run.run_id),
        ("token set", f"{run.n_tokens:,} tokens in {tokens.n_sequences:,} sequences, hash {run.set_hash[:16]}…"),
        ("chance", f"{run.chance:.3f} bits"),
        ("size", f"{size / 1e6:,.1f} MB"),
    ]
    if tokens.objective != "causal":
        rows.insert(2, ("objective", tokens.objective))
    if meaning:
        rows.insert(-2, ("of its tokens", ", ".join(meaning)))
    if not len(steps):
        rows.append(("observations", "none yet"))
    else:
        last = int(steps[-1])
        to_come = int((planned > last).sum())
        done = f", {last / run.max_steps:.0%} of {run.max_steps:,}" if run.max_steps else ""
        rows.append(("observations", f"{len(steps):,}, steps {steps[0]:,} to {last:,}{done}"))
        rows.append(("still planned", f"{to_come:,} observations" if to_come else "none"))
        y_N, correct_N = run.surprisal[-1], run.correct[-1]
        finite_n = y_N[np.isfinite(y_N)]
        lost = f" ({len(y_N) - len(finite_n):,} not finite)" if len(finite_n) < len(y_N) else ""
        mean = f"{finite_n.mean(dtype=np.float64):.3f} bits" if len(finite_n) else "none"
        rows.append(("surprisal now", f"mean {mean}{lost}, accuracy {correct_N.mean():.1%}"))
        seconds, times = run.seconds, run.time
        rows.append(("scoring", f"{seconds.sum():,.1f} s in all, {seconds.mean():.3g} s an observation"))
        when = [datetime.datetime.fromtimestamp(t).isoformat(" ", "minutes") for t in (times[0], times[-1])]
        rows.append(("scored", f"{when[0]} to {when[1]}"))
    sessions = run.sessions
    if sessions:
        host, model, versions = (part(sessions[-1], name) for name in ("host", "model", "versions"))
        rows.append(("model", _model(model)))
        rows.append(("weights", run.weights))
        rows.append(("trained by", f"{host.get('name', '?')}, {len(sessions)} session{'s' * (len(sessions) > 1)}"))
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or "?"))
    return rows


def _model(model: dict[str, Any]) -> str:
    name, parameters, trainable = (
        model.get("name", ""),
        count(model, "parameters"),
        count(model, "trainable_parameters"),
    )
    text = (f"{name}: " if name else "") + str(model.get("class", "?"))
    if parameters:
        share = f", {trainable / parameters:.1%} of them trained" if trainable not in (None, parameters) else ""
        text += f", {parameters:,} parameters{share}"
    return text


def _sets(file: Path) -> list[str]:
    """Names of the sets, also where there are several and none was named."""
    from curvewatch.runfile.reader import set_names

    return set_names(file)


@guarded
def table(
    file: RunPath,
    output: Annotated[
        Path | None,
        output_option("Write to a .csv or .parquet file."),
    ] = None,
    token: Annotated[str | None, typer.Option(help="Only this token, by its text.", show_default=False)] = None,
    where: Conditions = None,
    sort: Annotated[str | None, typer.Option(help="Order by this measure, largest first.", show_default=False)] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="Smallest first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=0, help="At most so many.")] = None,
    unit: Annotated[
        str, typer.Option("--unit", "-u", help="Rows are spans of this kind (word, answer, ...) instead of tokens.")
    ] = "token",
    by: Annotated[
        str | None,
        typer.Option("--by", help="Rows are the values of this label: means over tokens.", show_default=False),
    ] = None,
    set_name: SetName = None,
    paper: Paper = False,
) -> None:
    """Every measure of every token: a table in the terminal, CSV in a pipe, or a file."""
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise typer.BadParameter(f"{output}: the ending chooses the format; use .csv or .parquet.")
    run = opened(file, set_name)
    conditions = _conditions(where)
    if unit != "token" or by is not None:
        if token is not None or conditions or (by is not None and unit != "token"):
            raise typer.BadParameter("--unit and --by each give rows of their own: no --token, no --where, not both.")
        with noted_warnings():
            frame = run.units(unit).to_pandas(paper=paper) if by is None else run.by_label(by)
        if sort is not None:
            if sort not in frame.columns or not is_number(frame[sort]):
                known = ", ".join(name for name in frame.columns if is_number(frame[name]))
                raise typer.BadParameter(f"{sort}: no such column of numbers. There are {known}.", param_hint="--sort")
            frame = frame.sort_values(sort, ascending=ascending, kind="stable")
        _shown(frame, output, limit, UNIT_SHOWN if by is None else tuple(frame.columns))
        return
    if token is not None:
        conditions["token"] = token
    with noted_warnings(), progressing("measuring") as progress:
        measures = run.measures(paper=paper, progress=progress)
    which = select(run, sort=sort, descending=not ascending, measures=measures, **conditions)
    from curvewatch.analysis.frames import token_frame

    terminal = output is None and sys.stdout.isatty()
    shown = which[: MOST_SHOWN if limit is None and terminal else limit]
    _shown(token_frame(run, measures=measures).iloc[shown], output, limit, SHOWN, len(which))


def is_number(column: Any) -> bool:
    """Whether a column of a frame can be ordered as numbers."""
    return bool(getattr(column.dtype, "kind", "O") in "iufb")


def _shown(
    frame: Any, output: Path | None, limit: int | None, columns: tuple[str, ...], found: int | None = None
) -> None:
    """Prints a frame, or writes it.

    Args:
        frame: The rows.
        output: A file; None for the terminal, or CSV in a pipe.
        limit: At most so many rows; None for all, or what a terminal can take.
        columns: Those that a terminal has room for.
        found: How many rows there are, where the frame has been cut already.
    """
    terminal = output is None and sys.stdout.isatty()
    found = len(frame) if found is None else found
    frame = frame.iloc[: MOST_SHOWN if limit is None and terminal else limit]
    name = frame.index.name or "row"
    if terminal:
        print_table(frame, columns)
        if len(frame) < found:
            note(f"{len(frame)} of {found:,} rows; --limit shows more, -o writes them to a file")
    elif output is None:
        frame.to_csv(sys.stdout)
    elif output.suffix == ".csv":
        frame.to_csv(output)
    else:
        frame.attrs.clear()
        frame.to_parquet(output)
    if output is not None:
        note(f"{len(frame):,} {name}s written to {output}")


def _conditions(where: list[str] | None) -> dict[str, Any]:
    try:
        return parse_words(where or [])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--where") from error


def print_table(frame: Any, shown: tuple[str, ...] | None, *, verbatim: bool = False) -> None:
    """Prints some columns of a frame, or all of them, its index first; `verbatim`, names as they are in files."""
    columns = [name for name in shown if name in frame] if shown is not None else list(frame.columns)
    made = Table(box=None, pad_edge=False, header_style="dim")
    made.add_column(plain(str(frame.index.name or "")), justify="right")
    for name in columns:
        heading = plain(visible(name)) if verbatim else name.replace("_", " ")
        made.add_column(heading, justify="left" if name in TEXTS else "right")
    for index, row in zip(frame.index, frame[columns].itertuples(index=False), strict=True):
        cells = [
            plain(visible(str(v))) if n in TEXTS or (verbatim and isinstance(v, str)) else number(v)
            for n, v in zip(columns, row, strict=True)
        ]
        made.add_row(plain(visible(str(index))), *cells)
    out.print(made)


@guarded
def show(
    file: RunPath,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Text of a token, or its index in the set.")],
    which: Annotated[int, typer.Option("--which", "-k", min=1, help="Which, where the text occurs often.")] = 1,
    where: Conditions = None,
    as_text: Annotated[bool, typer.Option("--text", help="TOKEN is a text, even if it looks like an index.")] = False,
    output: Annotated[
        Path | None,
        output_option("Draw it to .png, .svg or .pdf."),
    ] = None,
    set_name: SetName = None,
) -> None:
    """One token: its context, its curve (raw and smoothed), its measures."""
    if output is not None and output.suffix not in (".png", ".svg", ".pdf"):
        raise typer.BadParameter(f"{output}: the ending chooses the format; use .png, .svg or .pdf.")
    run = opened(file, set_name)
    index, others = _index(run, token, which, _conditions(where), as_text)
    curve = run.curve(index)
    if output is not None:
        from curvewatch.analysis.figures import save_curve

        save_curve(curve, output)
        note(f"drawn to {output}")
        return
    from curvewatch.analysis.characters import drawn

    out.print(drawn(curve, min(out.width, 120), 16), markup=False, soft_wrap=True)
    if others > 1:
        note(f"{which} of {others:,} occurrences; -k {which % others + 1} shows another")


def _index(run: Run, token: str, which: int, conditions: dict[str, Any], as_text: bool) -> tuple[int, int]:
    if token.lstrip("-").isdigit() and not (conditions or as_text):
        return int(token), 1
    found = select(run, token=token, **conditions)
    if not len(found):
        raise ValueError(f"token={token!r}: no scored token of {run.path} has this text and fulfils the conditions.")
    if which > len(found):
        raise ValueError(f"which={which}: there are {len(found):,} such tokens; choose 1 to {len(found):,}.")
    return int(found[which - 1]), len(found)
