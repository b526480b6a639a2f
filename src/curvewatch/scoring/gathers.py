"""FSDP's gathers in a scoring pass, and how a rank on which it failed does its part in those that are left.

While one rank raises, out of memory say, the others wait for it inside the model, where each module's weights are put
together from all ranks. They would wait until the process group's time-out. So the rank that failed goes on gathering,
module by module and without computing anything, until the pass is over for all; then they agree that it failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from curvewatch.scoring import ranks
from curvewatch.scoring.memory import is_out_of_memory


class Gathers:
    """Which modules of a model sharded by `fully_shard` gather their weights, in which order.

    Each turn of a pass has the same gathers on all ranks. Their order is noted in each turn that ends well; before the
    first one it is taken to be the order in which the modules stand in the model.

    Args:
        model: Unwrapped; of one that is not sharded there is nothing to note.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules: list[Any] = [
            module for module in model.modules() if hasattr(module, "_get_fsdp_state") and hasattr(module, "unshard")
        ]
        self._order = list(range(len(self._modules)))
        self._staying = {0}  # the root keeps its weights gathered behind a forward pass
        self._begun: list[int] = []
        self._done: list[int] = []
        self._turns_done = 0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Around a pass: notes what is gathered."""
        self._begun, self._done, self._turns_done = [], [], 0
        with ExitStack() as stack:
            for i, module in enumerate(self._modules):
                # Around FSDP's own hook, which gathers.
                for noted, first in ((self._begun, True), (self._done, False)):
                    hook = module.register_forward_pre_hook(_note(noted, i), prepend=first)
                    stack.callback(hook.remove)
            yield

    def turn_done(self) -> None:
        """To be called behind each turn that ended well."""
        self._turns_done += 1
        if self._done:
            self._order = list(self._done)
            self._staying = {i for i, module in enumerate(self._modules) if not _is_sharded(module)}
        self._begun.clear()
        self._done.clear()

    def stand_in(self, turns: int, failure: BaseException) -> None:
        """Does this rank's part in the gathers of a pass in which it failed.

        Args:
            turns: Of the pass in all.
            failure: By which it failed.

        Raises:
            RanksApartError: If it was a gather that failed: then another rank has ended, or does not answer.
        """
        if not self._modules:
            return
        if len(self._begun) > len(self._done):
            i = self._begun[len(self._done)]
            if not _is_sharded(self._modules[i]):
                self._done.append(i)  # a hook of the script's failed behind the gather
            elif not is_out_of_memory(failure):
                raise ranks.leave(f"the model's weights could not be gathered ({failure})") from failure
        self._become_idle()
        try:
            for i in set(self._done) - self._staying:
                self._modules[i].reshard()
            left = self._order[len(self._done) :] + self._order * (turns - self._turns_done - 1)
            for i in left:
                self._modules[i].unshard()
                if i not in self._staying:
                    self._modules[i].reshard()
        except RuntimeError as error:
            raise ranks.leave(f"scoring failed ({failure}), and then gathering did ({error})") from failure

    def _become_idle(self) -> None:
        # FSDP takes an interrupted forward pass for one that goes on, and would reduce no gradients in the next.
        for module in self._modules:
            state = module._get_fsdp_state()
            idle = type(state._training_state).IDLE
            state._training_state = idle
            state._state_ctx.iter_forward_root = None
            groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
            for group in groups:
                if group is not None:
                    group._training_state = idle


def _note(noted: list[int], i: int) -> Any:
    def hook(_module: nn.Module, _arguments: Any) -> None:
        noted.append(i)

    return hook


def _is_sharded(module: nn.Module) -> bool:
    own = next(iter(module.parameters(recurse=False)), None)
    if own is None:
        own = next(iter(module.parameters()), None)
    return hasattr(own, "to_local")  # a DTensor
