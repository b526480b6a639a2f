"""Ways to damage a run file: what disks and networks do, and what somebody would do who knows the format.

`mutate` makes one bad file from a good one; equal seeds make equal files. HDF5's checksums catch nearly all accidents,
so a third of the mutations repair the checksum of what they change, as somebody with evil intent would.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from h5py import h5p

from curvewatch.runfile import layout
from curvewatch.storage.hdf5.superblock import SIZE, lookup3

SIGNATURES = re.compile(
    rb"OHDR\x02|OCHK|FRHP\0|FHDB\0|FHIB\0|BTHD\0|BTLF\0|BTIN\0|EAHD\0|EAIB\0|EADB\0|EASB\0|FAHD\0|FADB\0|GCOL\x01|HEAP\0|TREE|SNOD\x01"
)
Rng = np.random.Generator
ENDS = (0, 1, 2, 4, 8, 16, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(good: bytes, path: Path, rng: Rng, blocks: list[tuple[int, int]]) -> str:
    """Write a damaged copy of `good` to `path` and return what was done."""
    kind = rng.choice(["bytes", "checksummed", "structure"], p=[0.3, 0.4, 0.3])
    if kind != "structure":
        raw = bytearray(good)
        what = _flip(raw, rng, blocks) if kind == "bytes" else _flip_and_mend(raw, rng, blocks)
        path.write_bytes(raw)
        return what
    path.write_bytes(good)
    done = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        try:
            with h5py.File(path, "r+", libver=("v110", "latest")) as file:
                change(file, rng)
        except Exception:
            continue  # an earlier change has left nothing to do it to
        done.append(change.__name__)
    return "structure: " + ", ".join(done)


# ---------------------------------------------------------------------- bytes


def _flip(raw: bytearray, rng: Rng, blocks: list[tuple[int, int]]) -> str:
    kind = rng.choice(["bits", "bytes", "zeros", "cut", "cut at block", "longer", "copied"])
    at, other = (int(x) for x in rng.integers(len(raw), size=2))
    if kind == "bits":
        for at in rng.integers(len(raw), size=int(rng.integers(1, 9))):
            raw[at] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        n = int(rng.integers(1, 65))
        raw[at : at + n] = rng.bytes(len(raw[at : at + n]))
    elif kind == "zeros":
        n = int(2 ** rng.integers(1, 13))
        raw[at : at + n] = bytes(len(raw[at : at + n]))
    elif kind == "cut":
        del raw[at:]
    elif kind == "cut at block":
        edges = sorted({0, 8, SIZE, *(edge for block in blocks for edge in block)})
        del raw[max(0, edges[int(rng.integers(len(edges)))] + int(rng.integers(-1, 2))) :]
    elif kind == "longer":
        raw += rng.bytes(int(rng.integers(1, 5000)))
    else:
        n = int(2 ** rng.integers(3, 11))
        piece = raw[other : other + n]
        raw[at : at + len(piece)] = piece
    return f"bytes: {kind}"


def _flip_and_mend(raw: bytearray, rng: Rng, blocks: list[tuple[int, int]]) -> str:
    """Change one to four bytes, or a number, in a metadata block, and repair its checksum."""
    names = []
    for _ in range(int(rng.choice([1, 2], p=[0.8, 0.2]))):
        start, stop = blocks[int(rng.integers(len(blocks)))]
        names.append(bytes(raw[start : start + 4]).decode("latin-1"))
        for _ in range(int(rng.choice([1, 2, 4], p=[0.7, 0.2, 0.1]))):
            at = int(rng.integers(start, stop))
            how = rng.integers(4)
            if how == 0:
                raw[at] ^= 1 << int(rng.integers(8))
            elif how == 1:
                raw[at] = int(rng.choice(ENDS))
            elif how == 2:
                raw[at] = (raw[at] + int(rng.integers(-2, 3))) % 256
            else:
                width = int(rng.choice([2, 4, 8]))
                number = int(rng.choice([0, 1, 255, 65535, 2**31 - 1, 2**32 - 1, 2**62, len(raw), start]))
                piece = number.to_bytes(8, "little")[:width]
                raw[at : at + width] = piece[: len(raw[at : at + width])]
        mend(raw, start, stop)
    return f"checksummed: {'+'.join(names)}"


def mend(raw: bytearray, start: int, stop: int) -> None:
    """Write the checksum that fits what the block holds now; older kinds of block have none."""
    kind = bytes(raw[start : start + 4])
    if kind in (b"GCOL", b"HEAP", b"TREE", b"SNOD"):
        return
    at = start + 17 if kind == b"FHDB" else stop - 4
    if kind == b"FHDB":
        raw[at : at + 4] = bytes(4)
        found = lookup3(bytes(raw[start:stop]))
    else:
        found = lookup3(bytes(raw[start:at]))
    raw[at : at + 4] = struct.pack("<I", found)


def find_blocks(good: bytes) -> list[tuple[int, int]]:
    """Return start and stop of each metadata block: where the checksum fits is the end."""
    blocks = [(0, SIZE)] if good[8] >= 2 else [(0, 96)]
    for match in SIGNATURES.finditer(good):
        start, kind = match.start(), match[0][:4]
        if kind in (b"GCOL", b"HEAP", b"TREE", b"SNOD"):
            blocks.append((start, start + 512))
            continue
        for length in _lengths(good, start, kind):
            trial = bytearray(good[start : start + length])
            mend(trial, 0, len(trial))
            if length <= len(good) - start and trial == good[start : start + length]:
                blocks.append((start, start + length))
                break
    return blocks


def _lengths(good: bytes, start: int, kind: bytes) -> list[int]:
    if kind == b"FHDB":
        return [2**i for i in range(8, 17)]
    if kind == b"OHDR":
        flags = good[start + 5]
        head = 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
        width = 1 << (flags & 3)
        size = int.from_bytes(good[start + head : start + head + width], "little")
        return [head + width + size + 4]
    return [*range(12, 700), 1024, 2048, 4096]


# ---------------------------------------------------------------------- structure


def _some(file: h5py.File, rng: Rng) -> tuple[h5py.Group, str]:
    """A set's group, or that of what was trained on, and the name of one of its datasets."""
    sets = json.loads(file.attrs["sets"])
    group = file if len(sets) == 1 else file[sets[int(rng.integers(len(sets)))]]
    if layout.TRAINED_ON in file and rng.random() < 0.2:
        group = file[layout.TRAINED_ON]
    names = [one.name for one in (*layout.DATASETS, *layout.TRAINED_ON_DATASETS) if one.name in group]
    return group, names[int(rng.integers(len(names)))]


