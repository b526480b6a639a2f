"""What is seen of a model at one training step: of all scored tokens, and of the texts it writes. Suffix: N tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observation:
    """What was measured for all N tokens at one step.

    Attributes:
        surprisal_bits: -log2 p(token | context), float32, shape [N]. NaN where the model's logits are not numbers,
            inf where it gives the token no probability at all.
        correct: Whether the target is the arg-max (the first one, among equals), bool, shape [N].
        entropy_bits: Entropy of the predicted distribution, float32, shape [N].
        boundary_bits: How much more surprising a word boundary is behind the token than before it, float32, shape
            [N]; None for sets whose words are not corrected.
        kl_bits: Kullback-Leibler divergence from a base model's prediction, float32, shape [N]; None where it is not
            measured.
        dropout_sd_bits: Standard deviation of surprisal over passes with dropout, float32, shape [N]; None where it is
            not measured.
    """

    surprisal_bits: NDArray[np.float32]
    correct: NDArray[np.bool_]
    entropy_bits: NDArray[np.float32]
    boundary_bits: NDArray[np.float32] | None = None
    kl_bits: NDArray[np.float32] | None = None
    dropout_sd_bits: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.surprisal_bits)


# Why a sample ends, and what that means.
STATUSES = {
    "length": "it has the asked-for number of tokens",
    "eos": "the model ended the text; the end token is its last",
    "context": "the model's context is full",
    "nonfinite": "no token could be chosen next: the logits were NaN or infinite",
}


@dataclass(frozen=True)
class Sample:
    """The model's continuation of one prompt at one step.

    Attributes:
        step: Updates done.
        prompt_index: Of the prompt, from 0.
        text: The continuation, without the prompt; without a tokenizer the ids, separated by spaces.
        token_ids: Its tokens.
        repetition_length: Tokens at its end that repeat; see `repetition_length`. An end token is not counted.
        status: Why it ends; one of `STATUSES`.
        prompt: The prompt's text.
    """

    step: int
    prompt_index: int
    text: str
    token_ids: tuple[int, ...]
    repetition_length: int
    status: str = "length"
    prompt: str = ""
