"""Text sampled from the live model: what it says is the model's, and nothing of the training is touched."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.distributed as dist
import wandb
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from curvewatch import RunFileError, ScoringError, open_run
from curvewatch.observation import STATUSES, Sample
from curvewatch.runfile import layout
from curvewatch.sampling import sampler as sampler_room
from curvewatch.sampling.choice import choose, uniform
from curvewatch.sampling.prompts import Prompts, shown
from curvewatch.sampling.repetition import repetition_length
from curvewatch.sampling.sample import COLUMNS, samples_scalars, samples_table
from curvewatch.sampling.sampler import TextSampler
from tests.support.files import row, start
from tests.support.hosts import HOSTS, Intruding, run, shard
from tests.support.models import VOCABULARY, PlainLM, gpt2, random_tokens
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

IDS = [[5, 17, 3], [90], [1, 2, 3, 4, 5, 6, 7]]
MODELS = {"gpt2": gpt2, "plain": PlainLM}


def texts(found: list[Sample]) -> list[str]:
    return [one.text for one in found]


def first_choices(model: nn.Module, n_new: int, width: int) -> list[list[int]]:
    """Greedy continuations by full forward passes, in evaluation mode."""
    model.eval()
    rows = torch.zeros(len(IDS), width, dtype=torch.long)
    for b, ids in enumerate(IDS):
        rows[b, : len(ids)] = torch.tensor(ids)
    with torch.no_grad():
        for t in range(n_new):
            output = model(rows)
            logits = getattr(output, "logits", output)
            for b, ids in enumerate(IDS):
                if len(ids) + t < width:
                    rows[b, len(ids) + t] = logits[b, len(ids) + t - 1].argmax()
            last = [int(logits[b, len(ids) + t - 1].argmax()) for b, ids in enumerate(IDS)]
    found = [rows[b, len(ids) : len(ids) + n_new - 1].tolist() for b, ids in enumerate(IDS)]
    return [[*ids, one] for ids, one in zip(found, last, strict=True)]


# ---------------------------------------------------------------------- what is sampled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model", MODELS)
def test_greedy_takes_the_models_own_first_choices(model: str, dtype: torch.dtype) -> None:
    live = MODELS[model](0.3) if model == "gpt2" else PlainLM(dropout=0.3)
    live.to(dtype).train()
    found = TextSampler(Prompts(IDS, max_new_tokens=9)).sample(live, 0)
    assert live.training
    expected = first_choices(live, 9, width=7 + 9 - 1)
    assert [list(one.token_ids) for one in found] == expected
    assert [one.status for one in found] == ["length"] * 3
    assert [one.prompt for one in found] == ["5 17 3", "90", "1 2 3 4 5 6 7"]
    assert [one.repetition_length for one in found] == [repetition_length(ids) for ids in expected]


def test_a_prompt_s_first_choices_do_not_depend_on_padding_or_company() -> None:
    live = gpt2(seed=2)
    together = TextSampler(Prompts(IDS, max_new_tokens=9)).sample(live, 0)
    for ids, one in zip(IDS, together, strict=True):
        (alone,) = TextSampler(Prompts([ids], max_new_tokens=9)).sample(live, 0)
        assert alone.token_ids == one.token_ids


@pytest.mark.parametrize("model", MODELS)
def test_draws_depend_on_seed_and_step_alone(model: str) -> None:
    live = MODELS[model]()

    def sampled(seed: int, step: int, before: int = 0) -> list[str]:
        sampler = TextSampler(Prompts(IDS, max_new_tokens=12, temperature=1.0, seed=seed))
        for earlier in range(before):
            sampler.sample(live, earlier)
            torch.rand(3)
        return texts(sampler.sample(live, step))

    assert sampled(0, 7) == sampled(0, 7) == sampled(0, 7, before=3)
    greedy = texts(TextSampler(Prompts(IDS, max_new_tokens=12)).sample(live, 7))
    different = [sampled(0, 7), sampled(1, 7), sampled(0, 8), greedy]
    assert len({tuple(one) for one in different}) == 4


def test_equal_prompts_are_drawn_apart() -> None:
    found = TextSampler(Prompts([[3], [3]], max_new_tokens=8, temperature=1.0)).sample(gpt2(), 0)
    assert found[0].text != found[1].text


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = Prompts([[i, i + 1] for i in range(7)], max_new_tokens=6, temperature=1.0)
    live, shapes = gpt2(), []
    together = TextSampler(prompts).sample(live, 3)
    monkeypatch.setattr(sampler_room, "BATCH_TOKENS", 2 * 7)
    sampler = TextSampler(prompts)
    sampler.prepare(live)
    handle = live.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    assert sampler.sample(live, 3) == together
    handle.remove()
    assert shapes == [(2, 7)] * 18 + [(1, 7)] * 6, "one constant shape a batch"


class Scripted(nn.Module):
    """Says what it is told: after a token of value i, token i + 1; NaN where `breaks` stands."""

    def __init__(self, breaks: int = -1, value: float = float("nan")) -> None:
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.breaks, self.value, self.calls = breaks, value, 0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits = torch.nn.functional.one_hot((ids + 1) % 50, 50).float()
        logits[ids == self.breaks] = self.value
        return logits


def test_the_end_token_ends_a_text_but_no_forward_pass_is_left_out() -> None:
    live = Scripted()
    sampler = TextSampler(Prompts([[1], [30], [48]], max_new_tokens=10, eos=33))
    sampler.prepare(live)
    live.calls = 0
    found = sampler.sample(live, 0)
    assert live.calls == 10
    assert [(one.text, one.status) for one in found] == [
        ("2 3 4 5 6 7 8 9 10 11", "length"),
        ("31 32 33", "eos"),
        ("49 0 1 2 3 4 5 6 7 8", "length"),
    ]
    at_once = TextSampler(Prompts([[32]], max_new_tokens=4, eos=33)).sample(live, 0)[0]
    assert (at_once.token_ids, at_once.status) == ((33,), "eos")


def test_an_end_token_is_not_part_of_what_repeats() -> None:
    def forward(_: Any, batch: Any) -> torch.Tensor:
        # 5 5 5 ..., and 9 behind the fifth token
        logits = torch.zeros(*batch.input_ids.shape, 20)
        logits[..., 5] = 1
        logits[:, 4:, 9] = 2
        return logits

    (found,) = TextSampler(Prompts([[5]], max_new_tokens=8, eos=9), forward=forward).sample(PlainLM(), 0)
    assert (found.text, found.status, found.repetition_length) == ("5 5 5 5 9", "eos", 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_end_a_text(value: float) -> None:
    live = Scripted(breaks=4, value=value)
    found = TextSampler(Prompts([[1], [30], [4]], max_new_tokens=5)).sample(live, 0)
    assert [(one.text, one.status) for one in found] == [
        ("2 3 4", "nonfinite"),
        ("31 32 33 34 35", "length"),
        ("", "nonfinite"),
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("model", MODELS)
def test_nan_weights(model: str, temperature: float) -> None:
    live = MODELS[model]()
    with torch.no_grad():
        next(live.parameters()).fill_(torch.nan)
    found = TextSampler(Prompts(IDS, temperature=temperature, max_new_tokens=4)).sample(live, 0)
    assert [(one.token_ids, one.text, one.status) for one in found] == [((), "", "nonfinite")] * 3
    assert samples_scalars(found) == {}


def test_a_forward_of_the_user_s() -> None:
    class LastOnly(PlainLM):
        """As nanoGPT's: all positions only where targets are given."""

        def forward(self, ids: torch.Tensor, targets: Any = None) -> Any:
            logits = super().forward(ids)
            return (logits if targets is not None else logits[:, -1:]), None

    prompts = Prompts(IDS, max_new_tokens=5)
    live = LastOnly()
    with pytest.raises(ScoringError, match="pass forward="):
        TextSampler(prompts).sample(live, 0)
    everywhere = TextSampler(prompts, forward=lambda model, batch: model(batch.input_ids, batch.input_ids)[0])
    wanted = TextSampler(prompts, forward=lambda model, batch: model(batch.input_ids, 1)[0][batch.keep])
    assert everywhere.sample(live, 0) == wanted.sample(live, 0) == TextSampler(prompts).sample(PlainLM(), 0)


