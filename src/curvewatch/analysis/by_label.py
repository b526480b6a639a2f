"""Mean surprisal and accuracy of the tokens with each value of a label, step by step.

Suffixes: T rows, V values, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.moment import Moment
from curvewatch.analysis.select import label_named
from curvewatch.analysis.summary import BLOCK_VALUES
from curvewatch.tokens.labels import Label

MOST_LINES = 10
"""Values that a chart has room for: those with most tokens."""


@dataclass(frozen=True)
class LabelCurves:
    """The values of a label with most tokens, in the label's order.

    Attributes:
        name: Of the label.
        values: V texts.
        sizes_V: Tokens with each.
        left_out: How many values there are besides.
        mean_TV: Mean surprisal of their finite tokens, bits; NaN where none is finite.
        accuracy_TV: Share of their tokens that were the model's first choice.
    """

    name: str
    values: tuple[str, ...]
    sizes_V: NDArray[np.int64]
    left_out: int
    mean_TV: NDArray[np.float64]
    accuracy_TV: NDArray[np.float64]


def label_curves(moment: Moment, names: list[str]) -> list[LabelCurves]:
    """The curves of some labels, from one pass over the rows.

    Args:
        moment: Whose rows.
        names: Of the labels.

    Raises:
        ValueError: If there is no such label.
    """
    tokens = moment.run.tokens
    labels = [label_named(tokens, name) for name in names]
    chosen = [_largest(label) for label in labels]
    t, n_tokens = moment.surprisal.shape
    means = [np.full((t, len(values)), np.nan) for values in chosen]
    shares = [np.zeros((t, len(values))) for values in chosen]
    codes = [_codes(label, values) for label, values in zip(labels, chosen, strict=True)]
    block = max(1, BLOCK_VALUES // max(n_tokens, 1))
    for start in range(0, t, block):
        surprisal_bN = moment.surprisal[start : start + block]
        correct_bN = moment.correct[start : start + block]
        for r, y_N in enumerate(surprisal_bN, start=start):
            finite_N = np.isfinite(y_N)
            for mean_TV, share_TV, code_N in zip(means, shares, codes, strict=True):
                n = mean_TV.shape[1] + 1
                sums = np.bincount(code_N[finite_N], y_N[finite_N], n)[:-1]
                counts = np.bincount(code_N[finite_N], minlength=n)[:-1]
                np.divide(sums, counts, out=mean_TV[r], where=counts > 0)
                right = np.bincount(code_N[correct_bN[r - start]], minlength=n)[:-1]
                share_TV[r] = right / np.bincount(code_N, minlength=n)[:-1]
    return [
        LabelCurves(
            name,
            tuple(label.values[v] for v in values),
            label.sizes[values],
            len(label.values) - len(values),
            mean_TV,
            share_TV,
        )
        for name, label, values, mean_TV, share_TV in zip(names, labels, chosen, means, shares, strict=True)
    ]


def _largest(label: Label) -> NDArray[np.intp]:
    order = np.argsort(-label.sizes, kind="stable")
    return np.sort(order[label.sizes[order] > 0][:MOST_LINES])


def _codes(label: Label, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index into the chosen values; one behind them for all other tokens."""
    rank = np.full(len(label.values) + 1, len(chosen), np.intp)
    rank[chosen] = np.arange(len(chosen))
    rank[-1] = len(chosen)
    found: NDArray[np.intp] = rank[label.codes]
    return found
