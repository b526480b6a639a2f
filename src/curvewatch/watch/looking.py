"""Looking: what is taken from the model at one step: scores of every set, and text behind prompts."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import nn

from curvewatch.live import Metrics
from curvewatch.live.metrics import Table
from curvewatch.observation import Observation
from curvewatch.sampling.sample import samples_scalars, samples_table
from curvewatch.sampling.sampler import TextSampler
from curvewatch.scoring.scorer import Scorer
from curvewatch.scoring.undisturbed import device_of
from curvewatch.watch.keeper import Keeper


def score_sets(
    scorers: Mapping[str, Scorer], model: nn.Module, keeper: Keeper | None
) -> tuple[dict[str, Observation], dict[str, float]]:
    """Scores each set. A collective on several ranks.

    Args:
        scorers: By set, prepared.
        model: Live.
        keeper: On rank 0; hears of it when batches had to be made smaller.

    Returns:
        By set the observation, and the seconds it took.
    """
    observations, seconds = {}, {}
    for name, scorer in scorers.items():
        _synchronise(model)  # what training still has under way is not the watch's cost
        began, size = time.perf_counter(), scorer.batch_size
        observations[name] = scorer.score(model)
        seconds[name] = time.perf_counter() - began
        if scorer.batch_size != size and keeper is not None:
            keeper.recorder.rewrite_scorer(name, scorer.settings)
    return observations, seconds


def sample_texts(sampler: TextSampler, model: nn.Module, step: int, keeper: Keeper | None) -> Metrics:
    """Has the model continue the prompts, and records what it wrote. A collective on several ranks.

    Args:
        sampler: Prepared.
        model: Live.
        step: Updates done.
        keeper: On rank 0.
    """
    samples = sampler.sample(model, step)
    if keeper is not None:
        keeper.recorder.add_samples(samples)
    columns, rows = samples_table(samples)
    return Metrics(samples_scalars(samples), tables={"curvewatch/text/samples": Table(columns, rows)})


def _synchronise(model: nn.Module) -> None:
    if device_of(model).type == "cuda":
        torch.cuda.synchronize(device_of(model))
