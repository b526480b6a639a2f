"""The roads to the logits: each kind of head equals the plain road, and what can't be trusted is not taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from curvewatch import Scorer, ScoringError
from curvewatch.scoring.scorer import plain_reference
from tests.support.models import CONTEXT, VOCABULARY, PlainLM, best_road, gpt2, random_tokens

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 32, "head_dim": 16,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
# Class, its config, what is special about its head, and settings that make that felt.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tied": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    "untied, parallel": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {}),
    "untied": ("LlamaForCausalLM", "LlamaConfig", {}),
    "soft-capped": ("Gemma2ForCausalLM", "Gemma2Config", {"final_logit_softcapping": 2.0}),
    "scaled": ("GraniteForCausalLM", "GraniteConfig", {"logits_scaling": 7.0}),
    "scaled, tied": ("CohereForCausalLM", "CohereConfig", {"logit_scale": 0.25}),
    "transformed": ("ModernBertDecoderForCausalLM", "ModernBertDecoderConfig", {}),
    "transformed, BERT": ("BertLMHeadModel", "BertConfig", {"is_decoder": True}),
    "state space": ("MambaForCausalLM", "MambaConfig", {}),
}


def build(kind: str) -> Any:
    import transformers

    model_class, config_class, settings = KINDS[kind]
    if not hasattr(transformers, model_class) and transformers.__version__ < "4.57":
        pytest.skip(f"NOT RUN: transformers {transformers.__version__} has no {model_class} yet")
    config = getattr(transformers, config_class)(**{**SHAPE, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config).eval()
    # Biases start at 0 and norms at 1, where a missing step of the head would not show.
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    return model


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_head(kind: str, ragged: bool) -> None:
    model, tokens = build(kind), random_tokens(ragged=ragged)
    scorer = Scorer(tokens, batch_size=3)
    found = scorer.score(model)
    assert scorer.prepared.road == best_road(type(model))
    assert scorer.prepared.vocab_size == VOCABULARY
    expected = plain_reference(model, tokens)
    assert expected.std() > 0.1
    assert np.abs(found.surprisal_bits - expected).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_hook_equals_the_argument(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = build(kind), random_tokens()
    by_argument = Scorer(tokens, batch_size=3).score(model)
    plain = type(model).forward

    def without(self: Any, input_ids: Any = None, attention_mask: Any = None) -> Any:
        return plain(self, input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(type(model), "forward", without)
    scorer = Scorer(tokens, batch_size=3)
    by_hook = scorer.score(model)
    assert scorer.prepared.road == "head_hook"
    assert by_hook.surprisal_bits == pytest.approx(by_argument.surprisal_bits, abs=1e-5)


@pytest.mark.parametrize("kind", ["soft-capped", "scaled", "scaled, tied", "transformed"])
def test_backbone_and_head_by_hand_would_be_wrong(kind: str) -> None:
    """Why every road goes through the model as a whole; and that these models' heads would show it."""
    model = build(kind)
    ids = torch.randint(0, VOCABULARY, (2, CONTEXT))
    with torch.no_grad():
        by_hand = model.get_output_embeddings()(model.base_model(ids).last_hidden_state)
        assert (by_hand - model(ids).logits).abs().max() > 0.01


def test_a_module_of_no_framework_takes_the_full_road() -> None:
    model, tokens = PlainLM(seed=2), random_tokens(ragged=True)
    scorer = Scorer(tokens)
    found = scorer.score(model)
    assert scorer.prepared.road == "full"
    assert found.surprisal_bits == pytest.approx(plain_reference(model, tokens), abs=1e-5)


class Hooked(PlainLM):
    """A plain module that names its head."""

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def test_a_module_that_names_its_head_takes_the_hook() -> None:
    model, tokens = Hooked(seed=2), random_tokens()
    scorer = Scorer(tokens)
    assert np.array_equal(scorer.score(model).surprisal_bits, Scorer(tokens).score(PlainLM(seed=2)).surprisal_bits)
    assert scorer.prepared.road == "head_hook"
    assert not model.head._forward_pre_hooks, "no hook stays"


class NamesAnotherHead(PlainLM):
    """Names as its head what does not make its logits."""

    def get_output_embeddings(self) -> nn.Module:
        return self.first


class Lying(Hooked):
    """Takes `logits_to_keep`, and gives the logits of other positions."""

    def forward(self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor | None = None) -> torch.Tensor:
        logits = super().forward(input_ids)
        return logits if logits_to_keep is None else logits[logits_to_keep.roll(1, dims=1)]


class Ignoring(Hooked):
    """Takes `logits_to_keep`, and gives all logits."""

    def forward(self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(input_ids)


class OnlyNumbers(Hooked):
    """Takes `logits_to_keep` as a number only, as older versions do."""

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int = 0) -> torch.Tensor:
        if not isinstance(logits_to_keep, int):
            raise TypeError("a number, please")
        return super().forward(input_ids)[:, -logits_to_keep:]


