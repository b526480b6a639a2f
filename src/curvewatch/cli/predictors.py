"""What several commands take of the training corpus: the files that were counted, and parts of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvewatch.cli.common import progressing

if TYPE_CHECKING:
    from curvewatch.analysis.run import Run
    from curvewatch.corpus import ContextualDiversity, NgramSurprisals
    from curvewatch.tokens.tokenset import TokenSet

Diversity = Annotated[
    Path | None, typer.Option("--diversity", help="Written by curvewatch diversity.", show_default=False)
]
Pos = Annotated[
    str | None,
    typer.Option("--pos", help="Part of speech by this spaCy pipeline, if the runs lack it.", show_default=False),
]


@dataclass(frozen=True)
class Counted:
    """What was counted in the corpus: n-grams of the set, diversity, n-grams of every position of its sequences."""

    ngrams: NgramSurprisals | None
    diversity: ContextualDiversity | None
    every: NgramSurprisals | None


def check_beside(ngrams: Path | None, diversity: Path | None) -> None:
    """Refuses --diversity without --ngrams."""
    if diversity is not None and ngrams is None:
        raise typer.BadParameter("it predicts beside n-grams: give --ngrams, too.", param_hint="--diversity")


def counted_for(runs: Sequence[Run], ngrams: Path | None, diversity: Path | None, every: Path | None = None) -> Counted:
    """Reads the files that were given."""
    from curvewatch.corpus import load_diversity, load_ngrams

    return Counted(
        load_ngrams(ngrams, runs[0].tokens) if ngrams is not None else None,
        load_diversity(diversity) if diversity is not None else None,
        load_ngrams(every) if every is not None else None,
    )


def tagged(tokens: TokenSet, pos: str | None) -> TokenSet:
    """The set with parts of speech by a spaCy pipeline; as it is, where none is named."""
    from curvewatch.corpus import part_of_speech

    if pos is None:
        return tokens
    with progressing("tagging") as progress:
        return part_of_speech(tokens, pos, progress=progress).label(tokens)
