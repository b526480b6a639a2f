"""Opening a bad run file: refused with our own exception, in bounded memory and time, and nothing else is opened.

The long form is `python -m tests.faults.fuzz_opening`. What it found is named here one by one.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import RunFile, TokenSet, open_run
from curvewatch.errors import ForeignFileError, RunFileError
from curvewatch.runfile import layout
from curvewatch.runfile.records import RunPlan, SetRecord
from tests.faults import mutations
from tests.faults.fuzz_opening import KINDS, build, campaign, use


@pytest.fixture(params=KINDS)
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.h5"
    build(path, request.param)
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one set.h5"
    build(path, "one set")
    return path


@pytest.mark.parametrize("good", [kind for kind in KINDS if kind != "old HDF5"], indirect=True)
def test_good_files_are_read_and_continued_packed_ones_too(good):
    use(good)


@pytest.mark.parametrize("change", dict.fromkeys(mutations.CHANGES), ids=lambda change: change.__name__)
def test_whatever_is_wrong_only_our_exceptions_come(one, change: Callable[[h5py.File, mutations.Rng], None]):
    content, refused = one.read_bytes(), 0
    for seed in range(8):
        one.write_bytes(content)
        try:
            with h5py.File(one, "r+", libver=("v110", "latest")) as file:
                change(file, np.random.default_rng(seed))
        except (ValueError, OSError, IndexError):
            continue  # that can't be done to the dataset that the seed chose
        try:
            use(one)
        except RunFileError as error:
            refused += str(one) in str(error)
    assert refused == 0 if change is mutations.unknown else refused > 0


def test_a_newer_format_is_named(one):
    with h5py.File(one, "r+") as file:
        file.attrs["format_version"] = 7
        del file["surprisal"]
    with pytest.raises(RunFileError, match=r"format 7.*Upgrade"):
        open_run(one)


def test_another_program_s_file_is_foreign(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = h5py.ExternalLink("outside.h5", "/")
    with pytest.raises(ForeignFileError):
        open_run(tmp_path / "other.h5")
    with pytest.raises(FileNotFoundError):
        open_run(tmp_path / "none.h5")


def test_a_callers_own_errors_are_left_alone(one):
    run = open_run(one)
    for error in (KeyError("mine"), OSError("mine"), ValueError("mine")):
        with pytest.raises(type(error), match="mine"), run.group():
            raise error
    with pytest.raises(IndexError):
        run.surprisal[:, 10**9]
    with pytest.raises(TypeError):
        run.surprisal[:, [3, 1]]


def test_a_link_to_another_file_is_not_followed_even_if_it_fits(one, tmp_path):
    build(tmp_path / "ids only.h5", "ids only")
    with h5py.File(one, "r+") as file:
        del file["surprisal"]
        file["surprisal"] = h5py.ExternalLink("ids only.h5", "/surprisal")
    with pytest.raises(RunFileError, match="surprisal: a link"):
        open_run(one)


# Not `ru_maxrss`: across `exec` a process inherits that of the one that it was forked from.
PEAK_MIB = """
from pathlib import Path
def peak_mib():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10
"""


def test_a_gzip_bomb_takes_no_memory(one):
    """Stored 2 MiB in a chunk of 4 MiB, unpacked 2 GiB."""
    with h5py.File(one, "r+", libver=("v110", "latest")) as file:
        shape = file["position"].shape
        del file["position"]
        made = file.create_dataset("position", shape, "i4", chunks=(1 << 20,), maxshape=(None,), compression="gzip")
        made.id.write_direct_chunk((0,), mutations.bomb(2 << 30))
    code = (
        PEAK_MIB
        + f"""if True:
        from curvewatch import open_run
        from curvewatch.errors import RunFileError
        run = open_run({str(one)!r})
        before = peak_mib()
        try:
            run.tokens
        except RunFileError as error:
            assert "unpacks to more" in str(error)
            print(peak_mib() - before)
    """
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 64, f"{found.stdout} MiB"


def test_a_filter_s_plugin_is_not_looked_for(one, tmp_path):
    """With the negative control that h5py itself loads it: the library's initialiser leaves a file behind."""
    source, mark = tmp_path / "plugin.c", tmp_path / "executed"
    source.write_text(f'#include <stdio.h>\n__attribute__((constructor)) void f(){{fclose(fopen("{mark}", "w"));}}')
    (tmp_path / "plugins").mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "plugins" / "libevil.so", source], check=True)
    with h5py.File(one, "r+", libver=("v110", "latest")) as file:
        shape = file["position"].shape
        del file["position"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(shape)
        plist.set_filter(32_013, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(shape)
        made = h5py.h5d.create(file.id, b"position", h5py.h5t.STD_I32LE, space, plist)
        made.write_direct_chunk((0,), bytes(4 * shape[0]))

    def executed(code: str) -> bool:
        mark.unlink(missing_ok=True)
        environment = {**os.environ, "HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
        return mark.exists()

    assert executed(f"import h5py; h5py.File({str(one)!r})['position'][:]")
    assert not executed(f"import curvewatch; curvewatch.open_run({str(one)!r}).tokens")
    with pytest.raises(RunFileError, match="may be a plugin"):
        open_run(one)


def test_zeros_in_the_heap_of_texts_do_not_hang_hdf5(one):
    """The heap has no checksum, and HDF5 2.0 walks for ever where an object's size is zero."""
    raw = bytearray(one.read_bytes())
    at = raw.index(b"GCOL\x01")
    raw[at + 16 : at + 4096] = bytes(4080)
    one.write_bytes(raw)
    code = f"import curvewatch; curvewatch.open_run({str(one)!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=6, check=False)
    assert "RunFileError" in found.stderr


def test_indexes_of_another_kind_than_hdf5_takes_them_for(good):
    """HDF5 believes the kind that an index names, with memory errors; every index is made each other kind in turn.

    And each is given nodes of 4 GiB, which HDF5 takes. Some indexes only the writer reads (of attributes by order).
    """
    raw = good.read_bytes()
    indexes = [(at, end) for at, end in mutations.find_blocks(raw) if raw[at : at + 4] in (b"BTHD", b"EAHD", b"FAHD")]
    assert len(indexes) > 5 or "old" in good.name
    code = (
        PEAK_MIB
        + f"""if True:
        from pathlib import Path
        from curvewatch.errors import RunFileError
        from tests.faults import mutations
        from tests.faults.fuzz_opening import use
        path, refused = Path({str(good)!r}), set()
        good = path.read_bytes()
        for at, end in {indexes}:
            for where, value in [(at + 9, 254), *((at + 5, kind) for kind in range(14) if kind != good[at + 5])]:
                raw = bytearray(good)
                raw[where] = value
                mutations.mend(raw, at, end)
                path.write_bytes(raw)
                try:
                    use(path)
                except RunFileError:
                    refused.add(at)
                for left in path.parent.glob("*.h5.journal"):
                    left.unlink()
        print(len(refused), peak_mib())
    """
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"{found.returncode}, {found.stderr[-500:]}"
    n_refused, peak_mib = map(int, found.stdout.split())
    assert 2 * n_refused >= len(indexes)  # HDF5 doesn't use all of them for what is read here
    assert peak_mib < 1000


def test_a_chunk_that_unpacks_to_less_than_a_chunk(one):
    """HDF5 would take what stands behind it in memory for the rest, and overwrite that when the plan changes."""
    with h5py.File(one, "r+") as file:
        file["planned_step"].id.write_direct_chunk((0,), zlib.compress(bytes(3)))
    with pytest.raises(RunFileError, match="planned_step: a chunk that unpacks to 3 of 8,192 bytes"):
        open_run(one)


def test_a_chunk_of_texts_that_is_longer_than_a_chunk(tmp_path):
    """In HDF5's old format it may be, and is after H5Ocopy; h5py takes memory for one of the usual length."""
    path = tmp_path / "old HDF5.h5"
    build(path, "old HDF5")
    raw, key = path.read_bytes(), struct.pack("<IIQQ", 256, 0, 0, 0)  # bytes, filters left out, place
    for match in re.finditer(re.escape(key), raw):  # one of them is that of the sessions
        path.write_bytes(raw[: match.start()] + struct.pack("<IIQQ", 512, 0, 0, 0) + raw[match.end() :])
        with h5py.File(path) as file:
            if file["provenance/sessions"].id.get_chunk_info(0).size == 512:
                break
    else:
        raise AssertionError("none was")
    code = f"import curvewatch; print(len(curvewatch.open_run({str(path)!r}).sessions))"
    checking = {**os.environ, "PYTHONMALLOC": "debug"}  # which ends the process if it finds memory overwritten
    found = subprocess.run([sys.executable, "-c", code], env=checking, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "1\n"), found.stderr[-500:]


def test_packed_curves_are_measured_where_they_are_read_and_all_before_they_are_written(tmp_path):
    path = tmp_path / "packed.h5"
    build(path, "packed")
    with h5py.File(path, "r+") as file:
        surprisal = file["surprisal"]
        values, kind = surprisal[:], surprisal.dtype
        del file["surprisal"]
        made = file.create_dataset(
            "surprisal", values.shape, kind, chunks=(2, 10), maxshape=(None, values.shape[1]), compression="gzip"
        )
        made[:] = values
        made.id.write_direct_chunk((2, 20), zlib.compress(bytes(7)))
    run = open_run(path)
    for index in (0, -1, np.s_[:2], np.s_[:, 3], np.s_[2, :20], np.s_[1:4, 30:], np.s_[[0, 3], 0]):
        assert np.array_equal(run.surprisal[index], values[index].astype(np.float32))
    for index in (2, 3, np.s_[:], np.s_[:, 29], np.s_[2:4, 19:21], np.s_[[0, 3], 20], np.s_[..., 5:9]):
        with pytest.raises(RunFileError, match="surprisal: a chunk that unpacks to 7 of 40 bytes"):
            run.surprisal[index]
    with pytest.raises(RunFileError, match="surprisal: a chunk"):
        use(path)


def test_a_short_fuzz(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    counts = campaign(1, 0, 300, folder)
    assert counts["files"] == 300
    assert not {"WRONG", "OUTSIDE", "HANG", "CRASH"} & set(counts)
    assert min(counts["refused"], counts["read fine"]) > 50, "the mutations do too much or too little"


def test_the_bound_on_texts_counts_what_they_add_up_to(one):
    with h5py.File(one, "r+", libver=("v110", "latest")) as file:
        mutations.text_bomb(file, np.random.default_rng(0))
    with pytest.raises(RunFileError, match="bytes of text"):
        _ = open_run(one).sessions


def test_json_is_of_its_kind(one):
    with h5py.File(one, "r+") as file:
        file.attrs["scorer"] = json.dumps([1])
    with pytest.raises(RunFileError, match="not dict"):
        open_run(one)
    assert "scorer" in layout.SET_ATTRIBUTES


def test_texts_that_look_like_blocks_of_hdf5_are_texts(tmp_path):
    """Four letters that HDF5 begins its blocks with are amino acids as well, and stand in a heap beside zeros."""

    class Letters:
        words = ("FAHD", "EAHD", "FRHP", "BTHD", "BTLF", "GCOL", "GCOL\1")

        def encode(self, text):
            return [self.words.index(word) for word in text.split()]

        def decode(self, ids):
            return "".join(self.words[i] for i in ids)

        def __len__(self):
            return len(self.words)

    tokens = TokenSet.from_sequences([[0, 1, 2, 3, 4, 5, 6, 0]], tokenizer=Letters())
    plan = RunPlan(10, np.arange(11), "every step", {"note": "FRHP\0"})
    path = tmp_path / "curves.h5"
    RunFile.start(path, {"FAHD": SetRecord(tokens, 7, {"batch_size": 1})}, plan, -1).close()
    run = open_run(path)
    assert dict(run.tokens.vocabulary) == dict(enumerate(Letters.words))
    assert run.sessions[0]["note"] == "FRHP\0"
