"""System calls that fail: a full disk, a broken one, one file-size limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CALLS = ("pwrite", "ftruncate", "posix_fallocate", "fdatasync", "fsync", "open", "link", "unlink")


class Refusal:
    """How many calls were made, and whether one was refused."""

    calls = 0
    refused = ""


@contextmanager
def refusing(nth: int, error: int, lasting: bool = False, only: tuple[str, ...] = CALLS) -> Iterator[Refusal]:
    """Let the `nth` system call from now on fail; a refused write has first written half of its bytes.

    Args:
        nth: Counts only calls named in `only`, from 0.
        error: The errno, such as ENOSPC.
        lasting: Also all later calls fail, until the block ends. (To cut a file short never fails for lack of room.)
        only: The calls that count.
    """
    seen = Refusal()
    real = {name: getattr(os, name) for name in only}

    def fallible(name: str) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            now = seen.calls
            seen.calls += 1
            if now == nth or (lasting and now > nth and name != "ftruncate"):
                seen.refused = seen.refused or name
                if name == "pwrite" and len(args[1]) > 1:
                    real[name](args[0], memoryview(args[1])[: len(args[1]) // 2], args[2])
                raise OSError(error, os.strerror(error))
            return real[name](*args, **keywords)

        return call

    for name in only:
        setattr(os, name, fallible(name))
    try:
        yield seen
    finally:
        for name, function in real.items():
            setattr(os, name, function)
