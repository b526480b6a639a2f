"""Where two runs of one token set differ, at the same step, after the same tokens, or at the same mean surprisal.

At equal loss (Xia et al. 2023: compare models at the same perplexity) two runs know as much, and what is left says what
they know otherwise. Rows in between are interpolated on the line between two neighbours, so that the point of
comparison is met exactly. Suffixes: T rows, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.compare import check_comparable, run_names
from curvewatch.analysis.frames import need
from curvewatch.analysis.items import right_of
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.select import label_named
from curvewatch.analysis.units import Units
from curvewatch.runfile.reader import Reader

POINTS = ("step", "tokens", "loss")
FAR_BITS = 1.0


@dataclass(frozen=True)
class Point:
    """A place in a run, between two of its rows.

    Attributes:
        row: The row before it (or at it).
        part: Of the way to the next row, 0 to 1.
        step: Of the place.
        tokens_seen: There; NaN if not known.
        surprisal: Mean of all tokens there, bits.
    """

    row: int
    part: float
    step: float
    tokens_seen: float
    surprisal: float


@dataclass(frozen=True)
class Differences:
    """Two runs at one point.

    Attributes:
        names: Of the runs.
        at: "step", "tokens" or "loss".
        points: Of each run.
        surprisal_2N: Of each run there, bits, shape [2, N].
    """

    names: tuple[str, str]
    runs: tuple[Reader, Reader]
    at: str
    points: tuple[Point, Point]
    surprisal_2N: NDArray[np.float64]

    @property
    def difference_N(self) -> NDArray[np.float64]:
        """Surprisal in the second run less that in the first, bits; NaN where either is not finite."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float64] = self.surprisal_2N[1] - self.surprisal_2N[0]
        found[~np.isfinite(found)] = np.nan
        return found

    def __str__(self) -> str:
        where = {"step": "at the same step", "tokens": "after the same tokens", "loss": "at the same mean surprisal"}
        a, b = self.points
        d_N = self.difference_N
        known = np.isfinite(d_N)
        far = float(np.mean(np.abs(d_N[known]) > FAR_BITS)) if known.any() else float("nan")
        r = _correlation(*self.surprisal_2N[:, known])
        return (
            f"{self.names[0]} at step {a.step:,.0f} ({a.surprisal:.3f} bits) and {self.names[1]} at step {b.step:,.0f} "
            f"({b.surprisal:.3f} bits), {where[self.at]}: {far:.1%} of the tokens differ by more than {FAR_BITS:g} "
            f"bit; r = {r:.3f} over tokens"
        )

    def by(self, label: str | None = None) -> Any:
        """A pandas DataFrame: surprisal in both runs, the difference and its standard error, by a label's values.

        The error is that of a mean over sequences, since tokens of one sequence are not independent. Needs
        `curvewatch[analysis]`.

        Args:
            label: Of the token set; None for all tokens.

        Raises:
            ValueError: If there is no such label.
        """
        pandas = need("pandas", "compare")
        tokens = self.runs[0].tokens
        if label is None:
            rows, index = [self._row(np.ones(len(tokens), bool))], pandas.Index(["all tokens"], name="tokens of")
            return pandas.DataFrame(rows, index=index)
        found = label_named(tokens, label)
        kept = {value: found.codes == v for v, value in enumerate(found.values) if found.sizes[v]}
        frame = pandas.DataFrame([self._row(one) for one in kept.values()], index=pandas.Index(list(kept), name=label))
        return frame.sort_values("difference")

    def _row(self, chosen_N: NDArray[np.bool_]) -> dict[str, float]:
        d_N = self.difference_N
        chosen_N = chosen_N & np.isfinite(d_N)
        n = int(np.count_nonzero(chosen_N))
        sequences = self.runs[0].tokens.sequence_index[chosen_N]
        mean = float(d_N[chosen_N].mean()) if n else float("nan")
        return {
            "tokens": n,
            self.names[0]: float(self.surprisal_2N[0, chosen_N].mean()) if n else float("nan"),
            self.names[1]: float(self.surprisal_2N[1, chosen_N].mean()) if n else float("nan"),
            "difference": mean,
            "standard_error": _clustered(d_N[chosen_N] - mean, sequences) if n else float("nan"),
        }

    def items(self) -> Any:
        """A pandas DataFrame: of each kind of pairs or questions, the share right in both, in one alone, in neither."""
        pandas = need("pandas", "compare")
        spans, rows = self.runs[0].tokens.spans, {}
        for kind in spans.kinds:
            units = Units(self.runs[0], kind)
            if not (units.spans.item >= 0).all():
                continue
            right = [right_of(units.items.margin_of(units.spans.sums(bits_N))) == 1 for bits_N in self.surprisal_2N]
            rows[kind] = {
                "items": len(right[0]),
                self.names[0]: float(right[0].mean()),
                self.names[1]: float(right[1].mean()),
                "both": float((right[0] & right[1]).mean()),
                f"only {self.names[0]}": float((right[0] & ~right[1]).mean()),
                f"only {self.names[1]}": float((~right[0] & right[1]).mean()),
            }
        return pandas.DataFrame(list(rows.values()), index=pandas.Index(list(rows), name="kind"))

    def tokens(self) -> Any:
        """A pandas DataFrame: one row a token, with its text, both surprisals and the difference."""
        pandas = need("pandas", "compare")
        tokens = self.runs[0].tokens
        texts = tokens.texts() or {}
        return pandas.DataFrame(
            {"text": [texts.get(int(i), "") for i in tokens.target], self.names[0]: self.surprisal_2N[0],
             self.names[1]: self.surprisal_2N[1], "difference": self.difference_N},
            index=pandas.RangeIndex(len(tokens), name="token"),
        )  # fmt: skip


