"""Writing a file so that its name leads to the old one or the new one, and never to half of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from curvewatch.storage.diskio import BLOCK


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; in the end it takes the place of what stands at `path`, unless writing failed."""
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Give a file another name, which no file has yet.

    Where a rename is a copy, as in an object store, it may end half way: that half does not stay.

    Raises:
        OSError: It has its old name, and the new one is free.
    """
    try:
        os.rename(old, new)
    except OSError:
        with suppress(OSError):
            if _begins(old, new):
                os.unlink(new)
        raise


def _begins(whole: str | os.PathLike[str], part: str | os.PathLike[str]) -> bool:
    """Whether a file is the beginning of another one."""
    with open(whole, "rb") as one, open(part, "rb") as other:
        while content := other.read(BLOCK):
            if one.read(len(content)) != content:
                return False
    return not os.path.samefile(whole, part)
