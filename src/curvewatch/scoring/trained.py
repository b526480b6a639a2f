"""Which model a host trains: the one place that says so, for scoring and for sampled texts, under every host."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from curvewatch.errors import ScoringError
from curvewatch.scoring import ranks
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.roads import call_plainly, logits_of
from curvewatch.scoring.undisturbed import Around, Window, device_of, nothing_around, unwrap

logger = logging.getLogger("curvewatch")

# A function of the user's: the host's module in, the model that is scored out.
ChooseModel = Callable[[Any], nn.Module]
# Ids fed to see whether a module takes any.
TRIAL_TOKENS = 8
MOST_NAMED = 8
UNTRAINED = "it uses nothing of what training changes"
WAY_OUT = (
    "Say which one is to be scored with model=, for example model=lambda module: module.lm; or how its logits are "
    "made with forward=, for example forward=lambda module, batch: module.lm(batch.input_ids).logits."
)


@dataclass(frozen=True)
class Trained:
    """The model that is scored.

    Attributes:
        model: Unwrapped.
        name: Where it stands in the host's module ("lm"); "model" if it is that module itself.
        parameters: How many it has.
        trainable: How many of them training changes.
    """

    model: nn.Module
    name: str
    parameters: int
    trainable: int

    @property
    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {"name": self.name, "trainable_parameters": self.trainable}

    def __str__(self) -> str:
        share = 100 * self.trainable / max(1, self.parameters)
        text = f"{share:.3g}" if self.trainable != self.parameters else "100"
        return f"{self.name} ({type(self.model).__name__}, {_count(self.parameters)} parameters, {text} % trainable)"


def trained_model(
    host_module: nn.Module,
    choose: ChooseModel | None = None,
    *,
    optimizers: Iterable[Any] = (),
    whole: bool = False,
    width: int = TRIAL_TOKENS,
    around: Around = nothing_around,
) -> Trained:
    """The model that a host trains. A collective on several ranks.

    A model of transformers or PEFT is the model. Any other module is, if its own `forward` takes token ids and uses
    what is trained: what it adds to a part of it is trained and scored with it. Else it is the one part that holds all
    that training changes.

    Args:
        host_module: What the host trains: a model, or a LightningModule around one.
        choose: The user's own choice; taken as it is.
        optimizers: The host's: what they hold is what training changes; empty: all that requires a gradient.
        whole: Take `host_module` as it is, since the user's `forward=` knows how to call it.
        width: Ids that may be fed to see whether a module takes any.
        around: The host's precision context.

    Raises:
        ScoringError: If no part, or more than one, may be meant, or something outside of it is trained as well.
    """
    root = unwrap(host_module)
    changed = _changed(root, optimizers)
    if choose is not None:
        chosen = choose(host_module)
        if not isinstance(chosen, nn.Module):
            raise ScoringError(
                f"model={getattr(choose, '__name__', choose)!r}: it returned {type(chosen).__name__}, a torch.nn."
                "Module is expected. Return the module that is trained."
            )
        return _described(unwrap(chosen), root, changed)
    if whole or is_language_model(root):
        return _described(root, root, changed)
    own = _has_own_forward(root)
    # What a failing forward says is wanted below, where no part will do.
    failure = _trial(root, width, around, changed) if own else None
    if own and failure is None:
        return _described(root, root, changed)
    parts = language_models(root)
    if not parts and (not own or failure == UNTRAINED):
        parts = [
            child for child in root.children() if _has_own_forward(child) and any(True for _ in child.parameters())
        ]
    if not parts and own and failure != UNTRAINED:
        return _described(root, root, changed)  # scoring it will say what is wrong with it
    return _only_part(root, parts, changed, failure)


def is_language_model(module: nn.Module) -> bool:
    """Whether it is a model of transformers with a head, or PEFT's around one."""
    peft, transformers = sys.modules.get("peft"), sys.modules.get("transformers")
    if peft is not None and isinstance(module, (peft.PeftModel, peft.PeftMixedModel)):
        return True
    if transformers is None or not isinstance(module, transformers.PreTrainedModel):
        return False
    try:
        return module.get_output_embeddings() is not None
    except (NotImplementedError, AttributeError):
        return False


def language_models(root: nn.Module) -> list[nn.Module]:
    """The outermost language models inside `root`, each once; what they are made of is part of them."""
    found: list[nn.Module] = []
    seen: set[int] = set()

    def look(module: nn.Module) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        if module is not root and is_language_model(module):
            found.append(module)
            return
        for child in module.children():
            look(child)

    look(root)
    return found


