"""TrainingCounts: how often each token was trained on so far, counted as the batches pass by."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.runfile.records import Seen
from curvewatch.scoring import ranks
from curvewatch.tokens.vocabulary import VocabularyUnits

logger = logging.getLogger("curvewatch")

# A loop that is resumed counts the batches of one update before its first observation.
MOST_EARLY = 1024
WAY_OUT = "; live=Live(batch_ids=...) can tell where its ids are"


class TrainingCounts:
    """Counts token ids on the device where the batches are; exact, over all ranks, and without waiting for the device.

    What it can't count exactly it does not count: after a batch that it can't read, or a resume from a step whose
    counts are not known, `total` is None to the end.

    Args:
        vocab_size: Ids lie below it; others (padding of -100, say) are no tokens. None: to be told by `begin`.

    Attributes:
        off: Why nothing can be told; None when all is well.
        counted: Whether a rank had counted any batch since the beginning, or since training was resumed, at `total`.
        seen: Tokens, words and bytes in all batches up to the last `total`; NaN where that is not known.
    """

    def __init__(self, vocab_size: int | None = None) -> None:
        self._vocab_size = vocab_size
        self._early: list[tuple[torch.Tensor, Any]] = []
        self._first_V: NDArray[np.int64] | None = None
        self._counts_V: torch.Tensor | None = None
        self.off: str | None = None
        self.counted = False
        self.seen = Seen()
        self._first = Seen(0, 0, 0)
        self._units: VocabularyUnits | None = None
        self._flags_V: tuple[torch.Tensor, torch.Tensor] | None = None
        self._words: torch.Tensor | None = None

    def begin(self, vocab_size: int, units: VocabularyUnits | None = None) -> None:
        """Tells the vocabulary's size, once a model has been seen; batches that came before are counted now.

        Args:
            vocab_size: Of the model.
            units: Bytes and words of each token, by which those of the batches are counted; None: they are not known.
        """
        self._vocab_size, self._units = vocab_size, units
        early, self._early = self._early, []
        for ids, mask in early:
            self.add(ids, mask)

    def begin_from(self, ids_D: NDArray[Any], counts_D: NDArray[Any]) -> None:
        """Takes counts to go on from, on the rank that asks for `total`: all zero at the beginning of training."""
        assert self._vocab_size is not None
        if self._first_V is None:
            self._first_V = np.zeros(self._vocab_size, np.int64)
        self._first_V[ids_D] = counts_D

    def begin_after(self, seen: Seen) -> None:
        """Takes what had been seen where training goes on; NaN where it is not known."""
        self._first = seen

    def add(self, ids: Any, mask: Any = None) -> None:
        """Counts a batch; never raises.

        Args:
            ids: Token ids, an integer tensor or array of any shape.
            mask: Of the same shape; False or 0 where there is no token. None: all are.
        """
        if self.off is not None:
            return
        try:
            self._add(torch.as_tensor(ids), mask)
        except Exception as error:
            # Counting is a by-product, and training must not fail for it.
            self.turn_off(f"a batch can't be counted ({type(error).__name__}: {error})")

    @torch.no_grad()
    def _add(self, ids: torch.Tensor, mask: Any) -> None:
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(f"token ids are whole numbers, these are {ids.dtype}")
        if self._vocab_size is None:
            # The script may use its buffers again.
            self._early.append((ids.detach().clone(), None if mask is None else torch.as_tensor(mask).clone()))
            if len(self._early) > MOST_EARLY:
                self._early = []
                raise RuntimeError(f"{MOST_EARLY} batches came before the first observation")
            return
        rows = ids.detach().reshape(-1, ids.shape[-1] if ids.ndim else 1).long()
        if self._counts_V is None:
            self._counts_V = torch.zeros(self._vocab_size, dtype=torch.int64, device=rows.device)
        counted = (rows >= 0) & (rows < self._vocab_size)
        if mask is not None:
            counted &= torch.as_tensor(mask, device=rows.device).reshape(rows.shape).bool()
        # Adding a 0 or 1 at a clamped id needs no selection, whose size the host would have to wait for.
        rows = rows.clamp(0, self._vocab_size - 1)
        self._counts_V.scatter_add_(0, rows.reshape(-1), counted.reshape(-1).long())
        if self._units is not None:
            self._add_words(rows, counted, self._units)

    def _add_words(self, rows: torch.Tensor, counted: torch.Tensor, units: VocabularyUnits) -> None:
        """Counts the words that begin with a token, not inside it: behind a blank, or where a row begins."""
        if self._flags_V is None:
            solid_V, opens_V = (torch.from_numpy(flags).to(rows.device) for flags in (units.solid_V, units.opens_V))
            self._flags_V, self._words = (solid_V, opens_V), torch.zeros((), dtype=torch.int64, device=rows.device)
        solid_V, opens_V = self._flags_V
        begins = counted & solid_V[rows]
        begins[:, 1:] &= opens_V[rows[:, :-1]] | ~counted[:, :-1]
        assert self._words is not None
        self._words += begins.sum()

    def turn_off(self, why: str) -> None:
        """Gives counting up; said once in the log."""
        if self.off is None:
            self.off = why
            logger.warning("nothing by frequency from here on: %s", why)

    def total(self) -> NDArray[np.int64] | None:
        """Counts of all ranks so far, shape [vocabulary]; None if nothing (exact) can be told. A collective."""
        assert self._vocab_size is not None
        counts_V = self._counts_V
        # Whether a rank has given up, and whether one has counted, travels with the counts.
        whole = torch.zeros(self._vocab_size + 3, dtype=torch.int64)
        whole[-2] = self.off is not None
        if counts_V is not None:
            whole[-1] = 1
            whole[:-3] = counts_V.cpu()
        if self._words is not None:
            whole[-3] = self._words.cpu()
        summed = ranks.sum_in_place(whole).numpy()
        self.counted = bool(summed[-1])
        if summed[-2] or not (self.counted or self._first_V is not None):
            self.seen = Seen()
            return None
        total_V: NDArray[np.int64] = summed[:-3]
        n_bytes = n_words = math.nan
        if self._units is not None:
            n_bytes = self._first.bytes + int(total_V @ self._units.bytes_V)
            n_words = self._first.words + int(total_V @ self._units.words_V) + int(summed[-3])
        self.seen = Seen(self._first.tokens + int(total_V.sum()), n_words, n_bytes)
        return total_V if self._first_V is None else total_V + self._first_V


def decoder_tokens(batch: Any) -> tuple[Any, Any, Any]:
    """What the decoder of an encoder-decoder model learns of a batch: the labels, -100 where there is none.

    Raises:
        TypeError: If the batch has none.
    """
    if not isinstance(batch, Mapping) or batch.get("labels") is None:
        there = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise TypeError(f"the batch has {there}, but no 'labels'{WAY_OUT}")
    return batch["labels"], None, batch["labels"]


def batch_tokens(batch: Any) -> tuple[Any, Any, Any]:
    """The token ids of a batch as hosts pass them, the mask that says which of them are real, and labels.

    A mapping with "input_ids" (and maybe "attention_mask"), a tensor of whole numbers, or a sequence that begins with
    one of these.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(batch, Mapping):
        if "input_ids" not in batch:
            raise TypeError(f"the batch has {sorted(map(str, batch))}, but no 'input_ids'{WAY_OUT}")
        ids = batch["input_ids"]
        # Some models take a mask of another shape (4-D, or one for packed sequences), or labels of the whole text.
        beside = (batch.get(name) for name in ("attention_mask", "labels"))
        mask, labels = (
            one if one is not None and tuple(getattr(one, "shape", ())) == tuple(ids.shape) else None for one in beside
        )
        return ids, mask, labels
    if isinstance(batch, (torch.Tensor, np.ndarray)):
        return batch, None, None
    if isinstance(batch, (tuple, list)) and batch and not isinstance(batch[0], (int, float, str)):
        return batch_tokens(batch[0])
    raise TypeError(f"the batch is a {type(batch).__name__}{WAY_OUT}")
