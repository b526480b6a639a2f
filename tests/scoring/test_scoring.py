"""The numbers: against float64, against hand-written ones, the same whatever the batches; and too little memory."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from curvewatch import Scorer, ScoringError, TokenSet
from curvewatch.scoring import logits as logits_room
from curvewatch.scoring.batches import Batches
from curvewatch.scoring.logits import score_logits
from curvewatch.scoring.scorer import plain_reference
from tests.support.models import VOCABULARY, PlainLM, gpt2, random_tokens

EXACT_BITS = 1e-5


# ---------------------------------------------------------------------- logits to scores


def scores(rows: list[list[float]], targets: list[int]) -> list[list[float]]:
    return score_logits(torch.tensor(rows), torch.tensor(targets)).tolist()


def test_hand_written_logits() -> None:
    # Weights 1, 2, 4, 1 of 8: p = 1/8, 1/4, 1/2, 1/8, which are 3, 2, 1, 3 bits.
    # Entropy: 1/8 * 3 + 1/4 * 2 + 1/2 * 1 + 1/8 * 3 = 1.75 bits.
    row = [math.log(1), math.log(2), math.log(4), math.log(1)]
    surprisal, correct, entropy = scores([row] * 4, [0, 1, 2, 3])
    assert surprisal == pytest.approx([3, 2, 1, 3], abs=1e-6)
    assert correct == [0, 0, 1, 0]
    assert entropy == pytest.approx([1.75] * 4, abs=1e-6)


@pytest.mark.parametrize("vocabulary", [2, 101, 1000])
@pytest.mark.parametrize("level", [0.0, 1e4, -1e4])
def test_uniform_logits(vocabulary: int, level: float) -> None:
    surprisal, correct, entropy = scores([[level] * vocabulary] * 2, [0, 1])
    assert surprisal == pytest.approx([math.log2(vocabulary)] * 2, abs=1e-5)
    assert entropy == pytest.approx([math.log2(vocabulary)] * 2, abs=1e-5)
    assert correct == [1, 0], "among equals the first one is the arg-max"


def test_ties() -> None:
    _, correct, _ = scores([[0.0, 5.0, 5.0]] * 3, [0, 1, 2])
    assert correct == [0, 1, 0]


def test_tokens_ruled_out() -> None:
    # Two tokens of equal weight are left: 1 bit; the third has no probability.
    no = -math.inf
    surprisal, correct, entropy = scores([[0.0, 0.0, no], [0.0, 0.0, no], [no, no, 7.0]], [0, 2, 2])
    assert surprisal == pytest.approx([1.0, math.inf, 0.0])
    assert correct == [1, 0, 1]
    assert entropy == pytest.approx([1.0, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("target", [0, 1])
def test_logits_that_are_no_numbers(bad: float, target: int) -> None:
    surprisal, correct, entropy = scores([[bad, 1.0, 2.0], [0.0, 0.0, 0.0]], [target, 0])
    assert math.isnan(surprisal[0])
    assert math.isnan(entropy[0])
    assert correct[0] == 0
    assert surprisal[1] == pytest.approx(math.log2(3)), "the next row is not touched"


def test_large_logits_cost_no_precision() -> None:
    # A difference of ln 3 at 20,000, where float32 steps by 0.002, is kept as far as float32 holds it.
    logits = torch.tensor([[20_000.0, 20_000.0 + math.log(3)]], dtype=torch.float32)
    expected = -torch.log_softmax(logits.double(), -1)[0, 0].item() / math.log(2)
    assert score_logits(logits, torch.tensor([0]))[0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 20.0])
def test_any_dtype_is_scored_in_float32(dtype: torch.dtype, spread: float) -> None:
    logits = (torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)) * spread).to(dtype)
    targets = torch.arange(50) * 17
    surprisal, _, entropy = score_logits(logits, targets)
    log_p = torch.log_softmax(logits.double(), -1)
    exact = -log_p[range(50), targets] / math.log(2)
    # 160 bits, at a spread of 20, are held by float32 to 1.5e-5.
    assert ((surprisal - exact).abs() < EXACT_BITS + 1e-7 * exact).all()
    assert (entropy + (log_p.exp() * log_p).sum(-1) / math.log(2)).abs().max() < EXACT_BITS


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(37, 101, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(37)
    whole = score_logits(logits, targets)
    for rows in (1, 5, 36, 37):
        monkeypatch.setattr(logits_room, "CPU_BLOCK_ELEMENTS", rows * 101 + 3)
        assert torch.equal(score_logits(logits, targets), whole), rows
    assert not torch.equal(score_logits(logits, targets.flip(0)), whole)


# ---------------------------------------------------------------------- model and set to observation


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, "auto"])
@pytest.mark.parametrize("make", [gpt2, PlainLM])
def test_exact_against_float64(make: type, batch_size: int | str, ragged: bool) -> None:
    model = make(seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # surprisal from 0 to 20 bits, as in a trained model
    tokens = random_tokens(13, ragged=ragged, per_sequence=None)
    found = Scorer(tokens, batch_size=batch_size).score(model)
    expected = plain_reference(model.eval(), tokens)
    assert found.surprisal_bits.dtype == np.float32
    assert expected.std() > 1
    assert np.abs(found.surprisal_bits - expected).max() < EXACT_BITS


def test_entropy_and_correctness_of_a_model() -> None:
    model, tokens = gpt2(seed=1).eval(), random_tokens(per_sequence=None)
    found = Scorer(tokens).score(model)
    for i in range(len(tokens)):
        context = tokens.sequence(int(tokens.sequence_index[i]))[: tokens.position[i]]
        with torch.no_grad():
            log_p = torch.log_softmax(model(torch.tensor(context)[None].long()).logits[0, -1].double(), -1)
        assert found.entropy_bits[i] == pytest.approx(-(log_p.exp() * log_p).sum().item() / math.log(2), abs=EXACT_BITS)
        assert found.surprisal_bits[i] == pytest.approx(-log_p[tokens.target[i]].item() / math.log(2), abs=EXACT_BITS)
        assert found.correct[i] == (int(log_p.argmax()) == tokens.target[i])


def test_bos_scores_the_first_token_of_a_sequence() -> None:
    model, rows = gpt2(seed=1).eval(), [[5, 6, 7], [8, 9]]
    tokens = TokenSet.from_sequences(rows, bos=1)
    assert tokens.position.tolist() == [1, 2, 3, 1, 2]
    with torch.no_grad():
        first = torch.log_softmax(model(torch.tensor([[1]])).logits[0, 0].double(), -1) / -math.log(2)
    found = Scorer(tokens).score(model).surprisal_bits
    assert found[[0, 3]] == pytest.approx([first[5].item(), first[8].item()], abs=EXACT_BITS)


def test_padding_is_neither_scored_nor_seen() -> None:
    """A sequence is scored alike beside longer ones and alone."""
    rows = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], [2, 7], [1, 4, 1]]
    model = gpt2(seed=1)
    together = Scorer(TokenSet.from_sequences(rows), batch_size=3).score(model).surprisal_bits
    alone = [Scorer(TokenSet.from_sequences([row])).score(model).surprisal_bits for row in rows]
    assert together == pytest.approx(np.concatenate(alone), abs=EXACT_BITS)
    assert len(together) == 9 + 1 + 2


def test_bfloat16_is_off_by_no_more_than_its_rounding() -> None:
    """bfloat16 keeps 8 bits: logits of up to 4 are off by 1/64, a few hundredths of a bit; so it is put on record."""
    model, tokens = gpt2(seed=1), random_tokens(per_sequence=None)
    exact = plain_reference(model.eval(), tokens)
    scorer = Scorer(tokens)
    found = scorer.score(model.to(torch.bfloat16)).surprisal_bits
    assert scorer.settings["compute_dtype"] == "bfloat16"
    assert 1e-5 < np.abs(found - exact).max() < 0.1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_weights_give_nan_and_are_never_correct(bad: float) -> None:
    model, tokens = gpt2(seed=1), random_tokens()
    scorer = Scorer(tokens)
    scorer.prepare(model)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.weight.fill_(bad)
    found = scorer.score(model)
    assert np.isnan(found.surprisal_bits).all()
    assert np.isnan(found.entropy_bits).all()
    assert not found.correct.any()


def test_the_same_scores_every_time_and_from_every_scorer() -> None:
    model, tokens = gpt2(0.5, seed=1).train(), random_tokens(ragged=True)
    scorer = Scorer(tokens, batch_size=2)
    first, second = scorer.score(model), scorer.score(model)
    third = Scorer(tokens, batch_size=2).score(model)
    for name in ("surprisal_bits", "correct", "entropy_bits"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert np.array_equal(getattr(first, name), getattr(third, name))


def test_batches_hold_every_token_once_and_are_fixed() -> None:
    tokens = TokenSet.from_sequences([[1, 2], [1, 2, 3, 4], [5, 6, 7], [1, 2, 3, 4, 5], [1, 2, 3]])
    batches = Batches(tokens, 2)
    # By length, then as given: 5 (row 3), 4 (row 1), 3 (rows 2 and 4), 2 (row 0).
    assert batches.rows.tolist() == [3, 1, 2, 4, 0]
    built = [batches.build(i, torch.device("cpu")) for i in range(len(batches))]
    assert [batch.input_ids.tolist() for batch in built] == [
        [[1, 2, 3, 4], [1, 2, 3, 0]],
        [[5, 6], [1, 2]],
        [[1]],
    ]
    assert built[0].attention_mask is not None
    assert built[0].attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert built[1].attention_mask is None, "no padding, no mask"
    assert [batch.target.tolist() for batch in built] == [[2, 3, 4, 5, 2, 3, 4], [6, 7, 2, 3], [2]]
    assert sorted(torch.cat([batch.token_index for batch in built]).tolist()) == list(range(len(tokens)))
    for batch in built:
        assert batch.target.tolist() == tokens.target[batch.token_index.numpy()].tolist()


class Largest(TorchDispatchMode):
    """Notes the largest float32 tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32:
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_float32_copy_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 sequences of 31 fed tokens, 2 scored in each: 16 rows of logits of 4,000, not 248."""
    model = gpt2(vocab_size=4_000).to(torch.bfloat16)
    tokens = random_tokens(8, length=32, per_sequence=2)
    scorer = Scorer(tokens, batch_size=8)
    scorer.prepare(model)
    monkeypatch.setattr(logits_room, "CPU_BLOCK_ELEMENTS", 4_000 * 4)
    with Largest() as largest:
        scorer.score(model)
    assert largest.elements <= 4_000 * 4
    # The measuring has power: the plain way makes them all.
    with Largest() as largest, torch.no_grad():
        model(torch.zeros(8, 31, dtype=torch.long)).logits.float()
    assert largest.elements >= 8 * 31 * 4_000


# ---------------------------------------------------------------------- memory


class Hungry(nn.Module):
    """A model that runs out of memory with more than `room` sequences."""

    def __init__(self, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.inner, self.room, self.error, self.sizes = PlainLM(seed=1), room, error, []

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(ids))
        if len(ids) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2 GiB")
        return self.inner(ids)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_makes_batches_smaller(error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    tokens, model = random_tokens(13), Hungry(room=100, error=error)
    scorer = Scorer(tokens, batch_size=8)
    before = scorer.score(model)
    model.room = 3
    with caplog.at_level(logging.WARNING, "curvewatch"):
        after = scorer.score(model)
    # 8 does not fit, 4 does not, 2 does.
    assert scorer.batch_size == scorer.settings["batch_size"] == 2
    assert "batches of 2 sequences" in caplog.text
    assert after.surprisal_bits == pytest.approx(before.surprisal_bits, abs=EXACT_BITS)
    model.sizes.clear()
    scorer.score(model)
    assert max(model.sizes) == 2, "it stays smaller"


def test_a_single_sequence_too_large() -> None:
    tokens, model = random_tokens(5), Hungry(room=100)
    scorer = Scorer(tokens, batch_size=4)
    scorer.prepare(model)
    model.room = 0
    with pytest.raises(ScoringError, match=r"single sequence does not fit.*shorter context") as caught:
        scorer.score(model)
    assert not isinstance(caught.value, RuntimeError), "hosts would shrink the training batch"
    model.room = 1
    assert np.isfinite(scorer.score(model).surprisal_bits).all(), "it can be tried again"


def test_other_errors_are_not_tried_again() -> None:
    tokens, model = random_tokens(13), Hungry(room=100)
    scorer = Scorer(tokens, batch_size=8)
    scorer.prepare(model)
    model.room, model.error = 3, KeyError
    model.sizes.clear()
    with pytest.raises(ScoringError, match="Tried to allocate"):
        scorer.score(model)
    assert model.sizes == [8]


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "large", None])
def test_batch_sizes_that_make_no_sense(batch_size: object) -> None:
    with pytest.raises(ValueError, match=r'batch_size=.*"auto" or a whole number'):
        Scorer(random_tokens(), batch_size=batch_size)


def test_automatic_batch_size_follows_the_vocabulary() -> None:
    """Full logits of 100,000 x 15 tokens x 12 bytes = 18 MB a sequence; 14 of them make 256 MB."""
    tokens = random_tokens(100)
    scorer = Scorer(tokens)
    scorer.prepare(PlainLM(vocabulary=100_000, width=4))
    assert scorer.batch_size == 14
    scorer = Scorer(tokens)
    scorer.prepare(PlainLM())
    assert scorer.batch_size == 1024 // 15


def test_before_it_has_seen_a_model() -> None:
    with pytest.raises(ScoringError, match="prepare"):
        _ = Scorer(random_tokens()).settings


def test_a_model_of_fewer_outputs_than_the_set_has_ids() -> None:
    class Narrow(PlainLM):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids)[..., :50]

    assert random_tokens().target.max() < VOCABULARY
    with pytest.raises(ScoringError, match=r"target id \d+ lies beyond the model's 50 outputs"):
        Scorer(random_tokens()).prepare(Narrow())


@pytest.mark.parametrize("what", ["model", "blocks"])
def test_a_compiled_model_scores_as_the_plain_one(what):
    tokens = random_tokens()
    expected = Scorer(tokens).score(gpt2())
    model = gpt2()
    if what == "blocks":
        for block in model.transformer.h:
            block.compile(backend="aot_eager")
    compiled = torch.compile(model, backend="aot_eager") if what == "model" else model
    observation = Scorer(tokens).score(compiled)
    assert np.array_equal(observation.surprisal_bits, expected.surprisal_bits)
    assert np.array_equal(observation.entropy_bits, expected.entropy_bits)
