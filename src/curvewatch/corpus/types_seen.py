"""ContextualDiversity: which context types each type was seen behind, and the file that this is kept in.

Suffixes: V vocabulary, K context types, S special tokens, N scored tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.measures.smoother.smoothing import Smoother
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.tokenset import TokenSet

FORMAT = "curvewatch contextual diversity"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class ContextualDiversity:
    """The contextual diversity of a vocabulary, by one corpus.

    Attributes:
        seen_VK: A bit for each pair of a type and a context type: whether the one stood in the other's window; uint8,
            shape [V, K / 8], the highest bit first.
        types_K: Ids of the context types, ascending, int64.
        token_counts_V: How often each type occurs in the whole corpus, int64.
        special_S: Ids that stand for no text, int64.
        made_by: How it was made, with the share of the corpus that was looked at.
    """

    seen_VK: NDArray[np.uint8]
    types_K: NDArray[np.int64]
    token_counts_V: NDArray[np.int64]
    special_S: NDArray[np.int64]
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        v, bytes_each = len(self.token_counts_V), -(-len(self.types_K) // 8)
        if self.seen_VK.shape != (v, bytes_each) or self.seen_VK.dtype != np.uint8:
            raise ValueError(f"seen_VK: uint8 {(v, bytes_each)} is expected, got {self.seen_VK.shape}.")
        for array in (self.seen_VK, self.types_K, self.token_counts_V, self.special_S):
            array.flags.writeable = False

    def __repr__(self) -> str:
        share = float(self.made_by.get("share", 1.0))
        return (
            f"<ContextualDiversity: {len(self.token_counts_V):,} types, {len(self.types_K):,} context types, "
            f"{self.token_counts_V.sum():,} tokens{f', {share:.2%} of them looked at' if share < 1 else ''}>"
        )

    @cached_property
    def raw_V(self) -> NDArray[np.int64]:
        """Distinct context types of each type, int64, shape [V]."""
        counts: NDArray[np.int64] = (
            np.bitwise_count(self.seen_VK).sum(axis=1, dtype=np.int64)
            if hasattr(np, "bitwise_count")
            else np.unpackbits(self.seen_VK, axis=1).sum(axis=1, dtype=np.int64)
        )
        counts.flags.writeable = False
        return counts

    def adjusted_V(self, *, drop_unseen: bool = False) -> NDArray[np.float64]:
        """Diversity beyond what frequency explains: the residual of a smooth on log10 relative frequency, types, [V].

        The smooth is that of the learning curves, over types, each counted once. Types that never occur stand at the
        lowest frequency that does. Special tokens are left out of it, and get the lowest value.

        Args:
            drop_unseen: Leave types that never occur out as well; they get the lowest value, too.

        Raises:
            ValueError: If fewer than three types are left.
        """
        order, _, smooth_T = self.smooth(drop_unseen=drop_unseen)
        found = np.full(len(self.token_counts_V), np.nan)
        found[order] = self.raw_V[order] - smooth_T
        found[np.isnan(found)] = np.nanmin(found)
        return found

    def smooth(
        self, *, drop_unseen: bool = False
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """The smooth that `adjusted_V` takes off: ids in the order of frequency, log10 of that, and the smooth there.

        All three of shape [T], the T types that are fitted. Where all are equally frequent it is their mean.

        Args:
            drop_unseen: As for `adjusted_V`.

        Raises:
            ValueError: If fewer than three types are left.
        """
        counts_V = self.token_counts_V
        fitted = np.ones(len(counts_V), bool)
        fitted[self.special_S] = False
        if drop_unseen:
            fitted &= counts_V > 0
        if fitted.sum() < 3:
            raise ValueError(f"types: {int(fitted.sum())} are left besides the special ones; a smooth takes three.")
        share_V = counts_V / counts_V.sum()
        log_V = np.log10(np.maximum(share_V, share_V[share_V > 0].min()))
        order: NDArray[np.int64] = np.flatnonzero(fitted)[np.argsort(log_V[fitted], kind="stable")]
        x_T, raw_T = log_V[order], self.raw_V[order].astype(np.float64)
        if x_T[0] == x_T[-1]:
            return order, x_T, np.full(len(order), raw_T.mean())
        smoother = Smoother(x_T, paper=True)
        smooth_T: NDArray[np.float64] = smoother.fit(raw_T[:, None]).at(smoother.basis_TK)[:, 0].astype(np.float64)
        return order, x_T, smooth_T

    def of(self, tokens: TokenSet, *, adjusted: bool = True) -> NDArray[np.float64]:
        """The diversity of each scored token's type, float64, shape [N].

        Raises:
            ValueError: If the set's vocabulary is larger.
        """
        if int(tokens.target.max()) >= len(self.token_counts_V):
            raise ValueError(
                f"tokens: target id {int(tokens.target.max())} lies beyond the {len(self.token_counts_V):,} types of "
                "this diversity. Was it counted with another tokenizer?"
            )
        by_type = self.adjusted_V() if adjusted else self.raw_V.astype(np.float64)
        found: NDArray[np.float64] = by_type[tokens.target]
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file (.npz, no pickled objects), replacing what is there in one step."""
        path = Path(path)
        about = {"format": FORMAT, "format_version": FORMAT_VERSION, "made_by": dict(self.made_by)}
        with replacing(path) as file:
            np.savez_compressed(
                file, seen=self.seen_VK, types=self.types_K, token_counts=self.token_counts_V, special=self.special_S,
                about=np.array(json.dumps(about)),
            )  # fmt: skip
        return path


def load_diversity(path: str | os.PathLike[str]) -> ContextualDiversity:
    """Reads what `ContextualDiversity.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, damaged, or of a newer version.
    """
    name = f"path={os.fspath(path)}"
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            version = about["format_version"]
            if version == FORMAT_VERSION:
                return ContextualDiversity(
                    saved["seen"], saved["types"], saved["token_counts"], saved["special"], dict(about["made_by"])
                )
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file. Make it with: curvewatch diversity.") from None
    except Exception as error:
        raise ValueError(
            f"{name}: not a file of contextual diversity, or damaged ({error}). Make it again with: curvewatch "
            "diversity."
        ) from error
    raise ValueError(
        f"{name}: its format_version is {version}, this curvewatch reads {FORMAT_VERSION}. Update curvewatch, or make "
        "the file again."
    )
