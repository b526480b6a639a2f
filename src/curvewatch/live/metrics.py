"""What is logged at one observation: numbers, and histograms with their bins already made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 64


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width; values beyond the ends are counted in the end bins.

    Attributes:
        counts: Shape [BINS].
        edges: Shape [BINS + 1].
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.floating], low: float, high: float) -> Histogram:
        """The histogram of the finite `values` from `low` to `high`."""
        finite = values[np.isfinite(values)]
        counts, edges = np.histogram(np.clip(finite, low, high), BINS, (low, high))
        return cls(counts.astype(np.int64), edges)


@dataclass(frozen=True)
class Table:
    """Rows of numbers and text, for trackers that show tables.

    Attributes:
        columns: Names.
        rows: One sequence a row, as long as `columns`.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Lines:
    """Curves over one axis, for trackers that draw charts.

    Attributes:
        title: Of the chart.
        x_name: Of the axis.
        x: Common to all curves.
        ys: One sequence a curve, as long as `x`.
        names: One a curve.
    """

    title: str
    x_name: str
    x: Sequence[float]
    ys: Sequence[Sequence[float]]
    names: Sequence[str]


@dataclass(frozen=True)
class Metrics:
    """What is logged at one observation.

    Attributes:
        scalars: By key; those without a value yet (no token acquired, say) are left out.
        histograms: By key.
        tables: Tables and charts by key; rarely any.
    """

    scalars: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    tables: dict[str, Table | Lines] = field(default_factory=dict)

    def prefixed(self, prefix: str) -> Metrics:
        """The same with `prefix/` before each key."""
        return Metrics(
            {f"{prefix}/{key}": one for key, one in self.scalars.items()},
            {f"{prefix}/{key}": one for key, one in self.histograms.items()},
            {f"{prefix}/{key}": one for key, one in self.tables.items()},
        )

    def __bool__(self) -> bool:
        return bool(self.scalars or self.histograms or self.tables)

    def add(self, other: Metrics) -> None:
        """Takes in another's values; its own of the same key give way."""
        self.scalars.update(other.scalars)
        self.histograms.update(other.histograms)
        self.tables.update(other.tables)


def plain(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite values as plain Python numbers: hosts put what they are given into JSON."""
    return {key: float(value) for key, value in values.items() if isfinite(value)}
