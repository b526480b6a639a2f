"""The exceptions a caller may want to tell apart; every message says the field, the value and the way out."""

from __future__ import annotations


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
