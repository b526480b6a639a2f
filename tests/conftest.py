"""What every test stands on: one thread, no network, no trackers, no leftovers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest

# Before torch is imported: tiny models are fastest on one thread, and sums come in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    WANDB__EXECUTABLE=sys.executable,
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    TRANSFORMERS_VERBOSITY="error",
)
# Nor the width of a terminal that none of these is written to: processes beside this one are given 80 columns.
os.environ.pop("COLUMNS", None)


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
