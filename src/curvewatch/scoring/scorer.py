"""Scorer: model and token set in, Observation out, the same on every rank. It says HOW."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from curvewatch.errors import RanksApartError, ScoringError
from curvewatch.observation import Observation
from curvewatch.scoring import ranks
from curvewatch.scoring.base import BaseLogits, kl_bits
from curvewatch.scoring.batches import Batch, Batches
from curvewatch.scoring.boundary import BoundaryScorer
from curvewatch.scoring.dropout import dropout_layers, dropout_sd
from curvewatch.scoring.gathers import Gathers
from curvewatch.scoring.kernels import Kernel, kernel_for
from curvewatch.scoring.logits import score_logits
from curvewatch.scoring.masked import MaskedBatches, batches_of
from curvewatch.scoring.memory import automatic_batch_size, is_out_of_memory
from curvewatch.scoring.roads import Road, by_forward, full
from curvewatch.scoring.survey import Survey, survey
from curvewatch.scoring.undisturbed import Around, Window, device_of, nothing_around, unwrap
from curvewatch.tokens.tokenset import TokenSet

logger = logging.getLogger("curvewatch")

# Scores wait on the device until there are this many, so that an accelerator is not stopped after each batch.
TOKENS_ON_DEVICE = 1 << 22


class Scorer:
    """Scores one token set with one model, again and again.

    `prepare` looks the model over once: whether set and model fit, which road to the logits is exact, how many
    sequences fit in a batch. `score` then measures all N tokens. On several ranks the batches are shared out and the
    scores summed, so every rank holds the whole observation, bit for bit that of a single process.

    Args:
        tokens: What to score.
        batch_size: Sequences in a batch, or "auto". It is fixed for a whole run, since rounding depends on it; only
            running out of memory makes it smaller.
        forward: `forward(model, batch) -> logits` for models that can't be called as `model(input_ids)`; see `Batch`.

    Raises:
        ValueError: If `batch_size` is neither "auto" nor a whole number of at least 1.
    """

    def __init__(
        self,
        tokens: TokenSet,
        *,
        batch_size: int | str = "auto",
        forward: Callable[[Any, Batch], Any] | None = None,
    ) -> None:
        whole = isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size >= 1
        if not whole and batch_size != "auto":
            raise ValueError(f'batch_size={batch_size!r}: "auto" or a whole number of at least 1 is expected.')
        self.tokens = tokens
        self.batch_size = batch_size
        self._forward = forward
        self._road: Road = full
        self._kernel: Kernel = score_logits
        # Set where the divergence from a base is measured, too.
        self.base: BaseLogits | None = None
        # How many further passes with dropout measure the spread of surprisal.
        self.dropout_passes = 0
        flags_V = tokens.annotations.boundary
        self._boundary = BoundaryScorer(flags_V) if flags_V is not None else None
        self._window: Window | None = None
        self._model: nn.Module | None = None
        self._around: Around = nothing_around
        self._survey: Survey | None = None
        self._gathers = Gathers(nn.Module())

    def again(self) -> Scorer:
        """Another scorer of the same set, for another model: with the same batches, so that rounding is the same."""
        return Scorer(self.tokens, batch_size=self.batch_size, forward=self._forward)

    def prepare(self, model: nn.Module, around: Around = nothing_around) -> Survey:
        """Looks the model over; a collective on several ranks. Called by the first `score` if not before.

        Args:
            model: The live model, on its device.
            around: Opened around every scoring; the host's precision context.

        Returns:
            What was found: road, vocabulary, precision.

        Raises:
            ScoringError: If the model can't be scored on this set: ids beyond its vocabulary, sequences longer than
                its context, no logits, logits that depend on later tokens (of a masked model: that don't), or another
                kind of model than the set is for.
        """
        model = unwrap(model)
        window = Window(model, around)
        failure: BaseException | None = None
        try:
            with window.open():
                road = by_forward(self._forward) if self._forward is not None else None
                found, self._road = survey(model, self.tokens, road)
            if self.dropout_passes:
                dropout_layers(model)
        except Exception as error:
            failure = error
        if not ranks.all_true(failure is None):
            if failure is None:
                raise ScoringError("another rank could not score the model; its log says why.")
            if isinstance(failure, ScoringError):
                raise failure
            # Never a bare out-of-memory RuntimeError: hosts answer those by shrinking the training batch.
            raise ScoringError(f"model={type(model).__name__}: its forward pass failed: {failure}") from failure
        self._model, self._window, self._survey, self._around = model, window, found, around
        self._gathers = Gathers(model)
        self._kernel = kernel_for(device_of(model))
        if self.batch_size == "auto":
            size = automatic_batch_size(self.tokens, found, device_of(model))
            self.batch_size = ranks.smallest(size)
        return found

    def score(self, model: nn.Module) -> Observation:
        """All N tokens measured with the model as it is; a collective on several ranks.

        Args:
            model: The live model. It is left exactly as it was.

        Raises:
            ScoringError: If a forward pass fails, on all ranks alike. Running out of memory is answered with smaller
                batches, and fails only when a single sequence does not fit.
        """
        model = unwrap(model)
        if self._model is not model:
            # Another model object in the same run; it is scored in the same context.
            self.prepare(model, self._around)
        assert self._window is not None
        while True:
            n_scores = 3 + (self._boundary is not None) + (self.base is not None) + (self.dropout_passes > 0)
            scores_KN = torch.zeros(n_scores, len(self.tokens), dtype=torch.float32)
            failure: BaseException | None = None
            try:
                with self._window.open(), self._gathers.noting():
                    failure = self._pass(model, scores_KN)
            except RanksApartError:
                raise
            except Exception as error:
                failure = error
            # 1: fine, 0: out of memory, -1: failed. All ranks go the way of the worst off.
            worst = ranks.smallest(1 if failure is None else 0 if is_out_of_memory(failure) else -1)
            if worst == 1:
                break
            if worst == -1 or self.batch_size == 1:
                # Never a bare out-of-memory RuntimeError: hosts answer those by shrinking the training batch.
                raise ScoringError(
                    f"scoring failed: {failure or 'on another rank; its log says why'}"
                    + (" (a single sequence does not fit in memory: use a shorter context)" if worst == 0 else "")
                ) from failure
            failure = None  # lets go of the traceback, and with it of the memory that its frames hold
            self._shrink(model)
        total = ranks.sum_in_place(scores_KN).numpy()
        boundary = total[3].copy() if self._boundary is not None else None
        spread = total[-1].copy() if self.dropout_passes else None
        kl = total[-1 - (spread is not None)].copy() if self.base is not None else None
        return Observation(total[0].copy(), total[1] > 0, total[2].copy(), boundary, kl, spread)

    def time_pass(self, model: nn.Module, batches: int = 3) -> float:
        """Seconds that `score` will take, from a few of its batches (each rank times its own)."""
        model = unwrap(model)
        assert self._window is not None
        assert isinstance(self.batch_size, int)
        all_batches, device = self._batches(self.batch_size), device_of(model)
        spent = []
        with self._window.open():
            for turn in range(batches + 1):
                began = time.perf_counter()
                batch = all_batches.build(turn % len(all_batches), device)
                self._scores(model, batch, turn).cpu()
                spent.append(time.perf_counter() - began)
        # The first batch also pays for what is set up once.
        return float(np.median(spent[1:])) * -(-len(all_batches) // ranks.size())

    @property
    def prepared(self) -> Survey:
        """What `prepare` found.

        Raises:
            ScoringError: Before `prepare`.
        """
        if self._survey is None:
            raise ScoringError("the scorer has seen no model yet: call prepare(model) first.")
        return self._survey

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores depend on besides model and tokens, for the record. Known once prepared."""
        found = self.prepared
        return {"road": found.road, "batch_size": self.batch_size, "compute_dtype": found.compute_dtype}

    def _batches(self, size: int) -> Batches | MaskedBatches:
        return batches_of(self.tokens, size)

    def _scores(self, model: nn.Module, batch: Batch, index: int) -> torch.Tensor:
        """Scores, change of boundaries, divergence from a base, spread: shape [3 to 6, scored tokens of the batch]."""
        logits_nV = self._road(model, batch)
        scores_3n = self._kernel(logits_nV, batch.target)
        parts = [scores_3n if batch.own is None else scores_3n[:, batch.own]]
        if self._boundary is not None:
            parts.append(self._boundary.change(logits_nV, batch)[None])
        if self.base is not None:
            kl_n = kl_bits(self.base(batch), logits_nV)
            parts.append((kl_n if batch.own is None else kl_n[batch.own])[None])
        if self.dropout_passes:
            again = partial(self._surprisal, model, batch)
            parts.append(dropout_sd(model, again, self.dropout_passes, index)[None])
        return torch.cat(parts) if len(parts) > 1 else scores_3n

    def _surprisal(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        bits_n = self._kernel(self._road(model, batch), batch.target)[0]
        return bits_n if batch.own is None else bits_n[batch.own]

    def logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Logits of a batch's wanted places, shape [n, V], in the window of the model that was prepared."""
        assert self._window is not None
        with self._window.open():
            return self._road(unwrap(model), batch)

    def _pass(self, model: nn.Module, scores_KN: torch.Tensor) -> Exception | None:
        """Fills in this rank's scores; returns what it failed by, having done its part in what all ranks do."""
        assert isinstance(self.batch_size, int)
        turns = -(-len(self._batches(self.batch_size)) // ranks.size())
        try:
            self._turns(model, scores_KN, turns)
        except Exception as error:
            if is_out_of_memory(error):
                traceback.clear_frames(error.__traceback__)  # lets go of the memory that they hold
            self._gathers.stand_in(turns, error)
            return error
        return None

    def _turns(self, model: nn.Module, scores_KN: torch.Tensor, turns: int) -> None:
        assert isinstance(self.batch_size, int)
        batches, device = self._batches(self.batch_size), device_of(model)
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        n_waiting = 0
        # Every rank does the same number of forward passes (FSDP would hang otherwise); what comes after the last
        # batch is a repetition whose scores are dropped.
        for turn in range(turns):
            index = turn * ranks.size() + ranks.rank()
            batch = batches.build(index % len(batches), device)
            scores_Kn = self._scores(model, batch, index % len(batches))
            self._gathers.turn_done()
            if index < len(batches):
                waiting.append((batch.token_index, scores_Kn))
                n_waiting += len(batch.token_index)
            if n_waiting >= TOKENS_ON_DEVICE:
                _collect(waiting, scores_KN)
                n_waiting = 0
        _collect(waiting, scores_KN)

    def _shrink(self, model: nn.Module) -> None:
        assert isinstance(self.batch_size, int)
        self.batch_size = max(1, self.batch_size // 2)
        logger.warning("out of memory while scoring; going on with batches of %d sequences", self.batch_size)
        if device_of(model).type == "cuda":
            torch.cuda.empty_cache()


def _collect(waiting: list[tuple[torch.Tensor, torch.Tensor]], scores_KN: torch.Tensor) -> None:
    if waiting:
        index = torch.cat([part for part, _ in waiting])
        scores_KN[:, index] = torch.cat([scores for _, scores in waiting], dim=1).cpu()
        waiting.clear()


def plain_reference(model: nn.Module, tokens: TokenSet) -> np.ndarray:
    """Surprisal in float64 from full logits, one sequence at a time: slow, plain, and what tests compare with.

    Args:
        model: In evaluation mode, or without dropout.
        tokens: What to score.

    Returns:
        Bits, float64, shape [N].
    """
    from curvewatch.scoring.roads import plain_logits

    device, batches = device_of(model), batches_of(tokens, 1)
    surprisal_N = np.empty(len(tokens))
    with torch.no_grad():
        for index in range(len(batches)):
            batch = batches.build(index, device)
            log_p = torch.log_softmax(plain_logits(model, batch)[batch.keep].double(), dim=-1)
            surprisal_N[batch.token_index] = -log_p.gather(1, batch.target[:, None])[:, 0].cpu() / np.log(2)
    return surprisal_N
