"""Live: what is shown while the model trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from curvewatch.errors import brief
from curvewatch.measures.kinds.trends import check_scipy
from curvewatch.portable import arrived, leaving

if TYPE_CHECKING:
    from curvewatch.corpus import NgramSurprisals
    from curvewatch.sampling.prompts import Prompts
    from curvewatch.tokens.passages import Passages

PathLike = str | os.PathLike[str]
MOST_WATCHED = 50
MOST_BANDS = 20


@dataclass(frozen=True)
class Live:
    """What is shown live, besides what always is.

    Attributes:
        smoothed: Keep every token's smoothed curve up to date, and log what it says: halfway age of acquisition,
            forgettability, variability, rank correlations with frequency. About 160 bytes a token, and up to
            24 more with n-grams.
        refit_every: Observations from one refit of the smoothed curves to the next; the last one always has
            one. None: one at each of the first 128, then ever more rarely, 64 while their number doubles, since what
            a refit costs grows with the length of the curves.
        token_counts: How often each token id occurs in the training text, for what is shown by frequency. "auto": from
            the n-gram file, else from the batches as they are trained on; "training": from the batches; an array of
            shape [vocabulary], or an `.npy` file of one; None: nothing by frequency.
        bands: Number of frequency bands; 3 are called rare, mid, frequent.
        ngrams: n-gram surprisals of the token set, from `curvewatch ngrams` or `curvewatch.corpus`; by name of the
            set where there are several.
        watched: Tokens whose own curves are drawn: a number of them, chosen from rare to frequent by a fixed seed,
            or their indices. 0 for none.
        table_rows: Rows of the table of the tokens most forgotten; 0 for no table.
        prompts: Texts that the model continues now and then; see `Prompts`.
        reference: The base that a training's changes are held against: "first" (the run's first row), "adapters off"
            (a PEFT model without its adapters), a model, another run's file (its last row), or an array of surprisal,
            bits, shape [N]; a dict by name of the set where there are several. None: none, unless the token set has
            one (`TokenSet.with_reference`).
        kl: Also measure how far the model's predictions have gone from those of the base, which must be a model or
            "adapters off": exact, at the price of a forward pass of the base for each of the model's.
        dropout_passes: Also measure how far each token's surprisal spreads over so many further passes with the model's
            dropout layers switched on, at least 2 (Monte Carlo dropout; each costs as much as the row itself). 0: not.
        trends_from: Also follow the trend of each token's perplexity (Xia et al. 2023) from this step on; None: not.
        exposures: Passages to be found in what is trained on; when each occurred goes into the file.
        batches: Remember what was trained on between two rows, by a fingerprint of each sequence (8 to 24 bytes of the
            file each); a text is the name of the batch's own column of the sequences' numbers, which is kept as well.
        batch_ids: `batch_ids(batch) -> ids`, `(ids, mask)` or `(ids, mask, labels)`: the token ids in a batch, where a
            batch is not a dict with "input_ids".
        report: At the end write the report page beside the run file (`<name>.report.html`) and log it to W&B, if a
            W&B run is active and `curvewatch[analysis]` is installed.
        artifact: At the end log the run file to W&B as an artifact.

    Raises:
        TypeError: If a setting is of the wrong kind.
        ValueError: If one makes no sense.
    """

    smoothed: bool = True
    refit_every: int | None = None
    token_counts: str | PathLike | ArrayLike | None = "auto"
    bands: int = 3
    ngrams: PathLike | NgramSurprisals | Mapping[str, Any] | None = None
    watched: int | Sequence[int] = 12
    table_rows: int = 50
    prompts: Prompts | None = None
    reference: Any = None
    kl: bool = False
    dropout_passes: int = 0
    trends_from: int | None = None
    exposures: Passages | None = None
    batches: bool | str = False
    batch_ids: Callable[[Any], Any] | None = None
    report: bool = True
    artifact: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets."""
        return leaving(self.__dict__, batch_ids="batch_ids")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(arrived(state))

    def __post_init__(self) -> None:
        for name, least, most in (("refit_every", 1, None), ("bands", 2, MOST_BANDS), ("table_rows", 0, 1000)):
            value = getattr(self, name)
            if value is None and name == "refit_every":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}={value!r}: a whole number is expected.")
            if value < least or (most is not None and value > most):
                raise ValueError(f"{name}={value}: from {least} on" + (f" to {most}." if most is not None else "."))
        start = self.trends_from
        if start is not None and (isinstance(start, bool) or not isinstance(start, int) or start < 0):
            raise ValueError(f"trends_from={start!r}: a step is expected, from 0 on, or None.")
        if start is not None:
            check_scipy()
        passes = self.dropout_passes
        if isinstance(passes, bool) or not isinstance(passes, int) or passes == 1 or passes < 0:
            raise ValueError(f"dropout_passes={passes!r}: 2 passes or more have a spread; 0 for none.")
        number = self.watched if isinstance(self.watched, int) else len(self.watched)
        if isinstance(self.watched, (bool, str)) or not 0 <= number <= MOST_WATCHED:
            raise ValueError(
                f"watched={self.watched!r}: at most {MOST_WATCHED} tokens, as a number or as their indices; all curves "
                "are in the run file."
            )
        if self.exposures is not None and not hasattr(self.exposures, "forms"):
            raise TypeError(f"exposures={brief(self.exposures)}: curvewatch.Passages(texts, tokenizer) is expected.")
        if not isinstance(self.batches, (bool, str)):
            raise TypeError(f"batches={brief(self.batches)}: True, False, or the name of a column of the batches.")
        if self.batch_ids is not None and not callable(self.batch_ids):
            raise TypeError(f"batch_ids={self.batch_ids!r}: a function batch_ids(batch) is expected.")
