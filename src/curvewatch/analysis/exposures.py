"""Exposures: when the passages of a run were trained on, and what that did to their probes.

Probes of a passage are the spans whose group is the passage's name, or else whose own name is. Suffixes: P passages, U
units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.frames import need
from curvewatch.analysis.seen import last_seen, occurrences, passages_of
from curvewatch.analysis.units import Units
from curvewatch.measures.exposures import (
    WINDOW,
    Decay,
    Retention,
    decay,
    exposure_effects,
    mean_retainability,
    retention,
)
from curvewatch.runfile.reader import Reader
from curvewatch.runfile.trained import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LEAST_SHARE = 0.5
"""The line is fitted to times since the last gain at which so many of the probes were scored."""


@dataclass(frozen=True)
class Exposures:
    """The passages of a run.

    Attributes:
        run: The run.
        trained: What its file tells of what was trained on.
    """

    run: Reader
    trained: Trained

    def __len__(self) -> int:
        return len(self.trained.names)

    def __repr__(self) -> str:
        seen = len(np.unique(self.trained.passage_E))
        total = int(self.trained.count_E.sum())
        return f"<Exposures of {self.run.path.name}: {seen:,} of {len(self):,} passages seen, {total:,} times>"

    def steps_of(self, passage: int) -> NDArray[np.int64]:
        """The updates that were trained on a passage, ascending."""
        steps: NDArray[np.int64] = np.sort(self.trained.step_E[self.trained.passage_E == passage])
        return steps

    def last_seen(self, step: int | None = None) -> NDArray[np.int64]:
        """The last update up to `step` (None: of all) that was trained on each passage; -1 for none, shape [P]."""
        return last_seen(self.trained, step)

    def to_pandas(self) -> Any:
        """A pandas DataFrame: one row a passage, with its occurrences, updates, first and last one, and its text."""
        pandas = need("pandas", "exposures")
        trained = self.trained
        count_P = occurrences(trained)
        first_P = np.full(len(self), np.iinfo(np.int64).max)
        np.minimum.at(first_P, trained.passage_E, trained.step_E)
        return pandas.DataFrame(
            {
                "occurrences": count_P,
                "updates": np.bincount(trained.passage_E, minlength=len(self)),
                "first_step": np.where(count_P > 0, first_P, -1),
                "last_step": self.last_seen(),
                "text": trained.texts,
            },
            index=pandas.Index(trained.names, name="passage"),
        )

    def effects(self, kind: str, *, window: int = WINDOW) -> Any:
        """A pandas DataFrame: one row for each exposure of each probe, with what it gained, bits.

        Columns: unit, name, passage, step, before_step, peak_step, effectivity (bits), complete (whether each step of
        the window was scored). See `measures.exposures`.

        Args:
            kind: Of the spans that are probes.
            window: Steps behind an exposure.

        Raises:
            KeyError: If there are no such spans.
            ValueError: If none of them belongs to a passage.
        """
        pandas = need("pandas", "exposures")
        units, passage_U, bits_TU = self._probes(kind)
        rows: list[dict[str, Any]] = []
        for u in np.flatnonzero(passage_U >= 0).tolist():
            steps = self.steps_of(int(passage_U[u]))
            found = exposure_effects(bits_TU[:, u], units.steps_T, steps, window=window)
            columns = zip(
                steps.tolist(), found.before_step_E.tolist(), found.peak_step_E.tolist(),
                found.effectivity_E.tolist(), found.complete_E.tolist(), strict=True,
            )  # fmt: skip
            rows += [
                {"unit": u, "name": units.spans.name[u], "passage": self.trained.names[passage_U[u]], "step": step,
                 "before_step": before, "peak_step": peak, "effectivity": gained, "complete": complete}
                for step, before, peak, gained, complete in columns
            ]  # fmt: skip
        names = ["unit", "name", "passage", "step", "before_step", "peak_step", "effectivity", "complete"]
        return pandas.DataFrame(rows, columns=names)

    def retention(self, kind: str, *, window: int = WINDOW) -> Retained:
        """What is left of what the exposures brought, probe by probe, and how fast it goes.

        Args:
            kind: As for `effects`.
            window: As for `effects`.
        """
        return self._retained(*self._probes(kind), window)

    def _retained(self, units: Units, passage_U: NDArray[np.int64], bits_TU: NDArray[Any], window: int) -> Retained:
        probes = np.flatnonzero(passage_U >= 0)
        found = [
            retention(bits_TU[:, u], units.steps_T, self.steps_of(int(passage_U[u])), window=window)
            for u in probes.tolist()
        ]
        since, share, n = mean_retainability(found)
        names = [units.spans.name[u] for u in probes.tolist()]
        # Elsewhere the mean is of few probes, and moves with which they are.
        common = n >= LEAST_SHARE * sum(len(one.since_K) > 0 for one in found)
        return Retained(probes, names, found, since, share, n, common, decay(since[common], share[common]))

    def plot(self, kind: str, *, window: int = WINDOW) -> Figure:
        """What exposures bring, and what is left of it, as a matplotlib figure, which can be changed.

        Left the bits that probes gain around an exposure, mean and middle half; right the mean retainability with its
        line.

        Args:
            kind: As for `effects`.
            window: As for `effects`.

        Raises:
            ImportError: Without matplotlib, which comes with `curvewatch[analysis]`.
        """
        from curvewatch.analysis.exposure_figure import exposure_figure, gains_around

        units, passage_U, bits_TU = self._probes(kind)
        exposed = [
            (u, step)
            for u in np.flatnonzero(passage_U >= 0).tolist()
            for step in self.steps_of(int(passage_U[u])).tolist()
        ]
        gained = gains_around(bits_TU, units.steps_T, exposed, window)
        return exposure_figure(gained, self._retained(units, passage_U, bits_TU, window))

    def _probes(self, kind: str) -> tuple[Units, NDArray[np.int64], NDArray[Any]]:
        units = Units(self.run, kind)
        passage_U = passages_of(self.trained, units.spans)
        if not (passage_U >= 0).any():
            raise ValueError(
                f"kind={kind!r}: none of these {len(units):,} spans has the name of a passage as its group or name, so "
                f"none is a probe of one. Passages are called {', '.join(map(repr, self.trained.names[:3]))}..."
            )
        return units, passage_U, units.surprisal[:]


@dataclass(frozen=True)
class Retained:
    """Retainability of probes.

    Attributes:
        unit_P: Index of each probe among the units of its kind.
        names: Of the probes.
        by_probe: Retainability of each.
        since_K: Steps since the gain of the last exposure.
        share_K: Mean share of the gain that is left, over probes, outliers left out.
        n_K: Probes behind it.
        common_K: Whether these are at least half of those that gained something.
        decay: The line through the common ones.
    """

    unit_P: NDArray[np.int64]
    names: list[str]
    by_probe: list[Retention]
    since_K: NDArray[np.int64]
    share_K: NDArray[np.float64]
    n_K: NDArray[np.int64]
    common_K: NDArray[np.bool_]
    decay: Decay

    def __repr__(self) -> str:
        return f"<Retained of {len(self.names):,} probes: decay constant {self.decay.constant:.3f}>"


def exposures_of(run: Reader) -> Exposures:
    """The exposures of a run.

    Raises:
        ValueError: If no passages were followed.
    """
    trained = run.trained
    if trained is None or not trained.names:
        raise ValueError(
            f"{run.path}: no passages were followed in what it was trained on. Train with "
            "live=Live(exposures=Passages(texts, tokenizer))."
        )
    return Exposures(run, trained)
