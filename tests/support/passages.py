"""Passages that stand in the rows of a training, and at which updates it is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curvewatch import Passages, open_run

from .models import VOCABULARY
from .trainings import Training


class Numbers:
    """A tokenizer of words "w0", "w1", ...: an id a word."""

    vocab_size = VOCABULARY

    def __len__(self) -> int:
        return VOCABULARY

    def encode(self, text: str) -> list[int]:
        return [int(word[1:]) for word in text.split()]

    def decode(self, ids: Any) -> str:
        return " ".join(f"w{int(i)}" for i in ids)


def passage(training: Training, row: int, first: int = 2, n: int = 6) -> str:
    """A part of a row of the data."""
    return Numbers().decode(training.data().ids[row, first : first + n])


def in_rows(training: Training, row: int) -> dict[int, int]:
    """At which updates a row of the data is trained on, and how often; data go round."""
    a_batch = training.batch * training.accumulate
    found: dict[int, int] = {}
    for k in range(training.steps * a_batch):
        if k % training.rows == row:
            step = k // a_batch + 1
            found[step] = found.get(step, 0) + 1
    return found


def exposures(path: Path, name: str) -> dict[int, int]:
    """The same as a run file tells it."""
    trained = open_run(path).trained
    assert trained is not None
    of_it = trained.passage_E == trained.names.index(name)
    return dict(zip(trained.step_E[of_it].tolist(), trained.count_E[of_it].tolist(), strict=True))


def passages_of(training: Training) -> Passages:
    """Two, of rows 1 and 9."""
    return Passages({"one": passage(training, 1), "nine": passage(training, 9)}, Numbers())
