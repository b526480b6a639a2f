"""Words scored as words: a distribution over words, in the file, live, and as units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Scorer, ScoringError, TokenSet, TokenSetMismatchError, Watch, open_run
from curvewatch.scoring.logits import boundary_bits
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.boundaries import BEGINS, OPENS
from tests.support.models import PlainLM, gpt2
from tests.support.ranks import on_ranks
from tests.support.tokenizers import WORDS, tokenizer_of

# A language of six tokens: the end, " a", " b", "a", "b", and a line break.
END, SPACE_A, SPACE_B, A, B, LINE = range(6)
FLAGS = np.array([BEGINS | OPENS, BEGINS, BEGINS, 0, 0, BEGINS | OPENS], np.uint8)
CONTEXTS = {"in a word": [SPACE_A, B, A], "behind a line break": [A, LINE], "at the beginning": [END]}


def language() -> PlainLM:
    """Any causal model of it; words end often, so that the long ones weigh little."""
    model = PlainLM(vocabulary=6, seed=4)
    with torch.no_grad():
        model.head.weight *= 3
        model.head.bias[[A, B]] -= 1.5
    return model.double()


def corrected(tokens: TokenSet) -> TokenSet:
    return tokens.with_annotations(Annotations(boundary=FLAGS))


def log_p(model: PlainLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids]))[0, -1], -1)


@pytest.mark.parametrize("where", CONTEXTS)
def test_words_are_a_distribution(where: str) -> None:
    """All words of up to eight tokens, what else may come, and what the longer words weigh: 1, by the scorer's sums."""
    model, context = language(), CONTEXTS[where]
    begins = [SPACE_A, SPACE_B] if where == "in a word" else [SPACE_A, SPACE_B, A, B]
    words = [[first, *rest] for n in range(8) for first in begins for rest in product((A, B), repeat=n)]
    tokens = TokenSet.from_sequences([context + word for word in words], vocab_size=6)
    seen = Scorer(corrected(tokens), batch_size=64).score(model)
    assert seen.boundary_bits is not None
    inside = tokens.position >= len(context)
    bits_N = np.where(inside, seen.surprisal_bits.astype(np.float64) + seen.boundary_bits, 0)
    bits = np.bincount(tokens.sequence_index, bits_N)
    plain = np.bincount(tokens.sequence_index, np.where(inside, seen.surprisal_bits, 0))
    # What is no word of these: the end, or a blank by itself; and the longer words, each by its first eight tokens.
    here = log_p(model, context).exp()
    mass_B = float(here[[END, SPACE_A, SPACE_B, LINE]].sum()) if where == "in a word" else 1.0
    others = float(here[[END, LINE]].sum()) / mass_B
    longer = 0.0
    for word, own in zip(words, plain, strict=True):
        if len(word) == 8:
            goes_on = float(log_p(model, context + word).exp()[[A, B]].sum())
            longer += 2**-own / mass_B * goes_on
    total = float((2**-bits).sum()) + others + longer
    assert longer < 0.01
    assert total == pytest.approx(1.0, abs=2e-6)
    uncorrected = float((2**-plain).sum()) + float(here[[END, LINE]].sum())
    assert abs(uncorrected - 1) > 0.02, "the correction makes no difference here, so nothing was shown"


def test_it_adds_up_to_the_boundaries_at_the_edges() -> None:
    """Worked out a second time: -log2 of the mass of B before the first token and behind the last one."""
    model = language()
    ids = [END, SPACE_A, A, LINE, B, SPACE_B, B]
    seen = Scorer(corrected(TokenSet.from_sequences([ids], vocab_size=6))).score(model)
    begins = torch.from_numpy((FLAGS & BEGINS) > 0)
    before = [-float(log_p(model, ids[:k])[begins].logsumexp(0)) / np.log(2) for k in range(1, len(ids) + 1)]
    before[0] = before[3] = 0  # behind the end of a text, and behind a line break
    assert seen.boundary_bits is not None
    assert seen.boundary_bits == pytest.approx(np.diff(before), abs=1e-5)


def test_scores_of_tokens_are_what_they_are_without() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 6, n).tolist() for n in rng.integers(2, 14, 40)]
    for per_sequence in (None, 1, 3):
        tokens = TokenSet.from_sequences(rows, per_sequence=per_sequence, vocab_size=6)
        with_it, without = Scorer(corrected(tokens)).score(language()), Scorer(tokens).score(language())
        assert with_it.surprisal_bits == pytest.approx(without.surprisal_bits, abs=1e-6)
        assert np.array_equal(with_it.correct, without.correct)
        assert without.boundary_bits is None
        one_by_one = Scorer(corrected(tokens), batch_size=1).score(language()).boundary_bits
        assert with_it.boundary_bits == pytest.approx(one_by_one, abs=1e-5)


