"""What stands in a run file, and what happens when it is opened again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from curvewatch import FileBusyError, ForeignFileError, RunFileError, TokenSet, TokenSetMismatchError, open_run
from curvewatch.runfile import layout
from curvewatch.runfile.records import Row
from tests.support.files import observation, row, start, write
from tests.support.models import VOCABULARY, random_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "curves.h5"


def test_plain_h5py(path: Path) -> None:
    """Without curvewatch, from the numbers that went in."""
    write(path, [0, 5, 7])
    with h5py.File(path, "r") as file:
        assert file["step"][:].tolist() == [0, 5, 7]
        assert file["surprisal"].shape == (3, 35)
        for t, step in enumerate([0, 5, 7]):
            expected = observation(35, step)
            assert np.array_equal(file["surprisal"][t], expected.surprisal_bits)
            assert np.array_equal(file["correct"][t].astype(bool), expected.correct)
            assert np.array_equal(file["entropy"][t], expected.entropy_bits)
        assert file["seconds"][:].tolist() == [0.5] * 3
        assert file["time"][:].tolist() == [1e9, 1e9 + 5, 1e9 + 7]
        assert file["planned_step"][:].tolist() == [0, 5]
        tokens = random_tokens()
        assert file["target"][:].tolist() == tokens.target.tolist()
        assert file["sequences"][2].tolist() == tokens.sequence(2).tolist()
        assert file.attrs["set_hash"] == tokens.hash
        assert file.attrs["chance"] == pytest.approx(np.log2(VOCABULARY))
        assert (file.attrs["max_steps"], file.attrs["schedule"]) == (100, "every 5 steps")


def test_every_dataset_is_as_the_layout_says(path: Path) -> None:
    write(path, [0])
    with h5py.File(path, "r") as file:
        for dataset in layout.DATASETS:
            if dataset.name in ("target_text", "vocabulary_id", "vocabulary_text"):
                continue  # without a tokenizer
            if dataset in layout.OF_SOME:
                continue
            found = file[dataset.name]
            assert found.ndim == len(dataset.dims), dataset.name
            for axis, dim in enumerate(dataset.dims):
                scale = found if dim == dataset.name else found.dims[axis][0]
                assert scale.name == f"/{dim}", dataset.name
            assert found.attrs["long_name"] == dataset.about
            if dataset.dtype != layout.TEXT:
                assert found.dtype == dataset.dtype, dataset.name
                assert found.attrs["units"] == dataset.units != ""
        assert {*layout.SET_ATTRIBUTES, *layout.ROOT_ATTRIBUTES} - set(file.attrs) == {*layout.OPTIONAL_ATTRIBUTES}


def test_xarray(path: Path) -> None:
    write(path, [0, 5, 7])
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data["surprisal"].dims == ("step", "token")
        assert data["step"].values.tolist() == [0, 5, 7]
        assert data["correct"].dtype == bool
        assert data["surprisal"].attrs["units"] == "bit"
        assert data["sequences"].dims == ("sequence", "place")
        assert float(data["surprisal"].sel(step=5)[3]) == pytest.approx(5.003)
        assert np.issubdtype(data["time"].dtype, np.datetime64), "its unit is understood"


def test_several_sets_in_groups(path: Path) -> None:
    sets = {"web": random_tokens(), "code": random_tokens(n_sequences=3, seed=9)}
    sizes = {name: len(one) for name, one in sets.items()}
    assert sizes == {"web": 35, "code": 15}
    file = start(path, sets)
    for step in (0, 5):
        file.append(row(step, sizes))
    assert [step for step, _ in file.rows("code")] == [0, 5]
    file.close()
    with pytest.raises(KeyError, match="web"):
        open_run(path)
    for name, one in sets.items():
        run = open_run(path, name)
        assert run.steps.tolist() == [0, 5]
        assert run.surprisal.shape == (2, sizes[name])
        assert run.tokens.hash == one.hash
        with xarray.open_dataset(path, engine="h5netcdf", group=name) as data:
            assert data["surprisal"].dims == ("step", "token")
    assert open_run(path, "web")["code"].n_tokens == 15
    with pytest.raises(KeyError, match="poems"):
        open_run(path, "poems")


@pytest.mark.parametrize("keep", [5, 7, 9])
def test_resume_drops_later_rows_and_says_so(keep: int, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, [0, 5, 10, 15])
    with caplog.at_level(logging.WARNING, "curvewatch"):
        file = start(path, keep=keep, planned=[0, 5, 10, 20])
    assert file.steps == [0, 5]
    assert file.dropped_steps == (10, 15)
    assert f"from step {keep}, so 2 later rows (steps 10 to 15) were dropped" in caplog.text
    file.append(row(10))
    file.close()
    run = open_run(path)
    assert run.steps.tolist() == [0, 5, 10]
    assert run.planned_steps.tolist() == [0, 5, 10, 20]
    assert [session["dropped_steps"] for session in run.sessions] == [[], [10, 15]]


def test_resume_at_the_last_row_drops_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, [0, 5])
    file = start(path, keep=5)
    assert file.steps == [0, 5]
    file.close()
    assert "dropped" not in caplog.text


def test_a_fresh_start_sets_the_old_file_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for last in (5, 6, 7):
        write(path, [0, last])
    assert open_run(path).steps.tolist() == [0, 7]
    assert open_run(path.with_name("curves.1.h5")).steps.tolist() == [0, 5]
    assert open_run(path.with_name("curves.2.h5")).steps.tolist() == [0, 6]
    assert "holds a run up to step 5, and training starts anew: it is kept as curves.1.h5" in caplog.text


def test_a_fresh_start_over_step_0_alone_needs_no_new_file(path: Path) -> None:
    """A training that failed in its first steps leaves only the row of step 0, which is scored again."""
    write(path, [0])
    write(path, [0, 5])
    assert open_run(path).steps.tolist() == [0, 5]
    assert [found.name for found in path.parent.iterdir()] == ["curves.h5"]


@pytest.mark.parametrize("keep", [-1, 3])
def test_another_set_is_refused_naming_both(path: Path, keep: int) -> None:
    write(path, [0, 5])
    before, other = path.read_bytes(), random_tokens(seed=4)
    with pytest.raises(TokenSetMismatchError) as caught:
        start(path, other, keep=keep)
    for one in (random_tokens(), other):
        assert one.hash[:16] in str(caught.value)
    assert path.read_bytes() == before
    with pytest.raises(TokenSetMismatchError, match=r"\['eval'\].*\['a', 'b'\]"):
        start(path, {"a": other, "b": other}, keep=keep)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "empty", "hdf5", "folder"])
def test_what_is_not_ours_is_left_alone(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["thesis"] = [1, 2, 3]
    else:
        path.write_bytes(b"" if kind == "empty" else b"my thesis")
    before = None if kind == "folder" else path.read_bytes()
    with pytest.raises(RunFileError, match=r"curves\.h5") as caught:
        start(path)
    assert kind != "hdf5" or isinstance(caught.value, ForeignFileError)
    with pytest.raises(RunFileError, match=r"curves\.h5"):
        open_run(path)
    if before is not None:
        assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["curves.h5"], "nothing else is left behind"


def test_a_newer_format_is_refused(path: Path) -> None:
    write(path, [0])
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = layout.FORMAT_VERSION + 1
    with pytest.raises(RunFileError, match="Upgrade curvewatch"):
        start(path, keep=0)
    with pytest.raises(RunFileError, match="Upgrade curvewatch"):
        open_run(path)


def test_a_second_writer_is_refused(path: Path) -> None:
    file = start(path)
    with pytest.raises(FileBusyError):
        start(path, keep=3)
    file.append(row(0))
    file.close()
    assert open_run(path).steps.tolist() == [0]


def test_rows_come_in_order(path: Path) -> None:
    file = start(path)
    file.append(row(5))
    for step in (5, 4):
        with pytest.raises(ValueError, match=f"step={step}: the file already holds step 5"):
            file.append(row(step))
    file.close()


def test_an_observation_of_another_length(path: Path) -> None:
    file = start(path)
    with pytest.raises(ValueError, match="34 tokens were scored, the file has 35"):
        file.append(row(0, 34))
    assert file.steps == []
    file.append(row(0))
    file.close()
    assert open_run(path).surprisal.shape == (1, 35), "the failed row has left nothing behind"


def test_values_that_are_no_numbers(path: Path) -> None:
    odd = observation(35, 0)
    odd.surprisal_bits[:3] = [np.nan, np.inf, 1e30]
    odd.entropy_bits[:3] = [np.nan, np.inf, 1e30]
    file = start(path)
    file.append(Row(0, 0.1, 0.0, {"eval": odd}))
    file.close()
    run = open_run(path)
    assert np.array_equal(run.surprisal[0], odd.surprisal_bits, equal_nan=True)
    assert np.array_equal(run.entropy[0], odd.entropy_bits, equal_nan=True)


def test_rows_read_back_are_what_was_written(path: Path) -> None:
    file = start(path)
    for step in range(40):
        file.append(row(step))
    for step, found in file.rows("eval"):
        assert np.array_equal(found.surprisal_bits, observation(35, step).surprisal_bits)
        assert np.array_equal(found.correct, observation(35, step).correct)
    assert step == 39
    file.close()


def test_scorer_settings(path: Path) -> None:
    file = start(path)
    assert file.scorer_settings("eval")["batch_size"] == 4
    file.rewrite_scorer("eval", {"batch_size": 2})
    file.close()
    with open_run(path).group() as group:
        assert json.loads(group.attrs["scorer"]) == {"batch_size": 2}


def test_a_set_with_texts_is_read_back_whole(path: Path) -> None:
    class Letters:
        def encode(self, text: str) -> list[int]:
            return [ord(letter) for letter in text]

        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids))

    tokens = TokenSet.from_sequences(
        [[104, 105, 0, 228, 0x1F600], [104, 33]], tokenizer=Letters(), vocab_size=0x20000, bos=98
    )
    file = start(path, tokens)
    file.close()
    found = open_run(path).tokens
    assert found.hash == tokens.hash
    assert found.vocab_size == 0x20000
    assert [found.show(i).target for i in range(len(found))] == ["h", "i", "�", "ä", "😀", "h", "!"]
    assert found.show(1).context == "bh"
    assert found.made_by == tokens.made_by


def test_ragged_sequences_are_padded_in_the_file_only(path: Path) -> None:
    tokens = TokenSet.from_sequences([[1, 2, 3], [4, 5]])
    start(path, tokens).close()
    with h5py.File(path, "r") as file:
        assert file["sequences"][:].tolist() == [[1, 2, 3], [4, 5, -1]]
        assert file["length"][:].tolist() == [3, 2]
    assert open_run(path).tokens.hash == tokens.hash
