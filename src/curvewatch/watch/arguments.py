"""What a Watch is given, checked and completed."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from curvewatch.errors import brief
from curvewatch.live import Live
from curvewatch.runfile import layout
from curvewatch.schedule import Schedule, check_last
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
    # Datasets that came later take no names away: a run of before may have a set called "label".
    later = {
        one.name
        for one in (
            *layout.ANNOTATIONS,
            *layout.SEEN,
            *layout.BOUNDARY,
            *layout.BASE_KL,
            *layout.DROPOUT,
            *layout.MASKED,
            *layout.ENCODER,
        )
    }
    later |= {f"saved_{one.name}" for one in layout.SEEN}
    taken = {*layout.BY_NAME, layout.PROVENANCE, "watch"} - later
    for name in tokens:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in taken:
            raise ValueError(
                f"tokens: the name {brief(name)} can't be used. Letters, digits, '_', '-' and '.' make a name; "
                f"{', '.join(sorted(taken))} are taken."
            )
    return dict(tokens)


def default_schedule(max_steps: int | None) -> Schedule:
    """Where no logging steps are known: ten steps a decade, and every fiftieth part of the run."""
    check_last(max_steps)
    logarithmic = Schedule.log(10)
    return logarithmic if max_steps is None else logarithmic | Schedule.every(max(1, max_steps // 50))


def check_arguments(*, model: object, forward: object, on_error: object, log: object, live: object) -> None:
    """Refuses arguments of `Watch` that make no sense.

    Raises:
        TypeError: If `model`, `forward` or `live` is something else.
        ValueError: If `on_error` or `log` is.
    """
    if model is not None and (isinstance(model, nn.Module) or not callable(model)):
        raise TypeError(
            f"model={type(model).__name__}: a function is expected that is given the host's module and returns the "
            "model to score, for example model=lambda module: module.lm."
        )
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error={brief(on_error)}: one of {', '.join(map(repr, ON_ERROR))} is expected.")
    if forward is not None and not callable(forward):
        raise TypeError(f"forward={brief(forward)}: a function forward(model, batch) -> logits is expected.")
    if log is not None and not callable(log):
        raise ValueError(f"log={brief(log)}: a function log(scalars, step) is expected.")
    if live is not None and not isinstance(live, Live):
        raise TypeError(f"live={brief(live)}: a curvewatch.Live is expected.")


def check_objectives(sets: Mapping[str, TokenSet], live: Live) -> None:
    """Refuses sets that no one model can be scored on, and prompts for a model that continues no text.

    Raises:
        ValueError: Naming them.
    """
    kinds = {name: "masked" if one.masking is not None else one.objective for name, one in sets.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            f"tokens={kinds}: sets for different kinds of models, of which one alone is trained. Build them all with "
            "the same objective."
        )
    kind = next(iter(kinds.values()))
    if live.prompts is not None and kind != "causal":
        raise ValueError(f"prompts: the token sets are for a {kind} model, which continues no text. Leave prompts out.")


def whole_path(path: Any) -> str:
    """The path of a run file; the script may change its folder later.

    Raises:
        TypeError: If it is no path.
        ValueError: If it can't be one.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={brief(path)}: the path of the run file is expected, for example 'runs/curves.h5'.")
    if not os.fspath(path) or "\0" in str(path):
        raise ValueError(f"path={brief(path)}: it names no file. Give one, for example 'runs/curves.h5'.")
    return os.path.abspath(os.fspath(path))


def whole_step(step: Any) -> int:
    """The number of updates done.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is below 0.
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = None
    if number is None or isinstance(step, bool):
        raise TypeError(f"step={brief(step)}: the number of updates done is expected, a whole number.")
    if number < 0:
        raise ValueError(f"step={brief(step)}: the number of updates done is expected, 0 or more.")
    return number
