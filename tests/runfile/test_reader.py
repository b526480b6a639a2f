"""Reading a run, also while it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import ForeignFileError, open_run
from tests.support.files import observation, row, start, write
from tests.support.models import VOCABULARY, random_tokens

STEPS = [0, 1, 2, 5, 10]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "curves.h5", STEPS)
    return tmp_path / "curves.h5"


EVERYTHING = np.stack([observation(35, step).surprisal_bits for step in STEPS])


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(2),
        slice(None),
        slice(1, 4),
        slice(None, None, 2),
        slice(-2, None),
        (2, 7),
        (-1, slice(3, 9)),
        (slice(None), 7),
        (slice(1, 3), slice(None, None, 5)),
        (slice(None), [1, 4, 20]),
        slice(3, 3),
    ],
)
def test_slices_equal_those_of_the_array(path: Path, index: Any) -> None:
    found = open_run(path).surprisal[index]
    assert np.array_equal(found, EVERYTHING[index])
    assert np.shape(found) == EVERYTHING[index].shape


@pytest.mark.parametrize("index", [5, -6, (9, 0)])
def test_rows_that_are_not_there(path: Path, index: Any) -> None:
    with pytest.raises(IndexError):
        open_run(path).surprisal[index]


def test_what_it_shows(path: Path) -> None:
    run = open_run(path)
    assert run.steps.tolist() == STEPS
    assert run.planned_steps.tolist() == [0, 5]
    assert (run.max_steps, run.n_tokens, len(run), run.sets) == (100, 35, 5, ["eval"])
    assert run.chance == pytest.approx(np.log2(VOCABULARY))
    assert run.tokens.hash == run.set_hash == random_tokens().hash
    assert run.surprisal.shape == (5, 35)
    assert np.asarray(run.surprisal).dtype == np.float32
    assert np.array_equal(np.asarray(run.surprisal), EVERYTHING)
    assert np.asarray(run.correct).dtype == bool
    assert run.entropy[0].dtype == np.float32
    assert run.sessions[0]["host"] == {"name": "test"}
    assert "5 observations of 35 tokens" in repr(run)
    assert "5 steps x 35 tokens" in repr(run.surprisal)
    with pytest.raises(TypeError, match="steps"):
        iter(run)


def test_it_grows_while_it_is_written(tmp_path: Path) -> None:
    file = start(tmp_path / "curves.h5")
    run = open_run(tmp_path / "curves.h5")
    curves = run.surprisal
    assert (len(run), curves.shape) == (0, (0, 35))
    for n, step in enumerate(STEPS, start=1):
        file.append(row(step))
        assert run.steps.tolist() == STEPS[:n]
        assert curves.shape == (n, 35)
        assert np.array_equal(curves[-1], observation(35, step).surprisal_bits)
    file.close()
    assert np.array_equal(curves[:], EVERYTHING)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
        open_run(tmp_path / "nothing.h5")


def test_a_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "thesis.h5").write_text("my thesis")
    with pytest.raises(ForeignFileError, match=r"thesis\.h5"):
        open_run(tmp_path / "thesis.h5")
