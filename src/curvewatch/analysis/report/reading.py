"""The reader's page: whole sequences as text, each scored token coloured by its curve, at any observation."""

from __future__ import annotations

import html
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.cache import measures_of
from curvewatch.analysis.moment import Moment, gather
from curvewatch.analysis.report import pack
from curvewatch.analysis.report.payload import thinned
from curvewatch.errors import RunFileError
from curvewatch.runfile.reader import Reader
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.labels import originals_of
from curvewatch.tokens.tokenset import TokenSet

PAGE_LIMIT_BYTES = 7_500_000
MOST_VALUES = 3_000_000
"""Surprisals on a page: tokens times observations."""
MOST_IDS = 200_000
SCRIPTS = ("unpack.js", "theme.js", "reading.js")


def write_reading(run: Reader, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Writes the reader's page of a run to `path`, replacing what is there. It needs no network, and no Plotly.

    Below 8 MB whatever the number of tokens: where not all sequences fit it holds some, evenly spaced, and says so.

    Args:
        run: The run.
        path: Of the page.
        title: Of the page; None: the run file's name.

    Raises:
        RunFileError: If there is no observation yet.
        ValueError: If the token set knows no text.
    """
    moment = Moment.now(run)
    if not len(moment):
        raise RunFileError(f"path={run.path}: it has no observation yet, so there is nothing to read.")
    tokens = run.tokens
    texts = _texts(tokens)
    chosen_T = thinned(moment.steps_T)
    n_fit = tokens.n_sequences
    while True:
        sequences = np.unique(np.linspace(0, tokens.n_sequences - 1, n_fit).round().astype(np.int64))
        shown_N = np.isin(tokens.sequence_index, sequences)
        n_ids, n_values = int(tokens.lengths[sequences].sum()), int(shown_N.sum()) * len(chosen_T)
        if (n_values <= MOST_VALUES and n_ids <= MOST_IDS) or n_fit == 1:
            page = _page(run, moment, chosen_T, sequences, np.flatnonzero(shown_N), texts, title)
            if len(page.encode()) <= PAGE_LIMIT_BYTES or n_fit == 1:
                break
        n_fit = max(1, int(0.8 * n_fit))
    with replacing(path := Path(path)) as file:
        file.write(page.encode())
    return path


def _texts(tokens: TokenSet) -> list[str]:
    """The text of each token of all sequences, scored or not."""
    originals = originals_of(tokens)
    found = []
    for s in range(tokens.n_sequences):
        ends = originals.ends_I[tokens.starts[s] : tokens.starts[s + 1]].tolist()
        text = originals.texts[s]
        found += [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    return found


def _page(
    run: Reader,
    moment: Moment,
    chosen_T: NDArray[np.int64],
    sequences: NDArray[np.int64],
    which_n: NDArray[np.int64],
    texts: list[str],
    title: str | None,
) -> str:
    tokens = run.tokens
    column_I = np.full(len(tokens.ids), -1, np.int64)
    column_I[tokens.starts[tokens.sequence_index[which_n]] + tokens.position[which_n]] = np.arange(len(which_n))
    insides = [slice(int(tokens.starts[s]), int(tokens.starts[s + 1])) for s in sequences]
    age_n = measures_of(run)["age_of_acquisition"][which_n]
    known_n = age_n[np.isfinite(age_n)]
    n_all = tokens.n_sequences
    of_all = "" if len(sequences) == n_all else f" of {n_all:,}, evenly spaced,"
    steps_T = moment.steps_T[chosen_T]
    plain: dict[str, Any] = {
        "title": title or run.path.stem,
        "subtitle": f"{len(sequences):,} sequences{of_all} with {len(which_n):,} scored tokens at {len(steps_T):,} "
        f"observations, steps {steps_T[0]:,} to {steps_T[-1]:,}. Guessing costs {run.chance:.2f} bits.",
        "steps": steps_T,
        "chance": run.chance,
        "grain": pack.GRAIN,
        "offset": pack.OFFSET,
        "ages": [float(known_n.min()), float(known_n.max())] if known_n.size else [0.0, 1.0],
        "numbers": sequences,
        "texts": [[pack_text(text) for text in texts[inside]] for inside in insides],
        "indices": which_n,
    }
    arrays = {
        "surprisal": pack.curves(gather(moment.surprisal, which_n)[chosen_T].T),
        "correct": pack.bits(gather(moment.correct, which_n)[chosen_T].T.astype(bool)),
        "age": pack.floats(age_n),
        "starts": pack.integers(np.concatenate([[0], np.cumsum([one.stop - one.start for one in insides])])),
        "scored": pack.integers(np.concatenate([column_I[inside] for inside in insides])),
    }
    room = resources.files(__package__)
    parts = {
        "TITLE": html.escape(plain["title"]),
        "STYLE": "\n".join(room.joinpath(name).read_text("utf-8") for name in ("page.css", "reading.css")),
        "SCRIPT": "\n".join(room.joinpath(name).read_text("utf-8") for name in SCRIPTS),
        "DATA": pack.pack(plain, arrays),
    }
    page = room.joinpath("reading.html").read_text("utf-8")
    return re.sub(r"@@(\w+)@@", lambda place: parts[place[1]], page)


def pack_text(text: str) -> str:
    """The text as JSON in UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()