def test_the_models_context_is_never_exceeded(caplog: pytest.LogCaptureFixture) -> None:
    live = gpt2()  # 32 positions
    with caplog.at_level(logging.INFO, "curvewatch"):
        found = TextSampler(Prompts([list(range(30)), [4, 5], list(range(32))], max_new_tokens=20)).sample(live, 0)
    assert [(len(one.token_ids), one.status) for one in found] == [(3, "context"), (20, "length"), (1, "context")]
    assert "max_position_embeddings is 32" in caplog.text
    with pytest.raises(ScoringError, match=r"texts_or_ids\[1\]: the prompt has 33 tokens, .* is 32\. Give a shorter"):
        TextSampler(Prompts([[1], list(range(33))])).prepare(live)
    # A model whose configuration says nothing: the caller may know.
    (short,) = TextSampler(Prompts([[1, 2]], max_new_tokens=20), context=6).sample(PlainLM(), 0)
    assert (len(short.token_ids), short.status) == (5, "context")
    with pytest.raises(ScoringError, match=r"the prompt has 9 tokens, the model's context is 6"):
        TextSampler(Prompts([[1] * 9]), context=6).prepare(PlainLM())
    with pytest.raises(ValueError, match="context=0"):
        TextSampler(Prompts([[1]]), context=0)


@pytest.mark.parametrize("model", MODELS)
def test_ids_beyond_the_vocabulary_are_refused_before_they_are_fed(model: str) -> None:
    live, fed = MODELS[model](), []
    live.register_forward_pre_hook(
        lambda _, args, kwargs: fed.append(int((*args, *kwargs.values())[0].max())), with_kwargs=True
    )
    with pytest.raises(ScoringError, match=rf"texts_or_ids\[1\]: id {VOCABULARY} lies beyond the model's {VOCABULARY}"):
        TextSampler(Prompts([[1], [2, VOCABULARY]])).prepare(live)
    assert max(fed) < VOCABULARY


def test_outputs_that_no_embedding_has_are_not_chosen() -> None:
    """Some models pad their outputs; fed back, such an id would kill an accelerator."""

    class Padded(PlainLM):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(32, VOCABULARY + 20)
            self.head.bias.data[VOCABULARY + 3] = 1e3

        def get_input_embeddings(self) -> nn.Module:
            return self.embedding

    (found,) = TextSampler(Prompts([[1]], max_new_tokens=5)).sample(Padded(), 0)
    assert len(found.token_ids) == 5
    assert max(found.token_ids) < VOCABULARY


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    class Bidirectional(PlainLM):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(ids) + self.embedding(ids).mean(1, keepdim=True))

    with pytest.raises(ScoringError, match="depend on later tokens"):
        TextSampler(Prompts(IDS)).prepare(Bidirectional())


def test_failures_are_never_bare_runtime_errors() -> None:
    """Hosts answer those that look like a lack of memory by shrinking the training batch."""
    live = PlainLM()
    sampler = TextSampler(Prompts(IDS))
    sampler.prepare(live)
    live.first.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    before = torch.get_rng_state()
    with pytest.raises(ScoringError, match="sampling text failed: CUDA out of memory"):
        sampler.sample(live, 0)
    with pytest.raises(ScoringError, match="sampling text failed"):
        TextSampler(Prompts(IDS)).sample(live, 0)
    assert live.training
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------------- the choice of a token


@given(
    logits=st.lists(st.floats(-8, 8), min_size=1, max_size=6),
    temperature=st.floats(0.2, 3),
    u=st.floats(0, 1, exclude_max=True),
    top_k=st.none() | st.integers(1, 7),
)
@settings(deadline=None)
def test_a_draw_inverts_the_distribution(logits: list[float], temperature: float, u: float, top_k: int | None) -> None:
    (token,), (fine,) = choose(np.array([logits]), np.array([u]), temperature, top_k)
    kept = [x if top_k is None or x >= sorted(logits)[-min(top_k, len(logits))] else -np.inf for x in logits]
    p = torch.softmax(torch.tensor(kept, dtype=torch.float64) / temperature, 0).numpy()
    assert fine
    assert p[:token].sum() <= u + 1e-12
    assert u < p[: token + 1].sum() + 1e-12
    assert p[token] > 0


