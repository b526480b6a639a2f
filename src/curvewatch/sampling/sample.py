"""What is shown of the texts that the model wrote at one step."""

from __future__ import annotations

from collections.abc import Sequence

from curvewatch.observation import Sample

# Key (behind "curvewatch/text/") -> unit and meaning.
TEXT_METRICS = {"repetition_mean": ("tokens", "mean length of what repeats at the end of the sampled texts")}
COLUMNS = ("step", "prompt", "text", "repetition", "status")


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
