"""What trackers have kept, read back from their own files: by key, pairs of a step and a value."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

Points = dict[str, list[tuple[int, float]]]


def tensorboard(folder: Path) -> Points:
    """Scalars of the one run whose event files lie in `folder`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    keys = board.Tags()["scalars"]
    return {key: [(point.step, point.value) for point in board.scalars.Items(key)] for key in keys}


def lightning_csv(file: Path) -> Points:
    """Lightning's `metrics.csv`."""
    found: Points = defaultdict(list)
    with open(file, newline="") as lines:
        for line in csv.DictReader(lines):
            for key, value in line.items():
                if key != "step" and value:
                    found[key].append((int(line["step"]), float(value)))
    return dict(found)
