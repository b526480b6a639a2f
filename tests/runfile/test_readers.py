"""Every dataset of a run file, as other programs read it: plain h5py, xarray with either engine, netCDF4 itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import TokenSet
from curvewatch.observation import Sample
from curvewatch.runfile import layout
from curvewatch.runfile.records import Counted, RunPlan, SetRecord
from curvewatch.runfile.writer import RunFile
from tests.support.files import row

READERS = {
    "h5py": "h5py.File(path)[name][:]",
    "xarray, h5netcdf": "xarray.open_dataset(path, engine='h5netcdf', decode_times=False)[name].values",
    "xarray, netcdf4": "xarray.open_dataset(path, engine='netcdf4', decode_times=False)[name].values",
    "xarray, its choice": "xarray.open_dataset(path, decode_times=False)[name].values",
    "netCDF4": "numpy.ma.getdata(netCDF4.Dataset(path)[name][:])",
}
PROGRAM = """
import json, sys, h5py, netCDF4, numpy, xarray
path, names = sys.argv[1], sys.argv[2:]
found = {{}}
for name in names:
    values = numpy.asarray({read})
    if values.dtype.kind in 'OUT':
        values = [one.decode() if isinstance(one, bytes) else str(one) for one in values]
    found[name] = values if isinstance(values, list) else values.astype(float).tolist()
print(json.dumps(found))
"""


class Letters:
    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every dataset that the layout names, but for those of other objectives."""
    path = tmp_path_factory.mktemp("readers") / "curves.h5"
    tokens = TokenSet.from_texts(
        ["hiä😀", "h!"], Letters(), spans=[[(1, 3, "ends", "of words")], []], vocab_size=0x20000
    )
    tokens = tokens.label("sign", "[!😀]").label("kind")
    tokens = tokens.with_annotations(replace(tokens.annotations, boundary=np.arange(9, dtype=np.uint8) % 4))
    tokens = tokens.with_reference(np.arange(len(tokens)), correct=np.arange(len(tokens)) % 2)
    counted = Counted(np.unique(tokens.target), None, training=True)
    record = SetRecord(tokens, 0x20000, {"road": "full"}, counted, kl=True)
    file = RunFile.start(path, {"eval": record}, RunPlan(100, np.array([0, 5]), "every 5 steps", {}), -1)
    counts = {"eval": np.arange(len(counted.ids_D))}
    for step in (0, 6):
        made = row(step, len(tokens))
        made.observations["eval"] = replace(made.observations["eval"], boundary_bits=np.ones(len(tokens), np.float32))
        made.observations["eval"] = replace(made.observations["eval"], kl_bits=np.ones(len(tokens), np.float32))
        file.append(replace(made, counts=counts, due_step=step // 5 * 5))
    file.skip_all([10, 15], "out of budget ä")
    file.add_samples([Sample(6, 0, "wrote 😀", (1, 2), 0, "length", "a prompt")])
    file.save_counts(8, counts)
    file.close()
    return path


@pytest.fixture(scope="module", params=["causal", "masked", "seq2seq"])
def of_kind(request: pytest.FixtureRequest, path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind of model; together they have every dataset."""
    if request.param == "causal":
        return path
    tokens = TokenSet.from_sequences([[1, 2, 3], [4, 5]], encoder_ids=[[6], [7, 8]], vocab_size=9)
    if request.param == "masked":
        tokens = TokenSet.from_sequences([[1, 2, 3], [4, 5]], vocab_size=9).masked(mask=8)
    path = tmp_path_factory.mktemp("readers") / f"{request.param}.h5"
    record = SetRecord(tokens, 9, {"road": "full"}, dropout=True)
    file = RunFile.start(path, {"eval": record}, RunPlan(100, np.array([0, 5]), "every 5 steps", {}), -1)
    file.append(row(0, len(tokens)))
    file.close()
    return path


def test_together_they_have_every_dataset(path: Path) -> None:
    of_others = {one.name for one in (*layout.MASKED, *layout.ENCODER, *layout.DROPOUT)}
    with h5py.File(path) as file:
        assert {one.name for one in layout.DATASETS} - set(file) == of_others


@pytest.mark.parametrize("reader", READERS)
def test_every_dataset(reader: str, of_kind: Path) -> None:
    """In a process of its own, since a reader that can't take a type may end it."""
    path = of_kind
    with h5py.File(path, "r") as file:
        names = [one.name for one in layout.DATASETS if one.name in file]
        expected = {
            name: file[name].asstr()[:].tolist() if layout.BY_NAME[name].dtype == layout.TEXT else file[name][:]
            for name in names
        }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(read=READERS[reader]), str(path), *names],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    for name, values in expected.items():
        if isinstance(values, list):
            assert found[name] == values, name
        else:
            assert np.array_equal(found[name], values.astype(float), equal_nan=True), name
