"""What is wrong with a run file, what can be done about it, and what was done.

Looking never writes; `repair` applies what a crashed writer had committed to the journal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from curvewatch.analysis.moment import Moment
from curvewatch.analysis.sessions import count
from curvewatch.errors import CurvewatchError
from curvewatch.measures.surprisal import FEW_WINDOW_ROWS, final_window
from curvewatch.runfile import layout
from curvewatch.runfile.reader import Reader, set_names
from curvewatch.storage.journal import JournaledFile, snapshot
from curvewatch.storage.redolog import SUFFIX

GOOD, NOTE, BAD = "good", "note", "bad"
BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "good", "note" (right, but worth knowing), or "bad" (numbers are missing or wrong).
        subject: What was looked at.
        text: What was found, and the way out where there is one.
    """

    level: str
    subject: str
    text: str


def examine(path: str | os.PathLike[str]) -> list[Finding]:
    """Everything found about the file at `path`; never raises for what is wrong with the file."""
    path = Path(path)
    try:
        run_sets = set_names(path)
        Reader(path, run_sets[0])
    except (CurvewatchError, FileNotFoundError) as error:
        return [Finding(BAD, "file", str(error))]
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        return [Finding(BAD, "file", f"{path}: its structure is damaged ({error}). Restore it from a copy.")]
    findings = [Finding(GOOD, "file", f"opens; {path.stat().st_size / 1e6:,.1f} MB, sets: {', '.join(run_sets)}")]
    findings += _journal(path)
    findings += _structure(path)
    if any(finding.level == BAD for finding in findings):
        return findings
    findings += _trained(Reader(path, run_sets[0]))
    for name in run_sets:
        prefix = f"{name}: " if len(run_sets) > 1 else ""
        try:
            found = list(_set(Reader(path, name)))
        except (CurvewatchError, KeyError, ValueError, OSError, RuntimeError) as error:
            found = [Finding(BAD, "contents", f"can't be read ({error}). Restore the file from a copy.")]
        findings += [Finding(f.level, f"{prefix}{f.subject}", f.text) for f in found]
    return findings


def repair(path: str | os.PathLike[str]) -> str:
    """Brings a file that a crash left behind to its last committed state; what was done, in words ("" if nothing).

    Raises:
        CurvewatchError: If it is no run file, is being written, or is beyond repair.
    """
    with JournaledFile(path) as file:
        return file.recovered


def _journal(path: Path) -> Iterator[Finding]:
    journal = Path(os.path.realpath(path) + SUFFIX)
    if not journal.exists():
        yield Finding(GOOD, "journal", "none left: the file was closed in order")
    else:
        yield Finding(
            NOTE,
            "journal",
            f"{journal.name} stands beside the file ({journal.stat().st_size / 1e3:,.1f} kB): a writer has it open, or "
            "crashed. What it committed is seen here all the same; --repair puts it into the file.",
        )


def _structure(path: Path) -> Iterator[Finding]:
    outside: list[str] = []

    def look(name: str, link: object) -> None:
        if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
            outside.append(name)

    with snapshot(path) as h5:
        h5.visititems_links(look)
        foreign: list[str] = []
        h5.visititems(lambda name, item: foreign.append(name) if getattr(item, "external", None) else None)
    if outside or foreign:
        names = ", ".join([*outside, *foreign][:5])
        yield Finding(BAD, "links", f"points outside itself ({names}), which curvewatch never writes. Don't trust it.")


def _trained(run: Reader) -> Iterator[Finding]:
    try:
        trained = run.trained
    except CurvewatchError as error:
        yield Finding(BAD, "trained on", str(error))
        return
    if trained is None:
        return
    told = [f"{len(trained.step_E):,} exposures of {len(trained.names):,} passages"] if trained.names else []
    told += [f"{len(trained.step_S):,} sequences"] if trained.batches else []
    yield Finding(GOOD, "trained on", f"{' and '.join(told) or 'nothing'} in updates up to {trained.through:,}")
    unknown = sum(last - first + 1 for first, last in trained.unknown)
    if unknown:
        yield Finding(NOTE, "trained on", f"of {unknown:,} updates it is not known what they were trained on")


