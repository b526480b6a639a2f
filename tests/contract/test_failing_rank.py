"""One of two ranks fails while FSDP2 gathers for a scoring pass: nobody hangs, and no row is a false one."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from curvewatch import Live, Prompts, Scorer, open_run
from curvewatch.scoring import ranks
from tests.contract.test_ranks import BATCH_SIZE, TRAINING, fully_sharded, rank, tokens
from tests.support.hosts import Watching, run
from tests.support.ranks import fates_of_ranks, on_ranks

FAILS_AT = 4
LIMIT_SECONDS = 3.0


class Failing:
    """What happens to rank 1 when step 4 is scored.

    Args:
        how: "raise", "out of memory", "kill", or "stall".
        where: "late" (before it comes to score), "before" any gather of the pass, "inside" the second block, "behind"
            the first of its two forward passes, at the "end", behind the second, or "sampling" (in the second pass).
        seconds: How long it stalls.
    """

    def __init__(self, how: str, where: str, seconds: float = 0.0) -> None:
        self.how, self.where, self.seconds = how, where, seconds
        self.step, self.failed, self.at, self.passes = 0, False, 0.0, 0

    def fail(self, place: str) -> None:
        if place != self.where or self.step != FAILS_AT or self.failed or torch.is_grad_enabled() != (place == "late"):
            return
        self.at = time.monotonic()
        self.failed = True
        if rank() != 1:
            return
        if self.how == "raise":
            raise RuntimeError("only here")
        if self.how == "out of memory":
            raise torch.OutOfMemoryError("only here")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)

    def forward(self, model: Any, batch: Any) -> Any:
        self.fail("before")
        logits = getattr(model, "model", model)(input_ids=batch.input_ids).logits
        self.passes += self.step == FAILS_AT
        self.fail({1: "behind", 2: "end", 4: "sampling"}.get(self.passes, ""))
        return logits

    def wrap(self, model: Any) -> Any:
        model.transformer.h[1].mlp.register_forward_pre_hook(lambda *_: self.fail("inside"))
        return fully_sharded(model)

    def after(self, step: int, _model: Any) -> None:
        self.step = step
        self.fail("late")


def train(folder: Path, failing: Failing, host_seconds: float = 600.0, on_error: str = "warn") -> dict[str, Any]:
    """On each rank: the training alone, then watched while rank 1 fails; what became of it."""
    ranks.LIMIT_SECONDS = LIMIT_SECONDS
    dist.init_process_group("gloo", timeout=timedelta(seconds=host_seconds))
    alone = run("loop", TRAINING, folder / "alone", wrap=fully_sharded)
    watching = Watching(
        tokens(), folder / "curves.h5", batch_size=BATCH_SIZE, forward=failing.forward, on_error=on_error
    )
    if failing.where == "sampling":
        watching.settings["live"] = Live(prompts=Prompts([[1], [2, 1]], max_new_tokens=4, eos=None, every=1))
    error, watched = None, None
    try:
        watched = run("loop", TRAINING, folder, watching, wrap=failing.wrap, after=failing.after)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    seconds = time.monotonic() - failing.at
    assert watching.watch is not None
    watching.watch.close()
    assert failing.failed
    return {
        "error": error,
        "seconds": seconds,
        "differences": watched.differences(alone) if watched is not None else None,
    }


def train_without_gloo(folder: Path) -> dict[str, Any]:
    """On each rank: as where PyTorch was built without gloo, as far as the watch sees; a rank fails behind a pass."""
    dist.is_gloo_available = lambda: False
    return train(folder, Failing("raise", "end"))


def skipped(path: Path) -> dict[int, str]:
    """Steps on record as not scored, and why."""
    with open_run(path).group() as group:
        return dict(zip(group["skipped_step"][:].tolist(), group["skipped_why"].asstr()[:].tolist(), strict=True))


@pytest.mark.parametrize("where", ["before", "inside", "behind", "end"])
def test_a_rank_that_raises(where: str, tmp_path: Path) -> None:
    """It goes on gathering; all hear of it, none has a row, and training is as without the watch."""
    answers = on_ranks(2, train, tmp_path, Failing("raise", where))
    for answer in answers:
        assert answer["error"] is None
        assert answer["differences"] == []
    run_file = open_run(tmp_path / "curves.h5")
    assert run_file.steps.tolist() == [0, 2, 6]
    assert skipped(tmp_path / "curves.h5") == {4: "scoring failed: scoring failed: on another rank; its log says why"}


def test_a_rank_that_raises_while_text_is_sampled(tmp_path: Path) -> None:
    """The row is there, the text is not, and training is as without the watch."""
    answers = on_ranks(2, train, tmp_path, Failing("raise", "sampling"))
    for answer in answers:
        assert answer["error"] is None
        assert answer["differences"] == []
    with open_run(tmp_path / "curves.h5").group() as group:
        assert group["step"][:].tolist() == [0, 2, 4, 6]
        assert sorted(set(group["sample_step"][:].tolist())) == [0, 2, 6]


@pytest.mark.parametrize("where", ["before", "inside", "behind"])
def test_a_rank_that_runs_out_of_memory(where: str, tmp_path: Path) -> None:
    """All ranks go on with smaller batches: every row is there, and training is as without the watch."""
    answers = on_ranks(2, train, tmp_path, Failing("out of memory", where))
    for answer in answers:
        assert answer["error"] is None
        assert answer["differences"] == []
    run_file = open_run(tmp_path / "curves.h5")
    assert run_file.steps.tolist() == [0, 2, 4, 6]
    plain = Scorer(tokens(), batch_size=BATCH_SIZE).score(TRAINING.model())
    assert np.array_equal(run_file.surprisal[0], plain.surprisal_bits)
    with run_file.group() as group:
        assert '"batch_size": 1' in group.attrs["scorer"]


@pytest.mark.parametrize("where", ["inside", "behind"])
def test_a_rank_that_raises_with_on_error_raise(where: str, tmp_path: Path) -> None:
    answers = on_ranks(2, train, tmp_path, Failing("raise", where), 600.0, "raise")
    assert all("ScoringError: scoring failed" in answer["error"] for answer in answers)
    assert "only here" in answers[1]["error"]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2]


@pytest.mark.parametrize("where", ["late", "before", "inside", "end"])
def test_a_rank_that_is_killed(where: str, tmp_path: Path) -> None:
    """The survivor's own collectives fail at once, and its training with them; the file ends before that step."""
    survivor, killed = fates_of_ranks(2, train, tmp_path, Failing("kill", where))
    assert not killed[0]
    assert survivor[0], survivor[1]
    assert "RuntimeError" in survivor[1]["error"], "training goes on without the rank"
    assert survivor[1]["seconds"] < 20
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2]
    (why,) = skipped(tmp_path / "curves.h5").values()
    assert "can't agree on anything any more" in why
    assert why.endswith("the watch stepped aside")


