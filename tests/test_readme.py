"""The README: its tables say what the code does, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import lightning
import numpy as np
import pytest
import torch
import xarray
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from curvewatch import open_run
from curvewatch.live.keys import ALL_KEYS
from curvewatch.runfile import layout

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
TEXT = "the cat sat on the mat and the dog sat on the log while the sun went down over the hill " * 40


def key_rows() -> list[str]:
    """The table of metric keys, as the code has it."""
    return [
        f"| `{prefix}/{key}` | {unit} | {about} |"
        for prefix, metrics in ALL_KEYS.items()
        for key, (unit, about) in metrics.items()
    ]


def dataset_rows() -> list[str]:
    """The table of datasets, as the code has it."""
    return [
        f"| `{dataset.name}` | {', '.join(dataset.dims)} | {dataset.dtype} | {dataset.units or '-'} | {dataset.about} |"
        for dataset in layout.DATASETS
    ]


def attribute_rows() -> list[str]:
    """The tables of attributes, as the code has them."""
    parts = (("set", layout.SET_ATTRIBUTES), ("root", layout.ROOT_ATTRIBUTES))
    return [f"| `{name}` | {where} | {about} |" for where, names in parts for name, about in names.items()]


@pytest.mark.parametrize("rows", [key_rows, dataset_rows, attribute_rows])
def test_tables_stand_in_the_readme_and_hold_nothing_else(rows):
    expected = rows()
    first = README.index(expected[0])
    table = README[first:].split("\n\n")[0].splitlines()
    assert table == expected


class Words:
    """A tokenizer of whole words: the README asks for no more than encode and decode."""

    def __init__(self) -> None:
        self.words = sorted(set(TEXT.split()))

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return "".join(" " + self.words[i] for i in ids)

    def __len__(self) -> int:
        return len(self.words)


class Module(lightning.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, _index):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the README's code expects to find: a held-out file, a tokenizer, a model and training data."""
    monkeypatch.chdir(tmp_path)
    Path("heldout.txt").write_text(TEXT * 4)
    tokenizer = Words()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=128, n_layer=1, n_embd=16, n_head=2, bos_token_id=0,
                   eos_token_id=0)
    )  # fmt: skip
    ids = torch.tensor(tokenizer.encode(TEXT)[:640]).view(20, 32)
    train_dataset = [{"input_ids": row, "labels": row} for row in ids]

    def training_step(model):
        model(input_ids=ids[:2], labels=ids[:2]).loss.backward()

    args = TrainingArguments("out", max_steps=4, logging_steps=2, report_to=[], use_cpu=True, save_strategy="no")
    return {
        "tokenizer": tokenizer,
        "model": model,
        "train_dataset": train_dataset,
        "train_dataloader": DataLoader(train_dataset, 2),
        "args": args,
        "max_steps": 4,
        "Trainer": Trainer,
        "lightning": lightning,
        "lightning_module": Module(model),
        "training_step": training_step,
    }


QUICK = {
    "Hugging Face Trainer": [0, 2, 4],
    "Lightning": [0, 4],
    "Plain loop": [0, 1, 2, 3, 4],
    "What it shows live": [0, 2, 4],
}


@pytest.mark.parametrize("title", QUICK)
def test_quick_start_runs_as_written(title, names):
    code = dict(BLOCKS)[title].replace("n_tokens=10_000", "n_tokens=100")
    exec(code, names)
    assert open_run("runs/gpt2/curves.h5").steps.tolist() == QUICK[title]


def test_reading_runs_as_written(names, capsys):
    exec(dict(BLOCKS)["Plain loop"].replace("n_tokens=10_000", "n_tokens=100"), names)
    Path("runs/gpt2/curves.h5").rename("curves.h5")
    codes = re.findall(r"```python\n(.*?)```", README[README.index("### Reading it without") :], flags=re.DOTALL)
    assert len(codes) == 3
    for code in codes:
        exec(code, names)
    run = names["run"]
    np.testing.assert_allclose(names["mean_surprisal"], run.surprisal[:].mean(axis=1), rtol=1e-6)
    printed = capsys.readouterr().out
    assert f"{names['mean_surprisal'][-1]:.4f}"[:5] in printed
    assert "⟦" in printed


def test_the_file_holds_exactly_the_documented_datasets_and_attributes(names):
    exec(dict(BLOCKS)["Plain loop"].replace("n_tokens=10_000", "n_tokens=100"), names)
    with h5py.File("runs/gpt2/curves.h5") as file:
        datasets = {name for name, item in file.items() if isinstance(item, h5py.Dataset)}
        # A plain run: nothing sampled, and nobody counts its batches.
        always = [one for one in layout.DATASETS if one not in (*layout.SAMPLES, *layout.COUNTS)]
        assert datasets == {one.name for one in always}
        assert set(file) - datasets == {layout.PROVENANCE, "_journal"}
        assert list(file[layout.PROVENANCE]) == ["sessions"]
        assert set(file.attrs) == set(layout.SET_ATTRIBUTES) | set(layout.ROOT_ATTRIBUTES)
        for dataset in always:
            kind = h5py.string_dtype() if dataset.dtype == layout.TEXT else np.dtype(dataset.dtype)
            assert file[dataset.name].dtype == kind, dataset.name
            assert file[dataset.name].attrs.get("units", "") == dataset.units
    with xarray.open_dataset("runs/gpt2/curves.h5", engine="h5netcdf") as labelled:
        for dataset in always:
            assert labelled[dataset.name].dims == dataset.dims, dataset.name


def test_the_file_tree_names_every_room():
    source = Path(__file__).parents[1] / "src" / "curvewatch"
    rooms = {path.name for path in source.glob("*.py") if path.name != "__init__.py"}
    rooms |= {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    tree = README[README.index("src/curvewatch/\n") : README.index("integrations/      ")]
    assert set(re.findall(r"^  (\S+)", tree, flags=re.MULTILINE)) == rooms
