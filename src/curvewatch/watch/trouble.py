"""Trouble: what a watch does when something fails. Training is worth more than the watch, so it goes on."""

from __future__ import annotations

import logging

from curvewatch.errors import RanksApartError

logger = logging.getLogger("curvewatch")

ON_ERROR = ("warn", "raise")
# After this many failed observations in a row the watch steps aside: what fails three times will fail again.
FAILURES_IN_A_ROW = 3


class Trouble:
    """Says each kind of failure once, counts failed observations, and steps aside if they don't end.

    Args:
        on_error: "warn" or "raise".

    Attributes:
        raises: Whether a failure is raised, not survived.
        aside: Whether the watch looks at nothing any more.
    """

    def __init__(self, on_error: str) -> None:
        self.raises = on_error == "raise"
        self.aside = False
        self._in_a_row = 0
        self._in_all = 0
        self._said: set[str] = set()

    def report(self, what: str, step: int, error: Exception) -> Exception:
        """Logs a failure, the first of its kind; returns it."""
        sign = f"{what}: {type(error).__name__}"
        if sign not in self._said:
            self._said.add(sign)
            logger.error("%s failed at step %d: %s (training goes on; said once)", what, step, error, exc_info=error)
        return error

    def scoring_failed(self, step: int, error: Exception) -> str:
        """Counts a failed observation; why it has no row, for the record.

        Raises:
            Exception: The failure, with `on_error="raise"`.
        """
        if self.raises:
            raise error
        self._in_a_row += 1
        self._in_all += 1
        self.report("scoring", step, error)
        why = f"scoring failed: {error}"
        if isinstance(error, RanksApartError):
            self.aside = True
            why += "; the watch stepped aside"
        elif self._in_a_row >= FAILURES_IN_A_ROW:
            self.aside = True
            why += "; the watch stepped aside"
            logger.error("scoring failed %d times in a row: the watch steps aside, training goes on", self._in_a_row)
        return why

    def scoring_succeeded(self) -> None:
        """Counts an observation that did not fail."""
        self._in_a_row = 0

    def scalars(self) -> dict[str, float]:
        """What is shown of it."""
        return {"failures": self._in_all, "stepped_aside": self.aside}
