"""curvewatch: watch every token of a fixed evaluation set being learned and forgotten during pretraining.

Importing it loads no framework: PyTorch comes in when a model is scored, h5py when a file is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curvewatch.speaking import speak

if TYPE_CHECKING:
    from curvewatch.analysis.run import Run as Run
    from curvewatch.analysis.run import open_run as open_run
    from curvewatch.errors import CurvewatchError as CurvewatchError
    from curvewatch.errors import FileBusyError as FileBusyError
    from curvewatch.errors import ForeignFileError as ForeignFileError
    from curvewatch.errors import RunFileError as RunFileError
    from curvewatch.errors import ScoringError as ScoringError
    from curvewatch.errors import TokenSetMismatchError as TokenSetMismatchError
    from curvewatch.live import Live as Live
    from curvewatch.observation import Observation as Observation
    from curvewatch.runfile.writer import RunFile as RunFile
    from curvewatch.sampling.prompts import Prompts as Prompts
    from curvewatch.schedule import Schedule as Schedule
    from curvewatch.scoring.scorer import Scorer as Scorer
    from curvewatch.tokens.fingerprints import fingerprints as fingerprints
    from curvewatch.tokens.passages import Passages as Passages
    from curvewatch.tokens.tokenset import TokenSet as TokenSet
    from curvewatch.watch.watch import Watch as Watch

# Where each public name lives; loaded when first asked for.
_ROOMS = {
    "CurvewatchError": "errors",
    "FileBusyError": "errors",
    "ForeignFileError": "errors",
    "Live": "live",
    "Observation": "observation",
    "Passages": "tokens.passages",
    "Prompts": "sampling.prompts",
    "Run": "analysis.run",
    "RunFile": "runfile",
    "RunFileError": "errors",
    "Schedule": "schedule",
    "Scorer": "scoring",
    "ScoringError": "errors",
    "TokenSet": "tokens",
    "TokenSetMismatchError": "errors",
    "Watch": "watch",
    "fingerprints": "tokens.fingerprints",
    "open_run": "analysis.run",
}

__all__ = [*sorted(_ROOMS), "__version__"]

speak()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("curvewatch")
    if name not in _ROOMS:
        raise AttributeError(f"module 'curvewatch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"curvewatch.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
