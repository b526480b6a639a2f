"""Counting: what passes by on its way into training: how often the watched tokens occur, passages, sequences."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.live import Live
from curvewatch.live.given import AUTO, TRAINING, Given
from curvewatch.runfile.records import Counted, Seen, TrainedPart
from curvewatch.tokens.encoder_input import SEQ2SEQ
from curvewatch.tokens.masking import CAUSAL, is_masked
from curvewatch.tokens.vocabulary import VocabularyUnits, vocabulary_units
from curvewatch.watch.keeper import Keeper
from curvewatch.watch.trained_on import UNTRAINED, TrainedOn
from curvewatch.watch.training_counts import TrainingCounts, batch_tokens, decoder_tokens

logger = logging.getLogger("curvewatch")


class Counting:
    """Joins the counts of training with the distinct targets of each set, and follows what else the batches hold.

    Args:
        live: The live side's settings.
        given: What is known of each set beforehand.
        objective: Of the token sets: what is learned of a batch is another thing for other kinds of models.

    Attributes:
        counts: Of all tokens; None where nothing is counted.
        trained: Passages and sequences that are trained on; None where these are not followed.
    """

    def __init__(self, live: Live, given: Mapping[str, Given], objective: str = CAUSAL) -> None:
        self._live = live
        self._given = given
        self._objective = objective
        # From the beginning: a loop that is resumed counts a batch before its first observation.
        self.counts = TrainingCounts() if _is(live.token_counts, TRAINING) else None
        followed = live.exposures is not None or bool(live.batches)
        self.trained = TrainedOn(live.exposures, fingerprinted=bool(live.batches)) if followed else None

    @property
    def wants_batches(self) -> bool:
        """Whether every batch has to pass by here."""
        return self.counts is not None or self.trained is not None

    def begin(self, vocab_size: int, *, host_counts: bool, tokenizer: Any = None) -> None:
        """Tells the vocabulary's size, whether the host counts every batch, and by what words and bytes are counted."""
        given = any(one.corpus_count_D is not None for one in self._given.values())
        if self.counts is None and host_counts and not given and _is(self._live.token_counts, AUTO):
            self.counts = TrainingCounts()
        if self.counts is not None:
            self.counts.begin(vocab_size, _units(tokenizer, vocab_size))

    def go_on_from(self, keeper: Keeper, step: int) -> None:
        """Goes on from the counts at `step`, as far as the file knows them."""
        if self.counts is None:
            return
        found = keeper.counts_at(step)
        if found is None:
            self.counts.turn_off(f"training goes on from step {step}, and what was counted up to it is not known")
            return
        self.counts.begin_after(keeper.seen_at(step))
        for name, counts_D in found.items():
            self.counts.begin_from(self._given[name].types.ids_D, counts_D)

    def record_of(self, name: str) -> Counted | None:
        """What the file keeps of a set's counts; None where there are none."""
        given = self._given[name]
        if given.corpus_count_D is None and self.counts is None:
            return None
        return Counted(given.types.ids_D, given.corpus_count_D, self.counts is not None)

    def add(self, ids: Any, mask: Any = None, labels: Any = None, index: Any = None) -> None:
        """Counts token ids; see `Watch.count`."""
        ids = self._learned(ids, labels)
        if self.counts is not None:
            self.counts.add(ids, mask)
        if self.trained is not None:
            self.trained.add(ids, mask, labels, index)

    def _learned(self, ids: Any, labels: Any = None) -> Any:
        """The ids that the model learns to predict: of a masked model's batch with those that a mask hides."""
        if labels is None or not is_masked(self._objective):
            return ids
        try:
            labels = torch.as_tensor(labels)
            return torch.where(labels == UNTRAINED, torch.as_tensor(ids), labels)
        except Exception:
            return ids  # no ids at all: said where they are counted

    def add_batch(self, batch: Any) -> None:
        """Counts a batch as a host's Trainer has it; see `Watch.count_batch`."""
        if all(one is None or one.off is not None for one in (self.counts, self.trained)):
            return
        try:
            self.add(*self._parts(batch))
        except Exception as error:
            for one in (self.counts, self.trained):
                if one is not None:
                    one.turn_off(f"the token ids of a batch were not found: {error}")

    def _parts(self, batch: Any) -> tuple[Any, ...]:
        """Ids, mask, labels, and the sequences' own numbers; None for what there is not."""
        if self._live.batch_ids is not None:
            found = self._live.batch_ids(batch)
        elif self._objective == SEQ2SEQ:
            found = decoder_tokens(batch)
        else:
            found = batch_tokens(batch)
        parts = found if isinstance(found, tuple) else (found,)
        column = self._live.batches
        if not isinstance(column, str):
            return parts
        if not isinstance(batch, Mapping) or column not in batch:
            there = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
            raise KeyError(f"batches={column!r}: the batch has {there}, and no such column")
        return (*parts, *[None] * (3 - len(parts)), batch[column])

    def holds_passage(self, batch: Any) -> bool:
        """Whether a batch that is about to be trained on holds a passage; waits for the device."""
        if self.trained is None or self.trained.off is not None:
            return False
        try:
            ids, *beside = self._parts(batch)[:3]
            return self.trained.holds_passage(self._learned(ids, *beside[1:]), *beside)
        except Exception as error:
            self.trained.turn_off(f"the token ids of a batch were not found: {error}")
            return False

    def stamp(self, step: int) -> None:
        """What passed by was trained on by this step."""
        if self.trained is not None:
            self.trained.stamp(step)

    def part(self, step: int) -> TrainedPart | None:
        """What was trained on since the last time, of all ranks, on rank 0. A collective."""
        return self.trained.part(step) if self.trained is not None else None

    def total(self) -> NDArray[np.int64] | None:
        """Counts of all ranks so far, shape [vocabulary]; None if nothing can be told. A collective."""
        return self.counts.total() if self.counts is not None else None

    def seen(self, host_tokens: float | None = None) -> Seen:
        """What was trained on up to the last `total`; NaN where that is not known.

        Args:
            host_tokens: Tokens, where the host counts them by itself: then its number stands.
        """
        found = self.counts.seen if self.counts is not None and self.counts.off is None else Seen()
        return found if host_tokens is None else replace(found, tokens=float(host_tokens))

    def by_set(self, counts_V: NDArray[np.int64] | None, *, due: bool) -> dict[str, NDArray[Any]]:
        """Occurrences of each set's distinct targets in the batches so far; without an entry they are not known.

        Args:
            counts_V: As `total` gave it.
            due: Whether there must have been batches by now.
        """
        if counts_V is None or self.counts is None:
            return {}
        if due and not (self.counts.counted and counts_V.any()):
            self.counts.turn_off("no batch was counted; a loop calls watch.count(input_ids) for every batch")
            return {}
        return {name: counts_V[given.types.ids_D] for name, given in self._given.items()}


def _units(tokenizer: Any, vocab_size: int) -> VocabularyUnits | None:
    if tokenizer is None:
        return None
    try:
        return vocabulary_units(tokenizer, vocab_size)
    except Exception as error:
        # A by-product, for which no training is refused.
        logger.info("words and bytes of the batches are not counted: the tokenizer can't be read (%s)", error)
        return None


def _is(setting: object, word: str) -> bool:
    return isinstance(setting, str) and setting == word