def _replace(file: h5py.File, rng: Rng, make: Callable[[h5py.Group, str, h5py.Dataset], object]) -> None:
    group, name = _some(file, rng)
    old = group[name]
    del group[name]
    make(group, name, old)


def other_type(file: h5py.File, rng: Rng) -> None:
    types = [
        "i1", "u8", "f8", ">f4", "S7", "V16", "c8", h5py.ref_dtype, h5py.regionref_dtype, h5py.string_dtype(),
        h5py.vlen_dtype("i4"), h5py.enum_dtype({"a": 1}), np.dtype([("a", "i4"), ("b", "f8")]), np.dtype(("i4", (3,))),
        h5py.vlen_dtype(h5py.vlen_dtype("f4")), h5py.opaque_dtype("M8[s]"), "f16", "bool",
    ]  # fmt: skip
    kind = types[int(rng.integers(len(types)))]
    _replace(file, rng, lambda group, name, old: group.create_dataset(name, old.shape, kind))


def huge_shape(file: h5py.File, rng: Rng) -> None:
    n = int(rng.choice([10**6, 10**9, 2**40, 2**62]))

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        shape = (n, *old.shape[1:]) if rng.random() < 0.5 else (*old.shape[:-1], n)
        compression = "gzip" if rng.random() < 0.5 else None
        chunks, maxshape = (16,) * len(shape), (None,) * len(shape)
        group.create_dataset(name, shape, old.dtype, chunks=chunks, maxshape=maxshape, compression=compression)

    _replace(file, rng, make)


