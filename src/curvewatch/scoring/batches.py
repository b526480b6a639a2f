"""How a token set is cut into batches for the model. Suffixes: B rows, W tokens fed in a row, n scored tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.tokens.tokenset import TokenSet


@dataclass(frozen=True)
class Batch:
    """A few sequences as a model takes them, with the positions whose logits are wanted.

    Attributes:
        input_ids: int64, shape [B, W]. A sequence's last token is not fed: nothing is predicted from it.
        attention_mask: int64, shape [B, W], 0 on padding; None where there is no padding.
        keep: bool, shape [B, W]: the places whose logits predict a scored token.
        target: Ids of the scored tokens in row-major order of `keep`, shape [n].
        token_index: Their indices in the token set, shape [n] (or [m], see `own`).
        own: Which of the n places predict a scored token, and which were added to see a boundary behind one: indices
            of the former, int64, shape [m]; None where all do. `token_index` has these m alone.
        behind: For each scored token the one of the n places that follows it, int64, shape [m]; None without
            boundaries.
        places: The same places as `keep` as indices into the flattened rows, int64, shape [n]. With them an
            accelerator need not be waited for to know how many there are. Without: None.
        encoder_ids: What the encoder of an encoder-decoder model is fed, int64, shape [B, E]; None for other models.
            `input_ids` is what its decoder is fed.
        encoder_mask: int64, shape [B, E], 0 on padding.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    keep: torch.Tensor
    target: torch.Tensor
    token_index: torch.Tensor
    places: torch.Tensor | None = None
    own: torch.Tensor | None = None
    behind: torch.Tensor | None = None
    encoder_ids: torch.Tensor | None = None
    encoder_mask: torch.Tensor | None = None

    def wanted(self, all_BWd: torch.Tensor) -> torch.Tensor:
        """What stands at the wanted places, in row-major order.

        Args:
            all_BWd: Shape [B, W, d].

        Returns:
            Shape [n, d].
        """
        if self.places is None or not all_BWd.is_contiguous():
            return all_BWd[self.keep]
        return all_BWd.flatten(0, 1).index_select(0, self.places)


class Batches:
    """All batches of a token set, the same in every run and on every rank for the same `batch_size`.

    Rounding depends on what shares a batch, so the composition is fixed: sequences in order of length, then as given.

    Attributes:
        tokens: The token set.
        batch_size: Sequences in a batch.
        boundary: Whether the places behind scored tokens are wanted, too; then each sequence is fed whole.
        rows: The sequences that have a scored token, in the order in which they are batched.
    """

    def __init__(self, tokens: TokenSet, batch_size: int, *, boundary: bool = False) -> None:
        self.tokens = tokens
        self.boundary = boundary
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
        fed = tokens.lengths[rows] - (not self.boundary)
        widest = int(fed.max())
        if width is not None:
            widest = min(widest, width)
            fed = np.minimum(fed, widest)
        fed_BW = np.arange(widest)[None, :] < fed[:, None]
        input_BW = np.zeros((len(rows), widest), np.int64)
        # What is fed of each sequence, sequence after sequence, is what the mask takes in row-major order.
        input_BW[fed_BW] = tokens.ids[ranges(tokens.starts[rows], fed)]
        n_scored = self._first[rows + 1] - self._first[rows]
        token_index, b = ranges(self._first[rows], n_scored), np.repeat(np.arange(len(rows)), n_scored)
        if width is not None:
            within = tokens.position[token_index] <= fed[b]
            token_index, b = token_index[within], b[within]
        keep_BW = np.zeros((len(rows), widest), bool)
        keep_BW[b, tokens.position[token_index] - 1] = True
        target = tokens.target[token_index].astype(np.int64)
        own = behind = None
        if self.boundary:
            own_i = b * widest + tokens.position[token_index] - 1
            keep_BW[b, tokens.position[token_index]] = True
            places = np.flatnonzero(keep_BW)
            # What the added places predict is not looked at: any id will do.
            own, behind = np.searchsorted(places, own_i), np.searchsorted(places, own_i + 1)
            all_targets = np.zeros(len(places), np.int64)
            all_targets[own] = target
            target = all_targets
        mask = None
        if (fed < widest).any():
            mask = on_device(device, fed_BW.astype(np.int64))
        encoder_ids, encoder_mask = _encoder_rows(tokens, rows, device)
        return Batch(
            input_ids=on_device(device, input_BW),
            attention_mask=mask,
            keep=on_device(device, keep_BW),
            target=on_device(device, target),
            token_index=torch.from_numpy(token_index),
            places=on_device(device, np.flatnonzero(keep_BW)),
            own=None if own is None else on_device(device, own),
            behind=None if behind is None else on_device(device, behind),
            encoder_ids=encoder_ids,
            encoder_mask=encoder_mask,
        )


def _encoder_rows(
    tokens: TokenSet, rows: NDArray[np.integer], device: torch.device
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if tokens.encoder is None:
        return None, None
    lengths = tokens.encoder.lengths[rows]
    there_BE = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    ids_BE = np.zeros(there_BE.shape, np.int64)
    ids_BE[there_BE] = tokens.encoder.ids[ranges(tokens.encoder.starts[rows], lengths)]
    return on_device(device, ids_BE), on_device(device, there_BE.astype(np.int64))


def on_device(device: torch.device, array: NDArray[Any]) -> torch.Tensor:
    """An array as a tensor on `device`."""
    tensor = torch.from_numpy(array)
    # From pinned memory, so that the next batch is built while the device still works on this one.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def ranges(first: NDArray[np.integer], length: NDArray[np.integer]) -> NDArray[np.integer]:
    """`first[i], first[i] + 1, ...`, `length[i]` of them, one range after another."""
    return np.repeat(first - (np.cumsum(length) - length), length) + np.arange(length.sum())
