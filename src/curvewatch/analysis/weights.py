"""Weights of tokens, as trainings that weigh or choose their tokens take them. Suffixes: T rows, N tokens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.export import replaced
from curvewatch.analysis.frames import need, target_texts
from curvewatch.analysis.moment import Moment
from curvewatch.runfile.datasets import padded
from curvewatch.runfile.reader import Reader

KINDS = ("mile", "rho1", "easiness")
SUFFIXES = (".npz", ".csv", ".parquet")
BLOCK_VALUES = 1 << 22


def token_weights(
    run: Reader, kind: str = "mile", *, step: int | None = None, gamma: float = 1.0, keep: float = 0.6
) -> NDArray[np.float64]:
    """One weight for each scored token.

    - "mile": how hard a token is by the entropy H of what the model predicts there, in nats: (1 + H)^gamma, over its
      mean, so that the mean is 1 (Su et al. 2024, MiLe loss; their mean is over a batch).
    - "rho1": 1 for the share `keep` of the tokens whose loss lies farthest above the base's, else 0 (Lin et al. 2024,
      Rho-1; the run has to have a reference).
    - "easiness": for curricula: 1 - surprisal / chance, averaged over all of training (by the trapezoid rule over
      steps). 1 is known from the beginning on, 0 no better than a guess; it can be below.

    Args:
        run: The run.
        kind: One of these.
        step: The row that the first two are taken from; None: the last.
        gamma: Of "mile".
        keep: Of "rho1", above 0, at most 1.

    Returns:
        Shape [N]; NaN where scores are not finite, or nothing is known of the base.

    Raises:
        ValueError: If there is no such kind, or row, or no reference.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: no such weights. There are {', '.join(KINDS)}.")
    moment = Moment.now(run)
    if not len(moment):
        raise ValueError(f"{run.path}: no row yet.")
    if kind == "easiness":
        return _easiness(run, moment)
    row = len(moment) - 1
    if step is not None:
        found = np.flatnonzero(moment.steps_T == step)
        if not len(found):
            raise ValueError(f"step={step}: no such row. The last is of step {moment.steps_T[-1]:,}.")
        row = int(found[0])
    if kind == "mile":
        if not np.isfinite(gamma):
            raise ValueError(f"gamma={gamma}: a finite number is expected.")
        raw_N = (1 + np.asarray(moment.entropy[row], np.float64) * np.log(2)) ** gamma
        raw_N[~np.isfinite(raw_N)] = np.nan
        weights_N: NDArray[np.float64] = raw_N / np.nanmean(raw_N) if np.isfinite(raw_N).any() else raw_N
        return weights_N
    return _rho1(run, moment, row, keep)


def _rho1(run: Reader, moment: Moment, row: int, keep: float) -> NDArray[np.float64]:
    if not 0 < keep <= 1:
        raise ValueError(f"keep={keep}: a share above 0 and up to 1 is expected.")
    reference = run.tokens.annotations.reference
    if reference is None:
        raise ValueError(
            f"{run.path}: it has no reference to be held against. Train with live=Live(reference=...), or use other "
            "weights."
        )
    # Without values of its own the base is the run's first row.
    base_N = moment.surprisal[0] if reference.surprisal_N is None else reference.surprisal_N
    excess_N = np.asarray(moment.surprisal[row], np.float64) - np.asarray(base_N, np.float64)
    known = np.isfinite(excess_N)
    weights_N = np.where(known, 0.0, np.nan)
    n = int(np.ceil(keep * known.sum()))
    if n:
        # Stable, so that of equal ones the earlier are taken, everywhere the same.
        order = np.argsort(np.where(known, -excess_N, np.inf), kind="stable")
        weights_N[order[:n]] = 1.0
    return weights_N


def _easiness(run: Reader, moment: Moment) -> NDArray[np.float64]:
    steps_T = moment.steps_T.astype(np.float64)
    if len(steps_T) < 2:
        raise ValueError(f"{run.path}: easiness is an average over training, and there is one row.")
    half_T = np.diff(steps_T) / 2
    weight_T = (np.append(half_T, 0) + np.append(0, half_T)) / (steps_T[-1] - steps_T[0])
    mean_N = np.zeros(run.n_tokens)
    block = max(1, BLOCK_VALUES // max(1, run.n_tokens))
    for start in range(0, len(steps_T), block):
        mean_N += weight_T[start : start + block] @ np.asarray(moment.surprisal[start : start + block], np.float64)
    easy_N: NDArray[np.float64] = 1 - mean_N / run.chance
    easy_N[~np.isfinite(easy_N)] = np.nan
    return easy_N


def write_weights(run: Reader, weights_N: NDArray[np.float64], path: str | os.PathLike[str]) -> Path:
    """Writes weights with what is needed to find their tokens.

    Args:
        run: The run that they are of.
        weights_N: Shape [N].
        path: Ends in .csv or .parquet (a row a token: sequence_index, position, target, its text if known, weight), or
            .npz (these as arrays, with `sequences` and `sequence_weights`, both [sequence, place]; NaN where no token
            is scored). What is there is replaced once the new file is whole.

    Raises:
        ValueError: If it ends otherwise.
    """
    path, tokens = Path(path), run.tokens
    if path.suffix not in SUFFIXES:
        raise ValueError(f"output={path}: the ending chooses the format; use one of {', '.join(SUFFIXES)}.")
    columns: dict[str, Any] = {name: getattr(tokens, name) for name in ("sequence_index", "position", "target")}
    texts = target_texts(tokens)
    if texts is not None:
        columns["target_text"] = texts
    columns["weight"] = weights_N
    with replaced(path) as temporary:
        if path.suffix == ".npz":
            by_place = np.full((tokens.n_sequences, tokens.context), np.nan)
            by_place[tokens.sequence_index, tokens.position] = weights_N
            if texts is not None:
                columns["target_text"] = texts.astype(str)
            ids = np.concatenate([block for _, block in padded(tokens.starts, tokens.ids)])
            np.savez_compressed(temporary, **columns, sequences=ids, sequence_weights=by_place)
        else:
            frame = need("pandas", "weights").DataFrame(columns)
            if path.suffix == ".csv":
                frame.to_csv(temporary, index=False)
            else:
                frame.to_parquet(temporary, index=False)
    return path