def differences(first: Reader, second: Reader, *, at: str = "step") -> Differences:
    """Compares two runs of one token set at one point.

    Args:
        first: One run.
        second: The other.
        at: "step": the last step that both reached; "tokens": the most tokens that both saw; "loss": the lowest mean
            surprisal that both reached, where each first reached it.

    Raises:
        ValueError: If there is no such point, or tokens were not counted, or the runs can't be compared.
        TokenSetMismatchError: If their token sets differ.
    """
    if at not in POINTS:
        raise ValueError(f"at={at!r}: one of {', '.join(POINTS)} is expected.")
    check_comparable([first, second])
    moments = [Moment.now(run) for run in (first, second)]
    for moment in moments:
        if not len(moment):
            raise ValueError(f"{moment.run.path}: nothing was scored yet.")
    means = [_means(moment) for moment in moments]
    seen = [moment.run.tokens_seen[: len(moment)] for moment in moments]
    if at == "loss":
        level = max(float(np.nanmin(mean_T)) for mean_T in means)
        places = [_first_at_or_below(mean_T, level) for mean_T in means]
    else:
        axes = [moment.steps_T.astype(float) for moment in moments] if at == "step" else seen
        for moment, axis_T in zip(moments, axes, strict=True):
            if not np.isfinite(axis_T).all():
                raise ValueError(
                    f"at='tokens': {moment.run.path} does not say how many tokens were seen. Count them "
                    "(Live(token_counts='training')), or compare at='step'."
                )
        end = min(float(axis_T[-1]) for axis_T in axes)
        if end < max(float(axis_T[0]) for axis_T in axes):
            raise ValueError(f"at={at!r}: the runs have no stretch in common.")
        places = [_along(axis_T, end) for axis_T in axes]
    names = run_names([first, second])
    points, rows_2N = [], []
    for moment, mean_T, seen_T, (row, part) in zip(moments, means, seen, places, strict=True):
        between = [_between(values_T, row, part) for values_T in (moment.steps_T.astype(float), seen_T, mean_T)]
        points.append(Point(row, part, *(float(one) for one in between)))
        rows_2N.append(_between(moment.surprisal, row, part))
        moment.check()
    return Differences((names[0], names[1]), (first, second), at, (points[0], points[1]), np.stack(rows_2N))


def _means(moment: Moment) -> NDArray[np.float64]:
    means_T = np.full(len(moment), np.nan)
    for t in range(len(moment)):
        bits_N = moment.surprisal[t]
        known = np.isfinite(bits_N)
        if known.any():
            means_T[t] = bits_N[known].mean(dtype=np.float64)
    return means_T


def _along(axis_T: NDArray[np.float64], place: float) -> tuple[int, float]:
    after = int(np.searchsorted(axis_T, place, side="left"))
    if axis_T[after] == place:
        return after, 0.0
    low, high = axis_T[after - 1], axis_T[after]
    return after - 1, float((place - low) / (high - low))


def _first_at_or_below(mean_T: NDArray[np.float64], level: float) -> tuple[int, float]:
    at = int(np.flatnonzero(mean_T <= level)[0])
    if at == 0 or mean_T[at] == level or not np.isfinite(mean_T[at - 1]):
        return at, 0.0
    return at - 1, float((mean_T[at - 1] - level) / (mean_T[at - 1] - mean_T[at]))


def _between(values: Any, row: int, part: float) -> Any:
    before = np.asarray(values[row], np.float64)
    return before if part == 0 else (1 - part) * before + part * np.asarray(values[row + 1], np.float64)


def _clustered(centred_n: NDArray[np.float64], clusters_n: NDArray[np.integer]) -> float:
    """The standard error of a mean whose values come in clusters; NaN for a single one."""
    kinds, index = np.unique(clusters_n, return_inverse=True)
    g = len(kinds)
    if g < 2:
        return float("nan")
    sums = np.bincount(index, centred_n)
    return float(np.sqrt(g / (g - 1) * np.square(sums).sum()) / len(centred_n))


def _correlation(a_n: NDArray[np.float64], b_n: NDArray[np.float64]) -> float:
    if len(a_n) < 2 or np.ptp(a_n) == 0 or np.ptp(b_n) == 0:
        return float("nan")
    return float(np.corrcoef(a_n, b_n)[0, 1])
