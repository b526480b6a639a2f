"""kill -9, at random moments and at every single system call, of forked children."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

CALLS = ("pwrite", "ftruncate", "posix_fallocate", "fdatasync", "fsync", "open", "link", "unlink")


def in_child(work: Callable[[int], None], kill_after_s: float | None = None) -> tuple[bool, bytes]:
    """Run `work(fd)` in a forked child; return whether it was killed, and what it wrote to `fd`.

    With `kill_after_s`, it is killed so many seconds after it first wrote something.
    """
    child = Child(work)
    if kill_after_s is not None:
        child.first_word()
        time.sleep(kill_after_s)
        os.kill(child.pid, signal.SIGKILL)
    return child.wait()


class Child:
    """A forked child at work beside this process; fork it before other threads start."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self._end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._end)
                work(write_end)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(write_end)
        self._said = b""

    def first_word(self) -> None:
        """Wait until it has written something."""
        self._said += os.read(self._end, 1)

    def wait(self) -> tuple[bool, bytes]:
        """Wait until it ends; return whether it was killed, and what it wrote."""
        while more := os.read(self._end, 65536):
            self._said += more
        os.close(self._end)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed: see its traceback"
        return os.WIFSIGNALED(status), self._said


def arm(fatal: int) -> None:
    """Make this process kill itself at its system call number `fatal`; a write is killed half-way."""
    calls = 0

    def deadly(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > fatal:
                if name == "pwrite":
                    real(args[0], memoryview(args[1])[: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, deadly(name))