@pytest.mark.parametrize(
    ("make", "road"),
    [(Lying, "head_hook"), (Ignoring, "head_hook"), (OnlyNumbers, "head_hook"), (NamesAnotherHead, "full")],
)
def test_a_road_that_is_not_exact_is_not_taken(make: type[PlainLM], road: str) -> None:
    tokens = random_tokens()
    scorer = Scorer(tokens)
    found = scorer.score(make(seed=2))
    assert scorer.prepared.road == road
    assert np.array_equal(found.surprisal_bits, Scorer(tokens).score(PlainLM(seed=2)).surprisal_bits)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", ["BertForMaskedLM", "XLNetLMHeadModel"])
def test_models_that_see_the_future_are_refused(name: str, ragged: bool) -> None:
    import transformers

    config: Any
    if name.startswith("Bert"):
        config = transformers.BertConfig(**SHAPE)
    else:
        config = transformers.XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=2, d_inner=32)
    torch.manual_seed(0)
    model = getattr(transformers, name)(config)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    with pytest.raises(ScoringError, match=r"depend on later tokens.*causal"):
        Scorer(random_tokens(ragged=ragged)).prepare(model)


class NanoGPT(PlainLM):
    """Returns (logits, loss), and without targets the logits of the last position only."""

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
        logits = super().forward(idx)
        if targets is None:
            return logits[:, [-1]], None
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def test_nanogpt_is_told_what_to_do_and_it_works() -> None:
    model, tokens = NanoGPT(seed=2), random_tokens()
    with pytest.raises(ScoringError, match=r"forward=lambda model, batch: model\(batch.input_ids, batch.input_ids\)"):
        Scorer(tokens).prepare(model)
    scorer = Scorer(tokens, forward=lambda model, batch: model(batch.input_ids, batch.input_ids)[0])
    found = scorer.score(model)
    assert scorer.prepared.road == "forward"
    assert np.array_equal(found.surprisal_bits, Scorer(tokens).score(PlainLM(seed=2)).surprisal_bits)


@pytest.mark.parametrize("wanted_only", [False, True])
@pytest.mark.parametrize("shape", ["tensor", "tuple", "dict", "object"])
def test_what_a_forward_may_return(shape: str, wanted_only: bool) -> None:
    def forward(model: Any, batch: Any) -> Any:
        logits = model(batch.input_ids)
        logits = logits[batch.keep] if wanted_only else logits
        return {
            "tensor": logits,
            "tuple": (logits, None),
            "dict": {"loss": None, "logits": logits},
            "object": SimpleNamespace(logits=logits),
        }[shape]

    tokens = random_tokens(ragged=True)
    found = Scorer(tokens, forward=forward).score(PlainLM(seed=2))
    assert np.array_equal(found.surprisal_bits, Scorer(tokens).score(PlainLM(seed=2)).surprisal_bits)


@pytest.mark.parametrize(
    ("output", "match"),
    [
        (None, "NoneType without logits"),
        ({"loss": torch.zeros(())}, "dict without logits"),
        (torch.zeros(7, CONTEXT - 1, dtype=torch.long), "without logits"),
        (torch.zeros(3, 3, VOCABULARY), r"logits of shape \[3, 3, 101\]; \[4, 15, V\]"),
    ],
)
def test_what_a_forward_may_not_return(output: Any, match: str) -> None:
    with pytest.raises(ScoringError, match=match):
        Scorer(random_tokens(), forward=lambda model, batch: output).prepare(PlainLM())


def test_a_model_without_a_head() -> None:
    with pytest.raises(ScoringError, match=r"without logits.*language-modelling head"):
        Scorer(random_tokens()).prepare(gpt2().transformer)


def test_id_beyond_the_embeddings() -> None:
    with pytest.raises(ScoringError, match=r"beyond the model's 50 embeddings.*tokenizer"):
        Scorer(random_tokens()).prepare(gpt2(vocab_size=50))


def test_context_beyond_the_model() -> None:
    fits = random_tokens(length=33)
    assert Scorer(fits).score(gpt2()).surprisal_bits.size == len(fits), "32 tokens are fed, and 32 positions there are"
    with pytest.raises(ScoringError, match=r"feeds 33 tokens, the model's \w+ is 32.*context=32"):
        Scorer(random_tokens(length=34)).prepare(gpt2())


def test_wrapped_models_are_scored_inside() -> None:
    model, tokens = gpt2(seed=2), random_tokens()
    wrapped = torch.compile(model, backend="aot_eager")
    scorer = Scorer(tokens)
    assert np.array_equal(scorer.score(wrapped).surprisal_bits, Scorer(tokens).score(model).surprisal_bits)
    assert scorer.prepared.road == best_road(type(model))