def huge_everything(file: h5py.File, rng: Rng) -> None:
    group, _ = _some(file, rng)
    n = int(rng.choice([10**8, 2**40]))
    for dataset in layout.DATASETS:
        if dataset.dims[-1] == "token" and dataset.name in group:
            old = group[dataset.name]
            shape, kind = (*old.shape[:-1], n), old.dtype
            del group[dataset.name]
            group.create_dataset(
                dataset.name, shape, kind, chunks=(16,) * len(shape), maxshape=(None,) * len(shape), compression="gzip"
            )


def huge_chunks(file: h5py.File, rng: Rng) -> None:
    n = int(rng.choice([2**20, 2**27, 2**29]))

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        maxshape, chunks = (None,) * old.ndim, (n,) + (1,) * (old.ndim - 1)
        group.create_dataset(name, old.shape, old.dtype, maxshape=maxshape, chunks=chunks)

    _replace(file, rng, make)


def other_rank(file: h5py.File, rng: Rng) -> None:
    shape: tuple[int, ...] | None = [(), (3,), (3, 4), (2, 3, 4), (1,) * 32, None][int(rng.integers(6))]
    _replace(
        file, rng, lambda group, name, old: group.create_dataset(name, dtype=old.dtype, data=h5py.Empty(old.dtype))
        if shape is None else group.create_dataset(name, shape, old.dtype)
    )  # fmt: skip


def other_length(file: h5py.File, rng: Rng) -> None:
    group, name = _some(file, rng)
    by = int(rng.integers(-2, 3))
    old = group[name]
    if old.maxshape[0] is None:
        old.resize(max(0, old.shape[0] + by), axis=0)
    else:
        shape, kind = (max(0, old.shape[0] + by), *old.shape[1:]), old.dtype
        del group[name]
        group.create_dataset(name, shape, kind, maxshape=(None,) * len(shape))


