"""Loops of one's own: plain, compiled, accelerate's, Fabric's; and models that give their logits in other ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from curvewatch import Watch
from tests.support.hosts import Watching, adamw, loader, run
from tests.support.models import CONTEXT, VOCABULARY, PlainLM, random_tokens
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models
from tests.support.trainings import Training

CASES: dict[str, Training] = {
    "plain": Training(steps=4),
    "accumulation": Training(steps=4, accumulate=3),
    "checkpointing": Training(steps=4, checkpointing="non-reentrant"),
    "compiled": Training(steps=4, compiled="model"),
    "compiled-blocks": Training(steps=4, compiled="blocks"),
}


@pytest.mark.parametrize("case", CASES)
def test_plain_loop(case: str, tmp_path: Path) -> None:
    training, tokens, snapshots = CASES[case], random_tokens(ragged=True), Snapshots()
    snapshots.take(0, training.model())
    alone = run("loop", training, tmp_path / "alone")
    watching = Watching(tokens, tmp_path / "curves.h5", schedule=1)
    watched = run("loop", training, tmp_path / "watched", watching, after=snapshots.take)
    assert alone.differences(watched) == []
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, training.model, tokens, range(5))


# One update after another: yields the model that the script holds, before the first update and after each.
Loop = Callable[[Training], Iterator[nn.Module]]


def accelerates(training: Training) -> Iterator[nn.Module]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = training.model().train()
    model, optimizer, batches = accelerator.prepare(model, adamw(model), loader(training))
    yield model
    for batch in batches:
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        optimizer.zero_grad()
        yield model


def accelerates_accumulating(training: Training) -> Iterator[nn.Module]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = training.model().train()
    model, optimizer, batches = accelerator.prepare(model, adamw(model), loader(training))
    yield model
    for batch in batches:
        with accelerator.accumulate(model):
            accelerator.backward(model(**batch).loss)
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            yield model


def fabrics(training: Training) -> Iterator[nn.Module]:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    model = training.model().train()
    model, optimizer = fabric.setup(model, adamw(model))
    batches = fabric.setup_dataloaders(loader(training))
    yield model
    for batch in batches:
        fabric.backward(model(**batch).loss)
        optimizer.step()
        optimizer.zero_grad()
        yield model


@pytest.mark.parametrize("loop", [accelerates, accelerates_accumulating, fabrics])
def test_prepared_models(loop: Loop, tmp_path: Path) -> None:
    training, tokens = Training(), random_tokens(ragged=True)

    def train(watch: Watch | None, snapshots: Snapshots) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        training.seed_everything()
        for step, model in enumerate(loop(training)):
            snapshots.take(step, getattr(model, "module", model))
            if watch is not None:
                watch.observe(model, step)
            if step == 4:
                break
        return snapshots.weights[4], torch.get_rng_state()

    alone, stream = train(None, Snapshots())
    snapshots = Snapshots()
    with Watch(tokens, tmp_path / "curves.h5", schedule=1, max_steps=4) as watch:
        watched, watched_stream = train(watch, snapshots)
    assert all(torch.equal(value, watched[name]) for name, value in alone.items())
    assert torch.equal(stream, watched_stream)
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, training.model, tokens, range(5))


class NanoGPT(PlainLM):
    """As nanoGPT returns them: (logits, loss), and without targets the logits of the last position only."""

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
        logits = super().forward(idx)
        if targets is None:
            return logits[:, [-1]], None
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class BareTensor(PlainLM):
    """As x-transformers' `TransformerWrapper` returns them: a tensor, with arguments that are nobody else's."""

    def forward(
        self, x: torch.Tensor, return_embeddings: bool = False, mask: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        assert not return_embeddings
        assert not kwargs, f"an argument that was not asked for: {list(kwargs)}"
        return super().forward(x)


def x_transformer(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    """x-transformers' own."""
    from x_transformers import Decoder, TransformerWrapper

    torch.manual_seed(seed)
    layers = Decoder(dim=32, depth=2, heads=2, attn_dropout=dropout, ff_dropout=dropout)
    model: nn.Module = TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=CONTEXT, attn_layers=layers)
    return model


WAYS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], Callable[[Any, torch.Tensor], torch.Tensor]]] = {
    "nanoGPT": (
        NanoGPT,
        {"forward": lambda model, batch: model(batch.input_ids, batch.input_ids)[0]},
        lambda model, ids: model(ids, ids)[0],
    ),
    "bare tensor": (BareTensor, {}, lambda model, ids: model(ids)),
    "x-transformers": (x_transformer, {}, lambda model, ids: model(ids)),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_ways_of_returning_logits(way: str, compiled: bool, tmp_path: Path) -> None:
    kind, settings, logits_of = WAYS[way]
    tokens, batches = random_tokens(ragged=True), Training(shuffle=False)

    def train(watch: Watch | None, snapshots: Snapshots) -> dict[str, torch.Tensor]:
        torch._dynamo.reset()
        batches.seed_everything()
        model = kind(dropout=0.1, seed=5).train()
        optimizer = adamw(model)
        called = torch.compile(model, backend="aot_eager") if compiled else model
        for step, batch in zip(range(5), loader(batches), strict=False):
            snapshots.take(step, model)
            if watch is not None:
                watch.observe(called, step)
            ids = batch["input_ids"]
            logits = logits_of(called, ids[:, :-1])
            nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict()

    alone, snapshots = train(None, Snapshots()), Snapshots()
    with Watch(tokens, tmp_path / "curves.h5", schedule=1, max_steps=4, **settings) as watch:
        watched = train(watch, snapshots)
    assert all(torch.equal(value, watched[name]) for name, value in alone.items())
    fresh = lambda: kind(seed=6)  # noqa: E731 (other weights than the ones in training)
    assert_rows_are_the_training_models(tmp_path / "curves.h5", snapshots, fresh, tokens, range(5), call=logits_of)
