"""Survey: before anything is trusted, a model is looked over on a small batch of the real tokens."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from curvewatch.errors import ScoringError
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.masked import batches_of
from curvewatch.scoring.roads import Road, candidates, full, head_of, model_inside, plain_logits, virtual_tokens
from curvewatch.scoring.undisturbed import device_of
from curvewatch.tokens.tokenset import TokenSet

logger = logging.getLogger("curvewatch")

# The survey's batch: two to four sequences, enough to show a wrong road. Its full logits are held several times over,
# so they are kept to 32 MB each by cutting the sequences short where the vocabulary is large.
SURVEY_SEQUENCES = 4
SURVEY_TOKENS = 512
SURVEY_LOGITS = 1 << 23
# Largest difference between two roads, relative to the spread of the logits. A wrong position or a missing step of the
# head is off by the spread itself; in low precision another matrix shape rounds differently.
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3}
LOW_PRECISION_ROUNDING = 0.05
# Model types and class names of diffusion language models.
DIFFUSION = re.compile(r"diffusion|llada|mdlm|sedd\b|bd3lm|dream(?:model|_?\d|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Survey:
    """What was found out about a model.

    Attributes:
        road: Name of the road to the logits that was found exact, or "forward" for the user's own.
        vocab_size: Number of the model's outputs.
        compute_dtype: Precision in which the head computes ("float32", "bfloat16", ...).
    """

    road: str
    vocab_size: int
    compute_dtype: str

    @property
    def chance(self) -> float:
        """log2 of the number of outputs: the surprisal of guessing, bits."""
        return math.log2(self.vocab_size)


def survey(model: nn.Module, tokens: TokenSet, forward: Road | None = None) -> tuple[Survey, Road]:
    """Checks that model and token set fit, and finds the best road that gives exactly the plain road's logits.

    Call it with the model in evaluation mode and without gradients.

    Args:
        model: Unwrapped.
        tokens: What will be scored.
        forward: The user's own road; its shape is checked, and that it looks at no later token.

    Raises:
        ScoringError: See `Scorer.prepare`.
    """
    _check_kind(model, tokens, by_hand=forward is not None)
    _check_vocabulary(model, tokens)
    _check_context(model, tokens)
    batch = _survey_batch(model, tokens)
    if forward is not None:
        logits = forward(model, batch)
        found = Survey("forward", _checked_outputs(logits.shape[-1], tokens), _name(logits.dtype))
        tolerance = ROUNDING.get(logits.dtype, LOW_PRECISION_ROUNDING)
        _check_context_used(_every_position(forward), "forward", model, tokens, batch, tolerance)
        return found, forward
    (plain, dtype) = _head_dtype(model, lambda: plain_logits(model, batch))
    outputs = _checked_outputs(plain.shape[-1], tokens)
    tolerance = ROUNDING.get(dtype, LOW_PRECISION_ROUNDING)
    _check_context_used(plain_logits, f"model={type(model).__name__}", model, tokens, batch, tolerance, plain)
    wanted = plain[batch.keep]
    for name, road in candidates(model):
        if name == "full" or _agrees(model, road, name, batch, wanted, tolerance):
            return Survey(name, outputs, _name(dtype)), road
    return Survey("full", outputs, _name(dtype)), full


def _survey_batch(model: nn.Module, tokens: TokenSet) -> Batch:
    embeddings = input_embeddings(model)
    vocabulary = getattr(embeddings, "num_embeddings", None) or tokens.vocab_size or int(tokens.ids.max()) + 1
    positions = SURVEY_LOGITS // vocabulary
    batches = batches_of(tokens, 1, boundary=False)
    width = max(8, min(SURVEY_TOKENS, tokens.context - 1, positions // 2))
    rows = batches.rows[: max(2, min(SURVEY_SEQUENCES, positions // width))]
    batch = batches.of_rows(rows, device_of(model), width=width)
    if not batch.keep.any():
        # All scored positions lie beyond the survey's width: any position serves to compare roads.
        everywhere = torch.ones_like(batch.keep)
        return replace(batch, keep=everywhere, target=batch.input_ids.flatten(), places=None, own=None, behind=None)
    return batch


def _agrees(model: nn.Module, road: Road, name: str, batch: Batch, wanted: torch.Tensor, tolerance: float) -> bool:
    try:
        logits = road(model, batch)
    except Exception as error:
        # Older hosts know other forms of the argument, some heads take other shapes: then it is not our road.
        logger.debug("road %s is closed for %s: %s", name, type(model).__name__, error)
        return False
    if logits.shape != wanted.shape:
        logger.debug("road %s gives %s logits, %s are wanted", name, list(logits.shape), list(wanted.shape))
        return False
    if _difference(logits, wanted) > tolerance:
        logger.warning("road %s differs from the plain one for %s and is not taken", name, type(model).__name__)
        return False
    return True


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the spread of `b`; places where both are not finite (masked ids) agree."""
    a, b = a.float(), b.float()
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    if bool(same.all()):
        return 0.0
    off = torch.where(same, torch.zeros_like(a), (a - b).abs())
    finite = b[torch.isfinite(b)]
    spread = float(finite.std()) if finite.numel() > 1 else 0.0
    largest = float(off.max())
    return largest / max(spread, 1e-6) if np.isfinite(largest) else np.inf


