"""The table of measures: one array a column, one row a token, and what one must know to read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.acquisition import ACQUISITION_STATUS

TOP1_STATUS = ("never_learned", "unforgettable", "forgotten", "unknown")
CATEGORIES = {"acquisition_status": ACQUISITION_STATUS, "top1_status": TOP1_STATUS}

UNITS = {
    "final_surprisal": "bit",
    "within_run_variability": "bit",
    "age_of_acquisition": "log10(step)",
    "acquisition_status": "",
    "acquisition_threshold": "bit",
    "min_surprisal": "bit",
    "forgettability": "bit",
    "forgetting_events_top1": "events",
    "forgetting_events_threshold": "events",
    "first_learned_step": "step",
    "top1_status": "",
    "smoothing_lambda": "",
    "window_rows": "rows",
}


@dataclass(frozen=True)
class MeasureInfo:
    """What a table of measures was made from, and how.

    Attributes:
        n_steps: Scored steps in all.
        n_fitted_steps: Scored steps after step 0, those that the smoothed curves are fitted to.
        first_step: First scored step; None without any.
        last_step: Last scored step; None without any.
        max_steps: Length of training that the final window is counted back from; None without any scored step.
        max_steps_planned: Whether it was given. If not, it is the last scored step.
        window_rows: Scored steps in the last quarter of training.
        opportunities: Successive pairs of observations: the most top-1 forgetting events a token can have.
        chance: Surprisal of a uniform guess, bits; NaN where each column has its own.
        margin: Hysteresis of the threshold events, bits.
        paper: Whether the values are those of the paper's released code.
        precision: "float32" or "float64".
        warnings: What the reader should know before trusting a column.
    """

    n_steps: int
    n_fitted_steps: int
    first_step: float | None
    last_step: float | None
    max_steps: float | None
    max_steps_planned: bool
    window_rows: int
    opportunities: int
    chance: float
    margin: float
    paper: bool
    precision: str
    warnings: tuple[str, ...] = ()


class MeasureTable(Mapping[str, NDArray[Any]]):
    """One row a token, one column a measure: `table["age_of_acquisition"]` is an array of shape [N].

    A value that can't be had is NaN, never a stand-in. The columns `acquisition_status` and `top1_status` are kept as
    one byte a token (`codes`) and read as words: `table["acquisition_status"] == "learned"`.

    Attributes:
        info: What the table was made from, and how.
        units: Unit of each column.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], info: MeasureInfo) -> None:
        """Takes the columns as they are, the categorical ones as codes."""
        self._columns = dict(columns)
        self.info = info
        self.units = {name: UNITS[name] for name in self._columns}

    @property
    def n_tokens(self) -> int:
        """N."""
        return int(self._columns["final_surprisal"].size)

    def codes(self, name: str) -> NDArray[np.int8]:
        """Returns a categorical column as indices into `CATEGORIES[name]`."""
        if name not in CATEGORIES:
            raise KeyError(f"{name!r} is not categorical; those are {', '.join(CATEGORIES)}.")
        return self._columns[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._columns[name]
        return np.array(CATEGORIES[name])[column] if name in CATEGORIES else column

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        status = np.bincount(self._columns["acquisition_status"], minlength=len(ACQUISITION_STATUS))
        counts = ", ".join(f"{n} {name}" for name, n in zip(ACQUISITION_STATUS, status, strict=True))
        return f"<MeasureTable: {self.n_tokens} tokens ({counts}), {self.info.n_steps} scored steps>"

    def to_pandas(self) -> Any:
        """Returns a pandas DataFrame, the status columns as Categorical; `info` and `units` are in its `attrs`."""
        import pandas as pd

        data = {
            name: pd.Categorical.from_codes(column, categories=list(CATEGORIES[name])) if name in CATEGORIES else column
            for name, column in self._columns.items()
        }
        frame = pd.DataFrame(data, index=pd.RangeIndex(self.n_tokens, name="token"))
        frame.attrs.update(vars(self.info), units=self.units)
        return frame