def test_a_rank_that_comes_late(tmp_path: Path) -> None:
    """It is waited for as long as the limit says; then training goes on without the watch, on all ranks."""
    answers = on_ranks(2, train, tmp_path, Failing("stall", "late", seconds=LIMIT_SECONDS + 3))
    for answer in answers:
        assert answer["error"] is None
        assert answer["differences"] == []
        assert answer["seconds"] < LIMIT_SECONDS + 12
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2]
    why = skipped(tmp_path / "curves.h5")[4]
    assert "did not answer in 3 s" in why


def test_a_rank_that_comes_late_within_the_limit(tmp_path: Path) -> None:
    answers = on_ranks(2, train, tmp_path, Failing("stall", "late", seconds=1))
    assert [answer["differences"] for answer in answers] == [[], []]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("where", ["before", "inside"])
def test_a_rank_that_stalls_inside_the_pass(where: str, tmp_path: Path) -> None:
    """The others are in a collective of the model's own: its group's time-out ends it, and training with it."""
    host_seconds = 4.0
    survivor, staller = fates_of_ranks(2, train, tmp_path, Failing("stall", where, seconds=12), host_seconds)
    assert survivor[0], survivor[1]
    assert "RuntimeError" in survivor[1]["error"]
    assert survivor[1]["seconds"] < host_seconds + LIMIT_SECONDS + 5
    assert staller[0]
    assert staller[1]["error"] is not None
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2]
    assert "could not be gathered" in skipped(tmp_path / "curves.h5")[4]


def test_a_rank_that_stalls_at_the_end_of_the_pass(tmp_path: Path) -> None:
    """The others wait for its scores as long as the limit says."""
    answers = on_ranks(2, train, tmp_path, Failing("stall", "end", seconds=LIMIT_SECONDS + 3))
    for answer in answers:
        assert answer["error"] is None
        assert answer["differences"] == []
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2]
    assert "did not answer in 3 s" in skipped(tmp_path / "curves.h5")[4]


def test_without_gloo(tmp_path: Path) -> None:
    """The training's own group has to do."""
    answers = on_ranks(2, train_without_gloo, tmp_path)
    assert [answer["differences"] for answer in answers] == [[], []]
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 6]
