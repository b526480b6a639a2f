"""Encoder-decoder models: surprisal of the decoder's tokens, exact beside the models' own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Scorer, ScoringError, TokenSet
from tests.support.models import VOCABULARY, gpt2, random_tokens, t5, tokens_for
from tests.support.recomputing import plain_bits
from tests.support.tokenizers import bart_like, t5_with_end

ROWS = [
    ("The ships sailed.", "They sailed away, said the other."),
    ("Wherever?", "There."),
    ("Nobody said a word.", "a"),
]


def large(kind: str, vocabulary: int) -> Any:
    from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    if kind == "t5":
        model: Any = T5ForConditionalGeneration(
            T5Config(vocab_size=vocabulary, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                     decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
        )  # fmt: skip
    else:
        model = BartForConditionalGeneration(
            BartConfig(vocab_size=vocabulary, d_model=32, encoder_layers=2, decoder_layers=2,
                       encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
                       pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
        )  # fmt: skip
        model.final_logits_bias.normal_()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.mark.parametrize(("kind", "tokenizer_of"), [("t5", t5_with_end), ("bart", bart_like)])
@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_the_mean_is_the_models_own_loss(kind: str, tokenizer_of: Any, batch_size: Any) -> None:
    tokenizer = tokenizer_of()
    model = large(kind, len(tokenizer))
    tokens = TokenSet.from_seq2seq(ROWS, tokenizer, decoder_start=model.config.decoder_start_token_id)
    bits = Scorer(tokens, batch_size=batch_size).score(model).surprisal_bits
    for s, (source, target) in enumerate(ROWS):
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        assert tokens.target[tokens.sequence_index == s].tolist() == labels[0].tolist()
        with torch.no_grad():
            loss = model(**tokenizer(source, return_tensors="pt"), labels=labels).loss
        own = bits[tokens.sequence_index == s].mean(dtype=np.float64) * np.log(2)
        assert own == pytest.approx(loss.item(), abs=2e-6)


def test_each_token_beside_one_pass_of_its_own() -> None:
    tokens, model = tokens_for("t5", ragged=True), t5(seed=2)
    found = Scorer(tokens).score(model)
    assert np.abs(found.surprisal_bits - plain_bits(model.eval(), tokens)).max() < 2e-6


def test_of_text(caplog: Any) -> None:
    tokenizer = t5_with_end()
    tokens = TokenSet.from_seq2seq(
        [{"document": "The ships sailed.", "summary": "They sailed away.", "kind": "sea"}] * 2, tokenizer,
        decoder_start=0, source="document", target="summary", label="kind",
    ).label("away", r"away")  # fmt: skip
    assert tokens.objective == "seq2seq"
    assert tokens.labels["kind"].values == ("sea",)
    assert list(tokens.labels["away"].of_tokens()).count("yes") >= 2
    assert tokens.encoder is not None
    assert tokens.encoder.sequence(0).tolist() == tokenizer("The ships sailed.")["input_ids"]
    assert " → " in str(tokens.show(3))
    assert str(tokens.show(3)).startswith(tokens.decode(tokens.encoder.sequence(0)))
    cut = TokenSet.from_seq2seq(ROWS, tokenizer, decoder_start=0, context=4)
    assert cut.context == 4
    assert cut.encoder is not None
    assert cut.encoder.context == 4
    assert "were cut there" in caplog.text
    words = TokenSet.from_seq2seq(ROWS, tokenizer, decoder_start=0).words()
    assert words.spans.of_kind("word").name[:2] == ("They", "sailed")


def test_the_source_counts_and_another_ones_is_the_control() -> None:
    tokens, model = tokens_for("t5"), t5(seed=2)
    control = tokens.in_other_contexts()
    assert control.hash != tokens.hash
    assert np.array_equal(control.ids, tokens.ids)
    assert tokens.encoder is not None
    assert control.encoder is not None
    own = [tuple(tokens.encoder.sequence(s)) for s in range(tokens.n_sequences)]
    other = [tuple(control.encoder.sequence(s)) for s in range(tokens.n_sequences)]
    assert sorted(own) == sorted(other)
    assert all(a != b for a, b in zip(own, other, strict=True))
    assert not np.array_equal(Scorer(tokens).score(model).surprisal_bits, Scorer(control).score(model).surprisal_bits)


def test_models_of_another_kind_are_refused() -> None:
    with pytest.raises(ScoringError, match="not an encoder-decoder model, for which these tokens are"):
        Scorer(tokens_for("t5")).prepare(gpt2())
    with pytest.raises(ScoringError, match="says nothing of what its encoder reads"):
        Scorer(random_tokens()).prepare(t5())
    beyond = TokenSet.from_sequences([[0, 1, 2]], encoder_ids=[[VOCABULARY]])
    with pytest.raises(ScoringError, match="id 101 lies beyond the model's 101 embeddings"):
        Scorer(beyond).prepare(t5())


@pytest.mark.parametrize(
    ("encoder_ids", "message"),
    [
        ([[1]], r"encoder_ids: 1 rows for 2 sequences"),
        ([[1], []], r"encoder_ids\[1\]: it is empty"),
        ([[1], ["a"]], r"encoder_ids\[1\]: a row of token ids"),
        ([[1], [9]], r"encoder_ids: id 9 lies beyond vocab_size=8"),
    ],
)
def test_bad_input_is_named(encoder_ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenSet.from_sequences([[0, 1, 2], [0, 3]], encoder_ids=encoder_ids, vocab_size=8)
    with pytest.raises(TypeError, match="a row of token ids for each sequence"):
        TokenSet.from_sequences([[0, 1, 2], [0, 3]], encoder_ids=3)  # type: ignore[arg-type]
