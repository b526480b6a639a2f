"""Opens damaged run files as a user would: `python -m tests.faults.fuzz_opening [--files 100000] [--seed 0]`.

Files are made by `mutations` from good ones of several kinds and opened in a worker process with little memory. Every
file must be refused with an exception of curvewatch's own, or read; a worker that crashes or hangs is seen by its
parent, which names the file, keeps a copy in the folder for temporary files, and goes on with the next. Nothing
but the file and what stands beside it may be opened.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path

import h5py
import numpy as np

from curvewatch import TokenSet, open_run
from curvewatch.errors import CurvewatchError, RunFileError
from curvewatch.observation import Observation, Sample
from curvewatch.runfile.records import Row, RunPlan, SetRecord, TrainedPart
from curvewatch.runfile.writer import RunFile
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.labels import originals_of
from curvewatch.tokens.passages import Passages
from curvewatch.tokens.spans import Spans
from tests.faults.mutations import find_blocks, mutate

MEMORY_BYTES = 2 << 30
"""What a worker may take besides what it has when the first file is opened."""
SECONDS = 10.0
"""For one file; a good one takes about 20 ms."""
BATCH = 1000
"""Files a worker: memory that HDF5 has overwritten must not spoil the rest."""
STEPS = (0, 10, 20, 30, 40)
N = 60


def records(n_sets: int = 1, texts: bool = True, objective: str = "causal") -> dict[str, SetRecord]:
    sets = {}
    for k in range(n_sets):
        sequences = np.random.default_rng(k).integers(0, 50, (12, 8))
        names = {i: f"word{i}" for i in range(50)} if texts else None
        tokens = TokenSet.from_sequences(sequences, per_sequence=N // 12, seed=k, vocab_size=50)
        if names:
            tokens = TokenSet(tokens.ids, tokens.starts, tokens.sequence_index, tokens.position, 50, vocabulary=names)
            originals = originals_of(tokens)
            spans = Spans(
                np.array([0, 3, 3], np.int32), np.array([3, 2, 9], np.int32), ("span",) * 3, ("a", "b", "c"), ("",) * 3,
                np.full(3, -1, np.int32), ("",) * 3, np.zeros(3, bool),
            )  # fmt: skip
            tokens = tokens.with_annotations(Annotations(originals, originals.n_bytes(tokens.scored), {}, spans))
            tokens = tokens.label("four", "4").label("position")
        if objective == "masked":
            tokens = tokens.masked("masked_in_3", mask=49)
        if objective == "seq2seq":
            rows, places = [tokens.sequence(s) for s in range(12)], tokens.position.reshape(12, -1)
            tokens = TokenSet.from_sequences(rows, places, encoder_ids=sequences[:, :5], vocab_size=50)
        sets[f"set {k}"] = SetRecord(tokens, 64, {"road": "plain", "batch_size": 8}, dropout=objective == "masked")
    return sets


class ByBytes:
    """A tokenizer, since passages ask for one."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(ids).decode()

    def __len__(self) -> int:
        return 256


PASSAGES = Passages({"one": "a passage", "other": "another one"}, ByBytes())
PLAN = RunPlan(40, np.array(STEPS), "every 10", {"host": "fuzz", "seed": 0}, passages=PASSAGES, batches=True)
KINDS = {
    "one set": (1, True),
    "ids only": (1, False),
    "two sets": (2, True),
    "packed": (1, True),
    "other indexes": (1, False),
    "old HDF5": (1, False),
    "masked": (1, False, "masked"),
    "seq2seq": (1, False, "seq2seq"),
}


def build(path: Path, kind: str) -> None:
    """Make a good file: as curvewatch writes it, or rewritten by another program.

    That is packed, or with all the kinds of index HDF5 has, or in HDF5's first format, which has no checksums.
    """
    sets = records(*KINDS[kind])
    file = RunFile.start(path, sets, PLAN, -1)
    rng, last = np.random.default_rng(0), 0
    for step in STEPS:
        made = {name: Observation(rng.random(N, np.float32) * 9, rng.random(N) < 0.5, rng.random(N)) for name in sets}
        file.append(Row(step, 0.1, 1e9 + step, made))
        if step % 20 == 0:
            file.add_samples([Sample(step, 0, " and", (3, 1), 0, prompt="Once"), Sample(step, 1, "", (), 0, "eos")])
        if step:
            there, prints = np.array([step]), np.array([step], np.uint64)
            file.add_trained(TrainedPart(last, step, True, there, there * 0, there * 0 + 1, there, prints, there))
            last = step
    file.skip(35, "budget")
    file.close()
    if kind in ("packed", "other indexes", "old HDF5"):
        repack(path, kind)