def input_embeddings(model: nn.Module) -> Any:
    """The input embeddings of a transformers model; None for others."""
    getter = getattr(model_inside(model), "get_input_embeddings", None)
    try:
        return getter() if getter is not None else None
    except (NotImplementedError, AttributeError):
        return None


def _check_vocabulary(model: nn.Module, tokens: TokenSet) -> None:
    known = getattr(input_embeddings(model), "num_embeddings", None)
    highest = int(tokens.ids.max())
    if tokens.masking is not None:
        highest = max(highest, tokens.masking.mask_id)
    if tokens.encoder is not None:
        highest = max(highest, int(tokens.encoder.ids.max()))
    if known is not None and highest >= known:
        raise ScoringError(
            f"tokens: id {highest} lies beyond the model's {known:,} embeddings. Build the token set "
            "with the tokenizer that the model is trained with."
        )


def _checked_outputs(outputs: int, tokens: TokenSet) -> int:
    if int(tokens.target.max()) >= outputs:
        raise ScoringError(
            f"tokens: target id {int(tokens.target.max())} lies beyond the model's {outputs:,} outputs. Build the "
            "token set with the tokenizer that the model is trained with."
        )
    return outputs


def context_limit(model: nn.Module) -> tuple[str, int] | None:
    """The most tokens that a model's configuration says it takes, with the setting's name; None if it says nothing."""
    config = getattr(model_inside(model), "config", None)
    names = ("max_position_embeddings", "n_positions", "block_size", "max_seq_len")
    stated = [(name, getattr(config, name, None)) for name in names]
    limits = [(limit, name) for name, limit in stated if isinstance(limit, int) and limit > 0]
    return min(limits)[::-1] if limits else None


def _check_context(model: nn.Module, tokens: TokenSet) -> None:
    stated = context_limit(model)
    if stated is None:
        return
    name, limit = stated[0], stated[1] - virtual_tokens(model)  # a trained prompt takes its part of the context
    fed = tokens.context - (tokens.annotations.boundary is None and tokens.masking is None)
    if tokens.encoder is not None:
        fed = max(fed, tokens.encoder.context)
    if limit < fed:
        # Also where positions are relative: longer sequences make some models rescale their positions for good.
        raise ScoringError(
            f"tokens: the longest sequence feeds {fed:,} tokens, the model's {name} is {limit:,}. "
            f"Build the token set with context={limit:,} or less."
        )


