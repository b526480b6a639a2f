"""TrainedOn: what the batches held, sequence by sequence, seen as they pass by: passages, and fingerprints.

Exact, over all ranks. A batch belongs to the first step that is observed after it, so that an update which gathers the
gradients of several batches has all of them.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.runfile.records import TrainedPart
from curvewatch.scoring import ranks
from curvewatch.tokens.finding import NO_TOKEN, PassageFinder
from curvewatch.tokens.fingerprints import fingerprints
from curvewatch.tokens.passages import Passages

logger = logging.getLogger("curvewatch")
UNTRAINED = -100
"""A label that no loss is computed of, as PyTorch has it."""


class TrainedOn:
    """Follows what is trained on, on every rank its own batches; never raises but for arguments.

    After a batch that can't be read nothing more is told, and the file says from which step on.

    Args:
        passages: To be found; None: none.
        fingerprinted: Whether sequences are remembered by a fingerprint.

    Attributes:
        off: Why nothing is told any more; None when all is well.
        last_exposure: The last step that was trained on a passage on this rank; -1 for none.
    """

    def __init__(self, passages: Passages | None, *, fingerprinted: bool) -> None:
        self.passages = passages
        self._finder = PassageFinder(passages) if passages is not None else None
        self._fingerprinted = fingerprinted
        self._batches: list[_Batch] = []
        self._through = self._stamped = 0
        self.off: str | None = None
        self.last_exposure = -1

    def begin(self, step: int) -> None:
        """Training begins, or goes on, behind this step."""
        self._through = self._stamped = step

    def add(self, ids: Any, mask: Any = None, labels: Any = None, index: Any = None) -> None:
        """Takes a batch.

        Args:
            ids: Token ids, shape [..., length].
            mask: Of the same shape; 0 where there is no token.
            labels: Of the same shape; -100 where nothing is learned. A passage with no other label is not counted.
            index: The sequences' own numbers, shape [...], where the host has them.
        """
        if self.off is not None:
            return
        try:
            batch = _Batch(*_on_host(ids, mask, labels), None if index is None else _whole(index))
            if not batch.waits:
                self._read(batch)
            self._batches.append(batch)
            for one in self._batches:
                if one.rows_BL is not None and one.ready():
                    self._read(one)
        except Exception as error:
            self._turn_off(f"a batch can't be read ({type(error).__name__}: {error})")

    def holds_passage(self, ids: Any, mask: Any = None, labels: Any = None) -> bool:
        """Whether a batch holds a passage; waits for the device, and remembers nothing."""
        if self.off is not None or self._finder is None:
            return False
        try:
            batch = _Batch(*_on_host(ids, mask, labels), None)
            self._read(batch)
            return bool(len(batch.passages))
        except Exception as error:
            self._turn_off(f"a batch can't be read ({type(error).__name__}: {error})")
            return False

    def turn_off(self, why: str) -> None:
        """Gives it up; said once in the log."""
        self._turn_off(why)

    def _turn_off(self, why: str) -> None:
        if self.off is None:
            self.off, self._batches = why, []
            logger.warning("what is trained on is not followed from here on: %s", why)

    def _read(self, batch: _Batch) -> None:
        batch.read(self._finder, fingerprinted=self._fingerprinted)
        if batch.step >= 0 and len(batch.passages):
            self.last_exposure = max(self.last_exposure, batch.step)

    def stamp(self, step: int) -> None:
        """All batches since the step before were trained on by this one; said again, it changes nothing."""
        if step <= self._stamped:
            return  # an update that is still gathering gradients
        self._stamped = step
        for batch in self._batches:
            if batch.step < 0:
                batch.step = step
                if batch.rows_BL is None and len(batch.passages):
                    self.last_exposure = step

    def settle(self) -> None:
        """Waits for what is still on its way from the device, so that `last_exposure` is up to date."""
        try:
            for batch in self._batches:
                if batch.rows_BL is not None and batch.step >= 0:
                    self._read(batch)
        except Exception as error:
            self._turn_off(f"a batch can't be read ({type(error).__name__}: {error})")

    def part(self, step: int) -> TrainedPart | None:
        """What was trained on since the last call up to `step`, of all ranks. A collective.

        Returns:
            On rank 0; else None.
        """
        self.settle()
        mine = [one for one in self._batches if one.step >= 0]
        self._batches = [one for one in self._batches if one.step < 0]
        first, self._through = self._through, max(self._through, step)
        gathered = ranks.gathered((self.off is None, _joined(mine)))
        if gathered is None:
            return None
        if not all(known for known, _ in gathered):
            return TrainedPart(first, self._through, known=False)
        step_E, passage_E, count_E = (np.concatenate([one[k] for _, one in gathered]) for k in range(3))
        step_S, fingerprint_S, index_S = (np.concatenate([one[k] for _, one in gathered]) for k in range(3, 6))
        pairs, inverse = np.unique(np.stack([step_E, passage_E], axis=1), axis=0, return_inverse=True)
        counts = np.bincount(inverse.reshape(-1), weights=count_E, minlength=len(pairs)).astype(np.int64)
        order = np.argsort(step_S, kind="stable")
        return TrainedPart(
            first, self._through, True, pairs[:, 0], pairs[:, 1], counts,
            step_S[order], fingerprint_S[order], index_S[order],
        )  # fmt: skip


class _Batch:
    """A batch on its way: its ids on the host (or soon there), then what they hold."""

    def __init__(
        self,
        rows_BL: torch.Tensor,
        learned_BL: torch.Tensor | None,
        arrived: Any,
        index_B: NDArray[np.int64] | None,
    ) -> None:
        self.rows_BL: torch.Tensor | None = rows_BL
        self._learned_BL, self._arrived = learned_BL, arrived
        self.index_B = index_B
        self.step = -1
        self.passages = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)
        self.fingerprint_B = np.zeros(0, np.uint64)

    @property
    def waits(self) -> bool:
        return self._arrived is not None

    def ready(self) -> bool:
        return self._arrived is None or bool(self._arrived.query())

    def read(self, finder: PassageFinder | None, *, fingerprinted: bool) -> None:
        assert self.rows_BL is not None
        if self._arrived is not None:
            self._arrived.synchronize()
        rows_BL = self.rows_BL.numpy()
        if finder is not None and rows_BL.size:
            found = finder.find(rows_BL)
            passages = found.passage
            if self._learned_BL is not None and len(passages):
                before_BL = np.zeros((len(rows_BL), rows_BL.shape[1] + 1), np.int64)
                np.cumsum(self._learned_BL.numpy(), axis=1, out=before_BL[:, 1:])
                passages = passages[before_BL[found.row, found.stop] > before_BL[found.row, found.first]]
            self.passages, self.counts = np.unique(passages, return_counts=True)
        if fingerprinted:
            self.fingerprint_B = fingerprints(rows_BL)
            if self.index_B is None:
                self.index_B = np.full(len(rows_BL), -1, np.int64)
            elif len(self.index_B) != len(rows_BL):
                raise ValueError(f"{len(self.index_B)} numbers of sequences for {len(rows_BL)} sequences")
        self.rows_BL = self._learned_BL = None


@torch.no_grad()
def _on_host(ids: Any, mask: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
    """Ids with `NO_TOKEN` where there is none, and where something is learned; the event by which both have arrived."""
    ids = torch.as_tensor(ids)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"token ids are whole numbers, these are {ids.dtype}")
    rows = ids.detach().reshape(-1, ids.shape[-1] if ids.ndim else 1).long()
    empty = rows < 0
    if mask is not None:
        empty |= ~torch.as_tensor(mask, device=rows.device).reshape(rows.shape).bool()
    rows = rows.masked_fill(empty, NO_TOKEN)
    learned = None
    if labels is not None:
        learned = torch.as_tensor(labels, device=rows.device).reshape(rows.shape) != UNTRAINED
    if rows.device.type == "cpu":
        return rows, learned, None
    there = [_sent(one) for one in (rows, learned) if one is not None]
    arrived: Any = torch.cuda.Event() if rows.device.type == "cuda" else None  # type: ignore[no-untyped-call]
    if arrived is not None:
        arrived.record(torch.cuda.current_stream(rows.device))
    return there[0], there[1] if learned is not None else None, arrived


def _sent(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    # Into memory that the device writes by itself: training goes on meanwhile.
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _whole(index: Any) -> NDArray[np.int64]:
    numbers = index.detach().cpu().numpy() if isinstance(index, torch.Tensor) else np.asarray(index)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise TypeError(f"numbers of sequences are whole numbers, these are {numbers.dtype}")
    return numbers.reshape(-1).astype(np.int64)


def _joined(batches: list[_Batch]) -> tuple[NDArray[Any], ...]:
    none = np.zeros(0, np.int64)
    step_E = [np.full(len(one.passages), one.step, np.int64) for one in batches]
    step_S = [np.full(len(one.fingerprint_B), one.step, np.int64) for one in batches]
    return (
        np.concatenate([none, *step_E]),
        np.concatenate([none, *(one.passages for one in batches)]),
        np.concatenate([none, *(one.counts for one in batches)]),
        np.concatenate([none, *step_S]),
        np.concatenate([np.zeros(0, np.uint64), *(one.fingerprint_B for one in batches)]),
        np.concatenate([none, *(one.index_B for one in batches if one.index_B is not None and len(one.fingerprint_B))]),
    )
