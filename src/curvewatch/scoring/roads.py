"""Roads from a model to the logits of the wanted positions. Every one goes through `model(...)` as a whole.

Calling a backbone and its head by hand would bypass autocast, break under FSDP, and be wrong for heads that scale,
transform or cap. Suffixes: B rows, W fed tokens, n wanted positions, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from curvewatch.errors import ScoringError
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.undisturbed import device_of

Road = Callable[[nn.Module, Batch], torch.Tensor]
ROADS = ("logits_to_keep", "head_hook", "full")


def plain_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Logits of every position, shape [B, W, V]: what all other roads are checked against.

    Raises:
        ScoringError: If the model returns none.
    """
    logits = logits_of(call_plainly(model, batch))
    n_rows, width = batch.input_ids.shape
    prompt = virtual_tokens(model)
    if prompt and logits.ndim == 3 and logits.shape[:2] == (n_rows, prompt + width):
        return logits[:, prompt:]
    if logits.ndim != 3 or logits.shape[:2] != (n_rows, width):
        raise ScoringError(
            f"model={type(model).__name__}: it returned logits of shape {list(logits.shape)}, [{n_rows}, {width}, V] "
            f"is expected. {_advice(logits, width)}"
        )
    return logits


def call_plainly(model: nn.Module, batch: Batch) -> Any:
    """What the model returns for the ids of `batch`, with nothing else asked of it."""
    return model(*_arguments(model, batch), **_keywords(model, batch))


def virtual_tokens(model: nn.Module) -> int:
    """Positions that a trained prompt of PEFT (prompt tuning, p-tuning) takes in front of the ids; 0 without one."""
    config: Any = getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None
    return int(config.num_virtual_tokens) if getattr(config, "is_prompt_learning", False) else 0


def _advice(logits: torch.Tensor, width: int) -> str:
    if logits.ndim == 3 and logits.shape[1] > width:
        extra = logits.shape[1] - width
        return (
            f"If it puts {extra} positions of its own (a soft prompt, say) before the tokens, pass forward= that takes "
            f"them off, for example forward=lambda model, batch: model(batch.input_ids).logits[:, {extra}:]."
        )
    if logits.ndim == 3 and logits.shape[1] == 1:
        return (
            "If it needs other arguments (nanoGPT's returns only the last position unless it is given targets), pass "
            "forward=, for example forward=lambda model, batch: model(batch.input_ids, batch.input_ids)[0]."
        )
    return (
        "Only causal language models are supported, with a prediction at each position: no sequence classifiers or "
        "reward models. If another call of it gives those logits, pass forward=, a function forward(model, batch) -> "
        "logits."
    )


