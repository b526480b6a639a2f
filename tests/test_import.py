"""Importing curvewatch costs nothing: no framework, no tracker, no plotting, not even torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import curvewatch

HEAVY = ("torch", "transformers", "lightning", "wandb", "matplotlib", "plotly", "pandas", "xarray", "h5py", "datasets")


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after `code`."""
    ask = f"{code}\nimport sys\nprint(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True, timeout=120)
    return set(said.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import curvewatch; curvewatch.__version__; dir(curvewatch)") == set()
    assert loaded_by("import pandas") == {"pandas"}, "the question has power"


def test_sets_and_schedules_load_no_torch() -> None:
    code = "import curvewatch; curvewatch.TokenSet.from_sequences([[1, 2, 3]]); curvewatch.Schedule.paper()"
    assert loaded_by(code) == set()


def test_watching_loads_no_framework() -> None:
    assert loaded_by("from curvewatch import Watch, open_run, RunFile, Scorer") <= {"torch", "h5py"}


def test_reading_loads_no_torch() -> None:
    assert loaded_by("from curvewatch import RunFile, open_run") == {"h5py"}


def test_each_adapter_loads_its_own_host_only() -> None:
    assert "lightning" not in loaded_by("import curvewatch.integrations.transformers")
    assert "wandb" not in loaded_by("import curvewatch.integrations.transformers, curvewatch.integrations.lightning")


def test_every_public_name_is_there() -> None:
    for name in curvewatch.__all__:
        assert getattr(curvewatch, name) is not None
    assert {"TokenSet", "Schedule", "Watch", "open_run", "RunFile"} <= set(curvewatch.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Tokens'"):
        _ = curvewatch.Tokens


@pytest.mark.parametrize(
    "package",
    ["transformers", "lightning", "wandb", "accelerate", "xarray", "h5netcdf", "pandas", "datasets", "tokenizers",
     "tensorboard"],
)  # fmt: skip
def test_no_optional_package_is_missing(package: str) -> None:
    """A test that skips because a package is missing proves nothing, so its absence is a failure."""
    importlib.import_module(package)
