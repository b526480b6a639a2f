"""Writes the folder: figures, tables, `paper.md`, and the settings."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.compare import check_comparable
from curvewatch.analysis.earlier import earlier_names
from curvewatch.analysis.figures import save_figure
from curvewatch.analysis.findings import Say, about
from curvewatch.analysis.paper.document import document
from curvewatch.analysis.paper.items import Item
from curvewatch.analysis.paper.making import Making
from curvewatch.analysis.predict.design import TooFewTokensError
from curvewatch.analysis.predict.prediction import Prediction, predict
from curvewatch.corpus import NgramSurprisals
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.measures import MeasureTable, MeasureWarning
from curvewatch.runfile.reader import Reader
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.tokenset import TokenSet

FORMATS = ("pdf", "png")
INDEX, RECORD = "paper.md", "paper.json"


def write_paper(
    runs: Sequence[Reader],
    folder: str | os.PathLike[str],
    ngrams: NgramSurprisals | None = None,
    diversity: ContextualDiversity | None = None,
    *,
    tokens: TokenSet | None = None,
    sweep_ngrams: NgramSurprisals | None = None,
    paper: bool = True,
    examples: Sequence[int] | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Writes every figure and table of the paper that the runs allow to `folder`, made if need be.

    `paper.md` holds them all in order, with what each was made from, and what could not be made and why; each figure
    is a PDF and a PNG, each table a CSV; `paper.json` holds the settings.

    Args:
        runs: Of one token set, best of several seeds.
        folder: Where to. Files of an earlier call that are not made this time are removed.
        ngrams: N-gram surprisals of the set (`curvewatch ngrams`). Without, there are curves and the dataset map only.
        diversity: Contextual diversity (`curvewatch diversity`).
        tokens: The runs' token set with labels that they lack ("pos", "pos_bilu"); None takes the first run's.
        sweep_ngrams: For the sweep over contexts: n-gram surprisals of every position (`curvewatch ngrams
            --every-position`). Without, it is of single tokens' frequency only.
        paper: The released code's values of the measures; else curvewatch's own.
        examples: Tokens whose curves are drawn; None chooses some by the measures.
        say: Called with what is being done, how much of it is done, and how much there is.

    Returns:
        The files, `paper.md` first.

    Raises:
        TokenSetMismatchError: If runs and n-grams are not of one token set.
        ValueError: If there is diversity without n-grams, too few tokens, or an example that is no token.
        ImportError: Without matplotlib or pandas.
    """
    if not runs:
        raise ValueError("runs: none is given.")
    if diversity is not None and ngrams is None:
        raise ValueError("diversity: it predicts beside n-grams. Give ngrams=, too.")
    if ngrams is not None:
        ngrams.check_set(runs[0].tokens, "ngrams")
    if len(runs) > 1:
        check_comparable(runs)
    outside = [i for i in examples or () if not 0 <= i < runs[0].n_tokens]
    if outside:
        raise ValueError(f"examples: there is no token {outside[0]}; indices lie from 0 to {runs[0].n_tokens - 1}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeasureWarning)  # they stand in `paper.md`
        tables = [measures_of(run, paper=paper, progress=about(say, f"{run.path.stem}: measuring")) for run in runs]
    prediction, why = None, ""
    if ngrams is not None:
        prediction, why = _predicted(
            runs, ngrams, diversity, tokens=tokens, paper=paper, progress=about(say, "measuring"), stage=say,
            sweep=True, sweep_ngrams=sweep_ngrams,
        )  # fmt: skip
    making = Making(runs, tables, prediction, diversity, examples, why or "n-grams were not given")
    items = making.items()
    settings = _settings(runs, prediction, making)
    return _write(Path(folder), items, settings, making.missing, prediction)


def _predicted(runs: Sequence[Reader], *given: Any, **settings: Any) -> tuple[Prediction | None, str]:
    """What predicts, or why nothing can be said of it."""
    if not set.intersection(*(set(run.steps.tolist()) for run in runs)):
        return None, "no step was scored in every run"
    try:
        return predict(runs, *given, **settings), ""
    except TooFewTokensError as error:
        return None, str(error)


def _settings(runs: Sequence[Reader], prediction: Prediction | None, making: Making) -> dict[str, str]:
    info, tokens = making.tables[0].info, runs[0].tokens
    found = {
        "tokens": f"{len(tokens):,} in {tokens.n_sequences:,} sequences, set {tokens.hash[:12]}",
        "runs": ", ".join(run.path.stem for run in runs),
        "rows": "; ".join(_rows(run, table) for run, table in zip(runs, making.tables, strict=True)),
        "measures": "those of the released code" if info.paper else "curvewatch's own definitions",
        "last quarter": making.window if making.paper else f"{making.window} ({info.window_rows} rows)",
        "chance": f"{runs[0].chance:.3f} bits",
    }
    if prediction is not None:
        about = prediction.predictors.settings
        found["corpus of the n-grams"] = f"{about['corpus_tokens']:,} tokens, n up to {about['n_max']}"
        found |= {f"{name} left out": why for name, why in prediction.predictors.left_out.items()}
        for target, reasons in prediction.targets.left_out.items():
            found |= {f"{target}: {reason}": f"{n:,} tokens" for reason, n in reasons.items()}
    found |= {f"note {k}": text for k, text in enumerate(_notes(runs, prediction, making), 1)}
    return found


def _rows(run: Reader, table: MeasureTable) -> str:
    info = table.info
    if info.first_step is None or info.last_step is None:
        return f"{run.path.stem} none"
    return f"{run.path.stem} {info.n_steps:,}, steps {info.first_step:,.0f} to {info.last_step:,.0f}"


def _notes(runs: Sequence[Reader], prediction: Prediction | None, making: Making) -> list[str]:
    """What to know before reading, of every run."""
    found = []
    for run, table in zip(runs, making.tables, strict=True):
        last, planned = table.info.last_step, run.max_steps
        if last is not None and planned and last < planned:
            found.append(f"{run.path.stem} stands at step {last:,.0f} of {planned:,}: all its values are provisional")
        found += [f"{run.path.stem}: {text}" for text in table.info.warnings]
    told = prediction.targets.notes if prediction is not None else ()
    return [*found, *(text for text in told if not any(text in one for one in found))]


def _write(
    folder: Path,
    items: Sequence[Item],
    settings: dict[str, str],
    missing: dict[str, str],
    prediction: Prediction | None,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    earlier = earlier_names(folder / RECORD, "files")
    index = folder / INDEX
    index.unlink(missing_ok=True)  # which would speak of other figures, if this is stopped half way
    paths = []
    for item in items:
        if item.figure is not None:
            for ending in FORMATS:
                paths.append(folder / f"{item.name}.{ending}")
                save_figure(item.figure, paths[-1])
        for k, table in enumerate(item.tables.values()):
            paths.append(folder / (f"{item.name}.csv" if k == 0 else f"{item.name}_{k + 1}.csv"))
            with replacing(paths[-1]) as file:
                file.write(table.to_csv().encode())
    words = prediction.in_words() if prediction is not None else ""
    with replacing(index) as file:
        file.write(document(items, settings, missing, words).encode())
    record = {
        "settings": settings,
        "missing": missing,
        "files": [path.name for path in paths],
        "items": [
            {"name": item.name, "title": item.title, "released": item.released, "caption": item.caption,
             "ours": item.ours} for item in items
        ],
    }  # fmt: skip
    with replacing(folder / RECORD) as file:
        file.write(json.dumps(record, indent=1).encode())
    for name in earlier - {path.name for path in paths}:
        (folder / name).unlink(missing_ok=True)
    return [index, folder / RECORD, *paths]
