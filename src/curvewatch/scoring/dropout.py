"""How far surprisal spreads when parts of the model are dropped: what the model itself is unsure of.

Monte Carlo dropout (Gal & Ghahramani 2016): several passes with the dropout layers as in training, each with masks of
its own, which are the same at every row of a run. Suffixes: K passes, n scored tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from curvewatch.errors import ScoringError

SEED = 0xD20
SEEDS = 1 << 20
"""Batches that have masks of their own."""


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that drop something in training.

    Raises:
        ScoringError: If there is none.
    """
    found: list[nn.Module] = [one for one in model.modules() if isinstance(one, _DropoutNd) and one.p > 0]
    if not found:
        raise ScoringError(
            f"dropout_passes: the model ({type(model).__name__}) has no dropout layer, so nothing would spread. Leave "
            "it out, or train with dropout."
        )
    return found


def dropout_sd(model: nn.Module, surprisal: Callable[[], torch.Tensor], n_passes: int, index: int) -> torch.Tensor:
    """Standard deviation of surprisal over passes with dropout.

    Call it where random streams are restored afterwards. Only layers are switched on; what a kernel of attention would
    drop by itself stays off.

    Args:
        model: In evaluation mode.
        surprisal: One pass: bits, float32, shape [n].
        n_passes: K, at least 2.
        index: Of the batch, which chooses the masks.

    Returns:
        Bits, float32, shape [n]: the square root of the variance with K - 1 in its denominator.
    """
    layers = dropout_layers(model)
    mean_n = squares_n = torch.zeros(())
    with _switched_on(layers):
        for k in range(n_passes):
            torch.manual_seed(SEED + SEEDS * k + index % SEEDS)
            bits_n = surprisal().double()
            if k == 0:
                mean_n, squares_n = bits_n, torch.zeros_like(bits_n)
                continue
            before_n = bits_n - mean_n
            mean_n = mean_n + before_n / (k + 1)
            squares_n = squares_n + before_n * (bits_n - mean_n)
    return (squares_n / (n_passes - 1)).sqrt().float()


@contextmanager
def _switched_on(layers: list[nn.Module]) -> Iterator[None]:
    try:
        for one in layers:
            one.training = True
        yield
    finally:
        for one in layers:
            one.training = False
