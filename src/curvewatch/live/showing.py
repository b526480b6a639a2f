"""Showing: rank 0's live side of a watch, from each observation to all that is logged of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.live.current import LiveMetrics
from curvewatch.live.forgotten import forgotten_table
from curvewatch.live.given import Given
from curvewatch.live.metrics import Metrics
from curvewatch.live.refitter import Job, Refitter
from curvewatch.live.settings import Live
from curvewatch.live.smoothed import SmoothedMetrics
from curvewatch.live.watched import WatchedTokens
from curvewatch.observation import Observation
from curvewatch.speaking import announce
from curvewatch.tokens.over import over_represented
from curvewatch.tokens.tokenset import TokenSet

# Tables and charts are made when there are this many observations, and each time their number has doubled since:
# training waits while they are made, and each is a file that a tracker keeps.
FIRST_TABLES = 8  # a power of two

ReadRow = Callable[[str, int], NDArray[np.float32]]


class _OfSet:
    """All that is kept live of one set."""

    def __init__(
        self, name: str, tokens: TokenSet, chance: float, given: Given, live: Live, max_steps: int | None,
        last_step: int | None, read_row: ReadRow,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        self.current = LiveMetrics(
            len(tokens), chance, max_steps,
            types=given.types, n_bands=live.bands, ngram_surprisal_nN=given.ngram_surprisal_nN, tokens=tokens,
            trends_from=live.trends_from,
        )  # fmt: skip
        counts_D = given.corpus_count_D
        counts_N = counts_D[given.types.index_N] if counts_D is not None else None
        self.watched = WatchedTokens(tokens, live.watched, counts_N)
        self.smoothed = (
            SmoothedMetrics(
                len(tokens), chance, last_step, lambda step: read_row(name, step), given.types, given.ranked
            )
            if live.smoothed
            else None
        )
        self.last: Observation | None = None
        if self.smoothed is not None and self.smoothed.which_n is not None:
            announce(
                "%s: smoothed curves are followed live for a random sample of %s of its %s tokens; the file has all",
                name, f"{self.smoothed.n_tokens:,}", f"{len(tokens):,}",
            )  # fmt: skip


class Showing:
    """Turns observations into metrics, for all sets of a watch.

    Args:
        sets: The token sets by name.
        chance: Of each, bits.
        given: What is known of each beforehand.
        live: The settings.
        max_steps: Planned last step; None if open-ended.
        last_step: Last step that is planned to be scored; None if open-ended.
        read_row: Surprisal of a set at an earlier step, bits, from the run file.

    Raises:
        ValueError: If a token to be watched does not exist.
    """

    def __init__(
        self,
        sets: Mapping[str, TokenSet],
        chance: Mapping[str, float],
        given: Mapping[str, Given],
        live: Live,
        max_steps: int | None,
        last_step: int | None,
        read_row: ReadRow,
    ) -> None:
        self._live, self._last_step = live, last_step
        self._n_observations = 0
        self.sets = {
            name: _OfSet(name, one, chance[name], given[name], live, max_steps, last_step, read_row)
            for name, one in sets.items()
        }
        smoothed = {name: one.smoothed for name, one in self.sets.items() if one.smoothed is not None}
        self._refitter = Refitter(smoothed) if smoothed else None
        self._not_fitted: list[Job] = []  # the last observations, if no refit came with them
        if self._refitter is not None:
            # A watch that is forgotten (a notebook's cell run again) leaves no thread behind, and no curves.
            weakref.finalize(self, self._refitter.stop).atexit = False

    def replay(self, name: str, rows: Iterable[tuple[int, Observation]], n_rows: int, last_step: int) -> None:
        """Rebuilds a set's state from the rows of a run file.

        Args:
            name: Of the set.
            rows: In order.
            n_rows: How many.
            last_step: Of the last one.
        """
        of_set = self.sets[name]
        for step, observation in rows:
            of_set.current.advance(step, observation)
            of_set.watched.update(step, observation.surprisal_bits)
            if of_set.smoothed is not None:
                of_set.smoothed.replay(step, observation.surprisal_bits, last_step)
            of_set.last = observation
        self._n_observations = n_rows

    def update(self, step: int, observations: Mapping[str, Observation], counts: Mapping[str, NDArray[Any]]) -> Metrics:
        """Takes the next observation.

        Args:
            step: Updates done.
            observations: By name of the set.
            counts: By name of the set, occurrences of its distinct targets in the training text so far.

        Returns:
            All that is logged of it, and what became known of earlier ones.
        """
        self._n_observations += 1
        every = self._live.refit_every or max(1, self._n_observations >> 6)
        refit = self._n_observations % every == 0 or step == self._last_step
        everything, self._not_fitted = Metrics(), []
        for name, observation in observations.items():
            of_set, counts_D = self.sets[name], counts.get(name)
            of_set.last = observation
            metrics = of_set.current.update(step, observation, counts_D)
            event = of_set.current.last_event
            if event is not None:
                over = over_represented(of_set.tokens.labels, event.tokens_n, len(of_set.tokens))
                announce("%s, %s", name, event.in_words(over, now=True))
            metrics.scalars.update(
                {key: y for key, y in of_set.watched.update(step, observation.surprisal_bits).items() if np.isfinite(y)}
            )
            everything.add(metrics.prefixed(f"curvewatch/{name}"))
            if self._refitter is not None:
                job = Job(name, step, observation.surprisal_bits, counts_D, refit)
                self._refitter.submit(job)
                if not refit:
                    self._not_fitted.append(job)
        everything.add(self._refitted())
        n = self._n_observations
        if n >= FIRST_TABLES and n.bit_count() == 1:
            everything.add(self._tables())
        return everything

    def failures(self) -> list[tuple[int, Exception]]:
        """What failed since the last time, with its step."""
        return self._refitter.failures() if self._refitter is not None else []

    def close(self, *, tables: bool) -> Metrics:
        """Waits for what is still being worked out.

        Args:
            tables: Whether to make the last tables and charts, and a last refit where training ended before its plan.

        Returns:
            What became known since the last update.
        """
        last = Metrics()
        if self._refitter is not None:
            for job in self._not_fitted if tables else ():
                self._refitter.submit(replace(job, refit=True, new=False))
            self._refitter.close()
            last.add(self._refitted())
        if tables and self._n_observations:
            last.add(self._tables())
        return last

    def _refitted(self) -> Metrics:
        everything = Metrics()
        if self._refitter is not None:
            for name, metrics in self._refitter.take():
                everything.add(metrics.prefixed(f"curvewatch/{name}"))
        return everything

    def _tables(self) -> Metrics:
        everything = Metrics()
        for name, of_set in self.sets.items():
            own = Metrics()
            lines = of_set.watched.lines()
            if lines is not None:
                own.tables["watched_curves"] = lines
            if self._live.table_rows and of_set.last is not None:
                smoothed = of_set.smoothed
                # Of a sample the tokens of the table may be none: then it goes without that column.
                so_far = smoothed.so_far if smoothed is not None and smoothed.which_n is None else None
                table = forgotten_table(of_set.tokens, of_set.current, of_set.last, so_far, self._live.table_rows)
                if table.rows:
                    own.tables["most_forgotten"] = table
            everything.add(own.prefixed(f"curvewatch/{name}"))
        return everything
