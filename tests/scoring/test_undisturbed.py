"""The window: whatever happens in it, model and process are afterwards as before."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from curvewatch import Scorer, Watch, open_run
from curvewatch.scoring.undisturbed import Window, unwrap
from tests.support.models import PlainLM, gpt2, random_tokens


def streams() -> list[Any]:
    numpy_state = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2:], random.getstate()]


def draw() -> None:
    torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002


class Boom(Exception):
    """What a forward pass may do."""


@pytest.mark.parametrize("fails", [False, True])
def test_random_streams(fails: bool) -> None:
    model = PlainLM()
    before = streams()
    draw()
    assert streams() != before, "the comparison has power"
    before = streams()
    try:
        with Window(model).open():
            draw()
            torch.manual_seed(1)
            if fails:
                raise Boom
    except Boom:
        pass
    assert streams() == before


@pytest.mark.parametrize("fails", [False, True])
def test_each_submodule_gets_its_own_mode_back(fails: bool) -> None:
    model = PlainLM(dropout=0.5).train()
    model.first.eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    try:
        with Window(model).open():
            assert not any(module.training for module in model.modules())
            if fails:
                raise Boom
    except Boom:
        pass
    assert [module.training for module in model.modules()] == before


def test_modes_are_set_without_calling_train() -> None:
    class Loud(PlainLM):
        def train(self, mode: bool = True) -> Loud:
            raise AssertionError("train() may be overridden, and do anything")

    model = Loud.__new__(Loud)
    PlainLM.__init__(model)
    Scorer(random_tokens()).score(model)
    assert model.training


def test_gradients_and_their_mode() -> None:
    model = gpt2()
    model(input_ids=torch.ones(1, 4, dtype=torch.long), labels=torch.ones(1, 4, dtype=torch.long)).loss.backward()
    before = [parameter.grad.clone() for parameter in model.parameters()]
    versions = [parameter._version for parameter in model.parameters()]
    Scorer(random_tokens()).score(model)
    assert torch.is_grad_enabled()
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.parameters(), strict=True))
    assert versions == [parameter._version for parameter in model.parameters()]


class Counting(PlainLM):
    """Updates one buffer in place at each forward pass, and replaces another, in any mode."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.last = torch.full((1,), float(ids.shape[1]))
        return super().forward(ids)


def test_buffers_are_put_back() -> None:
    model = Counting()
    model(torch.ones(1, 3, dtype=torch.long))
    calls, last = model.calls, model.last
    scorer = Scorer(random_tokens())
    for _ in range(3):
        scorer.score(model)
        assert model.calls is calls
        assert model.last is last
        assert (model.calls.item(), model.last.item()) == (1, 3)
    model(torch.ones(1, 5, dtype=torch.long))
    scorer.score(model)
    assert (model.calls.item(), model.last.item()) == (2, 5), "as training left them, not as they were at first"


def test_batch_norm_is_not_moved() -> None:
    class Normed(PlainLM):
        def __init__(self) -> None:
            super().__init__(seed=1)
            self.norm = nn.BatchNorm1d(32)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.embedding(ids).transpose(1, 2)).transpose(1, 2))

    model = Normed().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Scorer(random_tokens()).score(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("patched", [False, True])
def test_inside_the_scripts_own_autocast(patched: bool, tmp_path: Any) -> None:
    """Autocast keeps casts of the weights; those made without gradients must not reach the next training step."""

    def train(watched: bool) -> list[torch.Tensor]:
        model = gpt2(0.1, seed=1).train()
        if patched:  # as accelerate does, with an autocast that is made once
            model._original_forward = model.forward
            model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(0)
        watch = Watch(random_tokens(), tmp_path / "curves.h5", schedule=1) if watched else None
        ids = torch.arange(32).view(2, 16)
        for step in range(3):
            with torch.autocast("cpu", torch.bfloat16):
                if watch is not None:
                    watch.observe(model, step)
                    assert torch.is_autocast_cache_enabled()
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if watch is not None:
            watch.close()
        return [parameter.detach().clone() for parameter in model.parameters()]

    assert all(map(torch.equal, train(False), train(True)))
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 1, 2]


def test_casts_that_a_script_keeps_are_left_to_it() -> None:
    """One autocast around several steps trains with stale casts; watched, it does the same."""

    def train(watched: bool) -> torch.Tensor:
        model, scorer = PlainLM(seed=1), Scorer(random_tokens())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ids = torch.arange(32).view(2, 16)
        with torch.autocast("cpu", torch.bfloat16):
            for _ in range(3):
                model(ids).float().logsumexp(-1).sum().backward(retain_graph=True)
                optimizer.step()
                if watched:
                    scorer.score(model)
        return model.head.weight.detach().clone()

    assert torch.equal(train(False), train(True))


def test_unwrap() -> None:
    model = PlainLM()
    assert unwrap(model) is model
    assert unwrap(torch.compile(model, backend="eager")) is model
    wrapped = DistributedDataParallel.__new__(DistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = torch.compile(model, backend="eager")
    assert unwrap(wrapped) is model
