"""Files of earlier formats are read and continued, and what format 3 adds."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import RunFileError, open_run
from curvewatch.runfile import layout
from curvewatch.runfile.recorder import Recorder
from tests.support.files import observation, row, start, write

OLD = Path(__file__).parent / "run_version_2.h5.gz"
"""Written by the code of format 2: `write(path, [0, 5, 7])`."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


@pytest.fixture(params=[1, 2])
def old(request: pytest.FixtureRequest, path: Path) -> Path:
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    if request.param == 1:
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 1
    return path


def test_an_old_file_is_read(old: Path) -> None:
    with h5py.File(old, "r") as file:
        assert file["entropy"].dtype == np.float16
        assert not {"due_step", "weights"} & {*file, *file.attrs}
    run = open_run(old)
    assert run.steps.tolist() == run.due_steps.tolist() == [0, 5, 7]
    assert (run.weights, run.skipped) == ("training", {})
    for t, step in enumerate((0, 5, 7)):
        assert np.array_equal(run.surprisal[t], observation(35, step).surprisal_bits)
        assert np.array_equal(run.entropy[t], observation(35, step).entropy_bits.astype(np.float16))


def test_an_old_file_is_continued_as_it_is(old: Path) -> None:
    file = start(old, keep=5)
    assert file.steps == [0, 5]
    odd = observation(35, 8)
    odd.entropy_bits[0] = 1e30
    file.append(replace(row(8), observations={"eval": odd}, due_step=6))
    file.close()
    run = open_run(old)
    assert run.steps.tolist() == run.due_steps.tolist() == [0, 5, 8], "it has no place for the planned step"
    assert np.isinf(run.entropy[2, 0]), "beyond float16"
    assert np.array_equal(run.entropy[2, 1:], odd.entropy_bits[1:].astype(np.float16))
    with h5py.File(old, "r") as h5:
        assert h5["entropy"].dtype == np.float16
        assert h5.attrs["format_version"] < layout.FORMAT_VERSION
        assert "due_step" not in h5


def test_an_old_file_with_other_weights(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(RunFileError, match=r"of the training weights, this run scores the averaged ones.*another path"):
        start(old, keep=7, weights="averaged")
    assert old.read_bytes() == before


def test_entropy_in_full(path: Path) -> None:
    write(path, [3])
    with h5py.File(path, "r") as file:
        assert file["entropy"].dtype == np.float32
        assert not [one.name for one in layout.DATASETS if one.dtype == "float16"], "netCDF4 ends the process"


def test_due_steps(path: Path) -> None:
    file = start(path)
    file.append(row(0))
    file.append(replace(row(6), due_step=5))
    file.append(replace(row(12), due_step=10))
    file.close()
    run = open_run(path)
    assert run.steps.tolist() == [0, 6, 12]
    assert run.due_steps.tolist() == run.to_xarray().due_step.values.tolist() == [0, 5, 10]
    start(path, keep=6).close()
    assert open_run(path).due_steps.tolist() == [0, 5]


@pytest.mark.parametrize("weights", layout.WEIGHTS)
def test_weights_are_kept_and_never_mixed(path: Path, weights: str) -> None:
    (other,) = set(layout.WEIGHTS) - {weights}
    write(path, [0, 5], weights=weights)
    assert open_run(path).weights == weights
    before = path.read_bytes()
    message = rf"of the {weights} weights, this run scores the {other} ones.*Score the {weights} weights again"
    with pytest.raises(RunFileError, match=message):
        start(path, keep=5, weights=other)
    assert path.read_bytes() == before
    start(path, keep=5, weights=weights).close()
    assert open_run(path).steps.tolist() == [0, 5]


def test_a_run_that_starts_anew_is_free_in_its_weights(path: Path) -> None:
    write(path, [0])
    write(path, [0, 5], weights="averaged")  # the row before training is dropped, and no other is there
    assert open_run(path).weights == "averaged"
    assert open_run(path).steps.tolist() == [0, 5]
    write(path, [0], weights="training")  # the rows of the averaged weights are set aside
    assert open_run(path).weights == "training"
    assert open_run(path.with_name("curves.1.h5")).weights == "averaged"


def test_unknown_weights_are_refused(path: Path) -> None:
    write(path, [0])
    with h5py.File(path, "r+") as file:
        file.attrs["weights"] = "borrowed"
    with pytest.raises(RunFileError, match="weights: 'borrowed'"):
        open_run(path)


def test_several_steps_are_skipped_at_once(path: Path) -> None:
    file = start(path)
    file.skip(1, "out of budget")
    before = path.with_name(path.name + ".journal").stat().st_size
    file.skip_all([], "nothing")
    assert path.with_name(path.name + ".journal").stat().st_size == before, "nothing is no transaction"
    recorder = Recorder(file)
    recorder.skip_all(np.arange(2, 5), "a step was left out")
    recorder.skip_all([6], "out of budget")
    assert recorder.close()
    why = {1: "out of budget", **dict.fromkeys((2, 3, 4), "a step was left out"), 6: "out of budget"}
    assert open_run(path).skipped == why
    start(path, keep=3).close()
    kept = open_run(path).skipped
    assert {step: kept[step] for step in kept if step > 0} == {step: why[step] for step in (1, 2, 3)}
