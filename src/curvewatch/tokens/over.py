"""Which values of labels are over-represented among some tokens, corrected for looking at many. Suffix: N tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from curvewatch.tokens.labels import Label

ERROR = 0.01
"""The chance of naming any value at all where the tokens are a random draw."""
LEAST = 5


@dataclass(frozen=True)
class Over:
    """A value of a label that more of the tokens have than chance would give them.

    Attributes:
        label: Its name.
        value: The value.
        count: Of those tokens.
        ratio: How many times as many as in a random draw of as many tokens.
    """

    label: str
    value: str
    count: int
    ratio: float

    def __str__(self) -> str:
        return f"{self.label} {self.value!r} x{self.ratio:.1f} ({self.count:,})"


def over_represented(labels: Mapping[str, Label], chosen_n: NDArray[np.integer], n_tokens: int) -> list[Over]:
    """The values that are over-represented among some tokens, the largest ratio first.

    The count of a value in a random draw is hypergeometric; it is judged by its normal approximation, at an error of
    1 % over all values together (Bonferroni), and only where five are found.

    Args:
        labels: By name.
        chosen_n: Indices of the tokens.
        n_tokens: N.
    """
    n, found = len(chosen_n), []
    tried = sum(len(label.values) for label in labels.values())
    if not n or not tried or n_tokens < 2:
        return []
    limit = NormalDist().inv_cdf(1 - ERROR / tried)
    for name, label in labels.items():
        codes_n = label.codes[chosen_n]
        counts = np.bincount(codes_n[codes_n >= 0], minlength=len(label.values))
        for value, size, count in zip(label.values, label.sizes.tolist(), counts.tolist(), strict=True):
            expected = n * size / n_tokens
            variance = expected * (1 - size / n_tokens) * (n_tokens - n) / (n_tokens - 1)
            if count < LEAST or variance <= 0:
                continue
            # Half a token less, since counts are whole.
            if (count - 0.5 - expected) / np.sqrt(variance) > limit:
                found.append(Over(name, value, int(count), float(count / expected)))
    return sorted(found, key=lambda one: -one.ratio)
