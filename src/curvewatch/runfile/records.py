"""What is handed to a run file: the run, its token sets, its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.observation import Observation
from curvewatch.tokens.passages import Passages
from curvewatch.tokens.tokenset import TokenSet


@dataclass(frozen=True)
class Counted:
    """What is known of how often the targets of a set occur in the training text.

    Attributes:
        ids_D: The distinct targets.
        corpus_count_D: Their occurrences, as given; None if they are not.
        training: Whether each row comes with their occurrences in the batches trained on so far.
    """

    ids_D: NDArray[np.int64]
    corpus_count_D: NDArray[Any] | None
    training: bool


@dataclass(frozen=True)
class SetRecord:
    """What a run file keeps of one token set and of how it is scored.

    Attributes:
        tokens: The set.
        model_vocab_size: Outputs of the model; chance is their log2.
        scorer: Settings of the scorer (road, batch size, precision).
        counted: How often its targets occur; None if that is not asked for.
        kl: Whether rows come with the divergence from a base.
        dropout: Whether rows come with the spread of surprisal over passes with dropout.
    """

    tokens: TokenSet
    model_vocab_size: int
    scorer: Mapping[str, Any]
    counted: Counted | None = None
    kl: bool = False
    dropout: bool = False

    @property
    def chance(self) -> float:
        """Surprisal of a uniform guess, bits."""
        return float(np.log2(self.model_vocab_size))


@dataclass(frozen=True)
class RunPlan:
    """What a run file keeps of the run as a whole.

    Attributes:
        max_steps: Planned last step; None if open-ended.
        planned_steps: Steps planned to be scored, int64; empty if open-ended.
        schedule: The rule behind them, as text.
        provenance: Host, model, versions, seeds: anything that JSON can hold; one entry a session.
        max_overhead: Budget as a share of wall time; None if there is none.
        weights: Which weights the rows are of: "training", or "averaged" (an average of them over steps).
        passages: Those that are looked for in what is trained on; None: none.
        batches: Whether the sequences that are trained on are remembered.
    """

    max_steps: int | None
    planned_steps: NDArray[np.int64]
    schedule: str
    provenance: Mapping[str, Any]
    max_overhead: float | None = None
    weights: str = "training"
    passages: Passages | None = None
    batches: bool = False


@dataclass(frozen=True)
class Seen:
    """What the batches held that were trained on so far; NaN where it is not known.

    Attributes:
        tokens: Tokens, without padding.
        words: Words between blanks; where a row begins one counts as begun.
        bytes: UTF-8 bytes of their text.
    """

    tokens: float = math.nan
    words: float = math.nan
    bytes: float = math.nan


NOTHING_KNOWN = Seen()


@dataclass(frozen=True)
class Row:
    """One step's observations, as they are appended.

    Attributes:
        step: Updates done.
        seconds: Wall time of scoring.
        time: Unix time.
        observations: By name of the set.
        counts: By name of the set, occurrences of its distinct targets in the batches trained on so far; without an
            entry they are not known.
        due_step: The planned step that the row stands for; None if that is its own.
        seen: What was trained on so far.
    """

    step: int
    seconds: float
    time: float
    observations: Mapping[str, Observation]
    counts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    due_step: int | None = None
    seen: Seen = NOTHING_KNOWN


def _no_numbers() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _no_fingerprints() -> NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


@dataclass(frozen=True)
class TrainedPart:
    """What was trained on behind one step up to another.

    Attributes:
        first: The step behind which it begins.
        through: The step with which it ends.
        known: Whether it is known; else there is nothing in the following.
        step_E: Steps that were trained on a passage.
        passage_E: Index of the passage, shape as `step_E`.
        count_E: Its occurrences in the batches of the step.
        step_S: The step of each sequence that was trained on, where these are remembered.
        fingerprint_S: Of the sequence.
        index_S: Its own number; -1 where the host gives none.
    """

    first: int
    through: int
    known: bool = True
    step_E: NDArray[np.int64] = field(default_factory=_no_numbers)
    passage_E: NDArray[np.int64] = field(default_factory=_no_numbers)
    count_E: NDArray[np.int64] = field(default_factory=_no_numbers)
    step_S: NDArray[np.int64] = field(default_factory=_no_numbers)
    fingerprint_S: NDArray[np.uint64] = field(default_factory=_no_fingerprints)
    index_S: NDArray[np.int64] = field(default_factory=_no_numbers)