def link_away(file: h5py.File, rng: Rng) -> None:
    holder, name = _some(file, rng)
    if rng.random() < 0.3:
        holder, name = file, str(rng.choice([layout.PROVENANCE, *(n for n in file if isinstance(file[n], h5py.Group))]))
    del holder[name]
    links = [h5py.ExternalLink("outside.h5", "/step"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/step"),
             h5py.SoftLink(f"/{name}"), h5py.SoftLink("/nowhere"), h5py.ExternalLink(".", "/"),
             h5py.ExternalLink(Path(file.filename).name, "/position")]  # fmt: skip
    holder[name] = links[int(rng.integers(len(links)))]


def cycle(file: h5py.File, rng: Rng) -> None:
    holder, name = _some(file, rng)
    if rng.random() < 0.5:
        del holder[name]
        holder[name] = file["/"]
    else:
        holder["loop"] = file["/"]
        file.attrs["sets"] = json.dumps(["/".join(["loop"] * int(rng.integers(1, 2000))), "loop"])


def external_storage(file: h5py.File, rng: Rng) -> None:
    target = str(rng.choice(["outside.raw", "/etc/passwd", "/dev/zero"]))

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        group.create_dataset(name, old.shape, old.dtype, external=[(target, 0, h5py.h5f.UNLIMITED)])

    _replace(file, rng, make)


def virtual(file: h5py.File, rng: Rng) -> None:
    source_name = str(rng.choice(["outside.h5", ".", "/etc/passwd"]))

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        view = h5py.VirtualLayout(old.shape, old.dtype, maxshape=(None, *old.shape[1:]))
        source = h5py.VirtualSource(source_name, "step", shape=old.shape, maxshape=(None, *old.shape[1:]))
        part = slice(0, h5py.h5s.UNLIMITED) if rng.random() < 0.5 else slice(None)
        view[part] = source[part]
        group.create_virtual_dataset(name, view)

    _replace(file, rng, make)


def plugin_filter(file: h5py.File, rng: Rng) -> None:
    code = int(rng.choice([256, 305, 307, 32001, 32004, 32013, 32015, 65535]))

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((4,) * old.ndim)
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        space = h5py.h5s.create_simple(old.shape, (h5py.h5s.UNLIMITED,) * old.ndim)
        made = h5py.h5d.create(group.id, name.encode(), old.id.get_type(), space, plist)
        made.write_direct_chunk((0,) * old.ndim, rng.bytes(64))

    _replace(file, rng, make)


def packed_badly(file: h5py.File, rng: Rng) -> None:
    """Good filters over bytes that are not what they wrote."""
    options = [{"compression": "gzip"}, {"compression": "lzf"}, {"scaleoffset": 3}, {"fletcher32": True},
               {"compression": "gzip", "shuffle": True, "fletcher32": True}]  # fmt: skip

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        fitting = [one for one in options if old.dtype.kind in "iuf" or "scaleoffset" not in one]
        chosen = fitting[int(rng.integers(len(fitting)))]
        shape = tuple(max(1, n) for n in old.shape)
        made = group.create_dataset(name, old.shape, old.dtype, chunks=shape, maxshape=(None,) * old.ndim, **chosen)
        if old.size > 10**6:
            raise ValueError("another change has made it huge")
        made[:] = old[:]
        file.flush()
        mask, raw = made.id.read_direct_chunk((0,) * old.ndim)
        changed = bytearray(raw)
        for _ in range(int(rng.integers(1, 5))):
            changed[int(rng.integers(min(len(changed), 64)))] = int(rng.integers(256))
        made.id.write_direct_chunk((0,) * old.ndim, bytes(changed[: int(rng.integers(1, len(changed) + 1))]), mask)

    _replace(file, rng, make)


def bomb(n_bytes: int) -> bytes:
    """What gzip would unpack to so many zeros; a piece of it, repeated."""
    packer = zlib.compressobj(9)
    piece = bytes(4 << 20)
    first, again = (packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (n_bytes // len(piece) - 1)


def gzip_bomb(file: h5py.File, rng: Rng) -> None:
    """2 MiB in the file, 2 GiB unpacked, in a chunk of 4 MiB or more."""

    def make(group: h5py.Group, name: str, old: h5py.Dataset) -> None:
        chunks = tuple(max(1, n) for n in old.shape)
        chunks = (1 << 20, *chunks[1:]) if old.dtype.kind in "iuf" else chunks
        made = group.create_dataset(
            name, old.shape, old.dtype, chunks=chunks, maxshape=(None,) * old.ndim, compression="gzip"
        )
        made.id.write_direct_chunk((0,) * old.ndim, bomb(2 << 30))

    _replace(file, rng, make)


def text_bomb(file: h5py.File, rng: Rng) -> None:
    """A million texts, all of them the same megabyte."""
    n = 1 << 16
    scratch = file.create_dataset("scratch", (1,), h5py.string_dtype(), chunks=(1,))
    scratch[0] = "x" * (1 << 20)
    file.flush()
    reference = scratch.id.read_direct_chunk((0,))[1]
    group = file[layout.PROVENANCE]
    del group["sessions"]
    made = group.create_dataset("sessions", (n,), h5py.string_dtype(), chunks=(n,), maxshape=(None,))
    made.id.write_direct_chunk((0,), reference * n)


def _attribute(file: h5py.File, rng: Rng, value: object) -> None:
    group, _ = _some(file, rng)
    holder, names = [(file, [*layout.ROOT_ATTRIBUTES]), (group, [*layout.SET_ATTRIBUTES])][int(rng.integers(2))]
    names = [name for name in names if name in holder.attrs]  # a file of ids has no `texts`
    name = names[int(rng.integers(len(names)))]
    del holder.attrs[name]
    if value is not None:
        holder.attrs[name] = value


def other_attribute(file: h5py.File, rng: Rng) -> None:
    values = [None, 0, -1, 2**63, 1e300, np.nan, "", "eval", b"\xed\xa0\x80", b"a\0b", b"\xff\xfe",
              np.zeros((3, 3)), np.zeros(0), h5py.Empty("f4"), np.void(b"\x80\x04pickle"), file["/"].ref, ["a", "b"],
              True, np.zeros(7000), "null", "[]", "{}", "[1]", "[[]]", '["eval", "eval"]', "[null]", '["../x", "/"]',
              np.array((1, 2.0), dtype=[("a", "i4"), ("b", "f8")])]  # fmt: skip
    _attribute(file, rng, values[int(rng.integers(len(values)))])


def json_bomb(file: h5py.File, rng: Rng) -> None:
    n = int(rng.choice([1000, 20_000]))
    bombs = ["[" * n + "]" * n, '{"a":' * n + "1" + "}" * n, "9" * n, "[" + "[]," * n + "[]]", "-" * n,
             json.dumps(["x" * n]), '["\\ud800"]', json.dumps([f"s{i}" for i in range(n)]), "1e99999", "NaN",
             json.dumps(["\0" * n])]  # fmt: skip
    _attribute(file, rng, bombs[int(rng.integers(len(bombs)))])


def huge_attribute(file: h5py.File, rng: Rng) -> None:
    _attribute(file, rng, "x" * int(rng.choice([10**5, 1 << 20, 17 << 20], p=[0.6, 0.3, 0.1])))


def other_version(file: h5py.File, rng: Rng) -> None:
    versions = [0, 2, 99, -1, 2**62, "2", 1.5, np.array([1, 1])]
    file.attrs["format_version"] = versions[int(rng.integers(len(versions)))]


def other_values(file: h5py.File, rng: Rng) -> None:
    group, name = _some(file, rng)
    data = group[name]
    if data.size > 10**6:
        raise ValueError("another change has made it huge")
    if data.dtype.kind in "iuf":
        raw = bytearray(np.ascontiguousarray(data[:]).tobytes())
        for at in rng.integers(max(1, len(raw)), size=3 if raw else 0):
            raw[at] = int(rng.choice(ENDS))
        data[:] = np.frombuffer(raw, data.dtype).reshape(data.shape)
    else:
        data[:] = rng.bytes(9)


def other_session(file: h5py.File, rng: Rng) -> None:
    texts = [b"", b"[1]", b"\xff\xfe", b"{", b"[" * 50_000, b"null", b'{"a": 1}']
    file[layout.PROVENANCE]["sessions"][0] = texts[int(rng.integers(len(texts)))]


def missing(file: h5py.File, rng: Rng) -> None:
    group, name = _some(file, rng)
    if rng.random() < 0.2:
        group, name = file, layout.PROVENANCE
    del group[name]


def unknown(file: h5py.File, rng: Rng) -> None:
    """What a later version, or a user, may have added: none of our business, wherever it leads."""
    group, _ = _some(file, rng)
    group["elsewhere"] = h5py.ExternalLink("outside.h5", "/")
    group.attrs["note"] = np.void(b"\0" * 100)
    group.create_dataset("extra", (2**40,), "f8", chunks=(1 << 20,))
    group.create_group("more")["loop"] = group


def packed_group(file: h5py.File, rng: Rng) -> None:
    plist = h5p.create(h5p.GROUP_CREATE)
    filters = h5p.PropDCID(plist.id)
    filters.locked = True
    filters.set_filter(int(rng.choice([1, 32015])), h5py.h5z.FLAG_OPTIONAL, (3,))
    sessions = file[layout.PROVENANCE]["sessions"]
    del file[layout.PROVENANCE]
    made = h5py.Group(h5py.h5g.create(file.id, layout.PROVENANCE.encode(), gcpl=plist))
    made["sessions"] = sessions


CHANGES: list[Callable[[h5py.File, Rng], None]] = [
    other_type, other_type, huge_shape, huge_everything, huge_chunks, other_rank, other_length, link_away, link_away,
    cycle, external_storage, virtual, plugin_filter, packed_badly, packed_badly, gzip_bomb, text_bomb, other_attribute,
    other_attribute, json_bomb, huge_attribute, other_version, other_values, other_session, missing, unknown,
    packed_group,
]  # fmt: skip