def _only_part(root: nn.Module, parts: list[nn.Module], changed: set[int], failure: str | None) -> Trained:
    described = [_described(part, root, changed) for part in parts]
    # Beside a student the teacher's curves are flat; beside a model its running average is not what trains.
    live = [one for one in described if one.trainable] or described
    everything = _trainable(root, changed)
    if len(live) == 1 and live[0].trainable == everything:
        if failure is not None:
            logger.info("the forward of %s itself is not scored: %s", type(root).__name__, failure)
        return live[0]
    listed = "; ".join(map(str, described[:MOST_NAMED])) or "none"
    if len(live) == 1:
        outside = [
            name
            for name, parameter in root.named_parameters()
            if id(parameter) in changed and id(parameter) not in {id(p) for p in live[0].model.parameters()}
        ]
        reason = (
            f"besides {live[0].name}, training changes {_count(everything - live[0].trainable)} parameters outside of "
            f"it ({', '.join(outside[:4])}{', ...' if len(outside) > 4 else ''}), which its logits alone don't show"
        )
    else:
        reason = "more than one part is trained" if live else "it has no part that could be a language model"
    own = f" Its own forward will not do ({failure})." if failure is not None else ""
    raise ScoringError(
        f"model={type(root).__name__}: which model to score is not clear, since {reason}. Candidates: {listed}.{own} "
        f"{WAY_OUT}"
    )


def _has_own_forward(module: nn.Module) -> bool:
    """Whether somebody wrote a `forward` for it, besides PyTorch's and Lightning's placeholders."""
    where = getattr(type(module).forward, "__module__", "") or ""
    placeholder = where == "torch.nn.modules.module" or where.split(".")[0] in ("lightning", "pytorch_lightning")
    return not placeholder or "_forward_module" in module._modules  # Fabric's wrapper calls the model for real


def _trial(module: nn.Module, width: int, around: Around, changed: set[int]) -> str | None:
    """Why the logits of `module` are not had from token ids alone; None if it gives something like logits.

    A forward that is for something else (a frozen teacher's answer, a running average to generate with) calls nothing
    of what training changes.
    """
    ids = torch.zeros(2, max(1, min(width, TRIAL_TOKENS)), dtype=torch.int64, device=device_of(module))
    keep = torch.ones_like(ids, dtype=torch.bool)
    batch = Batch(ids, None, keep, ids.flatten(), torch.arange(ids.numel(), device="cpu"))
    why: str | None = None
    try:
        with Window(module, around).open(), _calls(module) as called:
            logits = logits_of(call_plainly(module, batch))
            why = "it returns a single number" if logits.ndim < 2 else None
        if why is None and changed and not any(id(p) in changed for part in called for p in _own_parameters(part)):
            # Weights may be used without a call of the module that holds them; the graph knows.
            with Window(module, around).open(), torch.enable_grad():
                used = _leaves(logits_of(call_plainly(module, batch)))
            why = None if used & changed else UNTRAINED
    except Exception as error:
        why = f"{type(error).__name__}: {str(error)[:200]}"
    if not ranks.all_true(why is None):
        return why or "it failed on another rank"
    return None


@contextmanager
def _calls(root: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules of `root` that are called inside the context."""
    called: list[nn.Module] = []

    def note(module: nn.Module, _arguments: Any) -> None:
        called.append(module)

    handles = [module.register_forward_pre_hook(note) for module in root.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def _leaves(output: torch.Tensor) -> set[int]:
    """Ids of the parameters that `output` was computed with."""
    found: set[int] = set()
    seen, ahead = set(), [output.grad_fn]
    while ahead:
        node: Any = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        ahead += [following for following, _ in node.next_functions]
    return found


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """What a call of `module` may use itself: its parameters, and those of containers that are never called."""
    yield from module.parameters(recurse=False)
    for child in module.children():
        if not _has_own_forward(child):
            yield from _own_parameters(child)


def _changed(root: nn.Module, optimizers: Iterable[Any]) -> set[int]:
    """Ids of the parameters that training changes."""
    wanted = {id(p) for p in root.parameters() if p.requires_grad}
    groups = [group for optimizer in optimizers for group in getattr(optimizer, "param_groups", ())]
    held = {id(p) for group in groups for p in group["params"]}
    # Some strategies hand the optimizer flat copies: then it tells nothing of the module's own.
    return wanted & held or wanted


def _trainable(module: nn.Module, changed: set[int]) -> int:
    return sum(p.numel() for p in module.parameters() if id(p) in changed)


def _described(model: nn.Module, root: nn.Module, changed: set[int]) -> Trained:
    name = next((name for name, module in root.named_modules() if module is model), "") or "model"
    return Trained(model, name, sum(p.numel() for p in model.parameters()), _trainable(model, changed))


def _count(n: int) -> str:
    for size, sign in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g}{sign}"
    return str(n)