def test_masses_far_below_the_rest_stay_exact() -> None:
    logits = torch.tensor([[0.0, -300.0, 90.0], [0.0, 0.0, -torch.inf]])
    bits = boundary_bits(logits, torch.tensor([False, True, False]))
    assert bits[0].item() == pytest.approx(390 / np.log(2), rel=1e-6)
    assert bits[1].item() == pytest.approx(1)
    assert boundary_bits(logits, torch.tensor([False, False, True]))[1].isinf()


def test_a_set_that_fills_the_context_needs_one_place_more() -> None:
    """The last token is fed, too: its boundary stands behind it."""
    rows = [list(np.arange(33) % 101)]
    tokens = TokenSet.from_sequences(rows, vocab_size=101)
    Scorer(tokens).score(gpt2())
    flagged = tokens.with_annotations(Annotations(boundary=np.ones(101, np.uint8)))
    with pytest.raises(ScoringError, match="feeds 33 tokens, the model's max_position_embeddings is 32"):
        Scorer(flagged).score(gpt2())
    wide = Scorer(tokens.with_annotations(Annotations(boundary=np.ones(200, np.uint8))))
    with pytest.raises(ScoringError, match="boundaries of a vocabulary of 200 tokens; the model has 101"):
        wide.score(gpt2(n_positions=64))


# ---------------------------------------------------------------------- in a run


def of_text() -> TokenSet:
    tokenizer = tokenizer_of("GPT-2, transformers")
    return TokenSet.from_texts([WORDS[:60], WORDS[100:150]], tokenizer)


def watched(path: Path, tokens: TokenSet, steps: Iterator[int] | range = range(4), **settings: Any) -> PlainLM:
    model = PlainLM(vocabulary=tokens.vocab_size or 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ids = torch.from_numpy(tokens.ids.astype(np.int64))[None]
    with Watch(tokens, path, max_steps=10, schedule=1, **settings) as watch:
        for step in steps:
            watch.observe(model, step)
            optimizer.zero_grad()
            logits = model(ids[:, :-1])
            torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).backward()
            optimizer.step()
    return model


def test_live_file_and_units_say_the_same(tmp_path: Path) -> None:
    logged: dict[int, dict[str, float]] = {}
    tokens = of_text().words(boundary="corrected")
    watched(tmp_path / "curves.h5", tokens, log=lambda scalars, step: logged.update({step: dict(scalars)}))
    run = open_run(tmp_path / "curves.h5")
    units = run.units("word")
    assert units.boundary == "corrected"
    assert run.boundary is not None
    by_hand = units.spans.sums(run.surprisal[:].astype(np.float64) + run.boundary[:])
    assert np.allclose(units.surprisal[:], by_hand, atol=1e-5)
    assert not np.allclose(units.surprisal[:], units.spans.sums(run.surprisal[:]), atol=1e-2)
    assert np.allclose(units.surprisal[2, 3], by_hand[2, 3])
    for t, step in enumerate(run.steps.tolist()):
        assert logged[step]["curvewatch/eval/span/word/surprisal_mean"] == pytest.approx(by_hand[t].mean(), abs=1e-4)
    assert run.tokens.annotations.boundary is not None
    plain = of_text().words()
    watched(tmp_path / "plain.h5", plain)
    assert open_run(tmp_path / "plain.h5").boundary is None
    assert open_run(tmp_path / "plain.h5").units("word").boundary == "none"


def test_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, tokens = tmp_path / "curves.h5", of_text().words(boundary="corrected")
    watched(path, tokens)
    with pytest.raises(
        TokenSetMismatchError, match="boundaries of words, those of the set given as 'eval' are missing"
    ):
        watched(path, of_text().words(), range(3, 6))
    other = replace(tokens.annotations, boundary=np.zeros_like(tokens.annotations.boundary))
    with pytest.raises(TokenSetMismatchError, match="are others"):
        watched(path, tokens.with_annotations(other), range(3, 6))
    watched(path, tokens, range(3, 6))
    run = open_run(path)
    assert run.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert run.boundary is not None
    assert np.isfinite(run.boundary[:]).all()
    # A file that was begun without goes on without, and says so.
    watched(tmp_path / "plain.h5", of_text().words())
    watched(tmp_path / "plain.h5", tokens, range(3, 6))
    assert "begun without boundaries of words" in caplog.text
    assert open_run(tmp_path / "plain.h5").boundary is None


def score_on_rank() -> list[Any]:
    torch.distributed.init_process_group("gloo")
    seen = Scorer(of_text().words(boundary="corrected"), batch_size=1).score(PlainLM(vocabulary=of_text().vocab_size))
    assert seen.boundary_bits is not None
    return [seen.boundary_bits.tolist()]


def test_on_two_ranks() -> None:
    first, second = on_ranks(2, score_on_rank)
    alone = Scorer(of_text().words(boundary="corrected"), batch_size=1).score(PlainLM(vocabulary=of_text().vocab_size))
    assert alone.boundary_bits is not None
    assert first == second == [alone.boundary_bits.tolist()]
