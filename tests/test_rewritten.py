"""Run files that another program rewrote, as h5repack does: read, and continued or refused with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from curvewatch import RunFileError, TokenSet, open_run
from tests.support.files import observation, start, write

OURS = {"libver": ("v110", "latest")}
"""What `h5repack -j 2 -k 2` does."""


class Letters:
    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


TOKENS = TokenSet.from_sequences([[104, 105, 228, 0x1F600] * 9], tokenizer=Letters(), vocab_size=0x20000, n_tokens=35)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "curves.h5"
    write(path, [0, 5, 7], tokens=TOKENS)
    file = start(path, TOKENS, keep=7)
    file.skip_all([8, 9], "out of budget")
    file.close()
    return path


def copied(path: Path, **form: Any) -> Path:
    """As h5py's `copy`, h5copy and h5repack write it."""
    other = path.with_name("copy.h5")
    with h5py.File(path, "r") as old, h5py.File(other, "w", **form) as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    return other


def packed(path: Path, **form: Any) -> Path:
    """As `h5repack -f GZIP=6` writes it: texts, too."""
    other = path.with_name("packed.h5")
    with h5py.File(path, "r") as old, h5py.File(other, "w", **form) as new:

        def pack(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.chunks:
                new.create_dataset(
                    name, item.shape, item.dtype, maxshape=item.maxshape, chunks=item.chunks, compression="gzip"
                )[...] = item[...]  # fmt: skip
            elif isinstance(item, h5py.Dataset):
                old.copy(item, new.require_group(item.parent.name), item.name.rsplit("/", 1)[1])

        old.visititems(pack)
        new.attrs.update(old.attrs)
    return other


def same(path: Path, steps: list[int]) -> None:
    run = open_run(path)
    assert run.steps.tolist() == steps
    for t, step in enumerate(steps):
        assert np.array_equal(run.surprisal[t], observation(35, step).surprisal_bits)
        assert np.array_equal(run.entropy[t], observation(35, step).entropy_bits)
    assert run.tokens.hash == TOKENS.hash
    assert [run.tokens.show(i).target for i in range(3)] == ["i", "ä", "😀"]
    assert run.sessions[0]["host"] == {"name": "test"}


@pytest.mark.parametrize("rewritten", [copied, packed])
def test_an_older_form_is_read_and_the_way_out_named(path: Path, rewritten: Any) -> None:
    other = rewritten(path)
    same(other, [0, 5, 7])
    assert open_run(other).skipped == {8: "out of budget", 9: "out of budget"}
    before = other.read_bytes()
    with pytest.raises(
        RunFileError, match=r"version 0 of HDF5's superblock.*h5repack -j 2 -k 2 .*converted\.h5"
    ) as caught:
        start(other, TOKENS, keep=5)
    assert "damaged" not in str(caught.value)
    assert other.read_bytes() == before
    assert not other.with_name(other.name + ".journal").exists()


@pytest.mark.parametrize("rewritten", [copied, packed])
def test_our_form_is_read_and_continued(path: Path, rewritten: Any) -> None:
    other = rewritten(path, **OURS)
    same(other, [0, 5, 7])
    file = start(other, TOKENS, keep=5)
    file.skip(6, "out of budget")
    file.close()
    same(other, [0, 5])
    run = open_run(other)
    assert run.skipped == {6: "out of budget"}
    assert len(run.sessions) == 3


@pytest.mark.skipif(not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP), reason="this HDF5 has no szip")
def test_filters_of_hdf5_that_are_not_read_are_no_damage(path: Path) -> None:
    with h5py.File(path, "r+", **OURS) as h5:
        old = h5["surprisal"]
        h5.move("surprisal", "before")
        h5.create_dataset("surprisal", old.shape, old.dtype, maxshape=old.maxshape, chunks=old.chunks,
                          compression="szip")[...] = old[...]  # fmt: skip
    with pytest.raises(RunFileError, match=r"surprisal: packed by szip.*h5repack -j 2 -k 2 -f NONE \S+ \S+") as caught:
        open_run(path)
    assert "damaged" not in str(caught.value)


def test_texts_that_are_not_chunked_are_no_damage(path: Path) -> None:
    with h5py.File(path, "r+", **OURS) as h5:
        texts = h5["target_text"][...]
        del h5["target_text"]
        h5.create_dataset("target_text", data=texts, dtype=h5py.string_dtype())
    match = r"target_text: text that isn't chunked.*h5repack -j 2 -k 2 -l /target_text:CHUNK=35 \S+ \S+"
    with pytest.raises(RunFileError, match=match) as caught:
        open_run(path)
    assert "damaged" not in str(caught.value)


def test_a_user_block(path: Path) -> None:
    other = copied(path, userblock_size=512)
    same(other, [0, 5, 7])
    with pytest.raises(RunFileError, match=r"a user block before it.*h5unjam --delete"):
        start(other, TOKENS, keep=5)
