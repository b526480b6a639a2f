"""What every test stands on besides the environment that conftest.py above sets: no leftovers, no silent skips."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A GPU test says aloud that it did not run; any other missing thing is a failure."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("NOT RUN: needs an accelerator, and this machine has none")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test leaves a run file open: its recorder would go on writing beside the next test."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == "curvewatch-recorder"]
    assert not left, f"{len(left)} run files were left open"