def _check_context_used(
    road: Road,
    what: str,
    model: nn.Module,
    tokens: TokenSet,
    batch: Batch,
    tolerance: float,
    before: torch.Tensor | None = None,
) -> None:
    """Refuses logits that look ahead, and those of a set for a masked model that don't.

    Args:
        road: Gives the logits of all positions, [B, W, V].
        what: Whose logits they are, for the message.
        model: Unwrapped.
        tokens: What will be scored.
        batch: Real sequences.
        tolerance: As far as rounding may go.
        before: The logits of `batch`, if they are known.
    """
    width = batch.input_ids.shape[1]
    if width < 2:
        return
    half = width // 2
    plain = road(model, batch) if before is None else before
    changed = batch.input_ids.clone()
    # Another id that certainly exists: the row's own tokens, turned round.
    changed[:, half:] = changed[:, half:].flip(1)
    changed[:, -1] = (changed[:, -1] + 1) % (int(batch.input_ids.max()) + 1)
    again = road(model, replace(batch, input_ids=changed))
    difference = _difference(again[:, :half], plain[:, :half])
    if tokens.masking is not None:
        # The attention of a model that is not trained yet changes little, but not nothing.
        if difference == 0:
            raise ScoringError(
                f"{what}: its logits don't depend on later tokens, so it is no masked language model, for which these "
                f"tokens are (objective={tokens.objective!r}). Build the token set without objective=."
            )
    elif difference > tolerance:
        raise ScoringError(
            f"{what}: its logits depend on later tokens, so they are no predictions of the next one. Give a causal "
            'language model, or a forward= whose call of it is causal; a masked model takes objective="masked" where '
            "the token set is built."
        )


def _every_position(forward: Road) -> Road:
    """The user's road, asked for all positions; those of padding as well, of which nothing is expected."""

    def road(model: nn.Module, batch: Batch) -> torch.Tensor:
        everywhere = torch.ones_like(batch.keep)
        index = torch.arange(everywhere.numel(), device="cpu")
        target = batch.input_ids.flatten()
        whole = replace(batch, keep=everywhere, target=target, token_index=index, places=None, own=None, behind=None)
        return forward(model, whole).reshape(*batch.keep.shape, -1)

    return road


def _check_kind(model: nn.Module, tokens: TokenSet, *, by_hand: bool) -> None:
    """Refuses a kind of model that the set is not for, and those that can't be followed at all."""
    name, config = type(model).__name__, getattr(model_inside(model), "config", None)
    kind = str(getattr(config, "model_type", "") or "")
    if DIFFUSION.search(kind) or DIFFUSION.search(type(model_inside(model)).__name__):
        raise ScoringError(
            f"model={name}: a diffusion language model. It has no probability of a token that one forward pass would "
            "give: its likelihoods are averages over random masks, whose noise a curve would show as learning and "
            "forgetting. It can't be followed."
        )
    if by_hand:
        return
    both = getattr(config, "is_encoder_decoder", False) is True
    if both and tokens.encoder is None:
        raise ScoringError(
            f"model={name}: an encoder-decoder model, and the token set says nothing of what its encoder reads. Build "
            "it with TokenSet.from_seq2seq, or with encoder_ids= (TokenSet.from_sequences); to give the encoder its "
            "input otherwise, pass forward=, a function forward(model, batch) -> logits."
        )
    if not both and tokens.encoder is not None:
        raise ScoringError(
            f"model={name}: not an encoder-decoder model, for which these tokens are (objective={tokens.objective!r}). "
            "Build the token set without encoder_ids=."
        )


def _head_dtype(model: nn.Module, call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.dtype]:
    """The logits of `call`, and the precision in which the head made them (hosts widen what comes out later)."""
    head, seen = head_of(model), []
    if head is None:
        logits = call()
        return logits, logits.dtype

    def note(_module: nn.Module, _arguments: Any, output: Any) -> None:
        seen.append(output.dtype if isinstance(output, torch.Tensor) else None)

    handle = head.register_forward_hook(note)
    try:
        logits = call()
    finally:
        handle.remove()
    return logits, (seen[0] if seen and seen[0] is not None else logits.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
