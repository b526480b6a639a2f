"""Events as they are told live: the same as the file gives again, once each, and over a resume."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from curvewatch import Live, Schedule, Watch, open_run
from tests.support.models import PlainLM, random_tokens

SPIKE = 30


def train(path: Path, first: int = 0, last: int = 50, model: PlainLM | None = None) -> tuple[PlainLM, dict]:
    """Weights that drift a little, and are thrown far off once."""
    logged: dict[int, dict[str, float]] = {}
    model = model or PlainLM()
    tokens = random_tokens(40, per_sequence=None).label("third", np.arange(600) % 3 == 0)
    log = lambda scalars, step: logged.update({step: dict(scalars)})  # noqa: E731
    with Watch(tokens, path, max_steps=50, schedule=Schedule.every(1), live=Live(smoothed=False), log=log) as watch:
        for step in range(first, last + 1):
            generator = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for p in model.parameters():
                    size = 0.5 if step == SPIKE else 0.004
                    p += size * torch.randn(p.shape, generator=generator)
            watch.observe(model, step)
    return model, logged


def test_told_live_as_the_file_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "curvewatch"):
        _, logged = train(tmp_path / "curves.h5")
    (event,) = open_run(tmp_path / "curves.h5").events()
    assert event.event.step == SPIKE
    told = [record.message for record in caplog.records if "at once since step" in record.message]
    assert told == [f"eval, {event.event.in_words(event.over, now=True)}"]
    assert [logged[step].get("curvewatch/eval/events") for step in (5, 29, 30, 50)] == [None, 0, 1, 1]
    up = logged[SPIKE]["curvewatch/eval/jumped_up_share"]
    assert up == pytest.approx(event.event.share if event.event.up else up)


def test_resumed_they_go_on(tmp_path: Path) -> None:
    _, straight = train(tmp_path / "straight.h5")
    model, _ = train(tmp_path / "curves.h5", last=20)
    _, logged = train(tmp_path / "curves.h5", first=21, model=model)
    for key in ("events", "jumped_up_share", "jumped_down_share"):
        assert logged[50][f"curvewatch/eval/{key}"] == straight[50][f"curvewatch/eval/{key}"]
    first, second = (open_run(tmp_path / name).events() for name in ("straight.h5", "curves.h5"))
    assert [one.event.step for one in first] == [one.event.step for one in second] == [SPIKE]
