"""What is said of a corpus that can't be right: which file, which place in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import TokenSet
from curvewatch.cli.app import app
from curvewatch.corpus import contextual_diversity, count_ngrams, count_tokens, open_corpus
from curvewatch.corpus import sources as sources_room

V = 40


def tokens() -> TokenSet:
    return TokenSet.from_sequences([[1, 2, 3, 4, 5, 36]], vocab_size=V)


def rows(bad: int) -> list[list[int]]:
    """Documents of 7 tokens; the third token of number 5 is bad."""
    made = [[1, 2, 3, 4, 5, 6, 7] for _ in range(9)]
    made[5][2] = bad
    return made


@pytest.mark.parametrize("block", [1, 4, 1000])
@pytest.mark.parametrize("count", [count_ngrams, contextual_diversity])
def test_an_id_beyond_the_vocabulary_is_placed(count: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_room, "BLOCK", block)
    for corpus in (rows(V), np.array(rows(V))):
        with pytest.raises(ValueError, match=r"^corpus, document 5, token 2: token id 40 lies beyond vocab_size=40"):
            count(corpus, tokens())
    with pytest.raises(ValueError, match=r"^corpus, document 0, token 37: token id 40 lies"):
        count(np.concatenate(rows(V)), tokens())


@pytest.mark.parametrize("block", [2, 16, 1000])
def test_an_id_below_nought_is_placed(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_room, "BLOCK", block)
    array = np.array(rows(-100))
    with pytest.raises(ValueError, match=r"^corpus, row 5, token 2: token id -100 is below 0"):
        count_tokens(array)
    with pytest.raises(ValueError, match=r"^corpus row 5, token 2: token id -100 is below 0"):
        count_tokens(rows(-100))
    np.save(tmp_path / "flat.npy", array.ravel())
    with pytest.raises(ValueError, match=r"^corpus=.*flat\.npy, token 37: token id -100"):
        count_tokens(open_corpus(tmp_path / "flat.npy"))
    datasets = pytest.importorskip("datasets")
    of_rows = datasets.Dataset.from_dict({"input_ids": rows(-100)})
    with pytest.raises(ValueError, match=r"^corpus, column 'input_ids', row 5: token id -100"):
        count_tokens(of_rows)


def test_an_empty_file_is_named_and_no_iterator(tmp_path: Path) -> None:
    np.save(tmp_path / "empty.npy", np.zeros(0, np.uint16))
    tokens().save(tmp_path / "tokens.npz")
    for command in ("ngrams", "diversity"):
        done = CliRunner().invoke(
            app, [command, "-c", str(tmp_path / "empty.npy"), "-t", str(tmp_path / "tokens.npz"),
                  "-o", str(tmp_path / "o.npz")],
        )  # fmt: skip
        assert done.exit_code == 1
        said = " ".join(done.output.split())
        assert f"--corpus {tmp_path / 'empty.npy'}: it holds no token." in said
        assert "terator" not in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.npy", "tokens.npz"], "a state is left"
    with pytest.raises(ValueError, match="An iterator can be read only once"):
        count_ngrams(iter([]), tokens())


@pytest.mark.parametrize("count", [count_ngrams, contextual_diversity])
def test_a_corpus_without_any_scored_token_is_warned_of(count: Any) -> None:
    with pytest.warns(UserWarning, match="none of the set's 5 scored tokens occurs in it"):
        count([[7, 8, 9, 7]], tokens())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count([[7, 8, 2, 7]], tokens())


def test_the_warning_is_a_note_of_the_command(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.array([7, 8, 9] * 20))
    tokens().save(tmp_path / "tokens.npz")
    done = CliRunner().invoke(
        app, ["ngrams", "-c", str(tmp_path / "other.npy"), "-t", str(tmp_path / "tokens.npz"),
              "-o", str(tmp_path / "o.npz")],
    )  # fmt: skip
    assert done.exit_code == 0
    assert "none of the set's 5 scored tokens occurs in it" in " ".join(done.output.split())
