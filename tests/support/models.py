"""Tiny language models, and token sets for them."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn

from curvewatch import TokenSet

VOCABULARY = 101
CONTEXT = 16


class PlainLM(nn.Module):
    """A causal model of no framework: embeddings, a running mean, dropout, a head; `model(ids)` gives logits."""

    def __init__(self, vocabulary: int = VOCABULARY, width: int = 32, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(vocabulary, width)
            self.first = nn.Linear(width, width)
            self.second = nn.Linear(width, width)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        h = self.embedding(ids)
        counts = torch.arange(1, ids.shape[1] + 1, device=ids.device)[None, :, None]
        h = h + self.dropout(torch.tanh(self.first(h.cumsum(1) / counts)))
        return self.head(self.dropout(torch.tanh(self.second(h))))


def best_road(model_class: type) -> str:
    """The road on which a model of transformers is scored: its own argument, which older versions don't have."""
    import transformers

    recent = int(transformers.__version__.split(".")[0]) >= 5
    takes_a_mask = "logits_to_keep" in signature(model_class.forward).parameters  # type: ignore[attr-defined]
    return "logits_to_keep" if recent or takes_a_mask else "head_hook"


def gpt2(dropout: float = 0.0, seed: int = 0, **settings: Any) -> Any:
    """A GPT-2 of two layers that takes no loss arguments, so that every host computes the same loss."""
    from transformers import GPT2Config, GPT2LMHeadModel

    class PlainLossGPT2(GPT2LMHeadModel):
        if best_road(GPT2LMHeadModel) == "logits_to_keep":

            def forward(self, input_ids=None, attention_mask=None, labels=None, logits_to_keep=0, use_cache=None):
                return super().forward(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    labels=labels,
                    logits_to_keep=logits_to_keep,
                    use_cache=use_cache,
                )

        else:

            def forward(self, input_ids=None, attention_mask=None, labels=None, use_cache=None):
                return super().forward(
                    input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=use_cache
                )

    shape = {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    config = GPT2Config(**{**shape, **rates, "bos_token_id": 0, "eos_token_id": 0, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlainLossGPT2(config)


def bert(dropout: float = 0.0, seed: int = 0) -> Any:
    """A BERT of two layers; its last id is the mask."""
    from transformers import BertConfig, BertForMaskedLM

    class PlainLossBert(BertForMaskedLM):
        def forward(self, input_ids=None, attention_mask=None, labels=None):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlainLossBert(config)


def t5(dropout: float = 0.0, seed: int = 0) -> Any:
    """A T5 of two layers on either side."""
    from transformers import T5Config, T5ForConditionalGeneration

    class PlainLossT5(T5ForConditionalGeneration):
        def forward(self, input_ids=None, attention_mask=None, decoder_input_ids=None, labels=None, use_cache=None):
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, labels=labels,
                use_cache=use_cache,
            )  # fmt: skip

    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=dropout,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PlainLossT5(config)


ARCHITECTURES = {"gpt2": gpt2, "bert": bert, "t5": t5}
MASK = VOCABULARY - 1


def tokens_for(architecture: str, **settings: Any) -> TokenSet:
    """`random_tokens` as a model of that kind predicts them."""
    tokens = random_tokens(**settings)
    if architecture == "bert":
        return tokens.masked(mask=MASK)
    if architecture == "t5":
        rng = np.random.default_rng(9)
        sources = [rng.integers(2, VOCABULARY, n) for n in rng.integers(3, CONTEXT, tokens.n_sequences)]
        rows = [tokens.sequence(s) for s in range(tokens.n_sequences)]
        positions = [tokens.position[tokens.sequence_index == s] for s in range(tokens.n_sequences)]
        return TokenSet.from_sequences(rows, positions, encoder_ids=sources, vocab_size=VOCABULARY)
    return tokens


def random_tokens(
    n_sequences: int = 7, length: int = CONTEXT, per_sequence: int | None = 5, seed: int = 3, ragged: bool = False
) -> TokenSet:
    """A token set of random ids; 35 tokens in 7 sequences unless told otherwise."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, length + 1, n_sequences) if ragged else [length] * n_sequences
    rows = [rng.integers(0, VOCABULARY, n).tolist() for n in lengths]
    return TokenSet.from_sequences(rows, per_sequence=per_sequence, seed=seed, vocab_size=VOCABULARY)
