"""How a token set is cut into batches for the model. Suffixes: B rows, W tokens fed in a row, n scored tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.tokens import TokenSet


@dataclass(frozen=True)
class Batch:
    """A few sequences as a model takes them, with the positions whose logits are wanted.

    Attributes:
        input_ids: int64, shape [B, W]. A sequence's last token is not fed: nothing is predicted from it.
        attention_mask: int64, shape [B, W], 0 on padding; None where there is no padding.
        keep: bool, shape [B, W]: the places whose logits predict a scored token.
        target: Ids of the scored tokens in row-major order of `keep`, shape [n].
        token_index: Their indices in the token set, shape [n].
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    keep: torch.Tensor
    target: torch.Tensor
    token_index: torch.Tensor


class Batches:
    """All batches of a token set, the same in every run and on every rank for the same `batch_size`.

    Rounding depends on what shares a batch, so the composition is fixed: sequences in order of length, then as given.

    Attributes:
        tokens: The token set.
        batch_size: Sequences in a batch.
        rows: The sequences that have a scored token, in the order in which they are batched.
    """

    def __init__(self, tokens: TokenSet, batch_size: int) -> None:
        self.tokens = tokens
        self.batch_size = batch_size
        scored = np.unique(tokens.sequence_index)
        self.rows = scored[np.argsort(-tokens.lengths[scored], kind="stable")]
        # Scored tokens are sorted by sequence, so each sequence has one run of them.
        self._first = np.searchsorted(tokens.sequence_index, np.arange(tokens.n_sequences + 1))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def build(self, index: int, device: torch.device) -> Batch:
        """Batch `index` on `device`."""
        return self.of_rows(self.rows[index * self.batch_size : (index + 1) * self.batch_size], device)

    def of_rows(self, rows: NDArray[np.integer], device: torch.device, width: int | None = None) -> Batch:
        """The sequences `rows` as one batch, cut to `width` fed tokens if given."""
        tokens = self.tokens
        fed = tokens.lengths[rows] - 1
        widest = int(fed.max())
        if width is not None:
            widest = min(widest, width)
            fed = np.minimum(fed, widest)
        input_BW = np.zeros((len(rows), widest), np.int64)
        keep_BW = np.zeros((len(rows), widest), bool)
        indices = []
        for b, row in enumerate(rows):
            input_BW[b, : fed[b]] = tokens.sequence(int(row))[: fed[b]]
            index = np.arange(self._first[row], self._first[row + 1])
            index = index[tokens.position[index] <= fed[b]]
            keep_BW[b, tokens.position[index] - 1] = True
            indices.append(index)
        token_index = np.concatenate(indices)
        mask = None
        if (fed < widest).any():
            mask = torch.from_numpy((np.arange(widest)[None, :] < fed[:, None]).astype(np.int64)).to(device)
        return Batch(
            input_ids=torch.from_numpy(input_BW).to(device),
            attention_mask=mask,
            keep=torch.from_numpy(keep_BW).to(device),
            target=torch.from_numpy(tokens.target[token_index].astype(np.int64)).to(device),
            token_index=torch.from_numpy(token_index),
        )
