"""Runs of masked and encoder-decoder models on every surface: the page, the command, the terminal, plain readers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import Observation, RunFile, TokenSet, open_run
from curvewatch.analysis.report import write_report
from curvewatch.cli.app import app
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.terminal.follow import Follower
from tests.analysis.browser import Browser
from tests.support.tokenizers import bert_with_edges, t5_with_end

STEPS = [0, 1, 2, 4, 8, 16, 32, 64]
TEXTS = ["the ships that sail at night", "the captain said the ships carry lamps"]


def sets() -> dict[str, TokenSet]:
    return {
        "masked": TokenSet.from_texts(TEXTS, bert_with_edges(), objective="masked"),
        "seq2seq": TokenSet.from_seq2seq([(TEXTS[0], TEXTS[1])], t5_with_end(), decoder_start=0),
    }


@pytest.fixture(scope="module", params=["masked", "seq2seq"])
def run_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("objectives") / f"{request.param}.h5"
    tokens = sets()[request.param]
    rng = np.random.default_rng(0)
    file = RunFile.start(path, {"eval": SetRecord(tokens, 512, {})}, RunPlan(64, np.array(STEPS), "", {}), -1)
    for step in STEPS:
        bits = (9 / (1 + step / 8) + rng.uniform(0, 0.1, len(tokens))).astype(np.float32)
        correct = rng.random(len(tokens)) < step / 64
        file.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(bits, correct, np.ones(len(tokens), np.float32))}))
    file.close()
    return path


def test_on_the_page_a_token_stands_where_it_was_predicted(page: Browser, run_file: Path, tmp_path: Path) -> None:
    run = open_run(run_file)
    view = run.tokens.show(2)
    page.open(write_report([run], tmp_path / "report.html"), hash="#token=2")
    shown = page.run("return document.getElementById('context').textContent")
    assert shown == view.context + view.target + view.behind
    assert (view.behind != "") is (run.tokens.objective == "masked")
    assert (" → " in view.context) is (run.tokens.objective == "seq2seq")
    assert page.console() == []


def test_the_command_says_how_they_are_predicted(run_file: Path) -> None:
    run = open_run(run_file)
    told = CliRunner().invoke(app, ["info", str(run_file)])
    assert told.exit_code == 0, told.output
    assert re.search(rf"^objective +{run.tokens.objective} *$", told.output, re.MULTILINE)
    for command in (["show", str(run_file), "1"], ["table", str(run_file)], ["doctor", str(run_file)]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    assert Follower(run_file).poll(30).steps_T[-1] == 64


def test_in_a_notebook(run_file: Path) -> None:
    tokens = open_run(run_file).tokens
    assert re.search(rf"predicted.*{tokens.objective}", tokens._repr_html_(), re.DOTALL)
    assert tokens.show(2).target.strip() in tokens.show(2)._repr_html_()
