"""Speaking: what curvewatch says through `logging` names its sender, also where no host has configured logging.

Python's last resort prints the bare message, so that "scoring failed" stands among a host's own lines as if the host
had said it.
"""

from __future__ import annotations

import logging
import sys

NAME = "curvewatch"


class LastResort(logging.Handler):
    """Prints "curvewatch: message" to stderr, unless another handler hears the record.

    Whether one does is looked up for each record: many hosts configure logging only after their imports.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter(f"{NAME}: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record if nobody else does; never raises."""
        if self._heard_elsewhere(record.name):
            return
        # Today's stderr first: notebooks and tests replace it. It may be closed, or missing; then the process's own
        # will do. (`handleError` would write to the closed one, and raise into training.)
        for stream in (sys.stderr, sys.__stderr__):
            try:
                if stream is not None:
                    stream.write(self.format(record) + "\n")
                    stream.flush()
                    return
            except Exception:
                continue

    def _heard_elsewhere(self, name: str) -> bool:
        place: logging.Logger | None = logging.getLogger(name)
        while place is not None:
            if any(handler is not self for handler in place.handlers):
                return True
            place = place.parent if place.propagate else None
        return False


def announce(message: str, *values: object) -> None:
    """Logs what everybody should see once, as information; where no host has configured logging it is printed, too.

    Args:
        message: As `logging` takes it.
        values: For its placeholders.
    """
    logger = logging.getLogger(NAME)
    if logger.isEnabledFor(logging.INFO):
        logger.info(message, *values)
    elif logger.level == logging.NOTSET:  # nobody has asked for silence
        record = logger.makeRecord(NAME, logging.INFO, __file__, 0, message, values, None)
        for handler in logger.handlers:
            if isinstance(handler, LastResort):
                handler.emit(record)


def speak() -> None:
    """Puts the last resort on curvewatch's logger, once however often the package is imported."""
    logger = logging.getLogger(NAME)
    if not any(type(handler).__name__ == LastResort.__name__ for handler in logger.handlers):
        logger.addHandler(LastResort())
