"""A file system that passes everything through to a folder, and fails on demand: `python -m tests.faults.badfs`.

It runs in a process of its own. What is to fail stands in a JSON file outside the mount, a list of rules:

    ops     names of operations: write, fsync, truncate, fallocate, create, open, getattr, link, unlink, rename, read
    name    ending of the file's name; "" for all
    error   name of the errno; "" for none
    skip    how many of these operations go well first
    times   how many fail then; -1 for all
    delay   seconds before each
    short   true: a write takes half of what it is given, and says so
    inside  true: only writes before the end of the file
    stale   true: what is open at this moment is stale for ever (ESTALE), as after a server's restart

Each operation that a rule met is one line of the log. A second folder holds what would survive a power cut of the
server: what was written goes there when it is synced; what a failed sync was to save never does, as in Linux's page
cache, where the next sync says that all is well.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

STATUS = ("st_atime", "st_ctime", "st_gid", "st_ino", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")
NANOSECONDS = {f"st_{kind}time" for kind in "acm"}


class Rules:
    """What is to fail, read anew whenever the file changes."""

    def __init__(self, path: Path, log: Path) -> None:
        self._path, self._log = path, log
        self._read_at: tuple[int, int] | None = None
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.now_stale = 0

    def meet(self, operation: str, path: str, *, inside: bool = False) -> dict[str, Any] | None:
        """The rule that this operation falls under now, if any; `inside` the file or at its end."""
        with self._lock:
            status = self._path.stat()
            if (status.st_ino, status.st_mtime_ns) != self._read_at:
                self._read_at = status.st_ino, status.st_mtime_ns
                self._rules = json.loads(self._path.read_text())
                self.now_stale += any(rule.get("stale") for rule in self._rules)
            for rule in self._rules:
                if operation not in rule.get("ops", ()) or not path.endswith(rule.get("name", "")):
                    continue
                if rule.get("inside") and not inside:
                    continue
                rule["met"] = rule.get("met", 0) + 1
                n, times = rule["met"] - rule.get("skip", 0), rule.get("times", -1)
                if n >= 1 and (times < 0 or n <= times):
                    with open(self._log, "a") as log:
                        log.write(f"{operation} {path}\n")
                    return rule
            return None


class BadFileSystem(Operations):
    """Everything is done in `back`, and what is synced in `durable` as well."""

    use_ns = True

    def __init__(self, back: Path, durable: Path, rules: Rules, owner: int) -> None:
        self._owner = owner
        self._back, self._durable, self._rules = str(back), str(durable), rules
        self._unsynced: dict[int, list[tuple[int, int]]] = {}  # by inode: ranges written; (-1, n) is a new length
        self._stale: dict[int, int] = {}  # by handle: when it was opened, in restarts of the server
        self._turn = threading.RLock()

    def _at(self, path: str) -> str:
        return self._back + path

    @contextmanager
    def _may_fail(
        self, operation: str, path: str, handle: int | None = None, *, inside: bool = False
    ) -> Iterator[dict[str, Any]]:
        rule = self._rules.meet(operation, path, inside=inside) or {}
        if handle is not None and self._stale.get(handle, self._rules.now_stale) != self._rules.now_stale:
            raise FuseOSError(errno.ESTALE)
        time.sleep(rule.get("delay", 0))
        if rule.get("error"):
            raise FuseOSError(getattr(errno, rule["error"]))
        yield rule

    def _opened(self, handle: int) -> int:
        self._stale[handle] = self._rules.now_stale
        return handle

    # --- names: safe as soon as they are made, as on a server that keeps a journal

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        with self._may_fail("create", path):
            os.close(os.open(self._durable + path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode))
            return self._opened(os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode))

    def link(self, target: str, source: str) -> int:
        with self._may_fail("link", target):
            os.link(self._durable + source, self._durable + target)
            os.link(self._at(source), self._at(target))
            return 0

    def unlink(self, path: str) -> int:
        with self._may_fail("unlink", path):
            os.unlink(self._durable + path)
            os.unlink(self._at(path))
            return 0

    def rename(self, old: str, new: str) -> int:
        """Atomic; under a rule a copy and a removal, as object stores do it, that may end half way."""
        rule = self._rules.meet("rename", new)
        if rule is None:
            os.rename(self._durable + old, self._durable + new)
            os.rename(self._at(old), self._at(new))
            return 0
        for folder in (self._durable, self._back):
            content = Path(folder + old).read_bytes()
            half = len(content) // 2
            Path(folder + new).write_bytes(content[:half])
            if folder == self._back:
                time.sleep(rule.get("delay", 0))
            if not rule.get("error"):
                Path(folder + new).write_bytes(content)
                os.unlink(folder + old)
        if rule.get("error"):
            raise FuseOSError(getattr(errno, rule["error"]))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._durable + path, mode)
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._durable + path)
        os.rmdir(self._at(path))
        return 0

    def readdir(self, path: str, fh: int) -> list[Any]:
        found = [(one.name, {"st_ino": one.inode()}, 0) for one in os.scandir(self._at(path))]
        own = {"st_ino": os.stat(self._at(path)).st_ino}
        return [(".", own, 0), ("..", own, 0), *found]

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with self._may_fail("getattr", path, fh):
            status = os.fstat(fh) if fh is not None else os.lstat(self._at(path))
            found = {key: getattr(status, f"{key}_ns" if key in NANOSECONDS else key) for key in STATUS}
            return found | ({"st_uid": self._owner} if self._owner >= 0 else {})

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._at(path), ns=times)
        return 0

    # --- content

    def open(self, path: str, flags: int) -> int:
        with self._may_fail("open", path):
            return self._opened(os.open(self._at(path), flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._may_fail("read", path, fh):
            return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        inside = offset < os.fstat(fh).st_size
        with self._may_fail("write", path, fh, inside=inside) as rule, self._turn:
            data = data[: max(1, len(data) // 2)] if rule.get("short") else data
            self._changed(fh, offset, len(data))
            return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self._may_fail("truncate", path, fh), self._turn:
            handle = fh if fh is not None else os.open(self._at(path), os.O_RDWR)
            os.ftruncate(handle, length)
            self._changed(handle, -1, length)
            if fh is None:
                os.close(handle)
            return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        with self._may_fail("fallocate", path, fh), self._turn:
            if mode:
                raise FuseOSError(errno.EOPNOTSUPP)
            os.posix_fallocate(fh, offset, size)
            self._changed(fh, -1, os.fstat(fh).st_size)
            return 0

    def _changed(self, handle: int, offset: int, length: int) -> None:
        self._unsynced.setdefault(os.fstat(handle).st_ino, []).append((offset, length))

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        with self._turn:
            changed = self._unsynced.pop(os.fstat(fh).st_ino, [])  # whatever becomes of it: the pages count as clean
            with self._may_fail("fsync", path, fh), open(self._durable + path, "r+b") as safe:
                for offset, length in changed:
                    if offset < 0:
                        safe.truncate(length)
                    else:
                        safe.seek(offset)
                        safe.write(os.pread(fh, length, offset))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        with self._may_fail("fsyncdir", path):
            return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


def lockless(error: str) -> type[BadFileSystem]:
    """The file system without locks: asked for one it says `error`."""

    def refuse(*_: Any) -> int:
        raise FuseOSError(getattr(errno, error))

    return type("Lockless", (BadFileSystem,), {"lock": refuse, "flock": refuse})


def main() -> None:
    """Serves one mount until it is unmounted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mount", type=Path)
    parser.add_argument("home", type=Path, help="holds the folders back and durable, rules.json and met.txt")
    parser.add_argument("--locks", default="", help="the errno of locks; empty: there are locks")
    parser.add_argument("--cached", type=float, default=0.0, help="seconds for which attributes are believed")
    parser.add_argument("--owner", type=int, default=-1, help="who owns everything, by what is said")
    options = parser.parse_args()
    kind = lockless(options.locks) if options.locks else BadFileSystem
    rules = Rules(options.home / "rules.json", options.home / "met.txt")
    FUSE(
        kind(options.home / "back", options.home / "durable", rules, options.owner), str(options.mount),
        foreground=True, use_ino=True, hard_remove=True, big_writes=True,
        attr_timeout=options.cached, entry_timeout=options.cached,
    )  # fmt: skip


if __name__ == "__main__":
    main()
