"""Mounts of the file system that fails on demand, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = "operation not permitted"


class Mount:
    """A mounted folder and what rules it.

    Attributes:
        path: Where it is mounted.
        back: The folder behind it.
        durable: What would survive a power cut of the server.
    """

    def __init__(self, home: Path, path: Path) -> None:
        self.path, self.back, self.durable = path, home / "back", home / "durable"
        self._rules, self._met = home / "rules.json", home / "met.txt"

    def fail(self, ops: str, **rule: Any) -> None:
        """Lets operations fail from now on, as a rule of `badfs` says; `ops` are separated by blanks."""
        self.set([{"ops": ops.split(), **rule}])

    def set(self, rules: list[dict[str, Any]]) -> None:
        """Gives all rules anew."""
        self._met.write_text("")
        fresh = self._rules.with_suffix(".new")
        fresh.write_text(json.dumps(rules))
        os.replace(fresh, self._rules)

    def lift(self) -> None:
        """Lets all go well again."""
        met = self._met.read_text()
        self.set([])
        self._met.write_text(met)

    @property
    def met(self) -> int:
        """How many operations met the rules since they were given."""
        return self._met.read_text().count("\n")


@contextmanager
def mounted(home: Path, *options: str, shared: Mount | None = None) -> Iterator[Mount]:
    """A mount; with `shared`, a second one of the same folder, as on another machine.

    Where the machine has no /dev/fuse at all, or forbids root to mount (a container), the test is skipped, and says so.
    Else mounting must work.
    """
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this machine has no /dev/fuse, so no file system can be made to fail")
    path = home / ("mount" if shared is None else "reader")
    for folder in (path, home / "back", home / "durable"):
        folder.mkdir(exist_ok=shared is not None)
    mount = Mount(home, path)
    if shared is None:
        mount.set([])
    command = [sys.executable, "-m", "tests.faults.badfs", str(path), str(home), *options]
    with open(home / f"{path.name}.log", "w") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not os.path.ismount(path):
            said = (home / f"{path.name}.log").read_text()
            if server.poll() is not None and FORBIDDEN in said.lower():
                pytest.skip(f"this machine lets nobody mount a file system: {said.strip()[-200:]}")
            assert server.poll() is None, f"the file system can't be mounted (make fuse installs libfuse): {said}"
            assert time.monotonic() < deadline, f"the file system was not mounted in 20 s: {said}"
            time.sleep(0.01)
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
