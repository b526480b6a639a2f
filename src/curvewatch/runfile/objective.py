"""What the tokens of a set are predicted from besides what stands to their left, as its run file has it."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from curvewatch.runfile.trust import attribute, read
from curvewatch.tokens.encoder_input import EncoderInput
from curvewatch.tokens.masking import Masking


def read_objective(group: h5py.Group) -> dict[str, Any]:
    """Masking and encoder's input, by the names of a token set's attributes, where the set has them.

    Args:
        group: Of the set; the file was checked.
    """
    found: dict[str, Any] = {}
    if "mask_row" in group:
        mask_id = int(attribute(group, "mask_id"))
        found["masking"] = Masking(mask_id, read(group["mask_row"]), read(group["masked_behind"]))
    if "encoder_sequences" in group:
        lengths, padded = read(group["encoder_length"]).astype(np.int64), read(group["encoder_sequences"])
        there = np.arange(padded.shape[1])[None, :] < lengths[:, None]
        found["encoder"] = EncoderInput(padded[there], np.concatenate([[0], np.cumsum(lengths)]))
    return found
