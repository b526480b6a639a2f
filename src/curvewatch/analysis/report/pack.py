"""Numbers as few bytes: what the page's script unpacks again.

Curves are rounded to a hundredth of a bit, finer than a pixel of any plot. Each is stored as differences along its
steps, low and high bytes apart, which is what makes them compress well.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRAIN = 0.01  # bits
MISSING = 65_535
OFFSET = 1_000  # so that a smoothed curve may dip below 0


def curves(values_nT: NDArray[Any]) -> dict[str, Any]:
    """Curves, bits, as bytes: shape [n, T], NaN where there is nothing."""
    with np.errstate(invalid="ignore"):
        scaled_nT = np.clip(np.rint(values_nT / GRAIN) + OFFSET, 0, MISSING - 1)
    whole_nT = np.where(np.isfinite(values_nT), scaled_nT, MISSING).astype(np.int64)
    delta_nT = np.ascontiguousarray(np.diff(whole_nT, axis=1, prepend=0) % 65_536, "<u2")
    planes = delta_nT.view(np.uint8).reshape(*delta_nT.shape, 2)
    data = np.concatenate([planes[..., 0].ravel(), planes[..., 1].ravel()]).tobytes()
    return {"kind": "curves", "shape": list(values_nT.shape), "data": data}


def floats(values: NDArray[Any]) -> dict[str, Any]:
    """Any numbers as float32; NaN stays NaN."""
    return {"kind": "f4", "shape": list(values.shape), "data": np.ascontiguousarray(values, "<f4").tobytes()}


def integers(values: NDArray[Any]) -> dict[str, Any]:
    """Whole numbers as int32."""
    return {"kind": "i4", "shape": list(values.shape), "data": np.ascontiguousarray(values, "<i4").tobytes()}


def shorts(values: NDArray[Any]) -> dict[str, Any]:
    """Numbers from 0 to 1 in 65,536 grades, as uint16."""
    graded = np.rint(np.clip(values, 0, 1) * 65_535)
    return {"kind": "u2", "shape": list(values.shape), "data": np.ascontiguousarray(graded, "<u2").tobytes()}


def small(values: NDArray[Any]) -> dict[str, Any]:
    """Whole numbers from 0 to 255 as bytes."""
    return {"kind": "u1", "shape": list(values.shape), "data": np.ascontiguousarray(values, np.uint8).tobytes()}


def bits(values_nT: NDArray[np.bool_]) -> dict[str, Any]:
    """Truth values, eight to a byte, each row from a byte of its own."""
    return {"kind": "bits", "shape": list(values_nT.shape), "data": np.packbits(values_nT, axis=1).tobytes()}


def pack(plain: dict[str, Any], arrays: dict[str, dict[str, Any]]) -> str:
    """Plain values and arrays in one base64 text.

    Args:
        plain: Anything JSON can hold; NaN and infinity become null.
        arrays: As made by the functions above, by name.
    """
    table, parts, at = {}, [], 0
    for name, array in arrays.items():
        data = array["data"] + bytes(-len(array["data"]) % 8)
        table[name] = {"kind": array["kind"], "shape": array["shape"], "at": at}
        parts.append(data)
        at += len(data)
    text = json.dumps({**clean(plain), "arrays": table}, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return squeeze(struct.pack("<I", len(text)) + text + b"".join(parts))


def squeeze(data: bytes) -> str:
    """Compressed, as base64; the same for the same data."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def clean(value: Any) -> Any:
    """The value in JSON's terms: arrays as lists, numbers rounded to 5 digits, null for what is not a number."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return clean(value.tolist())
    if isinstance(value, (list, tuple)):
        return [clean(inner) for inner in value]
    if isinstance(value, np.generic):
        return clean(value.item())
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
