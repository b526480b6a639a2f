"""The commands of what predicts learning: predict, and diversity, which it takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from curvewatch.cli.common import (
    Paper,
    RunPaths,
    SetName,
    guarded,
    note,
    noted_warnings,
    opened,
    out,
    plain,
    progressing,
    saying,
)
from curvewatch.cli.look import print_table
from curvewatch.cli.outputs import check_folder, check_npz, output_option
from curvewatch.cli.predictors import Diversity, Pos, counted_for, tagged

TITLES = {
    "predictors": "Predictors",
    "models": "Models that grow by a predictor",
    "directions": "Directions: with all predictors, alone, alone beyond frequency",
    "effects": "Effects: SDs of the measure for each SD of the predictor, others held",
    "correlations": "Correlations of the predictors",
    "measures": "Correlations of the measures: a point a token of each run, or a token; ages as they are regressed",
    "across_runs": "Correlations of the measures between runs",
    "reliability": "Reliability of variability across runs",
    "same_token": "How many tokens of another run have a curve nearer than the token's own",
    "ngram_peaks": "When surprisal is most like an n-gram model's",
    "context_sweep": "Adjusted R2 of each measure on its context's log-probability alone, by order and window; a minus "
    "is the slope's, a ! a slope of another direction than expected",
}

NOT_PRINTED = ("class_effects",)
"""The tables of classes have their effects; the intervals stand in the files."""


@guarded
def predict(
    files: RunPaths,
    ngrams: Annotated[Path, typer.Option("--ngrams", help="Written by curvewatch ngrams.", show_default=False)],
    diversity: Diversity = None,
    pos: Pos = None,
    extra: Annotated[
        Path | None,
        typer.Option(
            "--extra",
            help="A .csv or .parquet file: a column a predictor; a row a token, in order or by a column token.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="A label that predicts, too. May be repeated.")
    ] = None,
    output: Annotated[
        Path | None,
        output_option("Folder for tables (CSV, JSON) and figures."),
    ] = None,
    context_sweep: Annotated[
        bool,
        typer.Option("--context-sweep", help="Also the context's frequency in windows of 1 to 128 tokens."),
    ] = False,
    sweep_ngrams: Annotated[
        Path | None,
        typer.Option(
            "--sweep-ngrams",
            help="For that sweep, of 1 to 5-grams: written by curvewatch ngrams --every-position.",
            show_default=False,
        ),
    ] = None,
    drop_censored: Annotated[
        bool, typer.Option("--drop-censored", help="Age: leave out tokens known before the first step.")
    ] = False,
    set_name: SetName = None,
    paper: Paper = False,
) -> None:
    """What predicts when a token is learned, how stable that is, and what is forgotten; several runs are averaged."""
    from curvewatch.analysis.predict import predict as regress
    from curvewatch.analysis.predict.drawing import save_figures
    from curvewatch.analysis.predict.predictors import CLASSES

    check_folder(output)
    runs = [opened(file, set_name) for file in files]
    given = counted_for(runs, ngrams, diversity, sweep_ngrams)
    assert given.ngrams is not None
    tokens = tagged(runs[0].tokens, pos)
    for name in labels or ():
        if name in CLASSES:
            raise typer.BadParameter(
                f"{name}: this label is a predictor wherever the runs have it; leave it out.", param_hint="--label"
            )
        if name not in tokens.labels:
            known = ", ".join(one for one in tokens.labels if one not in CLASSES) or "none"
            raise typer.BadParameter(f"{name}: the runs have no such label; there are {known}.", param_hint="--label")
    others: dict[str, Any] = dict.fromkeys(labels or ())
    if extra is not None:
        from curvewatch.cli.label import columns_of

        others |= {name: _numbers(of) for name, of in columns_of(extra, len(tokens), "--extra").items()}
    with saying() as say:
        found = regress(
            runs, given.ngrams, given.diversity, tokens=tokens, extra=others, paper=paper,
            censored="drop" if drop_censored else "keep", progress=partial(say, "measuring"), stage=say,
            sweep=context_sweep, sweep_ngrams=given.every,
        )  # fmt: skip
    out.print(plain(found.in_words()), soft_wrap=True)
    for name, table in found.tables.items():
        if table.empty or name in NOT_PRINTED:
            continue
        out.print(f"\n[bold]{TITLES.get(name, name)}[/]")
        print_table(_swept(table) if name == "context_sweep" else _flat(table), None, verbatim=True)
    for name, why in found.predictors.left_out.items():
        note(f"{name} predicts nothing here: {why}")
    for target, reasons in found.targets.left_out.items():
        for reason, n in reasons.items():
            note(f"{target}: {n:,} tokens {reason}")
    if found.unknown:
        note(f"{found.unknown:,} tokens have no finite value of some predictor, and are left out")
    for remark in found.targets.notes:
        note(remark)
    if output is not None:
        for path in [*found.save(output), *save_figures(found, output)]:
            out.print(str(path), markup=False, soft_wrap=True)


def _numbers(values: Any) -> Any:
    """A column of a file as numbers, where all that it says are numbers; blanks and "nan" are no value."""
    import numpy as np

    texts = ["" if one is None else str(one).strip() for one in values]
    try:
        return np.array([float(one) if one else np.nan for one in texts])
    except ValueError:
        return values


def _swept(table: Any) -> Any:
    """The sweep with a row for each measure and order, a column for each window."""
    # An adjusted R2 below 0 says nothing, and its minus would be taken for the slope's.
    r2 = table["signed_r2"].where(table["adjusted_r2"] > 0, 0.0)
    shown = r2.map("{:.4f}".format) + table["unexpected"].map(lambda ways: " !" if ways else "")
    return _flat(shown.unstack("window").fillna("")).rename(columns=lambda name: str(name))


def _flat(table: Any) -> Any:
    """A table with one index, as terminals print it."""
    if table.index.nlevels == 1:
        return table
    first = table.index.names[0]
    return table.reset_index().set_index(first)


@guarded
def diversity(
    corpus: Annotated[
        Path,
        typer.Option(
            "--corpus",
            "-c",
            help="Training corpus: an .npy array of token ids, a folder saved by datasets, or a text.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        output_option("Ends in .npz."),
    ],
    tokens: Annotated[
        Path, typer.Option("--tokens", "-t", help="Token set, or a run file that watched it.", show_default=False)
    ],
    set_name: SetName = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="For a text file: folder of the model's tokenizer (transformers).", show_default=False),
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Tokens before an occurrence that are its context.")] = 30,
    context_types: Annotated[int, typer.Option(min=1, help="Most frequent types that count as context.")] = 10_000,
    max_tokens: Annotated[
        int, typer.Option(min=0, help="Occurrences to look at, as a sample of the corpus; 0 for all.")
    ] = 100_000_000,
    seed: Annotated[int, typer.Option(min=0, help="For that sample.")] = 0,
    column: Annotated[str, typer.Option(help="Of a dataset: column of token ids.")] = "input_ids",
    split: Annotated[str | None, typer.Option(help="Of a dataset that has several.", show_default="train")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Context types are the lowest ids, as in the release.")
    ] = False,
) -> None:
    """How many different tokens stand shortly before each type of token, anywhere in the training corpus.

    A job that was stopped goes on where it was when it is called again: OUTPUT.part keeps how far it came.
    """
    from curvewatch.cli.ngrams import loaded_tokenizer
    from curvewatch.corpus import contextual_diversity, open_corpus
    from curvewatch.corpus.resuming import Resume
    from curvewatch.corpus.types_seen import FORMAT
    from curvewatch.watch.checkpoints import load_tokens

    check_npz(output, f"a file of {FORMAT}", corpus, tokens)
    token_set = load_tokens(tokens, set_name)
    source = open_corpus(
        corpus, loaded_tokenizer(tokenizer) if tokenizer is not None else None, column=column, split=split
    )
    part = Resume(output.with_name(f"{output.name}.part"))
    if part.path.exists():
        note(f"going on from {part.path}, where an earlier call was stopped")
    with noted_warnings(), progressing("looking") as progress:
        found = contextual_diversity(
            source, token_set, window=window, context_types=context_types, max_tokens=max_tokens or None, seed=seed,
            paper=paper, progress=lambda done, of: progress(done, of or 0), resume=part,
        )  # fmt: skip
    found.save(output)
    part.remove()
    out.print(str(output), markup=False, soft_wrap=True)
    raw_V, share = found.raw_V, float(found.made_by["share"])
    occurring = found.token_counts_V > 0
    note(
        f"{int(occurring.sum()):,} types occur, each behind {raw_V[occurring].mean():,.0f} of {len(found.types_K):,} "
        f"context types on average; {share:.1%} of {int(found.token_counts_V.sum()):,} tokens looked at"
    )
