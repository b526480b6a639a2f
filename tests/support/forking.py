"""A watched training whose process forks while it goes on; a program, as its children end as Python ends.

Usage: python -m tests.support.forking KIND FOLDER

KIND is how the child comes to be and ends: "fork" (`os.fork`, then the end of the script), "commit" (the same, while
the parent is in the middle of a commit), "process" (`multiprocessing`) or "workers" (a DataLoader's).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from curvewatch import FileBusyError, Watch
from curvewatch.runfile import writer as runfile
from tests.support.models import PlainLM, random_tokens
from tests.support.trainings import Rows

IN_THE_WAY = """
import sys
from curvewatch import FileBusyError
from curvewatch.storage.journal import JournaledFile
try:
    JournaledFile(sys.argv[1])
except FileBusyError:
    sys.exit(7)
"""


def use_it_up(watch: Watch, model: PlainLM) -> None:
    """All that a child could do to the parent's file without meaning to; and what it may not."""
    assert watch.plan is None, "in a child the watch has not started"
    with pytest.raises(FileBusyError, match="another process"):
        watch.observe(model, 3)
    watch.flush()
    watch.close()
    gc.collect()


def wait_for(pid: int) -> None:
    """Waits for a child, which must end well."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"the child ended with {code}"


def main(kind: str, folder: Path) -> None:
    """Trains four steps, and has a child after the second; rows 0 to 4 are to be there in the end."""
    path, model = folder / "curves.h5", PlainLM()
    watch = Watch(random_tokens(), path, max_steps=4, schedule=1)
    for step in range(3):
        watch.observe(model, step)
    if kind == "fork":
        watch.flush()
        pid = os.fork()
        if pid == 0:
            use_it_up(watch, model)
            return  # the interpreter ends: atexit, garbage collection, HDF5's own clearing up
        wait_for(pid)
    if kind == "commit":
        inside, on, append = threading.Event(), threading.Event(), runfile.append_row

        def slow(*arguments: Any, **settings: Any) -> None:
            inside.set()
            on.wait(60)
            append(*arguments, **settings)

        watch.flush()
        runfile.append_row = slow
        watch.observe(model, 3)
        inside.wait(60)
        pid = os.fork()
        if pid == 0:
            watch.close()
            return
        wait_for(pid)
        on.set()
    if kind == "process":
        child = multiprocessing.get_context("fork").Process(target=use_it_up, args=(watch, model))
        child.start()
        child.join()
        assert child.exitcode == 0
    if kind == "workers":
        loader = DataLoader(Rows(8, seed=0), num_workers=2, multiprocessing_context="fork")
        assert len(list(loader)) == 8
    watch.flush()
    assert (folder / "curves.h5.journal").exists()
    other = subprocess.run([sys.executable, "-c", IN_THE_WAY, str(path)])
    assert other.returncode == 7, "the writer's lock is gone"
    for step in (3, 4):
        watch.observe(model, step)
    watch.finish(model, 4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]))
