"""What format 3 adds: entropy in full, the planned step behind each row, whose weights a row is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import RunFileError, open_run
from curvewatch.runfile import layout
from curvewatch.runfile.recorder import Recorder
from tests.support.files import row, start, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


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
