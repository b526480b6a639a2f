"""The end of a run in W&B: the report and the run file, each whatever becomes of the other."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
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


def on_page(page: Path) -> dict[str, Any]:
    """The plain values that a report holds."""
    (packed,) = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    raw = gzip.decompress(base64.b64decode(packed))
    (length,) = struct.unpack_from("<I", raw)
    found: dict[str, Any] = json.loads(raw[4 : 4 + length])
    return found


def test_where_ngrams_are_given_the_report_says_what_predicts_learning(run: FakeRun, tmp_path: Path) -> None:
    from curvewatch.corpus import count_ngrams
    from tests.analysis.test_predict import corpus, the_set, write_seeds

    path = write_seeds(tmp_path)[0]
    counted = count_ngrams(corpus(), the_set())
    counted.save(tmp_path / "ngrams.npz")
    for given in (counted, tmp_path / "ngrams.npz", {"eval": counted}):
        publishing.publish(str(path), ["eval"], report=True, artifact=False, ngrams=given)
        page = Path(run.summary["curvewatch/eval/report"])
        assert [one["name"] for one in on_page(page)["predicted"]["targets"]] == [
            "surprisal", "var_steps", "aoa", "forgettability",
        ]  # fmt: skip
        page.unlink()
    publishing.publish(str(path), ["eval"], report=True, artifact=False)
    assert on_page(page)["predicted"] is None


def test_too_few_tokens_to_regress_cost_that_section_only(
    run: FakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from curvewatch.corpus import count_ngrams
    from tests.analysis.synthetic import token_set, write_run

    tokens = token_set(3)
    path = write_run(tmp_path / "few.h5", 40, tokens=tokens)
    counted = count_ngrams([[1, 2, 3, 4] * 5], tokens)
    publishing.publish(str(path), ["eval"], report=True, artifact=False, ngrams=counted)
    found = on_page(Path(run.summary["curvewatch/eval/report"]))
    assert found["predicted"] is None
    assert "the largest model has" in found["remarks"][0]
    assert "no report" not in caplog.text
