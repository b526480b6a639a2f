"""What a Watch is given, checked and completed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from curvewatch.live import Live
from curvewatch.runfile import layout
from curvewatch.schedule import Schedule
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.watch.trouble import ON_ERROR


def named_sets(tokens: TokenSet | Mapping[str, TokenSet]) -> dict[str, TokenSet]:
    """Token sets by name; a single one is called "eval".

    Raises:
        TypeError: If there is anything but token sets.
        ValueError: If a name can't be used in keys and files, or there is none.
    """
    if isinstance(tokens, TokenSet):
        return {layout.DEFAULT_SET: tokens}
    if not isinstance(tokens, Mapping) or not all(isinstance(one, TokenSet) for one in tokens.values()):
        raise TypeError(
            f"tokens: a TokenSet or a dict of them is expected, got {type(tokens).__name__}. Build one with "
            "TokenSet.from_text, .from_dataset or .from_sequences."
        )
    if not tokens:
        raise ValueError("tokens={}: at least one token set is needed.")
    taken = {*layout.BY_NAME, layout.PROVENANCE, "watch"}
    for name in tokens:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in taken:
            raise ValueError(
                f"tokens: the name {name!r} can't be used. Letters, digits, '_', '-' and '.' make a name; "
                f"{', '.join(sorted(taken))} are taken."
            )
    return dict(tokens)


def default_schedule(max_steps: int | None) -> Schedule:
    """Where no logging steps are known: ten steps a decade, and every fiftieth part of the run."""
    logarithmic = Schedule.log(10)
    return logarithmic if max_steps is None else logarithmic | Schedule.every(max(1, max_steps // 50))


def check_arguments(*, model: object, on_error: object, log: object, live: object) -> None:
    """Refuses arguments of `Watch` that make no sense.

    Raises:
        TypeError: If `model` or `live` is something else.
        ValueError: If `on_error` or `log` is.
    """
    if model is not None and (isinstance(model, nn.Module) or not callable(model)):
        raise TypeError(
            f"model={type(model).__name__}: a function is expected that is given the host's module and returns the "
            "model to score, for example model=lambda module: module.lm."
        )
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error={on_error!r}: one of {', '.join(map(repr, ON_ERROR))} is expected.")
    if log is not None and not callable(log):
        raise ValueError(f"log={log!r}: a function log(scalars, step) is expected.")
    if live is not None and not isinstance(live, Live):
        raise TypeError(f"live={live!r}: a curvewatch.Live is expected.")
