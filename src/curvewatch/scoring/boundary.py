"""How surprising a word boundary is before and behind each scored token (`tokens.boundaries` says why).

Suffixes: n wanted places, m scored tokens among them, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from curvewatch.errors import ScoringError
from curvewatch.scoring.batches import Batch
from curvewatch.scoring.logits import boundary_bits
from curvewatch.tokens.boundaries import BEGINS, OPENS


class BoundaryScorer:
    """Measures boundaries beside the scores.

    Args:
        flags_V: Of each token of the vocabulary.
    """

    def __init__(self, flags_V: NDArray[np.uint8]) -> None:
        self._flags_V = torch.from_numpy(np.array(flags_V))

    def change(self, logits_nV: torch.Tensor, batch: Batch) -> torch.Tensor:
        """How much more surprising a boundary is behind each scored token than before it.

        Args:
            logits_nV: Of the batch's wanted places.
            batch: Made with `boundary=True`.

        Returns:
            Bits, float32, shape [m].

        Raises:
            ScoringError: If the model has fewer outputs than the vocabulary.
        """
        outputs = logits_nV.shape[-1]
        flags_V = self._flags_V
        if len(flags_V) > outputs:
            raise ScoringError(
                f"tokens: words with boundaries of a vocabulary of {len(flags_V):,} tokens; the model has {outputs:,} "
                "outputs. Build the token set with the tokenizer that the model is trained with."
            )
        # Outputs beyond the tokenizer's vocabulary stand for nothing, so they begin no word either.
        flags_V = torch.nn.functional.pad(flags_V, (0, outputs - len(flags_V))).to(logits_nV.device)
        bits_n = boundary_bits(logits_nV, (flags_V & BEGINS) > 0)
        # Behind a blank, or where no text is yet, whatever comes begins a word: a boundary is no surprise.
        fed_n = batch.wanted(batch.input_ids[..., None])[:, 0]
        bits_n[(flags_V[fed_n] & OPENS) > 0] = 0
        assert batch.own is not None
        assert batch.behind is not None
        return bits_n[batch.behind] - bits_n[batch.own]
