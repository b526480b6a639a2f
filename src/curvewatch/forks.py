"""What a forked child does with what it has from its parent: it waits for no thread that is not there, writes nothing.

A DataLoader's worker, accelerate's launchers and `multiprocessing` fork. The child has copies of the parent's objects,
but not of its threads; a lock that one of them held at that moment would never be free again.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """What has to be told."""

    def forsake(self) -> None:
        """Lets go of locks, threads and files, which are the parent's; it may wait for nothing."""


_all: list[weakref.ref[Inherited]] = []


def tell_in_child(one: Inherited) -> None:
    """From now on `one` hears of it when it finds itself in a forked child; it may be forgotten before."""
    _all[:] = [known for known in _all if known() is not None]
    _all.append(weakref.ref(one))


def _in_child() -> None:
    # Parts are younger than the wholes that they are in. A whole that lets go of a part must not wait for its lock.
    for reference in reversed(_all):
        one = reference()
        if one is not None:
            one.forsake()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
