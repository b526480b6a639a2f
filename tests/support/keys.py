"""Logged keys against the tables of keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

from curvewatch.live import HISTOGRAMS, METRICS, WATCH_METRICS
from curvewatch.live.keys import ALL_KEYS

_WILD = {"<set>": r"[^/]+", "<band>": r"[^/]+", "<n>": r"\d+", "<i> <text>": r"\d+[^/]*",
         **dict.fromkeys(("<label>", "<value>", "<kind>", "<group>"), r"[^/]+")}  # fmt: skip
# A histogram or table that is read back has its parts behind a dot.
_PARTS = r"(\..+|_table(\..+)?)?"


def _pattern(key: str) -> re.Pattern[str]:
    parts = re.split(f"({'|'.join(map(re.escape, _WILD))})", key)
    return re.compile("".join(_WILD.get(part, re.escape(part)) for part in parts) + _PARTS)


PATTERNS = [_pattern(f"{prefix}/{key}") for prefix, keys in ALL_KEYS.items() for key in keys]


def unknown(keys: Iterable[str]) -> set[str]:
    """Keys of ours that stand in no table."""
    ours = {key for key in keys if key.startswith("curvewatch/")}
    return {key for key in ours if not any(pattern.fullmatch(key) for pattern in PATTERNS)}


def always(name: str = "eval", histograms: bool = False) -> set[str]:
    """Keys that every observation of a set has once something is acquired."""
    of_set = [*METRICS, *(HISTOGRAMS if histograms else ())]
    return {f"curvewatch/{name}/{key}" for key in of_set} | {f"curvewatch/watch/{key}" for key in WATCH_METRICS}
