"""EncoderInput: what an encoder is fed beside each sequence, which the decoder behind it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

SEQ2SEQ = "seq2seq"


@dataclass(frozen=True, eq=False)
class EncoderInput:
    """The encoder's sequences; part of a set's identity.

    Attributes:
        ids: All of them behind one another, int32.
        starts: Where each begins in `ids`, and their end; int64, shape [S + 1].
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each, shape [S]."""
        return np.diff(self.starts)

    @property
    def context(self) -> int:
        """Tokens in the longest."""
        return int(self.lengths.max())

    def sequence(self, s: int) -> NDArray[np.int32]:
        """Token ids of the encoder's input beside sequence `s`."""
        return self.ids[self.starts[s] : self.starts[s + 1]]

    def check(self, tokens: TokenSet) -> None:
        """Makes sure that it fits the set.

        Raises:
            ValueError: Naming what does not.
        """
        if len(self.lengths) != tokens.n_sequences:
            raise ValueError(
                f"encoder_ids: {len(self.lengths):,} rows for {tokens.n_sequences:,} sequences; one row a sequence is "
                "expected."
            )
        if (self.lengths < 1).any():
            raise ValueError(f"encoder_ids[{int(np.argmin(self.lengths))}]: it is empty; an encoder needs a token.")
        if tokens.vocab_size is not None and int(self.ids.max()) >= tokens.vocab_size:
            raise ValueError(f"encoder_ids: id {int(self.ids.max())} lies beyond vocab_size={tokens.vocab_size}.")

    def identity(self) -> bytes:
        """What goes into the set's hash."""
        return b"".join(np.ascontiguousarray(one, "<i8").tobytes() for one in (self.starts, self.ids))
