"""The parts in their small form on a CPU, the runner around them, and on a card all of it."""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from curvewatch.scoring import kernels
from curvewatch.scoring.logits import score_logits
from tests.gpu.__main__ import PARTS
from tests.gpu.report import Place, Report, card_needed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", PARTS)
def test_small_form(part: str, tmp_path: Path) -> None:
    report = Report()
    importlib.import_module(f"tests.gpu.{part}").run_part(Place(torch.device("cpu"), tmp_path), report)
    assert report.failed == [], report.checks
    assert report.checks
    assert all("accelerator" in one["reason"] for one in report.not_run)


@pytest.mark.gpu
def test_everything_on_the_card(tmp_path: Path) -> None:
    assert runs(tmp_path).returncode == 0, (tmp_path / "summary.md").read_text()


def runs(out: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program, as `make gpu` starts it."""
    command = [sys.executable, "-m", "tests.gpu", "-o", str(out), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_the_fused_kernel_is_exact_in_tritons_interpreter(tmp_path: Path) -> None:
    """The same program text as on a card, against float64; what a compiler makes of it is for a card to show."""
    ended = runs(tmp_path, "kernel", "--device", "cpu", TRITON_INTERPRET="1")
    assert ended.returncode == 0, ended.stdout + (tmp_path / "kernel.txt").read_text()
    found = json.loads((tmp_path / "kernel.json").read_text())
    exact = [check["name"] for check in found["checks"] if "fused" in check["name"]]
    assert len(exact) == 4
    assert "holds: exact: fused, bfloat16" in (tmp_path / "summary.md").read_text()


def test_a_part_that_fails_is_seen() -> None:
    report = Report()
    with report.check("sums"):
        raise AssertionError("1 is not 2")
    with report.check("needs a card"):
        card_needed(Place(torch.device("cpu"), Path()))
    with report.check("fine") as seen:
        seen.append("well")
    assert report.failed == ["sums"]
    assert [one["name"] for one in report.not_run] == ["needs a card"]


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    ended = runs(tmp_path, "speed")
    assert ended.returncode == 2
    assert "parts: speed: unknown; there are kernel, " in ended.stderr


def test_without_a_working_fused_kernel_pytorchs_operations_score(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda", 0)
    choose = kernels.kernel_for.__wrapped__

    def broken(*_: object) -> float:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(kernels, "_difference", broken)
    with caplog.at_level(logging.INFO, "curvewatch"):
        assert choose(device) is score_logits
    assert "the fused kernel does not run here (no C compiler)" in caplog.text
    for off in (1.0, float("nan")):
        caplog.clear()
        monkeypatch.setattr(kernels, "_difference", lambda *_, off=off: off)
        assert choose(device) is score_logits
        assert "is not used" in caplog.text
    monkeypatch.setattr(kernels, "_difference", lambda *_: 1e-5)
    assert choose(device) is not score_logits
    assert choose(torch.device("cpu")) is score_logits


def test_the_trial_sees_a_wrong_kernel() -> None:
    cpu = torch.device("cpu")
    assert kernels._difference(score_logits, cpu) == 0
    assert kernels._difference(lambda logits, target: score_logits(logits, target) * 1.001, cpu) > kernels.ROUNDING
    assert not kernels._difference(lambda logits, target: score_logits(logits, target) * float("nan"), cpu) < 1
