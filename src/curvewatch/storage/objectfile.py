"""HDF5 files on Python objects, all of them closed before Python ends.

What is open when a process ends, HDF5 closes itself. Python has ended by then, so that the object under the file can't
be asked any more, and the process dies of signal 11. That would befall a program that ends while a thread has a file
open, and a child that was forked meanwhile: it has the file, but not the thread that would close it.
"""

from __future__ import annotations

import atexit
import logging
import os
from contextlib import nullcontext
from typing import Any

import h5py

from curvewatch.storage.filelock import h5py_lock

_log = logging.getLogger("curvewatch")
_open: dict[int, h5py.File] = {}


def open_on(stream: object, mode: str, **settings: Any) -> h5py.File:
    """Return an HDF5 file whose bytes a Python object has; for `close` or `close_quietly`.

    Args:
        stream: The object. It must keep in memory what it is given: a forked child writes, too, when it closes it.
        mode: As h5py's.
        settings: h5py's others.
    """
    # h5py holds its lock over a fork: so a child knows of every file that it has.
    with h5py_lock() or nullcontext():
        file = h5py.File(stream, mode, **settings)
        _open[id(file)] = file
    return file


def close(file: h5py.File) -> None:
    """Close it; a second call does nothing."""
    file.close()
    _open.pop(id(file), None)


def close_quietly(file: h5py.File) -> None:
    """Close, whatever happens: the file is read-only, or its changes are given up."""
    try:
        close(file)
    except Exception as error:
        _log.debug("closing: %s", error)


def _close_all() -> None:
    for file in tuple(_open.values()):
        close_quietly(file)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_close_all)
