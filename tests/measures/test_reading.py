"""Blocks, sources, few observations, wrong input, and the table itself."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curvewatch.measures import (
    MeasureTable,
    MeasureWarning,
    measure_curves,
    sigmoid_acquisition,
    smooth_curves,
)
from curvewatch.measures.blocks import block_width, fit_width, token_blocks

from .reference import CHANCE, steps_of
from .test_smoothing import block

pytestmark = pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")


def assert_same(table: MeasureTable, other: MeasureTable, rows: Any = slice(None), atol: float = 1e-10) -> None:
    assert list(table) == list(other)
    for name in table:
        # A matrix product of another width may round differently, in the last digits of a level only.
        if table[name].dtype.kind == "f" and name not in ("age_of_acquisition", "smoothing_lambda"):
            np.testing.assert_allclose(table[name], other[name][rows], rtol=0, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(table[name], other[name][rows], err_msg=name)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), width=st.integers(1, 40), order=st.randoms(use_true_random=False))
def test_neither_blocks_nor_the_order_of_tokens_matter(seed: int, width: int, order: Any) -> None:
    steps, curves = block(40, 3, seed)
    correct = curves < 8
    whole = measure_curves(curves, steps, chance=CHANCE, correct=correct)
    assert_same(measure_curves(curves, steps, chance=CHANCE, correct=correct, block_tokens=width), whole)
    tokens = list(range(curves.shape[1]))
    order.shuffle(tokens)
    assert_same(measure_curves(curves[:, tokens], steps, chance=CHANCE, correct=correct[:, tokens]), whole, tokens)


def test_an_hdf5_dataset_gives_what_the_array_gives(tmp_path: Path) -> None:
    steps, curves = block(40, 5, seed=0)
    with h5py.File(tmp_path / "curves.h5", "w") as file:
        surprisal = file.create_dataset("surprisal", data=curves.astype("f4"), chunks=(16, 8))
        correct = file.create_dataset("correct", data=(curves < 8).astype("u1"), chunks=(16, 8))
        done: list[tuple[int, int]] = []
        table = measure_curves(
            surprisal,
            steps,
            chance=CHANCE,
            correct=correct,
            block_tokens=16,
            progress=lambda *at: done.append(at),
        )
        array = measure_curves(surprisal[()], steps, chance=CHANCE, correct=curves < 8)
        smoothed = smooth_curves(surprisal, steps, block_tokens=16)
    assert_same(table, array, atol=1e-5)
    np.testing.assert_array_equal(smoothed.lambda_N, table["smoothing_lambda"])
    assert done == [(16, 45), (32, 45), (45, 45)]
    assert table.info.precision == "float32"
    assert measure_curves(curves.astype("f2"), steps, chance=CHANCE).info.precision == "float32"


class Endless:
    """Curves made when they are asked for: as many as one likes, and none is kept."""

    dtype = np.dtype("f4")

    def __init__(self, n_steps: int, n_tokens: int) -> None:
        self.shape = (n_steps, n_tokens)
        self.widest = 0

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.float32]:
        start, stop, _ = key[1].indices(self.shape[1])
        self.widest = max(self.widest, stop - start)
        phase = np.arange(start, stop, dtype=np.float32)
        return 10 + np.cos(np.linspace(0, 3, self.shape[0], dtype=np.float32)[:, None] + phase)


@pytest.mark.parametrize(("n_steps", "n_tokens"), [(41, 150_000), (4000, 5000)])
def test_memory_is_bounded_by_the_block(n_steps: int, n_tokens: int) -> None:
    curves = Endless(n_steps, n_tokens)
    tracemalloc.start()
    table = measure_curves(curves, np.arange(n_steps) * 10, chance=16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    columns = sum(table._columns[name].nbytes for name in table if name != "window_rows")
    assert peak < columns + 400 * 2**20
    assert n_steps * curves.widest * 8 <= 2**27


def test_blocks_are_whole_chunks_or_even_parts_of_one() -> None:
    class Chunked(Endless):
        chunks = (16, 16384)

    assert block_width(Chunked(221, 10**6)) % 16384 == 0
    assert block_width(Chunked(10_000, 10**6)) in (1024, 512)
    assert 10_000 * block_width(Chunked(10_000, 10**6)) * 8 <= 2**27
    assert block_width(Chunked(10**9, 10)) == 1
    assert fit_width(221) == 4096
    assert fit_width(10_000) * 10_000 <= 2**22
    assert fit_width(10**9) == 16
    assert [*token_blocks(Chunked(5, 10), 4)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert [*token_blocks(Chunked(5, 0))] == []


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_zero", [False, True])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 4, 5, 10, 25, 26])
def test_few_observations_give_what_can_be_had(n_steps: int, with_zero: bool, dtype: str, paper: bool) -> None:
    steps = np.array([0, *np.round(np.geomspace(10, 1000, 30))])[:n_steps] if with_zero else steps_of(30)[1:][:n_steps]
    curves = np.linspace(15, 5, max(n_steps, 1))[:n_steps, None] + np.array([0.0, 0.5, np.nan, -12.0])
    correct = curves < 9
    with pytest.warns(MeasureWarning, match="scored steps after step 0"):
        table = measure_curves(curves, steps, chance=16, correct=correct, paper=paper, dtype=dtype)
    n_fitted = int((steps > 0).sum())
    enough = n_fitted >= (1 if paper else 3)
    assert table.n_tokens == 4
    assert table["acquisition_status"][2] == "unfitted"
    assert ((table["acquisition_status"][[0, 1, 3]] == "unfitted") == (not enough)).all()
    assert (np.isnan(table["forgettability"][[0, 1, 3]]) == (not enough)).all()
    assert table.info.opportunities == max(0, n_steps - 1)
    assert np.isnan(table["forgetting_events_top1"]).all() == (n_steps == 0)
    if n_fitted:
        # The last step is the planned end here, so the window holds at least one row.
        assert table["window_rows"][0] >= 1
        assert not np.isnan(table["final_surprisal"][[0, 1, 3]]).any()
    if n_fitted >= 3:
        assert table["acquisition_status"][3] == "left_censored"
    with pytest.warns(MeasureWarning):
        smoothed = smooth_curves(curves, steps, paper=paper, dtype=dtype)
    assert smoothed.curves_TN.shape == (n_fitted, 4)
    assert smoothed.fitted_N.tolist() == [enough, enough, False, enough]
    if n_fitted < 4:
        with pytest.warns(MeasureWarning):
            assert (sigmoid_acquisition(curves, steps, chance=16).status_N == "unfitted").all()


def test_no_tokens_give_an_empty_table() -> None:
    table = measure_curves(np.empty((41, 0)), steps_of(40), chance=16)
    assert table.n_tokens == 0
    assert len(table.to_pandas()) == 0
    assert smooth_curves(np.empty((41, 0)), steps_of(40)).curves_TN.shape == (40, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [0, 10, 10, 20]}, r"steps\[1\] = 10 is followed by steps\[2\] = 10"),
        ({"steps": [0, 20, 10, 30]}, "Sort the rows by step"),
        ({"steps": [-1, 0, 10, 20]}, "count from 0"),
        ({"steps": [0, 10, np.nan, 20]}, "finite"),
        ({"steps": [0, 10, 20]}, "one step for each row"),
        ({"surprisal_TN": np.ones(4)}, r"must be \[step, token\]"),
        ({"chance": 0.0}, "log2 of the vocabulary size"),
        ({"chance": np.nan}, "log2 of the vocabulary size"),
        ({"max_steps": 0}, "planned number of training steps"),
        ({"correct": np.ones((4, 3), bool)}, "correct has shape"),
        ({"dtype": "float16"}, "choose 'float32'"),
        ({"block_tokens": 0}, "at least 1"),
    ],
)
def test_wrong_input_says_what_and_the_way_out(change: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {"surprisal_TN": np.ones((4, 2)), "steps": [0, 10, 20, 30], "chance": 16.0} | change
    with pytest.raises(ValueError, match=message):
        measure_curves(given_.pop("surprisal_TN"), given_.pop("steps"), **given_)


class TestTable:
    def test_is_a_mapping_with_units_and_words(self) -> None:
        steps, curves = block(40, 1, seed=0)
        table = measure_curves(curves, steps, chance=CHANCE, max_steps=100_000)
        assert set(table) == set(table.units)
        assert {len(table[name]) for name in table} == {curves.shape[1]} == {table.n_tokens}
        assert (table["acquisition_status"] == "learned").any()
        assert table.codes("acquisition_status").dtype == np.int8
        assert "learned" in repr(table)
        assert (table.info.n_steps, table.info.n_fitted_steps, table.info.last_step) == (41, 40, 100_000)
        with pytest.raises(KeyError, match="not categorical"):
            table.codes("forgettability")

    def test_becomes_a_data_frame(self) -> None:
        steps, curves = block(40, 1, seed=0)
        table = measure_curves(curves, steps, chance=CHANCE)
        frame = table.to_pandas()
        assert list(frame.columns) == list(table)
        assert frame["acquisition_status"].dtype == "category"
        assert frame["acquisition_status"].tolist() == table["acquisition_status"].tolist()
        assert frame.attrs["units"]["forgettability"] == "bit"


def test_the_measures_need_numpy_only() -> None:
    code = (
        "import sys, builtins\n"
        "for name in ('scipy', 'pandas', 'torch', 'pygam', 'xarray'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from curvewatch.measures import measure_curves, sigmoid_acquisition\n"
        "y, steps = np.linspace(16, 2, 50)[:, None], np.arange(50)\n"
        "print(measure_curves(y, steps, chance=16)['acquisition_status'][0])\n"
        "print(sigmoid_acquisition(y, steps, chance=16).status_N[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["learned", "learned"]