def test_shares_of_draws_are_the_probabilities() -> None:
    n, logits = 10_000, np.array([0.0, 2.0, -1.0, -np.inf, 1.5])
    u = (np.arange(n) + 0.5) / n
    for temperature in (0.5, 1.0, 2.0):
        tokens, _ = choose(np.tile(logits, (n, 1)), u, temperature)
        p = torch.softmax(torch.tensor(logits) / temperature, 0).numpy()
        assert np.abs(np.bincount(tokens, minlength=5) / n - p).max() <= 1 / n


def test_choices_at_the_edges() -> None:
    last = np.nextafter(1.0, 0)
    rows = np.array([[0, 0, 1, 1], [np.nan, 1, 2, 3], [np.inf, 0, 0, 0], [-np.inf] * 4, [-np.inf, 5, -np.inf, -np.inf]])
    for temperature in (0.0, 1e-300, 1.0, 1e300):
        tokens, fine = choose(rows, np.full(5, last), temperature)
        assert fine.tolist() == [True, False, False, False, True]
        assert tokens[[1, 2, 3, 4]].tolist() == [0, 0, 0, 1]
        assert tokens[0] == (2 if temperature == 0 else 3)
    assert choose(rows[:1], np.zeros(1), 1.0, top_k=1)[0] == 2, "those that tie with the k-th stay"
    assert choose(rows[:1], np.array([last]), 1.0, top_k=1)[0] == 3


def test_draws_of_a_prompt() -> None:
    u = uniform(3, 100, 2, 1000)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.03
    assert np.array_equal(u[:10], uniform(3, 100, 2, 10)), "a longer text begins with the shorter one's draws"
    others = [uniform(*key, 10) for key in ((4, 100, 2), (3, 101, 2), (3, 100, 3), (100, 3, 2), (2**70, 0, 0))]
    assert len({tuple(one) for one in (u[:10], *others)}) == 6


# ---------------------------------------------------------------------- what repeats


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0), ("a", 0), ("ab", 0), ("aa", 2), ("aab", 0), ("abb", 2), ("aaaaa", 5), ("abcbc", 4), ("cbcbc", 4),
        ("abcabcabc", 9), ("xabcabc", 6), ("abcab", 0), ("abab" "c" "abab" "c", 10), ("abccabcc", 8), ("baab", 0),
    ],
)  # fmt: skip
def test_repetition_by_hand(text: str, length: int) -> None:
    assert repetition_length([ord(c) for c in text]) == length


