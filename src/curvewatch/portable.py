"""A user's function on its way to another process.

Python sends a function by its name, which a lambda has not, nor a function made inside another. cloudpickle sends the
code itself; Ray and others bring it along. Where neither will do, the error says which argument it is about.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Mapping
from typing import Any

SHOWN = 80


class Portable:
    """A function that is pickled if it can be; unpickled, it is the function itself.

    Args:
        argument: Under which a user gave it, for the error.
        function: The user's.
    """

    def __init__(self, argument: str, function: Any) -> None:
        self.argument = argument
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        """By name where Python can, else as code.

        Raises:
            pickle.PicklingError: If it can go neither way.
        """
        try:
            pickle.dumps(self.function)
        except Exception as error:
            failure = error
        else:
            return _as_it_is, (self.function,)
        picklers = _cloudpicklers()
        for pickler in picklers:
            try:
                return pickle.loads, (pickler.dumps(self.function),)
            except Exception as error:
                failure = error
        raise pickle.PicklingError(
            f"{self.argument}={_shown(self.function)}: it can't be sent to another process ({failure}). Pass a "
            f"function that is defined at the top of a module{', or install cloudpickle' if not picklers else ''}."
        ) from failure

    def __deepcopy__(self, memo: object) -> Portable:
        """Within a process it stays as it is, like any function."""
        return self


def leaving(state: Mapping[str, Any], **arguments: str) -> dict[str, Any]:
    """The state of an object for `__getstate__`, its functions made portable.

    Args:
        state: By attribute.
        arguments: Attribute and argument of each function; it may be None.
    """
    made = dict(state)
    for attribute, argument in arguments.items():
        if made[attribute] is not None:
            made[attribute] = Portable(argument, made[attribute])
    return made


def arrived(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state for `__setstate__`, which after mere copying still has its functions wrapped."""
    return {name: one.function if isinstance(one, Portable) else one for name, one in state.items()}


def _as_it_is(function: Any) -> Any:
    return function


def _cloudpicklers() -> list[Any]:
    """The package, where it is installed, and the copies of it that others have loaded."""
    try:
        found = [importlib.import_module("cloudpickle")]
    except ImportError:
        found = []
    loaded = [one for name, one in list(sys.modules.items()) if name.rpartition(".")[2] == "cloudpickle"]
    return found + [one for one in loaded if hasattr(one, "dumps") and one not in found]


def _shown(function: Any) -> str:
    try:
        text = repr(function)
    except Exception:
        text = type(function).__name__
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
