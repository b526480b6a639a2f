"""The spread of surprisal over passes with dropout: as worked out by hand, and with the same masks at every row."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from curvewatch import Live, Scorer, ScoringError, Watch, open_run
from curvewatch.scoring.dropout import SEED, SEEDS
from tests.support.models import PlainLM, gpt2, random_tokens, tokens_for


def spread(model: torch.nn.Module, passes: int = 4, **settings: object) -> np.ndarray:
    scorer = Scorer(random_tokens(), **settings)
    scorer.dropout_passes = passes
    found = scorer.score(model).dropout_sd_bits
    assert found is not None
    return found


def test_as_by_hand() -> None:
    model, tokens = PlainLM(dropout=0.3, seed=1), random_tokens()
    found = spread(model, 5, batch_size=7)
    ids = torch.from_numpy(np.stack([tokens.sequence(s)[:-1] for s in range(7)]).astype(np.int64))
    passes = []
    for k in range(5):
        model.train()
        torch.manual_seed(SEED + SEEDS * k)
        with torch.no_grad():
            log_p = model(ids).double().log_softmax(-1).numpy() / np.log(2)
        passes.append(-log_p[tokens.sequence_index, tokens.position - 1, tokens.target])
    assert found == pytest.approx(np.std(passes, axis=0, ddof=1), abs=2e-6)
    assert found.min() > 0


def test_rows_have_the_same_masks_and_leave_the_model_as_it_was() -> None:
    model = gpt2(dropout=0.2).train()
    modes, state = [one.training for one in model.modules()], torch.get_rng_state()
    first, second = spread(model), spread(model)
    assert np.array_equal(first, second)
    assert [one.training for one in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    plain = Scorer(random_tokens()).score(model)
    scorer = Scorer(random_tokens())
    scorer.dropout_passes = 2
    assert np.array_equal(scorer.score(model).surprisal_bits, plain.surprisal_bits)
    assert plain.dropout_sd_bits is None


def test_without_dropout_it_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"dropout_passes: the model \(PlainLM\) has no dropout layer"):
        Watch(random_tokens(), tmp_path / "curves.h5", live=Live(dropout_passes=2)).start(PlainLM())
    for wrong in (1, -2, True, 2.5):
        with pytest.raises(ValueError, match="dropout_passes="):
            Live(dropout_passes=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["gpt2", "bert", "t5"])
def test_in_the_file_and_live(architecture: str, tmp_path: Path) -> None:
    from tests.support.models import ARCHITECTURES

    path, logged = tmp_path / "curves.h5", {}
    tokens = tokens_for(architecture)
    live = Live(dropout_passes=3, smoothed=False)
    with Watch(tokens, path, max_steps=2, schedule=1, live=live, log=lambda s, step: logged.update({step: s})) as watch:
        for step in range(3):
            watch.observe(ARCHITECTURES[architecture](dropout=0.2, seed=step), step)
    run = open_run(path)
    assert run.dropout_sd is not None
    for t in range(3):
        assert logged[t]["curvewatch/eval/dropout_sd_mean"] == pytest.approx(float(run.dropout_sd[t].mean()))
        assert run.dropout_sd[t].min() > 0
    assert run.tokens.hash == tokens.hash
    with h5py.File(path) as h5:
        assert h5["dropout_sd"].shape == (3, len(tokens))
    # A run that goes on without them leaves gaps, not zeros.
    with Watch(tokens, path, max_steps=4, schedule=1) as watch:
        watch.start(ARCHITECTURES[architecture](seed=3), 2)
        watch.observe(ARCHITECTURES[architecture](seed=3), 3)
    assert np.isnan(open_run(path).dropout_sd[3]).all()
