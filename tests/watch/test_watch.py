"""The watch in a plain loop: what `observe` does and returns, sessions, and how it ends."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Schedule, Scorer, ScoringError, Watch, open_run
from tests.support.keys import always, unknown
from tests.support.models import PlainLM, random_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def make(path: Path, **settings: Any) -> Watch:
    return Watch(random_tokens(), path, **{"schedule": 5, "max_steps": 20, **settings})


def test_what_observe_returns(path: Path) -> None:
    model = PlainLM()
    with make(path) as watch:
        returned = [watch.observe(model, step) for step in range(7)]
    assert [scalars is not None for scalars in returned] == [True, False, False, False, False, True, False]
    assert returned[5] is not None
    assert always() - set(returned[5]) == {"curvewatch/eval/acquisition_step_median"}
    assert unknown(returned[5]) == set()
    assert all(type(value) is float for value in returned[5].values())
    assert returned[5]["curvewatch/watch/step"] == 5
    assert 0 < returned[5]["curvewatch/watch/time_share"] <= 1
    file = open_run(path)
    assert file.steps.tolist() == [0, 5]
    assert returned[5]["curvewatch/eval/surprisal_mean"] == pytest.approx(file.surprisal[1].mean())


@pytest.mark.parametrize("steps", [[0], [50]])
def test_a_plan_without_a_step_is_refused(path: Path, steps: list[int]) -> None:
    schedule = Schedule.steps(steps, first=False, last=False)
    with pytest.raises(ValueError, match=r"schedule='1 listed step': it has none of the steps 0 to 20.*last=True"):
        Watch(random_tokens(), path, max_steps=20, schedule=schedule).start(PlainLM())
    assert not path.exists()


LONG = "x" * 500


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens": {LONG + "/": random_tokens()}},
        *({"path": path} for path in (None, 5, "", "a\0b")),
        *({"max_steps": steps} for steps in (0, -1, 2.5, "9", True, float("inf"), 10**30)),
        *({"schedule": schedule} for schedule in (LONG, 2.5)),
        *({"on_error": one} for one in (LONG, None)),
        *({"weights": one} for one in (LONG, None, ["training"])),
        *({"max_overhead": one} for one in (LONG, 2, -1, float("nan"))),
        {"live": LONG},
        {"log": LONG},
        {"forward": LONG},
        {"model": LONG},
    ],
    ids=lambda settings: f"{settings!r:.40}",
)
def test_wrong_arguments_are_refused_in_one_line(path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(settings))}[=:]") as caught:
        Watch(**{"tokens": random_tokens(), "path": path, "max_steps": 20, **settings}).start(PlainLM())
    message = str(caught.value)
    assert "\n" not in message
    assert "x" * 81 not in message


@pytest.mark.parametrize("step", [-1, 1.5, "1", None, True])
def test_steps_that_are_none(path: Path, step: Any) -> None:
    watch = make(path)
    with pytest.raises((TypeError, ValueError), match=r"^step="):
        watch.observe(PlainLM(), step)
    assert not path.exists()
    with watch:
        watch.observe(PlainLM(), np.int64(0))
        with pytest.raises((TypeError, ValueError), match=r"^step="):
            watch.observe(PlainLM(), step)
    assert open_run(path).steps.tolist() == [0]


@pytest.mark.parametrize("model", [None, "lm", PlainLM])
def test_a_model_that_is_none(path: Path, model: Any) -> None:
    with pytest.raises(TypeError, match=r"^model=.*Module"):
        make(path).observe(model, 0)


def test_a_step_is_scored_once(path: Path) -> None:
    model = PlainLM()
    with make(path) as watch:
        assert watch.observe(model, 0) is not None
        assert watch.observe(model, 0) is None
        assert watch.observe(model, 0, force=True) is None
        assert watch.observe(model, 3, force=True) is not None
        assert watch.observe(model, 2, force=True) is None, "the past is past"
        assert watch.observe(model, 5) is not None
    assert open_run(path).steps.tolist() == [0, 3, 5]


def test_after_close_nothing_is_scored(path: Path) -> None:
    model = PlainLM()
    watch = make(path)
    watch.observe(model, 0)
    watch.close()
    watch.close()
    assert watch.observe(model, 5) is None, "there is no file to put it into"
    assert not watch.due(5)
    watch.start(model, 4)  # a new session goes on
    assert watch.observe(model, 5) is not None
    watch.close()
    assert open_run(path).steps.tolist() == [0, 5]


def test_a_loop_that_begins_at_1(path: Path) -> None:
    model = PlainLM()
    with make(path) as watch:
        for step in range(1, 11):
            watch.observe(model, step)
    assert open_run(path).steps.tolist() == [1, 5, 10], "the first row stands for step 0"


def test_a_loop_that_goes_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Observed up to 20 and resumed from a checkpoint of step 9: the first word is that of step 10."""
    models = [PlainLM(seed=seed) for seed in (1, 2)]
    with make(path) as watch:
        for step in range(21):
            watch.observe(models[0], step)
    with make(path) as watch:
        for step in range(10, 21):
            watch.observe(models[1], step)
    file = open_run(path)
    assert file.steps.tolist() == [0, 5, 10, 15, 20]
    expected = [Scorer(random_tokens()).score(model).surprisal_bits for model in models]
    assert np.array_equal(file.surprisal[:], np.stack([expected[0]] * 2 + [expected[1]] * 3))
    assert "3 later rows (steps 10 to 20) were dropped" in caplog.text


