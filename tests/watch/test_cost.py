"""The watch knows its cost, keeps to a budget, and says beforehand what it will cost."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from curvewatch import TokenSet, Watch, open_run
from curvewatch.watch.cost import Cost

SECONDS = [0.0]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that moves only when told to, so that no test depends on the machine's speed."""
    SECONDS[0] = 0.0
    monkeypatch.setattr("curvewatch.watch.cost.time.perf_counter", lambda: SECONDS[0])


class Tiny(nn.Module):
    def __init__(self, takes: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50)
        self.takes = takes

    def forward(self, input_ids):
        SECONDS[0] += self.takes
        return self.head(self.embed(input_ids))


@pytest.fixture
def tokens():
    return TokenSet.from_sequences(np.random.default_rng(0).integers(0, 50, (4, 10)), vocab_size=50)


def test_share_of_wall_time():
    cost = Cost()
    SECONDS[0] = 10.0
    cost.add(2.0)
    assert cost.share() == 0.2  # 2 s of 10 s
    assert cost.share(under_way=1.0) == 0.3


def test_affordable_looks_at_the_next_observation():
    cost = Cost(0.25)
    SECONDS[0] = 10.0
    cost.add(2.0)
    assert not cost.affordable()  # (2 + 2) of (10 + 2): 33 %
    SECONDS[0] = 14.0
    assert cost.affordable()  # (2 + 2) of (14 + 2): 25 %


@pytest.mark.parametrize("share", [0, 1, -0.1, 5])
def test_a_budget_that_is_no_share_is_refused(share, tokens, tmp_path):
    with pytest.raises(ValueError, match="max_overhead"):
        Watch(tokens, tmp_path / "c.h5", max_overhead=share)


def run_watch(tokens, path, max_overhead, caplog):
    """100 steps of 1 s; an observation takes 1 s of forward pass; every step is planned."""
    model = Tiny()
    watch = Watch(tokens, path, max_steps=100, schedule=1, max_overhead=max_overhead)
    with watch, caplog.at_level(logging.WARNING, "curvewatch"):
        watch.observe(model, 0)
        model.takes = 1.0
        for step in range(1, 101):
            SECONDS[0] += 1.0
            watch.observe(model, step)
    return open_run(path)


def test_the_budget_thins_the_plan_and_the_file_says_so(tokens, tmp_path, caplog):
    run = run_watch(tokens, tmp_path / "c.h5", 0.2, caplog)
    with run.group() as group:
        skipped, why = group["skipped_step"][:], group["skipped_why"].asstr()[:]
        assert group.attrs["max_overhead"] == 0.2
    assert set(why) == {"budget"}
    assert sorted([*run.steps, *skipped]) == list(range(101)), "every planned step is a row or on record as skipped"
    assert run.steps[0] == 0
    assert run.steps[-1] == 100
    # 100 s of training, and scoring a fifth of the whole: 25 s; first and last step are beyond the rule.
    assert 22 <= len(run.steps) <= 27
    assert "max_overhead allows 20 %" in caplog.text


def test_without_a_budget_everything_is_scored_and_a_costly_plan_is_remarked_on(tokens, tmp_path, caplog):
    run = run_watch(tokens, tmp_path / "c.h5", None, caplog)
    assert run.steps.tolist() == list(range(101))
    assert "will take" in caplog.text
    assert caplog.text.count("max_overhead") == 1, "said once"


def test_a_resumed_run_drops_the_notes_of_later_steps(tokens, tmp_path, caplog):
    path = tmp_path / "c.h5"
    run_watch(tokens, path, 0.2, caplog)
    watch = Watch(tokens, path, max_steps=100, schedule=1)
    watch.start(Tiny(), 50)
    watch.close()
    with open_run(path).group() as group:
        assert group["skipped_step"][:].max() <= 50
        assert group["skipped_step"].shape == group["skipped_why"].shape


def test_a_failed_observation_is_on_record(tokens, tmp_path):
    def forward(model, batch):
        if SECONDS[0] == 2:
            raise RuntimeError("no weights today")
        return model(batch.input_ids)

    logged = {}
    log = lambda scalars, step: logged.update({step: scalars})  # noqa: E731
    with Watch(tokens, tmp_path / "c.h5", max_steps=4, schedule=1, forward=forward, log=log) as watch:
        for step in range(5):
            SECONDS[0] = step
            watch.observe(Tiny(), step)
    assert [logged[step]["curvewatch/watch/failures"] for step in range(5)] == [0, 0, 1, 1, 1]
    assert "curvewatch/eval/surprisal_mean" not in logged[2]
    run = open_run(tmp_path / "c.h5")
    assert run.steps.tolist() == [0, 1, 3, 4]
    with run.group() as group:
        assert group["skipped_step"][:].tolist() == [2]
        assert "no weights today" in group["skipped_why"].asstr()[0]


def test_a_watch_that_steps_aside_says_so_in_file_and_metrics(tokens, tmp_path):
    def forward(model, batch):
        if SECONDS[0] >= 2:
            raise RuntimeError("no weights any more")
        return model(batch.input_ids)

    logged = {}
    log = lambda scalars, step: logged.update({step: scalars})  # noqa: E731
    with Watch(tokens, tmp_path / "c.h5", max_steps=9, schedule=1, forward=forward, log=log) as watch:
        for step in range(10):
            SECONDS[0] = step
            watch.observe(Tiny(), step)
    assert list(logged) == [0, 1, 2, 3, 4], "three failures, then silence"
    assert [logged[step]["curvewatch/watch/stepped_aside"] for step in range(5)] == [0, 0, 0, 0, 1]
    with open_run(tmp_path / "c.h5").group() as group:
        assert group["skipped_step"][:].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
        assert group["skipped_why"].asstr()[2].endswith("the watch stepped aside")
        assert set(group["skipped_why"].asstr()[3:]) == {"the watch had stepped aside"}


def test_estimate_before_the_run(tokens, tmp_path):
    watch = Watch(tokens, tmp_path / "c.h5", max_steps=1000, schedule=10, batch_size=2)
    model = Tiny()
    before = torch.get_rng_state()
    estimate = watch.estimate(model)
    assert estimate.observations == 101
    assert estimate.n_tokens == 36
    assert estimate.seconds_per_observation >= 0
    assert estimate.file_bytes == (1 << 20) + 9 * 36 * 101  # surprisal 4, correct 1, entropy 4 bytes
    assert "101 observations" in str(estimate)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not (tmp_path / "c.h5").exists(), "an estimate writes nothing"