def repack(path: Path, kind: str) -> None:
    other, packed, indexes = path.with_suffix(".repacked"), kind == "packed", kind == "other indexes"
    options = {"surprisal": {"compression": "gzip", "shuffle": True, "dtype": "f2"},
               "entropy": {"scaleoffset": 3, "compression": "gzip", "dtype": "f4"},
               "correct": {"compression": "lzf", "fletcher32": True}}  # fmt: skip

    def copy(old: h5py.Group, new: h5py.Group) -> None:
        new.attrs.update(old.attrs)
        for name, item in old.items():
            if isinstance(item, h5py.Group):
                copy(item, new.create_group(name, track_order=indexes))
                continue
            kept = {"dtype": item.dtype, "compression": item.compression, "shuffle": item.shuffle or None}
            chosen = options[name] if packed and name in options else kept
            if item.shape != ():
                chosen = {**chosen, "chunks": item.chunks, "maxshape": item.maxshape}
            if indexes and item.ndim == 2:  # a tree, packed and not
                chosen = {**chosen, "chunks": (2, 4), "maxshape": (None, None)}
            elif indexes and item.shape == item.maxshape != ():  # an array of fixed length
                chosen = {
                    **chosen,
                    "chunks": (min(4, item.shape[0]),),
                    "compression": None if name == "target" else chosen["compression"],
                }
            new.create_dataset(name, data=item[()], **{k: v for k, v in chosen.items() if v is not None})

    # Dimension scales are left out: they say nothing that the names don't.
    libver = ("earliest" if kind == "old HDF5" else "v110", "latest")
    with h5py.File(path) as old, h5py.File(other, "w", libver=libver, track_order=indexes) as new:
        copy(old, new)
        if indexes:
            new.attrs["note"] = np.zeros(1000)  # too long for a heap's block
    other.replace(path)


def use(path: Path) -> None:
    """What a user does with a file; raises what a user would see."""
    try:
        run = open_run(path, "set 1" if path.name.startswith("two") else None)
    except KeyError as error:
        if not str(error.args[0]).startswith("set_name"):  # it has other sets, and the user was to name one
            raise
        return
    steps, tokens, _, _, _ = run.steps, run.tokens, run.sessions, run.samples, run.trained
    if len(steps) and run.n_tokens:
        _ = run.surprisal[-1], run.surprisal[:, len(tokens) // 2], run.correct[0], run.entropy[:, 0]
    _ = run.max_steps, run.schedule, run.planned_steps, run.chance, len(run)
    RunFile.start(path, _records_of(path), PLAN, 40).close()


def _records_of(path: Path) -> dict[str, SetRecord]:
    kind = path.stem
    if kind not in _records:
        _records[kind] = records(*KINDS[kind])
    return _records[kind]


_records: dict[str, dict[str, SetRecord]] = {}


# ---------------------------------------------------------------------- worker

Bases = dict[str, tuple[bytes, list[tuple[int, int]]]]


def attempt(seed: int, i: int, bases: Bases, folder: Path) -> tuple[str, str]:
    """Make file `i`, use it, and return what came of it and what had been done."""
    rng = np.random.default_rng([seed, i])
    kind = list(bases)[int(rng.integers(len(bases)))]
    path = folder / f"{kind}.h5"
    try:
        what = mutate(bases[kind][0], path, rng, bases[kind][1])
        print("made", i, f"{kind}; {what}".replace("\n", " "), flush=True)  # if it crashes, this is known
        _watch(folder)
        try:
            try:
                use(path)
            finally:
                outside = _unwatch()
            result = "read fine"
        except CurvewatchError as error:
            result = "refused"
            if str(path) not in str(error):
                result = f"WRONG message, which doesn't name the file: {error}"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            place = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in where if "curvewatch" in frame.filename]
            result = f"WRONG {type(error).__name__}: {str(error)[:150]} at {' '.join(place[-3:])}"
        if outside:
            result = f"OUTSIDE {outside}"
        return result, f"{kind}; {what}"
    finally:
        for left in folder.iterdir():
            left.unlink()


_watched: Path | None = None
_outside: list[str] = []


def _watch(folder: Path) -> None:
    global _watched
    _watched = folder
    _outside.clear()


def _unwatch() -> list[str]:
    global _watched
    _watched = None
    return list(_outside)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _watched is None:
        return
    if event == "open":
        path = arguments[0]
        if isinstance(path, (str, bytes)) and not os.fsdecode(path).startswith(str(_watched)):
            _outside.append(f"open {path!r}")
    elif event.split(".")[0] in ("exec", "import", "ctypes", "subprocess", "os.system", "socket", "pickle", "marshal"):
        _outside.append(f"{event} {str(arguments)[:100]}")


def work(seed: int, numbers: Iterable[int], folder: Path) -> None:
    """Try files one by one, saying so before and after each."""
    logging.getLogger("curvewatch").setLevel(logging.CRITICAL)
    for left in folder.iterdir():  # by a worker that crashed
        left.unlink()
    bases = {}
    for kind in KINDS:
        good = folder / f"{kind}.h5"
        raw = (folder.parent / good.name).read_bytes()
        good.write_bytes(raw)
        with suppress(RunFileError) if kind == "old HDF5" else nullcontext():  # which can be read, but not written
            use(good)  # and whatever is imported when first needed is imported now
        bases[kind] = raw, json.loads((folder.parent / f"{kind}.json").read_text())
    os.chdir(folder.parent)
    sys.addaudithook(_audit)
    grown = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (grown + MEMORY_BYTES,) * 2)
    for i in numbers:
        print("begin", i, flush=True)
        begun = time.monotonic()
        result, what = attempt(seed, i, bases, folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print("end", i, f"{time.monotonic() - begun:.3f}", peak, f"{result} | {what}".replace("\n", " "), flush=True)


# ---------------------------------------------------------------------- parent


def campaign(seed: int, start: int, stop: int, folder: Path) -> Counter[str]:
    """Try files from `start` to `stop`; a dead worker is replaced, and its file counted."""
    for kind in KINDS:
        good = folder.parent / f"{kind}.h5"
        build(good, kind)
        good.with_suffix(".json").write_text(json.dumps(find_blocks(good.read_bytes())))
    counts: Counter[str] = Counter()
    slowest, peak = (0.0, ""), 0
    i = start
    while i < stop:
        command = [sys.executable, "-m", "tests.faults.fuzz_opening", "--work", str(folder), "--seed", str(seed)]
        worker = subprocess.Popen(
            [*command, "--first", str(i), "--files", str(min(BATCH, stop - i))], stdout=subprocess.PIPE
        )
        assert worker.stdout is not None
        lines, verdict, waiting, alive, made = b"", "CRASH", 60.0, False, ""
        while True:
            if not select.select([worker.stdout], [], [], waiting)[0]:
                verdict = "HANG"
                break
            piece = os.read(worker.stdout.fileno(), 1 << 16)
            if not piece:
                break
            lines += piece
            waiting, alive = SECONDS, True
            *whole, lines = lines.split(b"\n")
            for line in whole:
                word, number, *rest = line.decode().split(" ", 4)
                i = int(number) + (word == "end")
                made = " ".join(rest) if word == "made" else "" if word == "begin" else made
                if word == "end":
                    result, what = rest[2].split(" | ", 1)
                    counts["files"] += 1
                    counts[result if result in ("refused", "read fine") else result.split(" ")[0]] += 1
                    if result not in ("refused", "read fine"):
                        print(f"file {number}: {result} ({what})", flush=True)
                    slowest, peak = max(slowest, (float(rest[0]), f"{number}, {what}")), max(peak, int(rest[1]))
                    if counts["files"] % 10_000 == 0:
                        print(f"{counts['files']:,} files, {dict(counts)}", flush=True)
        if verdict == "HANG":
            worker.kill()
        code = worker.wait()
        assert alive, "the worker did not start"
        if verdict == "HANG" or code != 0:
            counts["files"] += 1
            counts[verdict] += 1
            for bad in folder.glob("*.h5"):  # as the worker left it
                shutil.copy(bad, Path(tempfile.gettempdir()) / f"fuzz-{seed}-{i}.h5")
            print(f"file {i}: {verdict}, exit code {code} ({made})", flush=True)
            i += 1
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]}); most memory of a worker: {peak} MiB")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file: to look at one again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.files)
    if options.work is not None:
        work(options.seed, numbers, options.work)
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as home:
        folder = Path(home) / "files"
        folder.mkdir()
        begun = time.monotonic()
        counts = campaign(options.seed, numbers.start, numbers.stop, folder)
        print(f"{time.monotonic() - begun:.0f} s")
    for what in ("files", "refused", "read fine", "WRONG", "OUTSIDE", "HANG", "CRASH"):
        print(f"{counts[what]:8,d}  {what}")
    sys.exit(any(counts[what] for what in ("WRONG", "OUTSIDE", "HANG", "CRASH")))


if __name__ == "__main__":
    main()
