"""TextSampler: lets the live model continue fixed prompts, in the window and on the road on which it is scored.

Suffixes: P prompts, B prompts of a batch, W fed tokens in a row, T new tokens, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curvewatch.errors import RanksApartError, ScoringError
from curvewatch.observation import Sample
from curvewatch.sampling.choice import choose, uniform
from curvewatch.sampling.prompts import Prompts, shown
from curvewatch.sampling.repetition import repetition_length
from curvewatch.sampling.sample import samples_scalars, samples_table
from curvewatch.scoring import ranks
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.gathers import Gathers
from curvewatch.scoring.roads import Road, by_forward, full
from curvewatch.scoring.survey import Survey, context_limit, input_embeddings, survey
from curvewatch.scoring.undisturbed import Around, Window, device_of, nothing_around, unwrap
from curvewatch.tokens.tokenset import TokenSet

__all__ = ["Prompts", "Sample", "TextSampler", "samples_scalars", "samples_table"]

logger = logging.getLogger("curvewatch")

# Fed tokens and logit bytes of a batch: constants, so that its composition, on which rounding depends, is the same on
# every rank and after a resume, whatever memory is free.
BATCH_TOKENS = 4096
BATCH_LOGIT_BYTES = 256 << 20


class TextSampler:
    """Continues the prompts with the model as it is, and leaves it as it was.

    A plain loop over `model(input_ids)`, and never `model.generate`: that may replace the model's generation config,
    builds caches, draws from the global random streams, changes its input's shape at every pass, and stops when this
    rank's rows have ended, while others wait. Here every rank does the same forward passes, as many as arithmetic on
    the prompts' lengths says; what stands behind an end token is cut off afterwards. All rows have one constant
    length, padded on the right, where a causal model can't look.

    Args:
        prompts: What is continued, and how.
        forward: `forward(model, batch) -> logits` for models that can't be called as `model(input_ids)`; see `Batch`.
        context: Most tokens that may be fed at once, for models whose configuration doesn't say it (those that it
            says are never exceeded); None: as many as the prompts ask for.

    Raises:
        ValueError: If `context` is below 1.
    """

    def __init__(
        self, prompts: Prompts, *, forward: Callable[[Any, Batch], Any] | None = None, context: int | None = None
    ) -> None:
        if context is not None and context < 1:
            raise ValueError(f"context={context}: at least 1 is expected.")
        self.prompts = prompts
        self._forward = forward
        self._context = context
        self._length_P = np.array([len(ids) for ids in prompts.ids])
        self._width = 0
        self._rows = 1
        self._writable = 0  # ids from 0 on that can be fed back
        self._road: Road = full
        self._model: nn.Module | None = None
        self._window: Window | None = None
        self._gathers = Gathers(nn.Module())
        self._around: Around = nothing_around

    def prepare(self, model: nn.Module, around: Around = nothing_around) -> None:
        """Looks the model over; a collective on several ranks. Called by the first `sample` if not before.

        Args:
            model: The live model, on its device.
            around: Opened around all forward passes; the host's precision context.

        Raises:
            ScoringError: If a prompt is longer than the model's context or has ids beyond its vocabulary, or the model
                can't be scored at all; see `Scorer.prepare`.
        """
        model = unwrap(model)
        self._model = None  # not prepared if this fails
        self._width = self._fed_tokens(model)
        window = Window(model, around)
        failure: Exception | None = None
        try:
            with window.open():
                found = self._survey(model)
        except Exception as error:
            failure = error
        _agree(failure, type(model).__name__)
        kept = 1 if found.road in ("logits_to_keep", "head_hook") else self._width
        by_logits = BATCH_LOGIT_BYTES // (8 * kept * found.vocab_size)
        self._rows = max(1, min(BATCH_TOKENS // self._width, by_logits))
        self._model, self._window, self._around = model, window, around
        self._gathers = Gathers(model)

    def sample(self, model: nn.Module, step: int) -> list[Sample]:
        """Each prompt continued by the model as it is; a collective on several ranks.

        Args:
            model: The live model. It is left exactly as it was.
            step: Updates done.

        Returns:
            One sample a prompt, in their order; the same on all ranks.

        Raises:
            ScoringError: If a forward pass fails, on all ranks alike.
        """
        model = unwrap(model)
        if self._model is not model:
            self.prepare(model, self._around)
        assert self._window is not None
        parts: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
        failure: Exception | None = None
        firsts = range(0, len(self.prompts), self._rows)
        batches = [range(first, min(first + self._rows, len(self.prompts))) for first in firsts]
        turns = sum(int(self._n_new(self._length_P[one.start : one.stop]).max()) for one in batches)
        try:
            with self._window.open(), self._gathers.noting():
                try:
                    parts += [self._continue(model, of_batch, step) for of_batch in batches]
                except Exception as error:
                    self._gathers.stand_in(turns, error)
                    failure = error
        except RanksApartError:
            raise
        except Exception as error:
            failure = error
        _agree(failure, type(model).__name__)
        rows = [row for tokens_BT, fine_BT in parts for row in zip(tokens_BT, fine_BT, strict=True)]
        return [self._sample(p, step, token_T, fine_T) for p, (token_T, fine_T) in enumerate(rows)]

    # ------------------------------------------------------------------ before the first

    def _fed_tokens(self, model: nn.Module) -> int:
        name, limit = context_limit(model) or ("context", self._context)
        longest = int(self._length_P.max())
        wanted = longest + self.prompts.max_new_tokens - 1  # nothing is predicted from the last new token
        if limit is None or wanted <= limit:
            return wanted
        if longest > limit:
            p = int(self._length_P.argmax())
            raise ScoringError(
                f"texts_or_ids[{p}]: the prompt has {longest:,} tokens, the model's {name} is {limit:,}. Give a "
                "shorter prompt."
            )
        logger.info("the model's %s is %d: prompts are continued up to it", name, limit)
        return limit

    def _survey(self, model: nn.Module) -> Survey:
        """What scoring asks of a model is asked on rows of the sampler's own shape."""
        road = by_forward(self._forward) if self._forward is not None else None
        # The number of outputs first, from an id that certainly exists: ids beyond it would kill an accelerator.
        outputs = survey(model, TokenSet.from_sequences([[0, 0, 0]]), road)[0].vocab_size
        known = getattr(input_embeddings(model), "num_embeddings", None)
        self._writable = min(outputs, known) if known is not None else outputs
        for p, ids in enumerate(self.prompts.ids):
            if max(ids) >= self._writable:
                raise ScoringError(
                    f"texts_or_ids[{p}]: id {max(ids)} lies beyond the model's {self._writable:,} tokens. Encode the "
                    "prompts with the tokenizer that the model is trained with."
                )
        rows = [np.resize(ids, self._width + 1) for ids in self.prompts.ids]
        tokens = TokenSet.from_sequences(rows, positions=[[len(ids)] for ids in self.prompts.ids])
        found, self._road = survey(model, tokens, road)
        return found

    # ------------------------------------------------------------------ the loop

    def _continue(self, model: nn.Module, of_batch: range, step: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """New tokens [B, T] of these prompts, and whether there was a choice for each, [B, T]."""
        length_B, device = self._length_P[of_batch.start : of_batch.stop], device_of(model)
        n, each = len(of_batch), np.arange(len(of_batch))
        n_new = int(self._n_new(length_B).max())
        # What fills a row doesn't matter; a prompt's own tokens exist, and are not taken for padding without a mask.
        input_BW = np.stack([np.resize(self.prompts.ids[p], self._width) for p in of_batch])
        token_BT, fine_BT = np.zeros((n, n_new), np.int64), np.zeros((n, n_new), bool)
        uniform_BT = np.stack([uniform(self.prompts.seed, step, p, n_new) for p in of_batch])
        for t in range(n_new):
            # A row whose context is full goes along, so that the number of rows stays; its tokens are not used.
            last_B = np.minimum(length_B + t, self._width) - 1
            keep_BW = np.zeros(input_BW.shape, bool)
            keep_BW[each, last_B] = True
            logits_BV = self._road(model, _batch(input_BW, keep_BW, device))[:, : self._writable]
            self._gathers.turn_done()
            token_B, fine_B = choose(
                logits_BV.cpu().double().numpy(), uniform_BT[:, t], self.prompts.temperature, self.prompts.top_k
            )
            token_BT[:, t], fine_BT[:, t] = token_B, fine_B
            (room,) = np.nonzero(last_B + 1 < self._width)
            input_BW[room, last_B[room] + 1] = token_B[room]
        return token_BT, fine_BT

    def _n_new(self, length: Any) -> Any:
        """New tokens of prompts of that length, as far as the context goes."""
        return np.minimum(self.prompts.max_new_tokens, self._width + 1 - length)

    def _sample(self, p: int, step: int, token_T: NDArray[np.int64], fine_T: NDArray[np.bool_]) -> Sample:
        prompt, eos = self.prompts.ids[p], self.prompts.eos
        n_new = int(self._n_new(len(prompt)))
        status = "length" if n_new == self.prompts.max_new_tokens else "context"
        if not fine_T[:n_new].all():
            n_new, status = int(fine_T.argmin()), "nonfinite"
        ids = tuple(token_T[:n_new].tolist())
        if eos is not None and eos in ids:
            ids, status = ids[: ids.index(eos) + 1], "eos"
        said = ids[:-1] if status == "eos" else ids
        text = shown(self.prompts.tokenizer, ids, prompt)
        return Sample(step, p, text, ids, repetition_length(said), status, self.prompts.texts[p])


def _batch(input_BW: NDArray[np.int64], keep_BW: NDArray[np.bool_], device: torch.device) -> Batch:
    index = torch.arange(len(input_BW), device="cpu")
    return Batch(
        input_ids=torch.tensor(input_BW, device=device),
        attention_mask=None,
        keep=torch.tensor(keep_BW, device=device),
        target=torch.zeros(len(input_BW), dtype=torch.int64, device=device),
        token_index=index,
    )


def _agree(failure: Exception | None, model: str) -> None:
    """Raises on all ranks if one of them failed."""
    if ranks.all_true(failure is None):
        return
    if isinstance(failure, ScoringError):
        raise failure
    if failure is None:
        raise ScoringError("another rank could not sample text; its log says why.")
    # Never a bare out-of-memory RuntimeError: hosts answer those by shrinking the training batch.
    raise ScoringError(f"model={model}: sampling text failed: {failure}") from failure
