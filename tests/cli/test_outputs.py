"""No command writes over what it reads, or over a file of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import TokenSet
from curvewatch.cli.app import app
from curvewatch.cli.outputs import PAGE, kind_of
from curvewatch.corpus import contextual_diversity, count_ngrams
from tests.analysis.synthetic import token_set, write_run


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A folder with one file of each kind."""
    tokens: TokenSet = token_set(40)
    write_run(tmp_path / "run.h5", 12, tokens=tokens)
    write_run(tmp_path / "other.h5", 12, tokens=tokens, seed=2)
    tokens.save(tmp_path / "tokens.npz")
    corpus = np.random.default_rng(0).integers(0, 64, 2000)
    np.save(tmp_path / "corpus.npy", corpus)
    count_ngrams(corpus, tokens).save(tmp_path / "ngrams.npz")
    contextual_diversity(corpus, tokens).save(tmp_path / "diversity.npz")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


COUNTING = "--corpus corpus.npy --tokens tokens.npz"


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("report run.h5", "run.h5"),
        ("report run.h5", "other.h5"),
        ("report run.h5", "corpus.npy"),
        ("report run.h5", "notes.txt"),
        ("report run.h5 --ngrams ngrams.npz", "ngrams.npz"),
        ("read run.h5", "run.h5"),
        ("export run.h5", "run.h5"),
        (f"ngrams {COUNTING}", "tokens.npz"),
        (f"ngrams {COUNTING}", "diversity.npz"),
        (f"diversity {COUNTING}", "tokens.npz"),
        (f"diversity {COUNTING}", "ngrams.npz"),
    ],
)
def test_refused_and_left_as_it_was(command: str, target: str, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there)
    before = (there / target).read_bytes()
    done = CliRunner().invoke(app, [*command.split(), "-o", target])
    assert done.exit_code == 2, done.output
    assert target in done.output
    assert (there / target).read_bytes() == before


def test_its_own_kind_is_replaced(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there)
    for command, target in ((f"ngrams {COUNTING}", "ngrams.npz"), (f"diversity {COUNTING}", "diversity.npz")):
        assert CliRunner().invoke(app, [*command.split(), "-o", target]).exit_code == 0
    (there / "empty.html").touch()
    for _ in range(2):
        assert CliRunner().invoke(app, ["report", "run.h5", "-o", "empty.html"]).exit_code == 0
        assert kind_of(there / "empty.html") == PAGE


@pytest.mark.parametrize(
    "command", ["report run.h5", "figures run.h5", "paper run.h5", "predict run.h5 --ngrams ngrams.npz"]
)
def test_an_empty_name_is_none(command: str, there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there)
    before = sorted(path.name for path in there.iterdir())
    done = CliRunner().invoke(app, [*command.split(), "-o", ""])
    assert done.exit_code == 2
    assert "it is empty" in done.output
    assert sorted(path.name for path in there.iterdir()) == before


def test_a_folder_that_is_not_there_is_said_before_the_work(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(there)
    for target, said in (("no/page.html", "there is no folder no"), (".", "it is a folder")):
        done = CliRunner().invoke(app, ["report", "run.h5", "-o", target])
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
