"""The HTML page: data, library, style and script put into one file."""

from __future__ import annotations

import functools
import html
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from curvewatch.analysis.findings import Findings, Say, gather_findings
from curvewatch.analysis.frames import need
from curvewatch.analysis.predict.design import TooFewTokensError
from curvewatch.analysis.predict.prediction import predict
from curvewatch.analysis.report import pack
from curvewatch.analysis.report.fixed import Fixed, fixed
from curvewatch.analysis.report.payload import payload, tokens_that_fit
from curvewatch.corpus import NgramSurprisals
from curvewatch.corpus.types_seen import ContextualDiversity
from curvewatch.runfile.reader import Reader
from curvewatch.storage.replacing import replacing

PAGE_LIMIT_BYTES = 7_500_000
SCRIPTS = (
    "unpack.js",
    "theme.js",
    "charts.js",
    "explorer.js",
    "gallery.js",
    "units.js",
    "cost.js",
    "points.js",
    "predicted.js",
    "main.js",
)


def write_report(
    runs: Sequence[Reader],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    ngrams: NgramSurprisals | None = None,
    diversity: ContextualDiversity | None = None,
    say: Say | None = None,
) -> Path:
    """Writes the report of one run, or of several of one token set, to `path`, replacing what is there.

    The page is below 8 MB whatever the number of tokens: where not all of them fit it holds the extremes of each
    measure and a random sample, and says so. Means, shares and distributions are always those of all tokens.

    Args:
        runs: One or more.
        path: Of the page.
        title: Of the page; None: the names of the runs.
        ngrams: N-gram surprisals of the set (`curvewatch ngrams`): the page then has a section on what predicts
            learning; see `curvewatch.analysis.predict.predict`.
        diversity: Contextual diversity (`curvewatch diversity`), one more predictor.
        say: Called with what is being done, how much of it is done, and how much there is.

    Raises:
        TokenSetMismatchError: If the runs' token sets differ, or the n-grams are of another.
        ImportError: If Plotly is not installed.
        ValueError: If there is diversity without n-grams.
    """
    if diversity is not None and ngrams is None:
        raise ValueError("diversity: it predicts beside n-grams. Give ngrams=, too.")
    library = _library()
    if ngrams is not None:
        ngrams.check_set(runs[0].tokens, "ngrams")
    findings = gather_findings(runs, say, keep_pairs=ngrams is not None)
    prediction, remarks = None, list[str]()
    if ngrams is not None:
        try:
            prediction = predict(runs, ngrams, diversity, comparison=findings.comparison, stage=say)
        except TooFewTokensError as error:
            remarks.append(f"Nothing is said of what predicts learning: {error}")
    more = fixed(findings, prediction, remarks)
    page = _fitting(findings, more, title or ", ".join(one.name for one in findings.runs), library)
    path = Path(path)
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _fitting(findings: Findings, more: Fixed, title: str, library: str) -> str:
    limit = tokens_that_fit(findings)
    while True:
        page = _page(title, payload(findings, title, limit, more), library)
        size = len(page.encode())
        if size <= PAGE_LIMIT_BYTES or limit <= 50:
            return page
        limit = max(50, int(0.9 * limit * (PAGE_LIMIT_BYTES - len(library)) / (size - len(library))))


def _page(title: str, data: str, library: str) -> str:
    room = resources.files(__package__)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": room.joinpath("page.css").read_text("utf-8"),
        "SCRIPT": "\n".join(room.joinpath(name).read_text("utf-8") for name in SCRIPTS),
        "LIBRARY": library,
        "DATA": data,
    }
    page = room.joinpath("page.html").read_text("utf-8")
    return re.sub(r"@@(\w+)@@", lambda place: parts[place[1]], page)


@functools.cache
def _library() -> str:
    """Plotly's JavaScript, compressed; its licence notice stands at its head."""
    offline = need("plotly.offline", "the report")
    script: str = offline.get_plotlyjs()
    return pack.squeeze(script.encode())