def _set(run: Reader) -> Iterator[Finding]:
    with run.group() as group:
        rows = {d.name: group[d.name].shape[0] for d in layout.DATASETS if d.grows and d.name in group}
    if len(set(rows.values())) > 1:
        yield Finding(BAD, "rows", f"datasets of different length: {rows}. Restore the file from a copy.")
        return
    moment = Moment.now(run)
    yield from _rows(run, moment)
    yield from _plan(run, moment)
    yield from _values(run, moment)
    if run.tokens.hash == run.set_hash:
        yield Finding(GOOD, "token set", f"{run.n_tokens:,} tokens, hash {run.set_hash[:16]}… as recorded")
    else:
        yield Finding(
            BAD, "token set", f"its hash is {run.tokens.hash}, recorded was {run.set_hash}: contents changed."
        )


def _rows(run: Reader, moment: Moment) -> Iterator[Finding]:
    t = len(moment)
    if t == 0:
        yield Finding(NOTE, "rows", "no observation yet")
        return
    if (np.diff(moment.steps_T) <= 0).any():
        yield Finding(BAD, "rows", "steps don't increase from row to row.")
    else:
        yield Finding(GOOD, "rows", f"{t:,} observations, steps {moment.steps_T[0]:,} to {moment.steps_T[-1]:,}")
    backwards = int((np.diff(moment.times_T) < 0).sum())
    if backwards:
        yield Finding(NOTE, "times", f"the clock went backwards {backwards} times; times are for orientation only")
    sessions = run.sessions
    dropped = sum(count(s, "dropped_rows") or 0 for s in sessions)
    if len(sessions) > 1:
        text = f"training was started {len(sessions)} times, from steps "
        text += ", ".join(f"{count(s, 'from_step') or 0:,}" for s in sessions)
        yield Finding(NOTE, "sessions", text + (f"; {dropped:,} rows were dropped and scored again" * bool(dropped)))


def _plan(run: Reader, moment: Moment) -> Iterator[Finding]:
    planned = run.planned_steps
    if not len(moment):
        return
    last = int(moment.steps_T[-1])
    skipped = list(run.skipped)
    missing = np.setdiff1d(planned[planned <= last], [*moment.steps_T, *run.due_steps, *skipped])
    if len(missing):
        some = ", ".join(f"{step:,}" for step in missing[:8])
        more = f" and {len(missing) - 8:,} more" if len(missing) > 8 else ""
        yield Finding(BAD, "plan", f"{len(missing):,} planned observations are missing: steps {some}{more}.")
    elif len(planned):
        yield Finding(GOOD, "plan", f"no observation is missing up to step {last:,}")
    if n_skipped := len(np.intersect1d(planned, skipped)):
        yield Finding(
            NOTE, "plan", f"{n_skipped:,} planned steps were not scored; skipped_step says which, skipped_why why not"
        )
    if run.max_steps and last < run.max_steps:
        yield Finding(NOTE, "end", f"at step {last:,} of {run.max_steps:,}: running, or stopped early")
    window = final_window(moment.steps_T, run.max_steps or last)
    n = window.stop - window.start
    if n < FEW_WINDOW_ROWS:
        yield Finding(
            NOTE, "end", f"{n} observations in the last quarter: too few for final surprisal and variability to be firm"
        )


def _values(run: Reader, moment: Moment) -> Iterator[Finding]:
    t, n_tokens = moment.surprisal.shape
    ever_N, negative, worst = np.zeros(n_tokens, bool), 0, (0, -1)
    block = max(1, BLOCK_VALUES // n_tokens)
    for start in range(0, t, block):
        y_bN = moment.surprisal[start : min(start + block, t)]
        bad_bN = ~np.isfinite(y_bN)
        ever_N |= bad_bN.any(axis=0)
        counts_b = bad_bN.sum(axis=1)
        worst = max(worst, (int(counts_b.max()), int(moment.steps_T[start + int(counts_b.argmax())])))
        negative += int((y_bN < -1e-4).sum())
    if negative:
        yield Finding(BAD, "values", f"{negative:,} surprisals are below 0, which no probability gives.")
    if ever_N.any():
        yield Finding(
            BAD,
            "values",
            f"{int(ever_N.sum()):,} tokens are NaN or infinite at some step (most, {worst[0]:,}, at {worst[1]:,}): "
            "they get no smoothed curve. The model's logits were not finite there.",
        )
    elif t and not negative:
        yield Finding(GOOD, "values", "every surprisal is a finite number of bits, 0 or more")
