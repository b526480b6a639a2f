"""What a run is held against: the base that `Live(reference=...)` names, scored or read before training begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from curvewatch.errors import ScoringError, TokenSetMismatchError, brief
from curvewatch.runfile.reader import Reader
from curvewatch.scoring.base import adapters_off
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.scorer import Scorer
from curvewatch.scoring.undisturbed import Around, unwrap
from curvewatch.tokens.reference import FIRST, Reference
from curvewatch.tokens.tokenset import TokenSet

ADAPTERS_OFF = "adapters off"
EXPECTED = f"{FIRST!r}, {ADAPTERS_OFF!r}, a model, the path of a run file, or an array of surprisal"


def check_reference(given: Any, sets: Mapping[str, TokenSet], *, kl: bool = False) -> None:
    """Refuses what can be no reference, before anything is scored.

    Args:
        given: `Live.reference`.
        sets: By name.
        kl: Whether the divergence from it is asked for, which takes a model.

    Raises:
        TypeError: If it is nothing of that kind.
        ValueError: If an array has another shape, or a dict another set's name.
        FileNotFoundError: If there is no such run file.
        TokenSetMismatchError: If a run file holds another set.
    """
    by_set = _by_set(given, sets)
    models = [
        one for one in by_set.values() if isinstance(one, nn.Module) or (isinstance(one, str) and one == ADAPTERS_OFF)
    ]
    if kl and not models:
        raise ValueError(
            f"kl=True: the divergence from a base takes its whole prediction. Give a model, or {ADAPTERS_OFF!r}, as "
            "reference=."
        )
    for name, one in by_set.items():
        if not (one is None or isinstance(one, nn.Module) or _is(one, FIRST) or _is(one, ADAPTERS_OFF)):
            _read(one, sets[name], name)


def with_references(
    given: Any, scorers: Mapping[str, Scorer], model: nn.Module, around: Around, *, kl: bool = False
) -> None:
    """Puts a reference beside each scorer's token set; models are scored. A collective on several ranks.

    Args:
        given: `Live.reference`.
        scorers: Prepared for `model`; their sets are annotated.
        model: The live model, before the first update.
        around: The host's precision context.
        kl: Whether the divergence from the base is measured at each row.

    Raises:
        ValueError: If adapters are to be off in a model that has none.
        ScoringError: If a base model does not fit, or has another vocabulary where the divergence is asked for.
    """
    sets = {name: scorer.tokens for name, scorer in scorers.items()}
    for name, one in _by_set(given, sets).items():
        if one is None:
            continue
        tokens = sets[name]
        if _is(one, FIRST):
            reference = Reference(FIRST)
        elif _is(one, ADAPTERS_OFF):
            with adapters_off(unwrap(model)):
                reference = _scored(scorers[name], model, "the model without its adapters")
            if kl:
                scorers[name].base = partial(_without_adapters, scorers[name], model)
        elif isinstance(one, nn.Module):
            beside = _beside(scorers[name], one, around)
            reference = _scored(beside, one, type(one).__name__)
            if kl:
                outputs, own = beside.prepared.vocab_size, scorers[name].prepared.vocab_size
                if outputs != own:
                    raise ScoringError(
                        f"kl=True: the base has {outputs:,} outputs, the model {own:,}. Their predictions can be "
                        "compared only over one vocabulary; leave kl out."
                    )
                scorers[name].base = partial(beside.logits, one)
        else:
            reference = _read(one, tokens, name)
        scorers[name].tokens = tokens.with_annotations(replace(tokens.annotations, reference=reference))


def _is(given: Any, word: str) -> bool:
    return isinstance(given, str) and given == word


def _by_set(given: Any, sets: Mapping[str, TokenSet]) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(sets, given)
    unknown = [name for name in given if name not in sets]
    if unknown:
        raise ValueError(f"reference={{{unknown[0]!r}: ...}}: there are the sets {', '.join(map(repr, sets))}.")
    return dict(given)


def _read(given: Any, tokens: TokenSet, name: str) -> Reference:
    if isinstance(given, (str, os.PathLike)):
        return of_run(_opened(Path(given), name), tokens)
    if isinstance(given, Reader):
        return of_run(given, tokens)
    try:
        bits_N = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"reference={brief(given)}: {EXPECTED} is expected.") from error
    if bits_N.shape != (len(tokens),):
        raise ValueError(
            f"reference: an array of shape {bits_N.shape} for the {len(tokens):,} tokens of {name!r}. {EXPECTED} is "
            "expected."
        )
    return Reference("an array", bits_N)


def _opened(path: Path, name: str) -> Reader:
    if not path.exists():
        raise FileNotFoundError(f"reference={os.fspath(path)!r}: no such run file. {EXPECTED} is expected.")
    try:
        return Reader(path)
    except KeyError:  # several sets: that of the same name
        return Reader(path, name)


def of_run(run: Reader, tokens: TokenSet) -> Reference:
    """The last row of another run of the same set.

    Raises:
        TokenSetMismatchError: If it holds another set.
        ValueError: If it has no row.
    """
    if run.set_hash != tokens.hash:
        raise TokenSetMismatchError(
            f"reference={os.fspath(run.path)!r}: it holds token set {run.set_hash[:16]}…, this run watches "
            f"{tokens.hash[:16]}…. Give a run of the same set."
        )
    if not len(run):
        raise ValueError(f"reference={os.fspath(run.path)!r}: nothing was scored in it yet.")
    return Reference(f"{run.path.name}, step {int(run.steps[-1])}", run.surprisal[-1], run.correct[-1])


def _scored(scorer: Scorer, model: nn.Module, name: str) -> Reference:
    seen = scorer.score(model)
    return Reference(name, seen.surprisal_bits, seen.correct)


def _beside(scorer: Scorer, base: nn.Module, around: Around) -> Scorer:
    beside = scorer.again()
    beside.prepare(base, around)
    return beside


def _without_adapters(scorer: Scorer, model: nn.Module, batch: Batch) -> Any:
    with adapters_off(unwrap(model)):
        return scorer.logits(model, batch)
