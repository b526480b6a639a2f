"""Rows worked out a second time, from copies of the weights and by nothing of ours.

A `Snapshots` sits in the host as a second callback and copies the weights after each update. When training has ended
each copy is put into a fresh model, one sequence at a time is fed to it, and the logits become bits in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from curvewatch import TokenSet, open_run
from tests.support.trainings import Training

# Rounding of float32, where the scorer batches and pads, and picks positions before the head; bits.
FLOAT32_BITS = 2e-5
# bfloat16 keeps 8 bits: a logit between 2 and 4 is off by up to 2^-7, that is 0.011 bit, and a batch of another shape
# may round the target's and the largest one to either side; bits.
BFLOAT16_BITS = 0.02
# float16 keeps three bits more.
FLOAT16_BITS = BFLOAT16_BITS / 8


class Snapshots:
    """Copies of the weights by step, as they are after that many updates. Copying draws and changes nothing."""

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def take(self, step: int, model: nn.Module) -> None:
        """Copies the weights of `model`, unless this step is copied already."""
        if step not in self.weights:
            self.weights[step] = {name: _whole(value) for name, value in model.state_dict().items()}

    def settings(self, host: str, training: Training, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Settings of `hosts.run` with which the copies are taken, ahead of what is to happen there besides."""
        settings = dict(settings or {})
        if host != "loop":
            return {**settings, "callbacks": (getattr(self, host)(), *settings.get("callbacks", ()))}
        self.take(0, training.model())
        then = settings.get("after", lambda step, model: None)

        def after(step: int, model: nn.Module) -> None:
            self.take(step, model)
            then(step, model)

        return {**settings, "after": after}

    def trainer(self) -> Any:
        """As a callback of the HF Trainer."""
        from transformers import TrainerCallback

        take = self.take

        class Taking(TrainerCallback):
            def on_train_begin(self, args, state, control, **kwargs):
                take(state.global_step, kwargs["model"])

            def on_step_end(self, args, state, control, **kwargs):
                take(state.global_step, kwargs["model"])

        return Taking()

    def lightning(self, part: str = "model") -> Any:
        """As a callback of Lightning's Trainer; `part` is the module's attribute that is the language model."""
        from lightning.pytorch import Callback

        take = self.take

        class Taking(Callback):
            def on_train_start(self, trainer, pl_module):
                take(trainer.global_step, getattr(pl_module, part))

            def on_train_batch_end(self, trainer, pl_module, *_):
                take(trainer.global_step, getattr(pl_module, part))

        return Taking()


def _whole(tensor: Any) -> torch.Tensor:
    """A copy, put together if it is sharded, which all ranks do then."""
    tensor = tensor.detach()
    whole: torch.Tensor = (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).clone()
    return whole


def plain_bits(
    model: Callable[[torch.Tensor], Any],
    tokens: TokenSet,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Surprisal of each token: sequences one by one and unpadded, full logits, float64."""
    bits = np.empty(len(tokens))
    if tokens.objective != "causal":
        with torch.no_grad(), around():
            for i in range(len(tokens)):
                log_p = _logits_of_token(model, tokens, i, device).double().log_softmax(-1) / np.log(2)
                bits[i] = -log_p[int(tokens.target[i])]
        return bits
    for s in range(tokens.n_sequences):
        ids = torch.from_numpy(np.array(tokens.sequence(s), np.int64))
        with torch.no_grad(), around():
            output = model(ids[None].to(device))
        logits = getattr(output, "logits", output)
        log_p = torch.log_softmax(logits[0].double(), dim=-1).cpu() / np.log(2)
        for i in np.flatnonzero(tokens.sequence_index == s):
            position = int(tokens.position[i])
            bits[i] = -log_p[position - 1, ids[position]]
    return bits


def _logits_of_token(model: Callable[..., Any], tokens: TokenSet, i: int, device: torch.device | str) -> torch.Tensor:
    """What a masked or encoder-decoder model says at the place of token `i` when it is fed for that one alone."""
    s, position = int(tokens.sequence_index[i]), int(tokens.position[i])
    ids = torch.from_numpy(np.array(tokens.sequence(s), np.int64)).to(device)[None]
    if tokens.masking is not None:
        ids[0, position : position + 1 + int(tokens.masking.behind_N[i])] = tokens.masking.mask_id
        return model(ids).logits[0, position]
    source = torch.from_numpy(np.array(tokens.encoder.sequence(s), np.int64)).to(device)[None]
    return model(input_ids=source, decoder_input_ids=ids[:, :position]).logits[0, -1]


def assert_rows_are_the_training_models(
    path: Path,
    snapshots: Snapshots,
    fresh: Callable[[], nn.Module],
    tokens: TokenSet,
    steps: Sequence[int],
    *,
    bits: float = FLOAT32_BITS,
    call: Callable[[Any, torch.Tensor], Any] = lambda model, ids: model(ids),
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> None:
    """Every row of the run file equals the copy of its step, and could be told from the row before it."""
    run = open_run(path)
    assert run.steps.tolist() == list(steps)
    model, before = fresh().eval(), None
    for step, row in zip(run.steps.tolist(), np.asarray(run.surprisal, np.float64), strict=True):
        model.load_state_dict(snapshots.weights[step])
        asked = model if tokens.objective != "causal" else lambda ids: call(model, ids)
        expected = plain_bits(asked, tokens, around, next(model.parameters()).device)
        assert np.abs(row - expected).max() <= bits, f"step {step}: off by {np.abs(row - expected).max():.2g} bit"
        assert before is None or np.abs(row - before).max() > 10 * bits, f"step {step}: nothing was learned"
        before = expected
