"""Datasets and tables of every library give the same token set, or are refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from curvewatch import TokenSet

ROWS = [[(7 * s + p) % 50 for p in range(6)] for s in range(12)]
COLUMNS = {"input_ids": ROWS, "other": [0] * 12}


def by_datasets(form: str | None = None) -> Any:
    import datasets

    return datasets.Dataset.from_dict(COLUMNS).with_format(form)


def by_pyarrow() -> Any:
    import pyarrow

    half = pyarrow.table({name: values[:5] for name, values in COLUMNS.items()})
    return pyarrow.concat_tables([half, pyarrow.table({name: values[5:] for name, values in COLUMNS.items()})])


def by_pandas() -> Any:
    import pandas

    return pandas.DataFrame(COLUMNS, index=range(100, 112))


def by_polars() -> Any:
    return pytest.importorskip("polars").DataFrame(COLUMNS)


class Indexed(Dataset[Any]):
    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, r: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor(ROWS[r], requires_grad=False)}


class Streamed(IterableDataset[Any]):
    """PyTorch's streams inherit a `__getitem__`; some tell their length."""

    def __len__(self) -> int:
        return len(ROWS)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"input_ids": row} for row in ROWS)


@pytest.mark.parametrize(
    "make",
    [
        by_datasets,
        lambda: by_datasets("torch"),
        lambda: by_datasets("arrow"),
        lambda: by_datasets("pandas"),
        by_pyarrow,
        lambda: by_pyarrow().combine_chunks().to_batches()[0],
        by_pandas,
        by_polars,
        Indexed,
        lambda: TensorDataset(torch.tensor(ROWS)),
    ],
)
def test_the_rows_drawn_are_the_same(make: Any) -> None:
    tokens = TokenSet.from_dataset(make(), n_tokens=12, per_sequence=3, seed=4)
    order = np.random.default_rng(4).permutation(12)[:4]
    assert [tokens.sequence(s).tolist() for s in range(4)] == [ROWS[r] for r in order]
    assert tokens.hash == TokenSet.from_dataset([{"input_ids": row} for row in ROWS], 12, None, 3, 4).hash


@pytest.mark.parametrize("make", [Streamed, lambda: by_datasets().to_iterable_dataset()])
def test_a_stream_is_read_from_its_start(make: Any) -> None:
    tokens = TokenSet.from_dataset(make(), n_tokens=12, per_sequence=3, seed=4)
    assert [tokens.sequence(s).tolist() for s in range(tokens.n_sequences)] == ROWS[:4]


def splits() -> Any:
    import datasets

    return datasets.DatasetDict({"train": by_datasets(), "test": by_datasets()})


def lazy() -> Any:
    return pytest.importorskip("polars").LazyFrame(COLUMNS)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (splits, ValueError, r"^dataset: a DatasetDict .*'train', 'test'.*Give one of them: dataset\['train'\]\.$"),
        (lambda: COLUMNS, ValueError, r"^dataset: a dict of whole columns.*sequences\(dataset\['input_ids'\]\)\.$"),
        (dict, ValueError, r"^dataset: a dict of several datasets, \[\]\. Give one of them: a dataset with rows"),
        (lazy, TypeError, r"^dataset: a LazyFrame .*collect\(\)\.$"),
        (lambda: "wikitext" * 99, TypeError, r"^dataset='wikitext.*…: a name or a path.*load_dataset"),
        (lambda: Path("data"), TypeError, r"^dataset=PosixPath\('data'\): a name or a path"),
        (lambda: 5, TypeError, r"^dataset=5: a int has no rows.*Give"),
        (lambda: ROWS, KeyError, r"column='input_ids': .*no such column \(each is a list of 6\).*from_sequences"),
        (lambda: np.array(ROWS), KeyError, r"no such column \(each is a ndarray\).*from_sequences"),
        (lambda: TensorDataset(torch.tensor(ROWS), torch.zeros(12)), KeyError, r"is a tuple of 2\).*from_sequences"),
        (lambda: DataLoader(Indexed(), batch_size=4), ValueError, r"^dataset row 0, column 'input_ids': .*\(4, 6\)"),
        (lambda: by_pandas()[["other"]], KeyError, r"they have: \['other'\]\)\. Name one with column="),
        (lambda: by_pyarrow().select(["other"]), KeyError, r"they have: \['other'\]"),
        (lambda: by_datasets().select_columns(["other"]), KeyError, r"they have: \['other'\]"),
        (lambda: by_pandas().assign(input_ids="text"), ValueError, r"^dataset row 0, column 'input_ids': a text"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, error: type[Exception], match: str) -> None:
    dataset = make()
    with pytest.raises(error, match=match) as raised:
        TokenSet.from_dataset(dataset, 4)
    said = raised.value.args[0]
    assert "\n" not in said
    assert len(said) < 300


def test_a_long_column_name_is_cut() -> None:
    with pytest.raises(KeyError, match=r"column='aaa.*…: ") as raised:
        TokenSet.from_dataset([{"b" * 5000: [1]}], 1, column="a" * 5000)
    assert len(raised.value.args[0]) < 300
