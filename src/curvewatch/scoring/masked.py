"""How a token set is cut into batches for a masked model: rows in which scored tokens are hidden.

Suffixes: B rows, W tokens in a row, n scored tokens of a batch, R rows in all.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.scoring.batches import Batch, Batches, on_device, ranges
from curvewatch.tokens.tokenset import TokenSet


class MaskedBatches:
    """All batches of a masked token set, the same in every run and on every rank for the same `batch_size`.

    The rows of a batch are all of one length, so that there is no padding that a model could look at.

    Attributes:
        tokens: The token set.
        batch_size: Rows in a batch, at most.
        rows: Indices of the rows in the order in which they are batched.
    """

    def __init__(self, tokens: TokenSet, batch_size: int) -> None:
        assert tokens.masking is not None
        self.tokens, self.batch_size = tokens, batch_size
        self._masking = tokens.masking
        # A row is a sequence with some of its tokens hidden; its scored tokens, by position, are one run of `_order`.
        key_N = tokens.sequence_index.astype(np.int64) * (int(self._masking.row_N.max()) + 1) + self._masking.row_N
        self._order = np.argsort(key_N, kind="stable")
        sorted_N = key_N[self._order]
        first = np.flatnonzero(np.concatenate([[True], sorted_N[1:] != sorted_N[:-1]]))
        self._first = np.append(first, len(sorted_N))
        self._sequence_R = tokens.sequence_index[self._order[first]]
        lengths_R = tokens.lengths[self._sequence_R]
        self.rows: NDArray[np.int64] = np.argsort(-lengths_R, kind="stable")
        # A batch ends where it is full, and where the rows become shorter.
        lengths = lengths_R[self.rows]
        stretches = np.append(np.flatnonzero(np.concatenate([[True], lengths[1:] != lengths[:-1]])), len(lengths))
        cuts = [np.arange(a, b, batch_size) for a, b in pairwise(stretches)]
        self._cuts = np.append(np.concatenate(cuts), len(lengths))

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def build(self, index: int, device: torch.device) -> Batch:
        """Batch `index` on `device`."""
        return self.of_rows(self.rows[self._cuts[index] : self._cuts[index + 1]], device)

    def of_rows(self, rows: NDArray[np.integer], device: torch.device, width: int | None = None) -> Batch:
        """The rows as one batch, cut to the shortest of them, and to `width` tokens if given."""
        tokens, masking = self.tokens, self._masking
        sequences = self._sequence_R[rows]
        widest = int(tokens.lengths[sequences].min())
        widest = widest if width is None else min(widest, width)
        places_BW = tokens.starts[sequences][:, None] + np.arange(widest)[None, :]
        input_BW = tokens.ids[places_BW].astype(np.int64)
        n_scored = self._first[rows + 1] - self._first[rows]
        token_index = self._order[ranges(self._first[rows], n_scored)]
        b = np.repeat(np.arange(len(rows)), n_scored)
        within = tokens.position[token_index] < widest
        token_index, b = token_index[within], b[within]
        position = tokens.position[token_index]
        n_hidden = np.minimum(1 + masking.behind_N[token_index], widest - position)
        input_BW[np.repeat(b, n_hidden), ranges(position, n_hidden)] = masking.mask_id
        keep_BW = np.zeros(input_BW.shape, bool)
        keep_BW[b, position] = True
        return Batch(
            input_ids=on_device(device, input_BW),
            attention_mask=None,
            keep=on_device(device, keep_BW),
            target=on_device(device, tokens.target[token_index].astype(np.int64)),
            token_index=torch.from_numpy(token_index),
            places=on_device(device, np.flatnonzero(keep_BW)),
        )


def batches_of(tokens: TokenSet, batch_size: int, *, boundary: bool = True) -> Batches | MaskedBatches:
    """A set's batches, as its objective has them; with the places behind its tokens, if it needs them and may."""
    if tokens.masking is not None:
        return MaskedBatches(tokens, batch_size)
    return Batches(tokens, batch_size, boundary=boundary and tokens.annotations.boundary is not None)
