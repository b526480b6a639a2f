"""What every test stands on: one thread, no network, no trackers. And the code on the pages, as tests.

Each Python and shell block of README.md and docs/ is a test, collected by sybil and run in the order of its page. The
blocks of a page share one namespace and one folder (tests/support/pages.py). Before a block that can't be run here,
since it installs something, say, stands `<!--- skip: next "why" -->`; the reason is in pytest's summary.
"""

from __future__ import annotations

import os
import sys

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

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from tests.support import pages

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("sh", pages.run_commands), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=pages.open_page,
    teardown=pages.close_page,
).pytest()
