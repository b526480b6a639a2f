"""Sample: what the model wrote behind one prompt at one step, and what is shown of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Why a sample ends, and what that means.
STATUSES = {
    "length": "it has the asked-for number of tokens",
    "eos": "the model ended the text; the end token is its last",
    "context": "the model's context is full",
    "nonfinite": "no token could be chosen next: the logits were NaN or infinite",
}
# Key (behind "curvewatch/text/") -> unit and meaning.
TEXT_METRICS = {"repetition_mean": ("tokens", "mean length of what repeats at the end of the sampled texts")}
COLUMNS = ("step", "prompt", "text", "repetition", "status")


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


def samples_table(samples: Sequence[Sample]) -> tuple[list[str], list[list[int | str]]]:
    """Columns and rows of a table of samples, as W&B's `Table` takes them: plain numbers and text.

    Args:
        samples: In the order in which they are to stand.
    """
    rows: list[list[int | str]] = [
        [one.step, one.prompt, one.text, one.repetition_length, one.status] for one in samples
    ]
    return list(COLUMNS), rows


def samples_scalars(samples: Sequence[Sample]) -> dict[str, float]:
    """The metrics of one step's samples by key; none where no sample is whole (NaN weights, say).

    Args:
        samples: Of one step.
    """
    lengths = [one.repetition_length for one in samples if one.status != "nonfinite"]
    return {"curvewatch/text/repetition_mean": sum(lengths) / len(lengths)} if lengths else {}
