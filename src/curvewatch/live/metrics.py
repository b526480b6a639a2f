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
        return cls.of_sorted(sorted_finite(values), low, high)

    @classmethod
    def of_sorted(cls, sorted_n: NDArray[np.floating], low: float, high: float) -> Histogram:
        """The same of values that are finite and in order."""
        edges = np.linspace(low, high, BINS + 1)
        inner = edges[1:-1].astype(sorted_n.dtype)
        # The same values are below an edge and below the next number of their own precision.
        inner = np.where(inner < edges[1:-1], np.nextafter(inner, inner.dtype.type(np.inf)), inner)
        below = np.searchsorted(sorted_n, inner)
        return cls(np.diff(below, prepend=0, append=sorted_n.size).astype(np.int64), edges)

    @classmethod
    def of_counts(cls, counts: Mapping[float, int], low: float, high: float) -> Histogram:
        """The same of values that are given with how often they occur."""
        edges = np.linspace(low, high, BINS + 1)
        places = np.searchsorted(edges[1:-1], np.array(list(counts), np.float64), side="right")
        numbers = np.zeros(BINS, np.int64)
        np.add.at(numbers, places, np.array(list(counts.values()), np.int64))
        return cls(numbers, edges)


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


def sorted_finite(values_N: NDArray[np.floating]) -> NDArray[Any]:
    """The finite values in order, as an array of their own."""
    sorted_N = np.sort(values_N)  # infinities go to the ends, NaN behind them
    infinity = sorted_N.dtype.type(np.inf)
    return sorted_N[np.searchsorted(sorted_N, -infinity, side="right") : np.searchsorted(sorted_N, infinity)]


def percentile(sorted_n: NDArray[np.floating], percent: float) -> float:
    """The percentile of sorted values, between neighbours by their distance; NaN of none."""
    if not sorted_n.size:
        return float("nan")
    place = percent / 100 * (sorted_n.size - 1)
    below = int(place)
    low, high = sorted_n[below], sorted_n[min(below + 1, sorted_n.size - 1)]
    return float(low + (high - low) * (place - below))


def median_of_counts(counts: Mapping[int, int]) -> float:
    """The median of numbers that are given, in order, with how often they occur; NaN of none."""
    if not counts:
        return float("nan")
    numbers, up_to = np.array(list(counts)), np.cumsum(list(counts.values()))
    middle = np.array([up_to[-1] - 1, up_to[-1]]) // 2
    return float(numbers[np.searchsorted(up_to, middle, side="right")].mean())


def mean(values_N: NDArray[Any]) -> float:
    """The mean of the finite values; NaN of none."""
    total = values_N.mean(dtype=np.float64) if values_N.size else np.nan
    if not isfinite(total):
        finite_n = values_N[np.isfinite(values_N)]
        total = finite_n.mean(dtype=np.float64) if finite_n.size else np.nan
    return float(total)
