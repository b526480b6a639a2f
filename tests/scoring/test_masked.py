"""Masked models: exact beside one forward pass a token, and the control of a model that uses its context."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Live, Prompts, Scorer, ScoringError, TokenSet, Watch
from curvewatch.scoring.masked import MaskedBatches
from curvewatch.scoring.scorer import plain_reference
from tests.support.models import MASK, VOCABULARY, bert, gpt2, random_tokens
from tests.support.recomputing import plain_bits
from tests.support.tokenizers import bert_with_edges

BITS = 2e-6
TEXTS = ["The unseen ships sailed, and nobody said a word.", "Wherever they went it rained."]


def ragged(objective: str = "masked") -> TokenSet:
    return random_tokens(9, per_sequence=None, ragged=True).masked(objective, mask=MASK)


@pytest.mark.parametrize("batch_size", [1, 3, 64, "auto"])
def test_each_token_is_hidden_alone(batch_size: Any) -> None:
    tokens, model = ragged(), bert(seed=2)
    found = Scorer(tokens, batch_size=batch_size).score(model)
    expected = plain_bits(model.eval(), tokens)
    assert np.abs(found.surprisal_bits - expected).max() < BITS
    assert np.abs(plain_reference(model, tokens) - expected).max() < 1e-6
    assert tokens.masking is not None
    assert tokens.masking.n_rows(tokens) == len(tokens)


def test_what_stands_to_the_right_counts() -> None:
    """One token changed behind a scored one changes its surprisal; so does one in front."""
    model = bert(seed=2)
    rows = random_tokens(1, per_sequence=None).sequence(0)[None].repeat(3, axis=0).copy()
    rows[1, 12], rows[2, 3] = (rows[0, 12] + 1) % 50, (rows[0, 3] + 1) % 50
    tokens = TokenSet.from_sequences(rows, [[8]] * 3, vocab_size=VOCABULARY).masked(mask=MASK)
    bits = Scorer(tokens).score(model).surprisal_bits
    assert len(set(bits.tolist())) == 3
    # What is hidden is not looked at: another target, the same prediction.
    rows[1] = rows[0]
    rows[1, 8] = (rows[0, 8] + 1) % 50
    again = TokenSet.from_sequences(rows[:2], [[8]] * 2, vocab_size=VOCABULARY).masked(mask=MASK)
    entropy = Scorer(again).score(model).entropy_bits
    assert entropy[0] == entropy[1]


def test_in_groups_is_another_set_with_fewer_rows() -> None:
    tokens, exact = ragged("masked_in_4"), ragged()
    assert tokens.hash != exact.hash
    assert tokens.masking is not None
    per_sequence = np.bincount(tokens.sequence_index)
    assert tokens.masking.n_rows(tokens) == np.minimum(per_sequence, 4).sum()
    found, model = Scorer(tokens).score(bert(seed=2)), bert(seed=2).eval()
    for s in range(tokens.n_sequences):
        for row in range(4):
            hidden = np.flatnonzero((tokens.sequence_index == s) & (tokens.masking.row_N == row))
            if not len(hidden):
                continue
            ids = torch.from_numpy(tokens.sequence(s).astype(np.int64))
            ids[tokens.position[hidden]] = MASK
            with torch.no_grad():
                log_p = model(ids[None]).logits[0].double().log_softmax(-1) / np.log(2)
            expected = -log_p[tokens.position[hidden], tokens.target[hidden]].numpy()
            assert np.abs(found.surprisal_bits[hidden] - expected).max() < BITS


def test_the_tokenizers_own_tokens_stand_around() -> None:
    tokenizer = bert_with_edges()
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    tokens = TokenSet.from_texts(TEXTS, tokenizer, objective="masked").label("the", r"(?i)\bthe\b")
    for s, text in enumerate(TEXTS):
        assert tokens.sequence(s).tolist() == tokenizer(text)["input_ids"]
        assert tokens.sequence(s)[[0, -1]].tolist() == [cls, sep]
    assert len(tokens) == sum(len(tokenizer.tokenize(text)) for text in TEXTS), "every token of the text is scored"
    assert not np.isin(tokens.target, [cls, sep]).any()
    assert tokens.labels["the"].of_tokens()[0] == "yes"
    assert int(tokens.n_bytes.sum()) == sum(len(text.encode()) for text in TEXTS)
    view = tokens.show(0)
    assert (view.target, "ships" in view.behind) == ("the", True)
    cut = TokenSet.from_text(" ".join(TEXTS * 20), tokenizer, 40, context=12, objective="masked")
    assert set(cut.lengths.tolist()) == {12}
    assert set(cut.ids[cut.starts[1:] - 1].tolist()) == {sep}
    assert cut.position.min() >= 1


def test_later_pieces_of_a_word_are_hidden_with_it() -> None:
    tokenizer = bert_with_edges()
    tokens = TokenSet.from_texts(["Wherever they went."], tokenizer, objective="masked_l2r")
    pieces = tokenizer.tokenize("Wherever they went.")
    assert tokens.masking is not None
    expected = [
        next((k for k, p in enumerate(pieces[i + 1 :]) if not p.startswith("##")), len(pieces) - i - 1)
        for i in range(len(pieces))
    ]
    assert tokens.masking.behind_N.tolist() == expected
    assert max(expected) >= 1, "no word has several pieces, so nothing was shown"


@pytest.mark.parametrize(("objective", "metric"), [("masked", "original"), ("masked_l2r", "within_word_l2r")])
def test_as_minicons(objective: str, metric: str) -> None:
    from minicons.scorer import MaskedLMScorer

    tokenizer = bert_with_edges()
    model = large_bert(len(tokenizer))
    tokenizer.batch_encode_plus = lambda *given, **how: tokenizer(*given, **how)  # which transformers 5 took away
    texts = [*TEXTS, "An unforgettable, overwhelming evening: thunderstorms everywhere!"]
    tokens = TokenSet.from_texts(texts, tokenizer, objective=objective)
    theirs = MaskedLMScorer(model, "cpu", tokenizer=tokenizer).token_score(
        texts, surprisal=True, base_two=True, PLL_metric=metric
    )
    flat = np.array([bits for sentence in theirs for _, bits in sentence])
    ours = Scorer(tokens).score(model).surprisal_bits
    assert len(ours) == len(flat)
    assert np.abs(ours - flat).max() < 1e-5
    if objective == "masked_l2r":
        other = Scorer(TokenSet.from_texts(texts, tokenizer, objective="masked")).score(model).surprisal_bits
        one_piece = (tokens.masking.behind_N == 0) & (np.append(0, tokens.masking.behind_N[:-1]) == 0)
        assert np.array_equal(other[one_piece], ours[one_piece])
        assert np.abs(other - ours).max() > 1e-3


def large_bert(vocabulary: int) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, initializer_range=0.3)  # fmt: skip
    return BertForMaskedLM(config).eval()


SYMBOLS, LENGTH = 20, 16


@cache
def sources() -> np.ndarray:
    """Rows of two Markov chains in turns: each symbol is followed, at the place after next, by one of two."""
    rng = np.random.default_rng(0)
    following = rng.permuted(np.tile(np.arange(SYMBOLS), (2, 1)), axis=1)
    rows = np.empty((4096, LENGTH), np.int64)
    rows[:, :2] = rng.integers(0, SYMBOLS, (len(rows), 2))
    for k in range(2, LENGTH):
        rows[:, k] = following[rng.integers(0, 2, len(rows)), rows[:, k - 2]]
    return rows


@cache
def learners() -> tuple[Any, Any]:
    """A BERT before and after it has learned that source."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(vocab_size=SYMBOLS + 1, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=128, max_position_embeddings=LENGTH, hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0)  # fmt: skip
    first, model = BertForMaskedLM(config), BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    rows = torch.from_numpy(sources()[:-64])
    for _ in range(500):
        ids = rows[torch.randint(len(rows), (128,))]
        hidden = torch.rand(ids.shape) < 0.15
        loss = model(input_ids=ids.masked_fill(hidden, SYMBOLS), labels=ids.masked_fill(~hidden, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return first.eval(), model.eval()


def bits_of(model: Any, tokens: TokenSet) -> np.ndarray:
    return Scorer(tokens).score(model).surprisal_bits


def test_the_control_tells_a_model_that_uses_its_context() -> None:
    """And only of such a model does masking many at once show its bias, which grows with learning."""
    first, learned = learners()
    plain = TokenSet.from_sequences(sources()[-64:], vocab_size=SYMBOLS + 1)
    exact, groups = plain.masked(mask=SYMBOLS), plain.masked("masked_in_2", mask=SYMBOLS)
    control = exact.in_other_contexts(500)
    own, other = bits_of(learned, exact).mean(), bits_of(learned, control).mean()
    assert other > own + 3, (own, other)
    assert abs(bits_of(first, exact).mean() - bits_of(first, control).mean()) < 0.1
    bias = bits_of(learned, groups).mean() - own
    assert bias > 0.3
    assert abs(bits_of(first, groups).mean() - bits_of(first, exact).mean()) < 0.1
    assert np.corrcoef(bits_of(learned, groups), bits_of(learned, exact))[0, 1] < 0.9


def test_other_contexts_keep_targets_and_places() -> None:
    for tokens in (random_tokens(9, ragged=True), ragged(), ragged("masked_in_4")):
        control = tokens.in_other_contexts(20)
        assert control.objective == tokens.objective
        assert len(control) == control.n_sequences == 20
        whole = tokens.in_other_contexts(None)
        # The only longest sequence may have nobody to stand around its last tokens.
        assert len(tokens) - 16 <= len(whole) <= len(tokens)
        own = {(int(t), int(p)) for t, p in zip(tokens.target, tokens.position, strict=True)}
        assert {(int(t), int(p)) for t, p in zip(whole.target, whole.position, strict=True)} <= own
        assert tokens.in_other_contexts(20).hash == control.hash != tokens.in_other_contexts(20, seed=1).hash
        originals = [tuple(tokens.sequence(s).tolist()) for s in range(tokens.n_sequences)]
        for i in range(len(whole)):
            row, p = whole.sequence(i).tolist(), int(whole.position[i])
            assert any(len(row) == len(one) and row[:p] == list(one[:p]) and row[p + 1 :] == list(one[p + 1 :])
                       for one in originals)  # fmt: skip
    with pytest.raises(ValueError, match="there is one alone"):
        random_tokens(1).in_other_contexts()


def test_batches_hold_rows_of_one_length() -> None:
    tokens = ragged()
    batches = MaskedBatches(tokens, 4)
    seen = []
    for index in range(len(batches)):
        batch = batches.build(index, torch.device("cpu"))
        assert batch.attention_mask is None
        assert len(batch.input_ids) <= 4
        assert int(batch.keep.sum()) == len(batch.target)
        seen += batch.token_index.tolist()
    assert sorted(seen) == list(range(len(tokens)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_tokens().masked("often", mask=1), "objective='often': 'masked', 'masked_l2r'"),
        (lambda: random_tokens().masked(), "mask=None: the id of the token that hides another one"),
        (lambda: random_tokens().masked(mask=VOCABULARY), "mask=101: it lies beyond vocab_size=101"),
        (lambda: random_tokens().masked("masked_l2r", mask=1), "does not know its texts"),
        (lambda: ragged().masked(mask=1), "only a causal set can be made a masked one"),
        (lambda: TokenSet.from_texts(TEXTS, bert_with_edges(), objective="mlm"), "objective='mlm'"),
        (lambda: TokenSet.from_texts(TEXTS, bert_with_edges(), context=2, objective="masked"), "context=2: 1 of it"),
        (lambda: TokenSet.from_texts(TEXTS, bert_with_edges()).masked("masked_l2r", words="("), "words='(': not a"),
        (lambda: TokenSet.from_texts(TEXTS, bert_with_edges(), objective="masked").words(boundary="corrected"),
         "a masked model sees where a word ends"),
    ],
)  # fmt: skip
def test_refused_where_it_is_built(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_models_of_another_kind_are_refused() -> None:
    with pytest.raises(ScoringError, match="don't depend on later tokens, so it is no masked language model"):
        Scorer(ragged()).prepare(gpt2())
    with pytest.raises(ScoringError, match='a masked model takes objective="masked"'):
        Scorer(random_tokens()).prepare(bert())
    small = TokenSet.from_sequences([[1, 2, 3]]).masked(mask=VOCABULARY)
    with pytest.raises(ScoringError, match="id 101 lies beyond the model's 101 embeddings"):
        Scorer(small).prepare(bert())
    long = random_tokens(2, 33).masked(mask=MASK)
    with pytest.raises(ScoringError, match="feeds 33 tokens, the model's max_position_embeddings is 32"):
        Scorer(long).prepare(bert())


def test_a_watch_of_several_kinds_or_with_prompts_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="sets for different kinds of models"):
        Watch({"a": random_tokens(), "b": ragged()}, tmp_path / "curves.h5")
    prompts = Prompts([[1, 2]])
    with pytest.raises(ValueError, match="a masked model, which continues no text"):
        Watch(ragged(), tmp_path / "curves.h5", live=Live(prompts=prompts))


def test_what_it_costs_is_told_beforehand(tmp_path: Any, caplog: Any) -> None:
    tokens, sets = ragged(), {"own": ragged(), "few": ragged("masked_in_2")}
    with caplog.at_level("INFO", "curvewatch"), Watch(sets, tmp_path / "curves.h5", max_steps=1) as watch:
        watch.start(bert())
    told = caplog.text
    assert f"set 'own': a masked model is fed {len(tokens)} rows of up to {tokens.context} tokens" in told
    assert "set 'few': a masked model is fed 1" in told


def test_diffusion_is_refused_by_name() -> None:
    class LLaDAModelLM(torch.nn.Module):
        pass

    for tokens in (random_tokens(), ragged()):
        with pytest.raises(ScoringError, match="model=LLaDAModelLM: a diffusion language model"):
            Scorer(tokens).prepare(LLaDAModelLM())
