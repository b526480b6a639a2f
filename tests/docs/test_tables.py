"""The tables of metric keys, datasets and attributes say what the code does, on every page that has one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from curvewatch import Live, Watch
from curvewatch.live.keys import ALL_KEYS
from curvewatch.runfile import layout
from tests.support.models import PlainLM, random_tokens

ROOT = Path(__file__).parents[2]
PAGES = {
    path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}


def key_rows() -> list[str]:
    """The table of metric keys, as the code has it."""
    return [
        f"| `{prefix}/{key}` | {unit} | {about} |"
        for prefix, metrics in ALL_KEYS.items()
        for key, (unit, about) in metrics.items()
    ]


def dataset_rows() -> list[str]:
    """The table of datasets, as the code has it."""
    return _dataset_rows(layout.DATASETS)


def trained_on_rows() -> list[str]:
    """The table of the datasets of the group `trained_on`."""
    return _dataset_rows(layout.TRAINED_ON_DATASETS)


def _dataset_rows(datasets: tuple[layout.Dataset, ...]) -> list[str]:
    return [
        f"| `{dataset.name}` | {', '.join(dataset.dims)} | {dataset.dtype} | {dataset.units or '-'} | {dataset.about} |"
        for dataset in datasets
    ]


def attribute_rows() -> list[str]:
    """The tables of attributes, as the code has them."""
    parts = (
        ("set", layout.SET_ATTRIBUTES),
        ("root", layout.ROOT_ATTRIBUTES),
        (layout.TRAINED_ON, layout.TRAINED_ON_ATTRIBUTES),
    )
    return [f"| `{name}` | {where} | {about} |" for where, names in parts for name, about in names.items()]


def chunk_rows() -> list[str]:
    """The table of chunks, as the code has it."""
    extents = {"step": 100, "token": 10_000, "counted_id": 3000, "label": 3}
    names = ("surprisal", "correct", "entropy", "step", "training_count", "label_code")
    shapes = {name: tuple(extents[dim] for dim in layout.BY_NAME[name].dims) for name in names}
    chunks = {name: layout.chunks(layout.BY_NAME[name], shape) for name, shape in shapes.items()}
    return [f"| `{name}` | {' x '.join(f'{extent:,}' for extent in chunk)} |" for name, chunk in chunks.items()]


def test_the_table_of_chunks():
    (text,) = [text for text in PAGES.values() if "| chunk at 10,000 tokens, 3,000 of them distinct |" in text]
    assert "\n".join(["|---|---|", *chunk_rows(), ""]) in text


@pytest.mark.parametrize("rows", [key_rows, dataset_rows, trained_on_rows, attribute_rows])
def test_the_table_is_on_a_page_and_holds_nothing_else(rows):
    expected = rows()
    first = expected[0].split("|")[1]
    found = {path: text for path, text in PAGES.items() if f"\n|{first}|" in text}
    assert found, f"no page has a table that begins with {first}"
    for path, text in found.items():
        table = text[text.index(f"\n|{first}|") + 1 :].split("\n\n")[0].splitlines()
        assert table == expected, path


def test_the_file_holds_exactly_the_documented_datasets_and_attributes(tmp_path):
    path = tmp_path / "curves.h5"
    tokens = random_tokens()
    tokens = type(tokens).from_sequences(
        [tokens.sequence(s) for s in range(tokens.n_sequences)], per_sequence=5, tokenizer=Letters()
    )
    with Watch(tokens, path, max_steps=2, schedule=1, live=Live(smoothed=False)) as watch:
        for step in range(3):
            watch.observe(PlainLM(), step)
    with h5py.File(path) as file:
        datasets = {name for name, item in file.items() if isinstance(item, h5py.Dataset)}
        # A plain run: nothing sampled, nobody counts its batches, and of its set only ids are known.
        always = [one for one in layout.DATASETS if one not in layout.OF_SOME]
        assert datasets == {one.name for one in always}
        assert set(file) - datasets == {layout.PROVENANCE, "_journal"}
        assert list(file[layout.PROVENANCE]) == ["sessions"]
        assert set(file.attrs) | {*layout.OPTIONAL_ATTRIBUTES} == set(layout.SET_ATTRIBUTES) | set(
            layout.ROOT_ATTRIBUTES
        )
        for dataset in always:
            kind = h5py.string_dtype() if dataset.dtype == layout.TEXT else np.dtype(dataset.dtype)
            assert file[dataset.name].dtype == kind, dataset.name
            assert file[dataset.name].attrs.get("units", "") == dataset.units
    with xarray.open_dataset(path, engine="h5netcdf") as labelled:
        for dataset in always:
            assert labelled[dataset.name].dims == dataset.dims, dataset.name


class Letters:
    """A tokenizer of as many letters as the model has outputs."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 200 for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(200 + i) for i in ids)

    def __len__(self) -> int:
        return 101
