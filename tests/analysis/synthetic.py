"""Run files with made-up curves of every kind: learned, forgotten, never learned, noisy, with holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curvewatch import Observation, RunFile, TokenSet
from curvewatch.runfile.records import Row, RunPlan, SetRecord

VOCABULARY = 64
WORDS = {i: f" word{i}" for i in range(VOCABULARY)} | {5: " the", 6: "."}


def token_set(n_tokens: int, seed: int = 0, texts: bool = True, length: int = 16) -> TokenSet:
    """Sequences of random ids, each scored at ten positions."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, VOCABULARY, (-(-n_tokens // 10), length))
    made = TokenSet.from_sequences(rows, n_tokens=n_tokens, per_sequence=10, seed=seed, vocab_size=VOCABULARY)
    if not texts:
        return made
    parts = {name: getattr(made, name) for name in ("ids", "starts", "sequence_index", "position", "vocab_size")}
    return TokenSet(**parts, vocabulary=WORDS)


def schedule(n_steps: int, max_steps: int = 100_000) -> np.ndarray:
    """Step 0, then `n_steps - 1` steps: a third of them evenly spaced, the others on a log axis."""
    if n_steps < 2:
        return np.zeros(n_steps, np.int64)
    even = np.linspace(0, max_steps, (n_steps - 1) // 3 + 1)[1:]
    steps = np.sort(np.rint(np.concatenate([np.geomspace(1, max_steps - 1, n_steps - 1 - len(even)), even])))
    for t in range(1, len(steps)):
        steps[t] = max(steps[t], steps[t - 1] + 1)
    return np.concatenate([[0], steps]).astype(np.int64)


def row(step: int, n_tokens: int, chance: float, max_steps: int, seed: int) -> Observation:
    """Surprisal of all tokens at a step: what a token does is its own, the noise is the run's."""
    token = np.random.default_rng(7)
    when, final = token.uniform(0.5, 4.5, n_tokens), token.uniform(0.5, 1.1, n_tokens) * chance
    bump_at, bump = token.uniform(3, 5, n_tokens), token.exponential(1.0, n_tokens) * (token.random(n_tokens) < 0.3)
    x = np.log10(max(step, 0.5))
    rng = np.random.default_rng((seed, step))
    y = (
        chance
        + 1.0
        + (final - chance - 1.0) / (1 + np.exp(-(x - when) * 3))
        + bump * np.exp(-(((x - bump_at) * 4) ** 2))
    )
    y += rng.normal(0, 0.2, n_tokens)
    y = np.maximum(y, 0.01).astype(np.float32)
    return Observation(y, y < 0.7 * chance, (y * 0.8).astype(np.float32))


def write_run(
    path: Path,
    n_steps: int = 60,
    n_tokens: int = 300,
    *,
    seed: int = 1,
    max_steps: int = 100_000,
    tokens: TokenSet | None = None,
    steps: np.ndarray | None = None,
    holes: tuple[int, ...] = (),
    planned: np.ndarray | None = None,
) -> Path:
    """A run file at `path`; the tokens in `holes` are NaN at the last row."""
    tokens = tokens if tokens is not None else token_set(n_tokens)
    n_tokens = len(tokens)
    chance = float(np.log2(VOCABULARY))
    steps = schedule(n_steps, max_steps) if steps is None else steps
    record = SetRecord(tokens, VOCABULARY, {"road": "full", "batch_size": 8, "compute_dtype": "float32"})
    provenance = {"host": {"name": "test"}, "model": {"class": "tests.Model", "parameters": 1000}, "versions": {}}
    plan = RunPlan(max_steps, steps if planned is None else planned, "test schedule", provenance)
    file = RunFile.start(path, {"eval": record}, plan, -1)
    for step in steps.tolist():
        observation = row(step, n_tokens, chance, max_steps, seed)
        if step == steps[-1] and holes:
            observation.surprisal_bits[list(holes)] = np.nan
        file.append(Row(step, 0.01, 1.7e9 + step, {"eval": observation}))
    file.close()
    return path
