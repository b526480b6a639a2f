"""The end of a run in W&B: the report and the run file, each whatever becomes of the other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curvewatch.trackers import publishing


class FakeRun:
    id = "abc"

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.logged: list[Any] = []

    def log_artifact(self, artifact: Any) -> None:
        self.logged.append(artifact)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    run = FakeRun()
    artifact = SimpleNamespace(add_file=lambda *_, **__: None)
    wandb = SimpleNamespace(run=run, Html=lambda page, **_: page, Artifact=lambda *_, **__: artifact)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return run


def test_a_report_that_fails_does_not_keep_the_run_file_back(
    run: FakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(publishing, "_can_report", lambda: True)
    monkeypatch.setattr(publishing, "_write_report", refuse)
    publishing.publish(str(tmp_path / "curves.h5"), ["eval"], report=True, artifact=True)
    assert len(run.logged) == 1
    assert run.summary == {}
    assert "no report in W&B" in caplog.text
    assert "run file not logged" not in caplog.text
