"""How much the frequency of a token's context says, by how the context is taken: order of n-grams, length of window.

Source: Chang, Tu & Bergen (2024). Each order and window gives a context log-probability of its own, which is not
clipped; with it alone each measure is regressed, and its direction is looked at beside that of all other predictors.
Suffix: N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.frames import need
from curvewatch.analysis.predict.design import TARGET, Design, TooFewTokensError, moments_of
from curvewatch.analysis.predict.effects import slope_beyond
from curvewatch.analysis.predict.predictors import Predictors
from curvewatch.analysis.predict.solving import fit
from curvewatch.analysis.predict.targets import Targets
from curvewatch.corpus import NgramSurprisals
from curvewatch.corpus.context import context_log_probability, every_position
from curvewatch.errors import TokenSetMismatchError
from curvewatch.tokens.tokenset import TokenSet

Float64 = NDArray[np.float64]
ORDERS = (1, 2, 3, 4, 5)
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTEXT, FREQUENCY = "context_logprob", "unigram"
WAYS = ("with all predictors", "alone", "beyond frequency")
EXPECTED = {"surprisal": "+"}
"""Of the slope; "-" for every other measure: a frequent context goes with stable, early learning."""


@dataclass(frozen=True)
class Swept:
    """One measure on the log-probability of one kind of context.

    Attributes:
        target: The measure, by the paper's name.
        order: Of the n-grams.
        window: Tokens before the target that are its context.
        adjusted_r2: With this context alone.
        slopes: Of the context, by `WAYS`, measure for each bit a token; NaN where there is none.
        n: Tokens.
    """

    target: str
    order: int
    window: int
    adjusted_r2: float
    slopes: Mapping[str, float]
    n: int

    @property
    def signed_r2(self) -> float:
        """Adjusted R2, with a minus where the slope alone is below 0."""
        return -self.adjusted_r2 if self.slopes["alone"] < 0 else self.adjusted_r2

    @property
    def unexpected(self) -> tuple[str, ...]:
        """The ways of asking in which the slope has not the expected direction."""
        expected = EXPECTED.get(self.target, "-")
        return tuple(
            way for way, slope in self.slopes.items() if np.isfinite(slope) and ("+" if slope >= 0 else "-") != expected
        )


def contexts_of(
    tokens: TokenSet,
    ngrams: NgramSurprisals,
    every: NgramSurprisals | None = None,
    *,
    orders: Sequence[int] = ORDERS,
    windows: Sequence[int] = WINDOWS,
) -> dict[tuple[int, int], Float64]:
    """Context log-probability of each scored token by (order, window), for each window that the order fits into.

    Args:
        tokens: The set.
        ngrams: N-gram surprisals of it, for order 1.
        every: Of every position of its sequences (`curvewatch ngrams --every-position`); None: order 1 alone.
        orders: Of n-grams; those that `every` lacks are left out.
        windows: Tokens.

    Raises:
        TokenSetMismatchError: If one is of another set.
    """
    ngrams.check_set(tokens, "ngrams")
    found = {}
    all_positions, place_N = tokens, np.arange(len(tokens))
    if every is not None:
        all_positions = every_position(tokens)
        if every.set_hash != all_positions.hash:
            raise TokenSetMismatchError(
                f"sweep_ngrams: it holds the n-gram surprisals of token set {every.set_hash} ({every.n_tokens:,} "
                f"tokens); of every position of these sequences there are {len(all_positions):,}. Count them with: "
                "curvewatch ngrams --every-position."
            )
        # Of each sequence all positions but the first.
        place_N = tokens.starts[tokens.sequence_index] - tokens.sequence_index + tokens.position - 1
    for order in orders:
        if order > 1 and (every is None or order > every.n_max):
            continue
        for window in windows:
            if window < order:
                continue
            if order == 1 or every is None:
                found[order, window] = context_log_probability(tokens, ngrams, order=1, window=window)
            else:
                of_all = context_log_probability(all_positions, every, order=order, window=window)
                found[order, window] = of_all[place_N]
    return found


def context_sweep(
    predictors: Predictors,
    targets: Targets,
    contexts: Mapping[tuple[int, int], Float64],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Swept]:
    """Every target on every kind of context.

    Args:
        predictors: Of the tokens; the context's own log-probability among them is replaced by each of `contexts`.
        targets: What is predicted.
        contexts: By order and window a value a token, [N]; see `contexts_of`.
        progress: Called with the regressions done and in all.

    Raises:
        ValueError: If a target has fewer tokens than the model has columns.
    """
    values, codes = predictors.coded()
    others = {name: of_N for name, of_N in predictors.numbers.items() if name != CONTEXT}
    orders = sorted({order for order, _ in contexts})
    known_N: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(one) for one in others.values()])
    known_N &= np.logical_and.reduce([np.isfinite(one) for one in contexts.values()])
    found: list[Swept] = []
    n_fits = len(targets.values) * len(contexts)
    for target, target_N in targets.values.items():
        use_N = known_N & np.isfinite(target_N)
        if not use_N.any():
            continue
        for order in orders:
            # All windows of an order are columns of one design: one pass over the tokens for all.
            mine = {f"{CONTEXT} {window}": one for (of, window), one in contexts.items() if of == order}
            numbers = {**others, **mine}
            design = Design(tuple(numbers), values, ())
            classes = [column for name in values for column in design.of_class(name)]
            if int(use_N.sum()) <= len(others) + len(classes) + 2:
                raise TooFewTokensError(
                    f"{target}: {int(use_N.sum()):,} tokens have a value of it, too few for the sweep."
                )
            moments = moments_of(design, numbers, codes, target_N, use_N, np.zeros(len(use_N), np.int64))
            for name in mine:
                alone = fit(moments, [name])
                slopes = [fit(moments, [*others, *classes, name]).of(name), alone.of(name)]
                if FREQUENCY in others:
                    scale = moments.sd[TARGET] / (moments.sd[name] or np.nan)
                    slopes.append(slope_beyond(moments, name, FREQUENCY) * scale)
                found.append(
                    Swept(target, order, int(name.split()[-1]), alone.adjusted_r2,
                          dict(zip(WAYS, slopes, strict=False)), moments.n)
                )  # fmt: skip
                if progress is not None:
                    progress(len(found), n_fits)
    return found


def table_of_sweep(swept: Sequence[Swept]) -> Any:
    """A pandas DataFrame: by target, order, window the adjusted R2, its sign the slope's; signs; what is unexpected."""
    pandas = need("pandas", "predict")
    rows = [
        {"target": one.target, "order": one.order, "window": one.window,
         "adjusted_r2": one.adjusted_r2, "signed_r2": one.signed_r2,
         "signs": "".join("+" if slope >= 0 else "-" for slope in one.slopes.values() if np.isfinite(slope)),
         "unexpected": ", ".join(one.unexpected), "tokens": one.n}
        for one in swept
    ]  # fmt: skip
    return pandas.DataFrame(rows).set_index(["target", "order", "window"]) if rows else pandas.DataFrame()