@given(st.lists(st.integers(0, 2), max_size=24) | st.lists(st.integers(0, 1), max_size=24))
def test_repetition_is_as_defined(ids: list[int]) -> None:
    n, longest = len(ids), 0
    for u in range(1, n // 2 + 1):
        for r in range(2, n // u + 1):
            if ids[n - r * u :] == ids[n - u :] * r:
                longest = max(longest, r * u)
    assert repetition_length(ids) == longest


@given(st.lists(st.integers(0, 5), max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(2, 6))
def test_what_is_said_again_is_found(before: list[int], unit: list[int], times: int) -> None:
    assert repetition_length([*before, *unit * times]) >= len(unit) * times


def test_repetition_of_long_texts_is_cheap() -> None:
    import time

    for ids in ([7] * 100_000, [7, 8] * 50_000, list(range(100_000))):
        began = time.process_time()
        repetition_length(ids)
        assert time.process_time() - began < 2


# ---------------------------------------------------------------------- prompts


class Spaced:
    """A tokenizer that, as SentencePiece's, drops the space of the word that stands first, and knows six words."""

    words = ("<end>", "the", "cat", "sat", "on", "mat")
    eos_token_id = 0

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)


def test_text_is_shown_as_it_stands_behind_the_prompt() -> None:
    prompts = Prompts(["the cat", [3]], Spaced(), max_new_tokens=4)
    assert prompts.ids == ((1, 2), (3,))
    assert prompts.texts == ("the cat", "sat")
    assert prompts.eos == 0
    assert shown(Spaced(), (3, 4), (1, 2)) == " sat on"
    assert shown(Spaced(), (3, 77, 4), (1, 2)) == "sat\ufffdon", "an id that the tokenizer doesn't know"
    assert shown(None, (3, 77)) == "3 77"
    found = TextSampler(prompts).sample(Scripted(), 0)
    assert [(one.prompt, one.token_ids) for one in found] == [("the cat", (3, 4, 5, 6)), ("sat", (4, 5, 6, 7))]
    assert found[0].text == "saton" + "mat\ufffd"


def test_one_text_is_one_prompt_and_bos_makes_an_empty_one() -> None:
    assert Prompts("the cat", Spaced()).ids == ((1, 2),)
    assert Prompts(["", "cat"], Spaced(), bos=5).ids == ((5,), (5, 2))
    assert Prompts([np.array([3, 4], np.int32)]).ids == ((3, 4),)
    assert Prompts("cat", Spaced(), eos=None).eos is None
    assert Prompts([[1]]).eos is None
    assert "3 prompts, 40 new tokens, greedy" in repr(Prompts(IDS))
    assert json.loads(json.dumps(Prompts(IDS, temperature=np.float32(0.5), top_k=np.int64(3)).settings)) == {
        "prompts": IDS, "max_new_tokens": 40, "temperature": 0.5, "top_k": 3, "seed": 0, "every": None, "bos": None,
        "eos": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts_or_ids": []}, r"texts_or_ids=\[\]: at least one"),
        ({"texts_or_ids": [[1], []]}, r"texts_or_ids\[1\]=\[\]: an empty prompt"),
        ({"texts_or_ids": [""], "tokenizer": Spaced()}, r"texts_or_ids\[0\]='': an empty prompt.*bos="),
        ({"texts_or_ids": ["Once"]}, r"texts_or_ids\[0\]='Once': a text needs tokenizer="),
        ({"texts_or_ids": [[1, -2]]}, r"texts_or_ids\[0\]: numbers from -2 to 1"),
        ({"texts_or_ids": [[1.5]]}, r"texts_or_ids\[0\]: a row of token ids"),
        ({"texts_or_ids": [1, 2]}, r"texts_or_ids\[0\]: a row of token ids"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens=2.0: a whole number of at least 1"),
        ({"max_new_tokens": True}, "max_new_tokens=True"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"top_k": 0, "temperature": 1}, "top_k=0"),
        ({"top_k": 5}, "top_k=5: at temperature=0"),
        ({"seed": -1}, "seed=-1"),
        ({"every": 0}, "every=0"),
        ({"bos": -1}, "bos=-1"),
        ({"eos": "end"}, "eos='end'"),
    ],
)
def test_settings_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompts(**{"texts_or_ids": [[1]], **arguments})


@given(
    scored=st.sets(st.integers(0, 3000), max_size=60),
    ends=st.booleans(),
    every=st.none() | st.integers(1, 400),
    resumed=st.integers(0, 60),
)
@settings(deadline=None)
def test_due_at_the_first_scored_step_from_each_mark_on(
    scored: set[int], ends: bool, every: int | None, resumed: int
) -> None:
    steps, max_steps = sorted(scored), max(scored, default=0) if ends else None
    marks = [0, 1, 10, 100, 1000] if every is None else list(range(0, 3001, every))
    expected = {next((step for step in steps if step >= mark), None) for mark in marks} | {max_steps}
    for first in (0, resumed):  # a resumed run decides as one that was never stopped
        prompts, since = Prompts([[1]], every=every), steps[first - 1] if 0 < first <= len(steps) else -1
        found = []
        for step in steps[first:]:
            if prompts.due(step, since, max_steps):
                found.append(step)
            since = step
        assert found == [step for step in steps[first:] if step in expected]


def test_prompts_load_no_torch() -> None:
    code = (
        "import sys; from curvewatch.sampling.prompts import Prompts; Prompts([[1]]).due(1, 0, 5); "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---------------------------------------------------------------------- training is undisturbed


class Sampling(Intruding):
    """Samples text beside a training."""

    def __init__(self, every: int = 3) -> None:
        super().__init__(self.sample, every)
        self.sampler = TextSampler(Prompts(IDS, max_new_tokens=5, temperature=1.0))
        self.found: dict[int, list[Sample]] = {}
        self.step = -1

    def observe(self, model: nn.Module, step: int) -> None:
        self.step = step
        super().observe(model, step)

    def sample(self, model: nn.Module) -> None:
        self.found[self.step] = self.sampler.sample(model, self.step)


def carelessly(model: nn.Module) -> None:
    """How text is often sampled: from the global stream, and with one mode for all modules afterwards."""
    model.eval()
    inner = getattr(model, "module", model)
    ids = torch.tensor([[5, 17, 3]])
    with torch.no_grad():
        for _ in range(5):
            p = torch.softmax(inner(input_ids=ids).logits[:, -1].float(), -1)
            ids = torch.cat([ids, torch.multinomial(p, 1)], 1)
    model.train()


CASES = {
    "plain": Training(),
    "bf16": Training(bf16=True),
    "frozen-part": Training(freeze=True),
    "accumulation": Training(accumulate=2),
    "compiled": Training(compiled="blocks", steps=4),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("case", CASES)
def test_training_is_bit_identical(host: str, case: str, tmp_path: Path) -> None:
    training, sampling = CASES[case], Sampling()
    alone = run(host, training, tmp_path / "alone")
    beside = run(host, training, tmp_path / "beside", sampling)
    assert beside.differences(alone) == []
    assert len(sampling.found) >= 1, "nothing was sampled, so nothing was shown"
    assert all(one.status == "length" for found in sampling.found.values() for one in found)
    if case in ("plain", "frozen-part"):
        disturbed = run(host, training, tmp_path / "disturbed", Intruding(carelessly))
        assert {"losses", "optimizer state", "torch stream"} <= set(disturbed.differences(alone))


def test_a_resumed_training_writes_the_same_texts(tmp_path: Path) -> None:
    training = Training(steps=6, save_every=3, log_every=3, dropout=0.0, shuffle=False)
    straight, resumed = Sampling(), Sampling()
    run("loop", training, tmp_path, straight)
    run("loop", training, tmp_path, resumed, resume=3)
    assert sorted(straight.found) == [0, 3, 6]
    assert resumed.found == {6: straight.found[6]}
    assert len({tuple(texts(found)) for found in straight.found.values()}) == 3


def test_streams_modes_gradients_and_buffers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(PlainLM):
        def __init__(self) -> None:
            super().__init__(dropout=0.5)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return super().forward(ids)

    live = Counting().train()
    live.first.eval()
    live(torch.ones(2, 5, dtype=torch.long)).sum().backward()
    before = [parameter.grad.clone() for parameter in live.parameters() if parameter.grad is not None]
    versions, modes = [p._version for p in live.parameters()], [m.training for m in live.modules()]
    streams = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    sampler = TextSampler(Prompts(IDS, temperature=1.0, max_new_tokens=4))
    for step in range(2):
        sampler.sample(live, step)
        assert live.calls.item() == 1
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()) == streams  # noqa: NPY002
    assert [p._version for p in live.parameters()] == versions
    assert [m.training for m in live.modules()] == modes
    assert all(map(torch.equal, before, [p.grad for p in live.parameters() if p.grad is not None]))
    assert torch.is_grad_enabled()


def test_generate_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    live = gpt2()
    monkeypatch.setattr(type(live), "generate", lambda *_, **__: pytest.fail("generate was called"))
    config = live.generation_config.to_dict()
    assert len(TextSampler(Prompts(IDS)).sample(live, 0)) == 3
    assert live.generation_config.to_dict() == config


# ---------------------------------------------------------------------- several ranks


def on_each(layout_: str) -> list[list[Any]]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())  # the ranks' global streams differ, as in training
    model = gpt2(0.1).train()
    model = shard(model, init_device_mesh("cpu", (2,))) if layout_ == "fsdp2" else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sampler, found = TextSampler(Prompts(IDS, temperature=1.0, max_new_tokens=6)), []
    ids = torch.arange(32).view(2, 16)
    for step in range(2):
        found.append([dataclasses.astuple(one) for one in sampler.sample(model, step)])
        model(input_ids=ids, labels=ids).loss.backward()
        if step == 0:
            sampler.sample(model, 99)  # between backward and step, where FSDP2 would keep the weights of before
        optimizer.step()
        optimizer.zero_grad()
    return found


@pytest.mark.parametrize("layout_", ["ddp", "fsdp2"])
def test_ranks_agree(layout_: str) -> None:
    first, second = on_ranks(2, on_each, layout_)
    assert first == second
    alone = TextSampler(Prompts(IDS, temperature=1.0, max_new_tokens=6)).sample(gpt2(0.1), 0)
    assert first[0] == [dataclasses.astuple(one) for one in alone]
    assert first[1] != first[0]


def losses_of_fully_sharded() -> dict[str, list[float]]:
    dist.init_process_group("gloo")
    return {how: losses_beside(how) for how in ("alone", "sampled", "carelessly")}


def losses_beside(how: str) -> list[float]:
    from torch.distributed.device_mesh import init_device_mesh

    model = shard(gpt2(0.1).train(), init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sampler, ids, losses = TextSampler(Prompts(IDS, max_new_tokens=3)), torch.arange(32).view(2, 16), []
    torch.manual_seed(0)
    for step in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        if how == "sampled":
            sampler.sample(model, step)
        elif how == "carelessly":
            carelessly(model)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_fully_sharded_training_is_bit_identical() -> None:
    for found in on_ranks(2, losses_of_fully_sharded):
        assert found["sampled"] == found["alone"]
        assert found["carelessly"] != found["alone"], "the test has no power"


def fails_on_rank_1(_: str) -> str:
    dist.init_process_group("gloo")
    calls = []

    def forward(model: Any, batch: Any) -> Any:
        calls.append(1)
        # 6 calls are those of two surveys.
        if dist.get_rank() == 1 and len(calls) == 9:
            raise RuntimeError("only here")
        return model(batch.input_ids)

    sampler, live = TextSampler(Prompts(IDS, max_new_tokens=6), forward=forward), PlainLM()
    try:
        sampler.sample(live, 0)
    except ScoringError as error:
        said = str(error)
    sampler.sample(live, 1)  # the ranks are still in step
    return said


def test_trouble_on_one_rank_is_raised_on_all() -> None:
    first, second = on_ranks(2, fails_on_rank_1, "")
    assert "another rank" in first
    assert "only here" in second


# ---------------------------------------------------------------------- the record


def some(step: int, text: str = " and") -> list[Sample]:
    return [
        Sample(step, 0, text, (3, 1, 3, 1), 4, "length", "Once"),
        Sample(step, 1, "", (), 0, "nonfinite", "the\n"),
        Sample(step, 2, "!", (0,), 0, "eos", ""),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def test_the_file_gives_back_what_was_sampled(path: Path) -> None:
    file, run_ = start(path), None
    for step in (0, 1, 10):
        file.add_samples(some(step))
        file.append(row(step))
        run_ = run_ or open_run(path)
        assert run_.samples[-3:] == some(step), "also while it is written"
    file.add_samples([])
    file.close()
    assert run_ is not None
    assert run_.samples == [*some(0), *some(1), *some(10)]
    with h5py.File(path, "r") as h5:
        assert h5["sample_step"][:].tolist() == [0] * 3 + [1] * 3 + [10] * 3
        assert h5["sample_text"].asstr()[3] == " and"
        assert h5["sample_ids"].asstr()[0] == "3 1 3 1"
        assert {one.status for one in run_.samples} <= set(STATUSES)
        for dataset in layout.SAMPLES:
            found = h5[dataset.name]
            assert found.shape == (9,)
            assert found.attrs["long_name"] == dataset.about
            if dataset.dtype != layout.TEXT:
                assert (found.dtype, found.attrs["units"]) == (dataset.dtype, dataset.units)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert all(data[dataset.name].dims == ("sample",) for dataset in layout.SAMPLES)
        assert data["sample_repetition"].groupby(data["sample_step"]).max().values.tolist() == [4, 4, 4]
        assert data["surprisal"].dims == ("step", "token")


def test_a_file_without_prompts_has_no_samples_and_can_be_given_some(path: Path) -> None:
    file = start(path)
    file.append(row(0))
    file.close()
    with h5py.File(path, "r") as h5:
        assert not any(name.startswith("sample") for name in h5)
    assert open_run(path).samples == []
    file = start(path, keep=0)
    file.add_samples(some(5))
    file.append(row(5))
    file.close()
    assert open_run(path).samples == some(5)


def test_several_sets_have_them_all(path: Path) -> None:
    file = start(path, {"web": random_tokens(), "code": random_tokens(seed=9)})
    file.add_samples(some(0))
    file.close()
    assert open_run(path, "web").samples == open_run(path, "code").samples == some(0)


@pytest.mark.parametrize(("keep", "kept"), [(9, [0, 5]), (5, [0, 5]), (4, [0]), (20, [0, 5, 10, 20])])
def test_resuming_drops_later_samples(path: Path, keep: int, kept: list[int]) -> None:
    file = start(path)
    for step in (0, 5, 10, 20):
        file.add_samples(some(step))
        file.append(row(step))
    file.close()
    start(path, keep=keep).close()
    assert [one.step for one in open_run(path).samples] == [step for step in kept for _ in range(3)]
    file = start(path, keep=keep)
    file.add_samples(some(21))
    file.close()
    assert open_run(path).samples[-3:] == some(21)


def test_sampled_again_gives_way(path: Path) -> None:
    """A crash between a text's commit and its row's: the step is scored again, and the text is there once."""
    file = start(path)
    file.add_samples(some(0))
    file.append(row(0))
    file.add_samples(some(5))
    file.close()
    file = start(path, keep=5)
    file.add_samples(some(5, " or"))
    file.append(row(5))
    file.close()
    assert open_run(path).samples == [*some(0), *some(5, " or")]


def test_text_that_no_file_can_hold_as_it_is(path: Path) -> None:
    file = start(path)
    file.add_samples([Sample(0, 0, "a\0b\ud800c ä 😀", (1,), 0, "length", "\0")])
    file.close()
    (found,) = open_run(path).samples
    assert (found.text, found.prompt) == ("a\ufffdb?c ä 😀", "\ufffd")


@pytest.mark.parametrize("change", ["missing", "longer", "no ids", "other type", "link"])
def test_samples_that_make_no_sense_are_refused(path: Path, change: str) -> None:
    file = start(path)
    file.add_samples(some(0))
    file.append(row(0))
    file.close()
    with h5py.File(path, "r+") as h5:
        if change == "longer":
            h5["sample_text"].resize((5,))
        elif change == "no ids":
            h5["sample_ids"][1] = "1 x"
        else:
            del h5["sample_text"]
            if change == "other type":
                h5["sample_text"] = np.arange(3)
            elif change == "link":
                h5["sample_text"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(RunFileError, match=r"curves\.h5"):
        _ = open_run(path).samples


# ---------------------------------------------------------------------- what is shown


def test_table_and_scalars() -> None:
    columns, rows = samples_table([*some(0), *some(10, "\n")])
    assert columns == list(COLUMNS) == ["step", "prompt", "text", "repetition", "status"]
    assert rows[0] == [0, "Once", " and", 4, "length"]
    assert rows[3] == [10, "Once", "\n", 4, "length"]
    assert len(wandb.Table(columns=columns, data=rows).data) == 6
    assert json.loads(json.dumps(rows)) == rows
    assert samples_scalars(some(0)) == {"curvewatch/text/repetition_mean": 2.0}, "4 and 0; no text, no repetition"
    assert samples_scalars([]) == {}
