"""The command that says what the tokens of a finished run mean: labels and words, put beside the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curvewatch.cli.common import RunPath, SetName, guarded, note, opened, progressing

INDEX = "token"
"""A column of this name says which token a row is of; without it rows are in the order of the set."""


@guarded
def label(
    file: RunPath,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="A .csv or .parquet file: a column for each label, a row for each token.",
            show_default=False,
        ),
    ] = None,
    regex: Annotated[
        list[str] | None,
        typer.Option(
            "--regex", help="NAME=PATTERN: whether it is found in a token. May be repeated.", show_default=False
        ),
    ] = None,
    kind: Annotated[bool, typer.Option("--kind", help="word, number, punctuation, whitespace, code.")] = False,
    piece: Annotated[bool, typer.Option("--piece", help="First or inner piece of a word.")] = False,
    position: Annotated[bool, typer.Option("--position", help="Ranges of the position in the sequence.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Words between blanks, as spans of kind word.")] = False,
    pos: Annotated[
        str | None,
        typer.Option(
            "--pos", help="Part of speech by this spaCy pipeline: labels pos and pos_bilu.", show_default=False
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", help="Kind of each curve: rho1, trends, or both with a comma.", show_default=False),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="Name of a label, or kind of span.", show_default=False)
    ] = None,
    set_name: SetName = None,
) -> None:
    """Adds labels and words to a run file, or takes them away; no row is touched."""
    run = opened(file, set_name)
    tokens = run.tokens
    for name in remove or ():
        tokens = _without(tokens, name)
    if labels is not None:
        for name, values in columns_of(labels, len(tokens)).items():
            tokens = tokens.label(name, values)
    for word in regex or ():
        name, equals, pattern = word.partition("=")
        if not equals:
            raise typer.BadParameter(
                f"{word}: NAME=PATTERN is expected, for example number=[0-9]+.", param_hint="--regex"
            )
        tokens = tokens.label(name.strip(), pattern)
    for name, wanted in (("kind", kind), ("piece", piece), ("position", position)):
        if wanted:
            tokens = tokens.label(name)
    if words and "word" not in tokens.spans.kinds:
        tokens = tokens.words()
    if pos is not None:
        from curvewatch.corpus import part_of_speech

        with progressing("tagging") as progress:
            tokens = part_of_speech(tokens, pos, progress=progress).label(tokens)
    for name in (one.strip() for one in (kinds or "").split(",") if one.strip()):
        tokens = tokens.label(name, run.kinds(name).names)
    if tokens is run.tokens:
        raise typer.BadParameter(
            "nothing to add: give --labels, --regex, --kind, --piece, --position, --words, --pos or --kinds."
        )
    run.annotate(tokens)
    spans = [f"{len(tokens.spans.of_kind(one)):,} spans of kind {one}" for one in tokens.spans.kinds]
    note(f"{file} has {', '.join([*(f'label {name}' for name in tokens.labels), *spans]) or 'no annotations'}")


def _without(tokens: Any, name: str) -> Any:
    from dataclasses import replace

    import numpy as np

    notes = tokens.annotations
    if name in notes.labels:
        kept = {one: value for one, value in notes.labels.items() if one != name}
        return tokens.with_annotations(replace(notes, labels=kept))
    if name in notes.spans.kinds:
        others = np.array([kind != name for kind in notes.spans.kind], bool)
        return tokens.with_annotations(replace(notes, spans=notes.spans.take(np.flatnonzero(others))))
    known = ", ".join([*notes.labels, *notes.spans.kinds]) or "none at all"
    raise typer.BadParameter(
        f"{name}: no such label, and no spans of that kind; there are {known}.", param_hint="--remove"
    )


def columns_of(path: Path, n_tokens: int, option: str = "--labels") -> dict[str, Any]:
    """The columns of a file, each with a value a token; None where there is none."""
    from curvewatch.analysis.frames import need

    pandas = need("pandas", option)
    if path.suffix not in (".csv", ".parquet"):
        raise typer.BadParameter(f"{path}: the ending says what it is; .csv or .parquet.", param_hint=option)
    if not path.exists():
        raise FileNotFoundError(f"{option} {path}: no such file.")
    try:
        frame = pandas.read_csv(path, keep_default_na=False) if path.suffix == ".csv" else pandas.read_parquet(path)
    except Exception as error:
        # pandas, pyarrow and codecs each have their own words for a file that is not what its ending says.
        raise ValueError(f"{option} {path}: it can't be read as {path.suffix} ({error}).") from error
    if INDEX in frame.columns:
        index = frame.pop(INDEX).to_numpy()
        if sorted(index.tolist()) != list(range(n_tokens)):
            raise ValueError(
                f"{option} {path}: its column {INDEX!r} does not name each of the {n_tokens:,} tokens once, from 0 on."
            )
        frame = frame.iloc[index.argsort()]
    if len(frame) != n_tokens:
        raise ValueError(
            f"{option} {path}: {len(frame):,} rows; the set has {n_tokens:,} scored tokens, and each needs one."
        )
    if not len(frame.columns):
        raise ValueError(f"{option} {path}: it has no column, or none but {INDEX!r}.")
    return {str(name): frame[name].astype(object).where(frame[name].notna(), None).to_numpy() for name in frame.columns}
