"""Shared by the tests of the analysis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curvewatch import Run, open_run
from curvewatch.analysis.report import write_report
from tests.analysis.browser import Browser, browser
from tests.analysis.synthetic import write_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run files: three of one token set and one schedule, `run1.h5` to `run3.h5`."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2, 3):
        write_run(folder / f"run{seed}.h5", seed=seed, holes=(3,) if seed == 1 else ())
    return folder


@pytest.fixture
def run(made: Path) -> Run:
    """60 observations of 300 tokens, token 3 with a NaN in its curve."""
    return open_run(made / "run1.h5")


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, fresh for this run of the tests."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def single(made: Path) -> Path:
    """The report of one run."""
    return write_report([open_run(made / "run1.h5")], made / "single.html")
