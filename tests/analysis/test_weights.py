"""Weights of tokens: each equal to its definition, written by hand; and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from curvewatch import Observation, RunFile, TokenSet, open_run
from curvewatch.analysis.weights import token_weights, write_weights
from curvewatch.cli.app import app
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.tokens.reference import Reference

STEPS, VOCABULARY = (0, 10, 40), 16
SURPRISAL = np.array([[4.0, 4, 4, 4, 4], [2, 4, 1, 3, 4], [0, 4, 1, 3, np.nan]], np.float32)
LOGITS = torch.randn(5, VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


def entropy() -> torch.Tensor:
    """In nats."""
    p = LOGITS.softmax(-1)
    return -(p * p.log()).sum(-1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tokens = TokenSet.from_sequences([[1, 2, 3], [4, 5, 6, 7]], vocab_size=VOCABULARY)
    reference = Reference("base", np.array([1, 4, 1, 0, 2], np.float32), np.ones(5, bool))
    tokens = tokens.with_annotations(replace(tokens.annotations, reference=reference))
    plan = RunPlan(40, np.array(STEPS), "kept", {})
    file = RunFile.start(tmp_path / "curves.h5", {"eval": SetRecord(tokens, VOCABULARY, {})}, plan, -1)
    bits = (entropy() / np.log(2)).numpy().astype(np.float32)
    for step, surprisal in zip(STEPS, SURPRISAL, strict=True):
        file.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(surprisal, surprisal == 0, bits)}))
    file.close()
    return tmp_path / "curves.h5"


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_mile_weighs_a_loss_as_its_paper_does(path: Path, gamma: float) -> None:
    """alpha (1 + H)^gamma CE, alpha so that the factors' mean is 1."""
    found = token_weights(open_run(path), "mile", gamma=gamma)
    factor = (1 + entropy()) ** gamma
    assert found == pytest.approx((factor / factor.mean()).numpy(), rel=1e-6)
    assert found.mean() == pytest.approx(1)


def test_rho1_keeps_the_largest_excess(path: Path) -> None:
    run = open_run(path)
    # Excess at step 40: -1, 0, 0, 3, not known.
    assert token_weights(run, "rho1", keep=0.25).tolist() == pytest.approx([0, 0, 0, 1, np.nan], nan_ok=True)
    assert token_weights(run, "rho1", keep=0.5).tolist() == pytest.approx([0, 1, 0, 1, np.nan], nan_ok=True)
    assert token_weights(run, "rho1", keep=1).tolist() == pytest.approx([1, 1, 1, 1, np.nan], nan_ok=True)
    # At step 10: 1, 0, 0, 3, 2.
    assert token_weights(run, "rho1", step=10, keep=0.6).tolist() == [1, 0, 0, 1, 1]


def test_the_first_row_as_a_base(path: Path) -> None:
    run = open_run(path)
    run.annotate(run.tokens.with_annotations(replace(run.tokens.annotations, reference=Reference("first"))))
    # Excess at step 10: -2, 0, -3, -1, 0.
    assert token_weights(open_run(path), "rho1", step=10, keep=0.4).tolist() == [0, 1, 0, 0, 1]


def test_easiness_is_an_average_over_steps(path: Path) -> None:
    # Chance is 4 bits. The first: 4 to 2 over 10 steps, 2 to 0 over 30.
    first = 1 - (3 * 10 + 1 * 30) / 40 / 4
    found = token_weights(open_run(path), "easiness").tolist()
    assert found[:2] == pytest.approx([first, 0.0])
    assert np.isnan(found[4])


def test_what_is_wrong_is_named(path: Path, tmp_path: Path) -> None:
    run = open_run(path)
    for wrong, message in (
        ({"kind": "hard"}, "kind='hard'"), ({"step": 7}, "step=7: no such row. The last is of step 40"),
        ({"kind": "rho1", "keep": 0.0}, "keep=0.0"), ({"gamma": float("nan")}, "gamma=nan"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            token_weights(run, **wrong)
    with pytest.raises(ValueError, match=r"x\.txt: the ending"):
        write_weights(run, np.zeros(5), tmp_path / "x.txt")


def test_the_command(path: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    for name in ("w.csv", "w.npz", "w.parquet"):
        done = run(app, ["export", str(path), "--weights", "mile", "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    expected = token_weights(open_run(path), "mile")
    with np.load(tmp_path / "w.npz") as found:
        assert found["weight"] == pytest.approx(expected)
        assert found["sequences"].tolist() == [[1, 2, 3, -1], [4, 5, 6, 7]]
        assert np.isfinite(found["sequence_weights"]).tolist() == [
            [False, True, True, False],
            [False, True, True, True],
        ]
    lines = (tmp_path / "w.csv").read_text().splitlines()
    assert lines[0] == "sequence_index,position,target,weight"
    assert lines[1].startswith("0,1,2,")
    assert not list(tmp_path.glob(".*.tmp*"))
    wrong = run(app, ["export", str(path), "--weights", "hard", "-o", str(tmp_path / "w.csv")])
    assert wrong.exit_code == 1
    assert run(app, ["export", str(path), "--weights", "mile", "-o", str(tmp_path / "w.nc")]).exit_code == 2
