"""Power cuts: every system call is noted, and the states are rebuilt that a cut could leave on the disk.

What was written before the last completed sync of a file is there. Of what came later, each sector of 512 bytes
shows any moment since (the kernel writes pages back when it likes), or, in the harsher model, each write is there,
absent, or torn at any byte. The same for lengths, and for names since the last sync of the directory.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SECTOR = 512


class Op(NamedTuple):
    """One call: what it did, to which inode, and with what."""

    kind: str
    inode: int
    args: tuple[Any, ...] = ()


class Recorder:
    """The calls that a piece of work made in one directory, and what was there before."""

    def __init__(self, directory: Path) -> None:
        self.ops: list[Op] = []
        self._directory = directory
        self.contents: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        for path in directory.iterdir():
            self.contents[path.stat().st_ino] = path.read_bytes()
            self.names[path.name] = path.stat().st_ino

    def mark(self, what: str) -> None:
        """Note that from here on the caller has been promised something."""
        self.ops.append(Op("mark", 0, (what,)))

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Note all calls of this process while the block runs."""
        real = {
            name: getattr(os, name)
            for name in ("open", "pwrite", "ftruncate", "posix_fallocate", "fdatasync", "fsync", "link", "unlink")
        }
        directory = os.path.realpath(self._directory)

        def inode(fd: int) -> int:
            return os.fstat(fd).st_ino

        def is_ours(path: Any) -> bool:
            return os.path.dirname(os.fspath(path)) == directory

        def open_(path: Any, flags: int, mode: int = 0o777, **keywords: Any) -> int:
            new = is_ours(path) and not os.path.lexists(path)
            fd: int = real["open"](path, flags, mode, **keywords)
            if new:
                self.ops.append(Op("name", inode(fd), (os.path.basename(path),)))
            return fd

        def pwrite(fd: int, data: Any, offset: int) -> int:
            n: int = real["pwrite"](fd, data, offset)
            self.ops.append(Op("write", inode(fd), (offset, bytes(data)[:n])))
            return n

        def ftruncate(fd: int, size: int) -> None:
            real["ftruncate"](fd, size)
            self.ops.append(Op("length", inode(fd), (size,)))

        def fallocate(fd: int, offset: int, length: int) -> None:
            real["posix_fallocate"](fd, offset, length)
            self.ops.append(Op("grow", inode(fd), (offset + length,)))

        def fdatasync(fd: int) -> None:
            real["fdatasync"](fd)
            self.ops.append(Op("sync", inode(fd)))

        def fsync(fd: int) -> None:
            real["fsync"](fd)
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                self.ops.append(Op("sync names", 0))
                return
            # Python's buffered files write past us: take the whole content as of now.
            content = os.pread(fd, os.fstat(fd).st_size, 0)
            self.ops += [Op("whole", inode(fd), (content,)), Op("sync", inode(fd))]

        def link(source: Any, target: Any) -> None:
            real["link"](source, target)
            self.ops.append(Op("name", os.stat(target).st_ino, (os.path.basename(target),)))

        def unlink(path: Any) -> None:
            real["unlink"](path)
            if is_ours(path):
                self.ops.append(Op("unname", 0, (os.path.basename(path),)))

        fakes: dict[str, Callable[..., Any]] = {
            "open": open_,
            "pwrite": pwrite,
            "ftruncate": ftruncate,
            "posix_fallocate": fallocate,
            "fdatasync": fdatasync,
            "fsync": fsync,
            "link": link,
            "unlink": unlink,
        }
        for name, fake in fakes.items():
            setattr(os, name, fake)
        try:
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)


def _apply(content: bytearray, op: Op) -> None:
    if op.kind == "write":
        offset, data = op.args
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
    elif op.kind == "length":
        (size,) = op.args
        del content[size:]
        content.extend(bytes(size - len(content)))
    elif op.kind == "grow":
        content.extend(bytes(max(0, op.args[0] - len(content))))
    elif op.kind == "whole":
        content[:] = op.args[0]


def _after_cut(base: bytes, volatile: list[Op], rng: random.Random) -> bytes:
    """Return what may be left of a file that held `base` safely, with `volatile` on the way."""
    model = rng.choice(("none", "all", "sectors", "sectors", "torn", "torn"))
    if model == "none":
        return base
    content = bytearray(base)
    if model == "all":
        for op in volatile:
            _apply(content, op)
        return bytes(content)
    if model == "sectors":
        moments = [bytes(base)]
        for op in volatile:
            _apply(content, op)
            moments.append(bytes(content))
        length = len(rng.choice(moments))
        out = bytearray(length)
        for at in range(0, length, SECTOR):
            sector = rng.choice(moments)[at : at + SECTOR]
            out[at : at + len(sector)] = sector
        return bytes(out[:length])
    for op in volatile:
        fate = rng.random()
        if fate < 0.4:
            continue
        if op.kind == "write" and fate < 0.7:
            offset, data = op.args
            start = rng.randrange(len(data) + 1)
            stop = rng.randrange(start, len(data) + 1)
            op = Op("write", op.inode, (offset + start, data[start:stop]))
        _apply(content, op)
    return bytes(content)


def cut(recorder: Recorder, at: int, rng: random.Random) -> tuple[dict[str, bytes], list[str]]:
    """Return a directory as a power cut before call number `at` may leave it, and what was promised by then."""
    ops = recorder.ops[:at]
    inodes = {op.inode for op in ops if op.inode} | set(recorder.contents)
    contents = {}
    for inode in inodes:
        own = [op for op in ops if op.inode == inode and op.kind not in ("name",)]
        synced = max((i + 1 for i, op in enumerate(own) if op.kind == "sync"), default=0)
        base = bytearray(recorder.contents.get(inode, b""))
        for op in own[:synced]:
            _apply(base, op)
        contents[inode] = _after_cut(bytes(base), [op for op in own[synced:] if op.kind != "sync"], rng)
    names = dict(recorder.names)
    last = max((i + 1 for i, op in enumerate(ops) if op.kind == "sync names"), default=0)
    for i, op in enumerate(ops):
        if i >= last and op.kind in ("name", "unname") and rng.random() < 0.5:
            continue
        if op.kind == "name":
            names[op.args[0]] = op.inode
        elif op.kind == "unname":
            names.pop(op.args[0], None)
    promised = [op.args[0] for op in ops if op.kind == "mark"]
    return {name: contents[inode] for name, inode in names.items()}, promised


def rebuild(directory: Path, files: dict[str, bytes]) -> None:
    """Write such a state to disk."""
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
