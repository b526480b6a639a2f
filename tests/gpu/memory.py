"""Memory: what scoring adds to the bare backbone, and an accelerator that is all but full, met and survived."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from curvewatch import Scorer, TokenSet, Watch, open_run
from tests.gpu.report import Place, Report, card_needed
from tests.support.models import PlainLM, random_tokens

MIB = 1 << 20
VOCABULARY = 50_257


def run_part(place: Place, report: Report) -> None:
    """Peaks; batches that don't fit."""
    with report.check("an out-of-memory error makes batches smaller and changes no score") as seen:
        seen.append(pretended(place))
    with report.check("peak memory over the bare backbone") as seen:
        card_needed(place)
        peaks(place, report, seen)
    with report.check("a card that is all but full") as seen:
        card_needed(place)
        seen.append(full_card(place))
    with report.check("a card without room for one sequence: training goes on") as seen:
        card_needed(place)
        seen.append(no_room(place))


class Narrow(PlainLM):
    """Has no memory for more than four sequences, which is what its survey takes."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if len(ids) > 4:
            raise torch.OutOfMemoryError("out of memory: pretended")
        return super().forward(ids)


def pretended(place: Place) -> str:
    """An error of PyTorch's own kind, without a full card."""
    tokens = random_tokens(40)
    wide = Scorer(tokens, batch_size=4).score(PlainLM().to(place.device))
    scorer = Scorer(tokens, batch_size=16)
    found = scorer.score(Narrow().to(place.device))
    off = float(np.abs(found.surprisal_bits - wide.surprisal_bits).max())
    assert off < 1e-5, f"scores differ by {off:.2g} bit"
    return f"batches of 16 became {scorer.batch_size}"


def small_gpt2(place: Place) -> Any:
    """A shape in which the logits outweigh everything else."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=1024, n_embd=768, n_layer=4, n_head=12)
    return GPT2LMHeadModel(config).to(place.device).eval()


def long_tokens(n: int, per_sequence: int | None = None) -> TokenSet:
    """Sequences of 1,024 random ids."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (n, 1024), dtype=np.int32)
    return TokenSet.from_sequences(ids, per_sequence=per_sequence, vocab_size=VOCABULARY)


def peak(work: Any) -> float:
    """Peak of what PyTorch's allocator gave while `work` ran, over what it gave before; MiB."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MIB


def peaks(place: Place, report: Report, seen: list[str]) -> None:
    """Of scoring, the bare backbone and full logits on one batch; with all positions and with ten."""
    model = small_gpt2(place)
    for per_sequence in (None, 10):
        tokens = long_tokens(64, per_sequence)
        scorer = Scorer(tokens)
        preparing = peak(lambda scorer=scorer: scorer.prepare(model))
        assert isinstance(scorer.batch_size, int)
        ids = torch.from_numpy(np.stack([tokens.sequence(s) for s in range(scorer.batch_size)]).astype(np.int64))
        ids = ids.to(place.device)
        with torch.no_grad():
            backbone = peak(lambda ids=ids: model.transformer(ids, use_cache=False))
            whole = peak(lambda ids=ids: torch.log_softmax(model(ids, use_cache=False).logits.float(), -1))
        scoring = peak(lambda scorer=scorer: scorer.score(model))
        name = "all" if per_sequence is None else per_sequence
        report.figure(f"batch of the automatic size, {name} of 1024 positions", scorer.batch_size, "sequences")
        report.figure(f"peak, bare backbone, {name} positions", backbone, "MiB")
        report.figure(f"peak, scoring, {name} positions", scoring, "MiB")
        report.figure(f"peak, preparing, {name} positions", preparing, "MiB")
        report.figure(f"peak, full logits and log_softmax, {name} positions", whole, "MiB")
        assert scoring < 0.7 * whole, f"scoring peaks at {scoring:.0f} MiB, full logits at {whole:.0f}"
    seen.append("under that of full logits")


def full_card(place: Place) -> str:
    """Batches of 64 sequences, 400 MiB left: scored all the same, with smaller ones, and the memory is given back."""
    model, tokens = small_gpt2(place), long_tokens(64, 100)
    free = Scorer(tokens, batch_size=1).score(model)
    scorer = Scorer(tokens, batch_size=64)
    scorer.prepare(model)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(place.device).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + 400 * MIB) / total)
    try:
        before = torch.cuda.memory_allocated()
        found = scorer.score(model)
        left = torch.cuda.memory_allocated() - before
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    off = float(np.abs(found.surprisal_bits - free.surprisal_bits).max())
    assert scorer.batch_size < 64, "it did not run out of memory, so nothing was shown"
    assert off < 1e-3, f"scores differ by {off:.2g} bit"
    assert left <= 0, f"{left} bytes were kept"
    return f"batches of 64 became {scorer.batch_size}; scores within {off:.2g} bit, nothing kept"


def no_room(place: Place) -> str:
    """Not even one sequence fits at the second row: it is left out, told, and training and later rows go on."""
    model, tokens = small_gpt2(place), long_tokens(4)
    path = place.folder / "full.h5"
    total = torch.cuda.get_device_properties(place.device).total_memory
    with Watch(tokens, path, max_steps=3, schedule=1) as watch:
        watch.observe(model, 0)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 8 * MIB) / total)
        try:
            watch.observe(model, 1)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        watch.observe(model, 2)
        watch.observe(model, 3)
    steps = open_run(path).steps.tolist()
    assert steps == [0, 2, 3], f"rows {steps}"
    return f"rows {steps}"
