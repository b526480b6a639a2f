"""The measures of a run, computed once and kept beside its file until anything that went into them changes."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch.analysis.moment import Moment
from curvewatch.errors import RunFileError
from curvewatch.measures import MeasureInfo, MeasureTable, MeasureWarning, measure_curves
from curvewatch.measures.table import CATEGORIES
from curvewatch.runfile.reader import Reader

logger = logging.getLogger("curvewatch")

ATTEMPTS = 3


def measures_of(
    run: Reader,
    *,
    paper: bool = False,
    refresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> MeasureTable:
    """Every measure of every token of `run`; see `Run.measures`.

    Raises:
        RunFileError: If the rows changed again and again while they were read.
    """
    for attempt in range(ATTEMPTS):
        moment = Moment.now(run)
        key = {**moment.identity, "paper": paper, "code": code_digest()}
        path = cache_path(run, paper)
        table = None if refresh else _load(path, key)
        if table is not None:
            for message in table.info.warnings:
                warnings.warn(message, MeasureWarning, stacklevel=3)
            return table
        table = measure_curves(
            moment.surprisal,
            moment.steps_T,
            chance=run.chance,
            max_steps=run.max_steps,
            correct=moment.correct,
            paper=paper,
            progress=progress,
        )
        try:
            moment.check()
        except RunFileError:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        _save(path, key, table)
        return table
    raise AssertionError


def cache_path(run: Reader, paper: bool = False) -> Path:
    """Where the measures are kept: beside the run file."""
    return run.path.with_name(f"{run.path.name}.{run.set_name}{'.paper' if paper else ''}.measures.npz")


@functools.cache
def code_digest() -> str:
    """A digest of the code of the measures: a table that other code computed is not taken for this one's."""
    from curvewatch import measures

    digest = hashlib.sha256(np.__version__.encode())
    for source in sorted(Path(measures.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _load(path: Path, key: dict[str, Any]) -> MeasureTable | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            if about["key"] != key:
                return None
            columns = {name: kept[name] for name in about["columns"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.info("%s can't be used (%s): the measures are computed anew", path, error)
        return None
    info = about["info"]
    columns["window_rows"] = np.broadcast_to(columns["window_rows"], columns["final_surprisal"].shape)
    return MeasureTable(columns, MeasureInfo(**{**info, "warnings": tuple(info["warnings"])}))


def _save(path: Path, key: dict[str, Any], table: MeasureTable) -> None:
    columns: dict[str, Any] = {name: table.codes(name) if name in CATEGORIES else table[name] for name in table}
    columns["window_rows"] = np.int32(table.info.window_rows)
    about = {"key": key, "info": asdict(table.info), "columns": list(columns)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{"about": np.array(json.dumps(about)), **columns})
        os.replace(temporary, path)
    except OSError as error:
        logger.info("the measures of %s are not kept for next time: %s", path, error)
    finally:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass
