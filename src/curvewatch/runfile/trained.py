"""What was trained on, in a run file: passages and their exposures, fingerprints of sequences; of the run as a whole.

Functions that write work inside a transaction of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import RunFileError
from curvewatch.runfile import layout
from curvewatch.runfile.datasets import create_all
from curvewatch.runfile.plain import require
from curvewatch.runfile.records import TrainedPart
from curvewatch.runfile.trust import attribute, read, sets_of
from curvewatch.tokens.given import storable
from curvewatch.tokens.passages import Passages

_BY_STEP = {"exposure_step": layout.EXPOSURES[3:], "trained_step": layout.TRAINED}


@dataclass(frozen=True)
class Trained:
    """What a run file tells of what was trained on.

    Attributes:
        names: Of the passages; empty if none are looked for.
        texts: Of the passages.
        step_E: The update of each exposure, counted from 1: the row of that step is the first after it.
        passage_E: Index of its passage.
        count_E: How often the passage stood in the batches of that update.
        step_S: The update of each sequence that was remembered, ascending.
        fingerprint_S: Of the sequence, as `curvewatch.fingerprints` has it.
        index_S: Its own number; -1 where the host gave none.
        unknown: Stretches of updates of which nothing is known, both ends included.
        through: The last update that this tells of.
        batches: Whether sequences were remembered.
    """

    names: list[str]
    texts: list[str]
    step_E: NDArray[np.int64]
    passage_E: NDArray[np.int64]
    count_E: NDArray[np.int64]
    step_S: NDArray[np.int64]
    fingerprint_S: NDArray[np.uint64]
    index_S: NDArray[np.int64]
    unknown: list[tuple[int, int]]
    through: int
    batches: bool = False


def read_trained(h5: h5py.File) -> Trained | None:
    """What the file tells; None if nothing was followed.

    Raises:
        ValueError: If it contradicts itself.
    """
    group = _group(h5)
    if group is None:
        return None

    def values(name: str, dtype: type = np.int64) -> NDArray[Any]:
        return read(group[name]).astype(dtype) if name in group else np.zeros(0, dtype)

    texts = {name: read(group[name]).tolist() if name in group else [] for name in ("passage_name", "passage_text")}
    ends = zip(read(group["unknown_first"]).tolist(), read(group["unknown_last"]).tolist(), strict=True)
    trained = Trained(
        names=texts["passage_name"],
        texts=texts["passage_text"],
        step_E=values("exposure_step"),
        passage_E=values("exposure_passage"),
        count_E=values("exposure_count"),
        step_S=values("trained_step"),
        fingerprint_S=values("trained_fingerprint", np.uint64),
        index_S=values("trained_index"),
        unknown=list(ends),
        through=int(attribute(group, "through")),
        batches="trained_step" in group,
    )
    passage_E = trained.passage_E
    require(bool(((passage_E >= 0) & (passage_E < len(trained.names))).all()), "exposure_passage: of no passage")
    for name, steps in (("exposure_step", trained.step_E), ("trained_step", trained.step_S)):
        require(bool((np.diff(steps, prepend=1) >= 0).all()), f"{name}: not in order")
    return trained


def _group(h5: h5py.File) -> h5py.Group | None:
    """What the file has of it; None for nothing. In an old file the name may be a token set's."""
    return h5[layout.TRAINED_ON] if layout.TRAINED_ON in h5 and layout.TRAINED_ON not in sets_of(h5) else None


def settle_trained(h5: h5py.File, path: Path, passages: Passages | None, *, batches: bool, step: int) -> None:
    """Makes ready for what is followed from `step` on; what was trained on behind it is cut off.

    Args:
        h5: The file.
        path: Of it, for errors.
        passages: To be looked for; None: none.
        batches: Whether sequences are remembered.
        step: Updates done.

    Raises:
        RunFileError: If the file follows other passages.
    """
    group = _group(h5)
    if group is None:
        if passages is None and not batches:
            return
        if layout.TRAINED_ON in h5:
            raise RunFileError(
                f"tokens: in {path} a token set is called {layout.TRAINED_ON!r}, where exposures and batches have "
                "their place. Give the set another name, and another path."
            )
        group = h5.create_group(layout.TRAINED_ON)
        create_all(group, layout.UNKNOWN, {"unknown_first": 0})
        group.attrs["through"] = 0
        group.attrs["passages_hash"] = ""
    if passages is not None and "passage" in group and group.attrs["passages_hash"] != passages.hash:
        raise RunFileError(
            f"exposures: {path} follows {group['passage'].shape[0]:,} other passages. Give the same ones, or another "
            "path."
        )
    began_late = []
    if passages is not None and "passage" not in group:
        create_all(group, layout.EXPOSURES, {"passage": len(passages), "exposure": 0})
        group["passage"][:] = np.arange(len(passages), dtype=np.int32)
        group["passage_name"][:] = np.array([storable(name) for name in passages.names], object)
        group["passage_text"][:] = np.array([storable(text) for text in passages.texts], object)
        group.attrs["passages_hash"] = passages.hash
        began_late.append(True)
    if batches and "trained_step" not in group:
        create_all(group, layout.TRAINED, {"trained_step": 0})
        began_late.append(True)
    _cut(group, step)
    through = int(group.attrs["through"])
    if any(began_late) and step > 0:
        # Part of it may be known of other things that are followed; the cautious say nothing of any.
        _add_unknown(group, 1, step)
    elif through < step:
        _add_unknown(group, through + 1, step)
    group.attrs["through"] = step


def _cut(group: h5py.Group, step: int) -> None:
    for key, datasets in _BY_STEP.items():
        if key in group:
            n = int(np.searchsorted(group[key][:], step, side="right"))
            for dataset in datasets:
                group[dataset.name].resize((n,))
    first, last = group["unknown_first"][:], group["unknown_last"][:]
    kept = first <= step
    for name, values in (("unknown_first", first[kept]), ("unknown_last", np.minimum(last[kept], step))):
        group[name].resize(values.shape)
        group[name][:] = values
    group.attrs["through"] = min(int(group.attrs["through"]), step)


def _add_unknown(group: h5py.Group, first: int, last: int) -> None:
    n = group["unknown_first"].shape[0]
    if n and int(group["unknown_last"][n - 1]) >= first - 1:
        group["unknown_last"][n - 1] = max(last, int(group["unknown_last"][n - 1]))
        group["unknown_first"][n - 1] = min(first, int(group["unknown_first"][n - 1]))
        return
    for name, value in (("unknown_first", first), ("unknown_last", last)):
        group[name].resize((n + 1,))
        group[name][n] = value


def add_trained(h5: h5py.File, part: TrainedPart) -> None:
    """Adds what was trained on up to a step."""
    group = _group(h5)
    if group is None:
        return
    if not part.known and part.through > part.first:
        _add_unknown(group, part.first + 1, part.through)
    if "exposure" in group and len(part.step_E):
        n = group["exposure"].shape[0]
        values = {
            "exposure": np.arange(n, n + len(part.step_E)),
            "exposure_step": part.step_E,
            "exposure_passage": part.passage_E,
            "exposure_count": part.count_E,
        }
        _grow(group, values, n)
    if "trained_step" in group and len(part.step_S):
        values = {
            "trained_step": part.step_S,
            "trained_fingerprint": part.fingerprint_S,
            "trained_index": part.index_S,
        }
        _grow(group, values, group["trained_step"].shape[0])
    group.attrs["through"] = part.through


def _grow(group: h5py.Group, values: dict[str, NDArray[Any]], n: int) -> None:
    for name, added in values.items():
        group[name].resize((n + len(added),))
        group[name][n:] = added
