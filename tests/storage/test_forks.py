"""Children that are forked while another thread is inside HDF5."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKS = """
import io
import os
import threading
import time
import h5py
from curvewatch.storage import objectfile

def work():
    while True:
        file = objectfile.open_on(io.BytesIO(), "w")
        dataset = file.create_dataset("x", (100,), "f4", chunks=(10,))
        for chunk in range(5):
            dataset[chunk * 10 : chunk * 10 + 10] = chunk
        objectfile.close(file)

threading.Thread(target=work, daemon=True).start()
for fork in range(200):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    deadline = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.write(1, b"fork %d hangs" % fork)
            os._exit(1)
        time.sleep(0.001)
os._exit(0)
"""


def test_no_child_waits_for_a_lock_that_nobody_holds() -> None:
    """h5py up to 3.13 leaves its lock taken in a child that was forked while a thread waited for it: hence 3.14."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


ENDS = """
import atexit
import io
import sys

import pytest
import threading
import time
from curvewatch.storage import objectfile

open_now = threading.Event()

def work():
    file = objectfile.open_on(io.BytesIO(), "w")
    file["x"] = 3
    open_now.set()
    time.sleep(600)

threading.Thread(target=work, daemon=True).start()
open_now.wait()
if sys.argv[1:] == ["left open"]:
    atexit.unregister(objectfile._close_all)
"""


@pytest.mark.parametrize("left_open", [False, True])
def test_a_process_that_ends_while_a_thread_has_a_file_open(left_open: bool) -> None:
    """HDF5 would close it when Python has ended already, and die of that: the control shows that it does."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS, *(["left open"] if left_open else [])], capture_output=True, timeout=120
    )
    assert (done.returncode == 0) is not left_open, done.stderr
