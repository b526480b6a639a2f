"""The exceptions a caller may want to tell apart; every message says the field, the value and the way out."""

from __future__ import annotations

# What a message shows of a value: a text given by mistake may be a whole corpus.
SHOWN_CHARACTERS = 80


def brief(value: object) -> str:
    """`repr(value)` for a message, cut to `SHOWN_CHARACTERS` characters."""
    if isinstance(value, (str, bytes, list)):
        value = value[: SHOWN_CHARACTERS + 1]  # the whole may be gigabytes
    shown = repr(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 1] + "…"


class CurvewatchError(Exception):
    """Base of every error that curvewatch raises on purpose."""


class RunFileError(CurvewatchError):
    """A run file can't be created, opened, read or continued."""


class ForeignFileError(RunFileError):
    """The file at this path was not written by curvewatch; it is left untouched."""


class TokenSetMismatchError(RunFileError):
    """The run file holds the curves of another token set than the one given."""


class FileBusyError(RunFileError):
    """Another process is writing this run file."""


class ScoringError(CurvewatchError):
    """The model can't be scored on this token set."""


class RanksApartError(ScoringError):
    """The ranks of a distributed run can't agree on anything any more: one has ended, or does not answer."""
