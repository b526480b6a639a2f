"""Several runs of one token set: how far they agree, token by token and measure by measure.

The numbers are those of `measures.cross_run`; here runs are checked, named, and put into tables.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.moment import Moment
from curvewatch.errors import TokenSetMismatchError
from curvewatch.measures import MeasureWarning
from curvewatch.measures.cross_run import CrossRun, RunCurves, cross_run
from curvewatch.runfile.reader import Reader


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        names: Of the runs: what of their paths tells them apart.
        cross: Variability and correlations, runs in the order of `names`.
        notes: What to know before reading them: what was not compared, and why.
    """

    names: tuple[str, ...]
    cross: CrossRun
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        from curvewatch.analysis.card import comparison_card
        from curvewatch.display import shown

        return shown(lambda: comparison_card(self), "Comparison")

    def correlations(self) -> list[tuple[str, float, float, float, int]]:
        """Mean, smallest and largest correlation over pairs of runs and fewest tokens they rest on, by measure."""
        upper = np.triu_indices(len(self.names), 1)
        rows = []
        for name, r_RR in self.cross.measure_correlation.items():
            r_P, n_P = r_RR[upper], self.cross.measure_count[name][upper]
            known = np.isfinite(r_P)
            if not known.any():
                rows.append((name, np.nan, np.nan, np.nan, int(n_P.min())))
                continue
            mean, low, high = float(r_P[known].mean()), float(r_P[known].min()), float(r_P[known].max())
            rows.append((name, mean, low, high, int(n_P.min())))
        return rows

    def step_correlation(self) -> NDArray[np.float64]:
        """Mean correlation of surprisal over pairs of runs, at each step of `cross.steps_S`."""
        upper = np.triu_indices(len(self.names), 1)
        pairs_SP = self.cross.step_correlation_SRR[:, upper[0], upper[1]]
        known = np.isfinite(pairs_SP)
        count_S = known.sum(axis=1)
        total_S = np.where(known, pairs_SP, 0.0).sum(axis=1)
        mean_S: NDArray[np.float64] = np.where(count_S > 0, total_S / np.maximum(count_S, 1), np.nan)
        return mean_S


def compare(
    runs: Sequence[Reader],
    *,
    paper: bool = False,
    keep_pairs: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compares runs of one token set.

    Args:
        runs: Two or more.
        paper: The released code's values.
        keep_pairs: Keep the variability of each pair of runs, 8 bytes a token and pair.
        progress: Called with the number of tokens done and in all.

    Raises:
        ValueError: If there are fewer than two, or one stands there twice.
        TokenSetMismatchError: If their token sets differ; both hashes are named.
    """
    check_comparable(runs)
    moments = [Moment.now(run) for run in runs]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MeasureWarning)
        curves = [RunCurves(m.surprisal, m.steps_T, m.run.chance, m.run.max_steps, m.correct) for m in moments]
        found = cross_run(curves, paper=paper, keep_pairs=keep_pairs, progress=progress)
    for moment in moments:
        moment.check()
    for warning in caught:
        if not issubclass(warning.category, MeasureWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    names = run_names(runs)
    return Comparison(names, found, tuple(_named(note, names) for note in found.notes))


def check_comparable(runs: Sequence[Reader]) -> None:
    """Makes sure that runs can be compared token by token.

    Raises:
        ValueError: If there are fewer than two, or one stands there twice.
        TokenSetMismatchError: If their token sets differ.
    """
    if len(runs) < 2:
        raise ValueError(f"runs: {len(runs)} given, but comparing takes at least two. Add another run file.")
    for a, b in combinations(runs, 2):
        if a.run_id == b.run_id and a.set_name == b.set_name:
            raise ValueError(f"runs: {a.path} and {b.path} are the same run ({a.run_id}). Give each run once.")
        if a.set_hash != b.set_hash:
            raise TokenSetMismatchError(
                f"{a.path} holds token set {a.set_hash}, {b.path} holds {b.set_hash}: their tokens are not the same, "
                "so they can't be compared one by one. Compare runs that watched the same set, or name a set that both "
                "have."
            )
        if abs(a.chance - b.chance) > 1e-9:
            raise ValueError(
                f"chance: {a.path} has {a.chance:.4f} bits, {b.path} {b.chance:.4f}: models with different "
                "vocabularies can't be compared token by token."
            )


def run_names(runs: Sequence[Reader]) -> tuple[str, ...]:
    """Short names that tell the runs apart: as much of the end of their paths as it takes."""
    paths = [run.path.absolute() for run in runs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = tuple("/".join((*path.parts[-parts:-1], path.stem)) for path in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(f"{path} ({run.set_name})" for path, run in zip(paths, runs, strict=True))


def _named(note: str, names: tuple[str, ...]) -> str:
    for index, name in enumerate(names):
        if note.startswith(f"Run {index}: "):
            return f"{name}: {note.split(': ', 1)[1]}"
    return note