def full(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Full logits, of which the wanted are taken. For every model; costs memory for all positions."""
    return batch.wanted(plain_logits(model, batch))


def logits_to_keep(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The argument of recent transformers models, with a mask: the head sees only the wanted positions."""
    output = model(*_arguments(model, batch), **_keywords(model, batch), logits_to_keep=batch.keep)
    return _flat(logits_of(output))


def head_hook(model: nn.Module, batch: Batch) -> torch.Tensor:
    """A hook in front of the output embeddings, which hands on only the wanted positions."""

    def select(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = arguments
        if hidden.shape[:2] != batch.keep.shape:
            raise ScoringError(f"the head's input has shape {list(hidden.shape)}, not that of the batch")
        return (batch.wanted(hidden)[None], *rest)

    handle = _head(model).register_forward_pre_hook(select)
    try:
        return _flat(logits_of(model(*_arguments(model, batch), **_keywords(model, batch))))
    finally:
        handle.remove()


def by_forward(forward: Callable[[Any, Batch], Any]) -> Road:
    """A road over a function of the user's, which may return all positions [B, W, V] or only the wanted [n, V].

    Args:
        forward: `forward(model, batch) -> logits`; see `Batch` for what it gets.
    """

    def road(model: nn.Module, batch: Batch) -> torch.Tensor:
        logits = logits_of(forward(model, batch))
        if logits.ndim == 3 and logits.shape[:2] == batch.keep.shape:
            return batch.wanted(logits)
        if logits.ndim == 2 and len(logits) == len(batch.target):
            return logits
        rows, width = batch.keep.shape
        raise ScoringError(
            f"forward: it returned logits of shape {list(logits.shape)}; [{rows}, {width}, V] (all positions) or "
            f"[{len(batch.target)}, V] (those of batch.keep, row by row) is expected."
        )

    return road


def candidates(model: nn.Module) -> list[tuple[str, Road]]:
    """The roads that this model seems to offer, best first. Which one is exact is for a check to say."""
    found: list[tuple[str, Road]] = []
    if "logits_to_keep" in _parameters(model):
        found.append(("logits_to_keep", logits_to_keep))
    if _head(model, required=False) is not None:
        found.append(("head_hook", head_hook))
    if device_of(model).type == "cuda":
        # A mask must be counted before the head can begin, for which the program would wait for the device.
        found.reverse()
    return [*found, ("full", full)]


def logits_of(output: Any) -> torch.Tensor:
    """The logits in whatever a model returns: a tensor, an output with `logits`, or a tuple that begins with them.

    Raises:
        ScoringError: If there are none.
    """
    found = output
    if isinstance(output, Mapping):
        found = output.get("logits")
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, (tuple, list)):
        found = next((part for part in output if isinstance(part, torch.Tensor) and part.ndim >= 2), None)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        raise ScoringError(
            f"model: it returned {type(output).__name__} without logits. Give a model with a language-modelling head, "
            "or pass forward=, a function forward(model, batch) -> logits."
        )
    return found


def head_of(model: nn.Module) -> nn.Module | None:
    """The output embeddings of a transformers model; None for others."""
    head: nn.Module | None = _head(model, required=False)
    return head


def model_inside(module: nn.Module) -> nn.Module:
    """The one transformers model inside a module that is none itself; the module, if there is none, or several.

    What it says of itself (its head, its context) holds for the module, too; whether its head will do is checked.
    """
    if hasattr(module, "get_output_embeddings"):
        return module
    inside: list[nn.Module] = []

    def look(part: nn.Module) -> None:
        if hasattr(part, "get_output_embeddings"):
            inside.append(part)
            return
        for child in part.children():
            look(child)

    look(module)
    return inside[0] if len(inside) == 1 else module


def _head(model: nn.Module, required: bool = True) -> Any:
    getter = getattr(model_inside(model), "get_output_embeddings", None)
    try:
        head = getter() if getter is not None else None
    except (NotImplementedError, AttributeError):
        head = None
    if head is None and required:
        raise ScoringError("the model names no output embeddings")
    return head


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    # Of the class: hosts patch `forward` on the instance and hide its parameters.
    return inspect.signature(type(model).forward).parameters


def _arguments(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, ...]:
    return () if batch.encoder_ids is not None or _takes_by_name(model) else (batch.input_ids,)


def _takes_by_name(model: nn.Module) -> bool:
    parameters = _parameters(model)
    if "input_ids" in parameters:
        return True
    kinds = {parameter.kind for parameter in list(parameters.values())[1:]}  # the first is the module itself
    return kinds == {inspect.Parameter.VAR_KEYWORD}  # forward(self, **inputs)


def _keywords(model: nn.Module, batch: Batch) -> dict[str, Any]:
    parameters = _parameters(model)
    keywords: dict[str, Any] = {}
    if batch.encoder_ids is not None:
        keywords |= {"input_ids": batch.encoder_ids, "attention_mask": batch.encoder_mask}
        keywords["decoder_input_ids"] = batch.input_ids
        if "use_cache" in parameters:
            keywords["use_cache"] = False
        return keywords
    if _takes_by_name(model):
        keywords["input_ids"] = batch.input_ids
    # Padding stands on the right, where a causal model can't see it; the mask is for those that count tokens, or that
    # can't be called without one.
    if "attention_mask" in parameters:
        if batch.attention_mask is not None:
            keywords["attention_mask"] = batch.attention_mask
        elif _is_required(parameters["attention_mask"]):
            keywords["attention_mask"] = torch.ones_like(batch.input_ids)
    # For the loss, which is not looked at.
    if "labels" in parameters and _is_required(parameters["labels"]):
        keywords["labels"] = batch.input_ids
    if "use_cache" in parameters:
        keywords["use_cache"] = False
    return keywords


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _flat(logits: torch.Tensor) -> torch.Tensor:
    return logits.reshape(-1, logits.shape[-1])