def test_a_resumed_run_keeps_its_batches(path: Path) -> None:
    """Rounding depends on what shares a batch, so a size chosen by another machine's memory stays."""
    model = PlainLM()
    with make(path, batch_size=2) as watch:
        watch.observe(model, 0)
        watch.observe(model, 5)
    with make(path) as watch:
        watch.observe(model, 6)
        watch.observe(model, 10)
        assert watch._scorers["eval"].batch_size == 2


def test_another_batch_size_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step, size in ((5, 2), (6, 3)):
        with make(path, batch_size=size) as watch:
            watch.observe(PlainLM(), step)
    assert "the run file began with 2; scores may differ in the last bits" in caplog.text


def test_a_smaller_batch_size_is_put_on_record(path: Path) -> None:
    def forward(model: Any, batch: Any) -> Any:
        if len(batch.input_ids) > 4:
            raise torch.OutOfMemoryError("simulated")
        return model(batch.input_ids)

    with make(path, forward=forward, batch_size=7) as watch:
        watch.observe(PlainLM(), 0)
    with open_run(path).group() as group:
        assert json.loads(group.attrs["scorer"])["batch_size"] == 3


def test_finish_scores_an_unforeseen_last_step(path: Path) -> None:
    model = PlainLM()
    watch = make(path)
    for step in range(8):
        watch.observe(model, step)
    watch.finish(model, 7)
    assert open_run(path).steps.tolist() == [0, 5, 7]


def test_finish_without_last(path: Path) -> None:
    model = PlainLM()
    watch = make(path, schedule=Schedule.every(5, last=False))
    for step in range(8):
        watch.observe(model, step)
    watch.finish(model, 7)
    assert open_run(path).steps.tolist() == [0, 5]


def test_the_default_schedule(path: Path) -> None:
    model = PlainLM()
    with Watch(random_tokens(), path, max_steps=20) as watch:
        for step in range(21):
            watch.observe(model, step)
    assert open_run(path).steps.tolist() == list(range(21)), "a fiftieth of 20 is every step"


def test_another_model_object_in_the_same_run(path: Path) -> None:
    """A loop that rebuilds its model: it is looked over anew, and must fit."""
    with make(path) as watch:
        watch.observe(PlainLM(seed=1), 0)
        watch.observe(PlainLM(seed=2), 5)
    assert np.array_equal(open_run(path).surprisal[1], Scorer(random_tokens()).score(PlainLM(seed=2)).surprisal_bits)


def test_another_model_that_does_not_fit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with make(path) as watch:
        watch.observe(PlainLM(), 0)
        assert watch.observe(torch.nn.Linear(2, 2), 5) is None
        assert watch.observe(PlainLM(), 10) is not None
    assert "scoring failed at step 5" in caplog.text
    assert open_run(path).steps.tolist() == [0, 10]
    with make(path, on_error="raise") as watch:
        watch.observe(PlainLM(), 11)
        with pytest.raises(ScoringError):
            watch.observe(torch.nn.Linear(2, 2), 15)


def test_a_model_that_does_not_fit_at_the_start_is_refused_whatever_on_error(path: Path) -> None:
    with pytest.raises(ScoringError):
        make(path, on_error="warn").observe(torch.nn.Linear(2, 2), 0)
    assert not path.exists()


def test_the_path_is_of_the_folder_in_which_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    watch = Watch(random_tokens(), "curves.h5", schedule=5)
    monkeypatch.chdir(tmp_path / "elsewhere")
    watch.observe(PlainLM(), 0)
    watch.close()
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0]


def test_flush(path: Path) -> None:
    watch = make(path)
    assert watch.flush(), "nothing is nothing behind"
    watch.observe(PlainLM(), 0)
    assert watch.flush(10)
    assert open_run(path).steps.tolist() == [0]
    watch.close()


SCRIPT = """
    import torch
    from curvewatch import Watch
    from tests.support.models import PlainLM, random_tokens

    watch = Watch(random_tokens(), {path!r}, schedule=1, max_steps=5)
    model = PlainLM()
    for step in range(6):
        watch.observe(model, step)
    {end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "1 / 0"])
def test_a_script_that_forgets_to_close(end: str, path: Path) -> None:
    """What is queued is written at exit, and the process does end."""
    code = textwrap.dedent(SCRIPT).format(path=str(path), end=end)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began < 50
    assert ended.returncode == (1 if "/" in end else 0), ended.stderr
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'.*'warn'.*'raise'"),
        ({"log": "wandb"}, ValueError, "log='wandb'"),
        ({"schedule": "weekly"}, ValueError, "schedule='weekly'"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"max_overhead": 2}, ValueError, "max_overhead=2"),
    ],
)
def test_arguments_that_make_no_sense(settings: Any, error: type[Exception], match: str, path: Path) -> None:
    with pytest.raises(error, match=match):
        Watch(random_tokens(), path, **settings)


def test_no_token_set(path: Path) -> None:
    with pytest.raises(TypeError, match=r"TokenSet\.from_text"):
        Watch([[1, 2, 3]], path)  # type: ignore[arg-type]


def test_logging_steps_in_a_loop_that_has_none(path: Path) -> None:
    with pytest.raises(ValueError, match="no logging steps to follow"):
        make(path, schedule=Schedule.logging()).observe(PlainLM(), 0)
    assert not path.exists()


def test_what_fails_is_said_once_for_each_reason(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def log(scalars: dict[str, float], step: int) -> None:
        raise KeyError("gone") if step % 2 else ConnectionError("down")

    with make(path, schedule=1, log=log) as watch, caplog.at_level(logging.ERROR, "curvewatch"):
        for step in range(6):
            watch.observe(PlainLM(), step)
    assert [record.getMessage().count("said once") for record in caplog.records] == [1, 1]
