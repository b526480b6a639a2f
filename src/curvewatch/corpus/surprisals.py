"""NgramSurprisals: what the training corpus says of the scored tokens, and the file that it is kept in.

Suffixes: n orders 1 to n_max, N scored tokens, V vocabulary.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import TokenSetMismatchError
from curvewatch.storage.replacing import replacing
from curvewatch.tokens.tokenset import TokenSet

FORMAT = "curvewatch n-gram surprisals"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class NgramSurprisals:
    """N-gram surprisals of a token set's scored tokens, with the counts of the corpus that they rest on.

    Attributes:
        surprisal_bits_nN: Surprisal of each scored token given the n - 1 tokens before it, n = 1 to n_max, bits;
            float32, shape [n_max, N]. Row 0 is the unigram's.
        counts_nN: How often each scored token's n-gram (itself and the n - 1 tokens before it) occurs in the corpus;
            int64, shape [n_max, N]. 0 where it does not, or where fewer tokens stand before the token; there
            `surprisal_bits_nN` is that of the next shorter n-gram.
        token_counts_V: How often each token of the vocabulary occurs in the corpus, int64, shape [V].
        total_tokens: Tokens in the corpus.
        set_hash: Of the token set.
        made_by: How it was made, for the record.
        followed_nN: How often something follows the n - 1 tokens before each scored token, n = 2 to n_max; int64, shape
            [n_max - 1, N]. What `merge_ngrams` takes besides; None in files of older versions.
    """

    surprisal_bits_nN: NDArray[np.float32]
    counts_nN: NDArray[np.int64]
    token_counts_V: NDArray[np.int64]
    total_tokens: int
    set_hash: str
    made_by: Mapping[str, Any] = field(default_factory=dict)
    followed_nN: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        _check(self)
        for array in (self.surprisal_bits_nN, self.counts_nN, self.token_counts_V):
            array.flags.writeable = False

    @property
    def n_max(self) -> int:
        """The longest n-gram."""
        return len(self.surprisal_bits_nN)

    @property
    def n_tokens(self) -> int:
        """N, the number of scored tokens."""
        return int(self.surprisal_bits_nN.shape[1])

    @property
    def target_counts_N(self) -> NDArray[np.int64]:
        """How often each scored token occurs in the corpus, whatever stands before it; int64, shape [N]."""
        counts_N: NDArray[np.int64] = self.counts_nN[0]
        return counts_N

    def __repr__(self) -> str:
        return (
            f"<NgramSurprisals: {self.n_tokens:,} tokens, 1 to {self.n_max}-grams of {self.total_tokens:,} tokens, "
            f"vocabulary {len(self.token_counts_V):,}>"
        )

    def check_set(self, tokens: TokenSet, name: str = "tokens") -> None:
        """Refuses any token set but the one that these surprisals are of.

        Args:
            tokens: The set in use.
            name: What to call this object in the message.

        Raises:
            TokenSetMismatchError: If it is another.
        """
        if tokens.hash != self.set_hash:
            raise TokenSetMismatchError(
                f"{name}: it holds the n-gram surprisals of token set {self.set_hash} ({self.n_tokens:,} tokens), the "
                f"one given is {tokens.hash} ({len(tokens):,} tokens). Count them again for this set: "
                "curvewatch ngrams."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the file (.npz, no pickled objects), replacing what is there in one step."""
        path = Path(path)
        about = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "set_hash": self.set_hash,
            "total_tokens": self.total_tokens,
            "n_max": self.n_max,
            "made_by": dict(self.made_by),
        }
        arrays: dict[str, Any] = {
            "surprisal_bits": self.surprisal_bits_nN,
            "counts": self.counts_nN,
            "token_counts": self.token_counts_V,
            "about": np.array(json.dumps(about)),
        }
        if self.followed_nN is not None:
            arrays["followed"] = self.followed_nN
        with replacing(path) as file:
            np.savez_compressed(file, **arrays)
        return path


def load_ngrams(path: str | os.PathLike[str], tokens: TokenSet | None = None) -> NgramSurprisals:
    """Reads what `NgramSurprisals.save` wrote.

    Args:
        path: Of the file.
        tokens: The token set that the surprisals are wanted for; None takes them for whatever set they are of.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or damaged.
        TokenSetMismatchError: If it is of another token set.
    """
    name = f"path={os.fspath(path)}"
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            version = about["format_version"]
            if version == FORMAT_VERSION:
                found = NgramSurprisals(
                    surprisal_bits_nN=saved["surprisal_bits"],
                    counts_nN=saved["counts"],
                    token_counts_V=saved["token_counts"],
                    total_tokens=int(about["total_tokens"]),
                    set_hash=str(about["set_hash"]),
                    made_by=dict(about["made_by"]),
                    followed_nN=saved.get("followed"),
                )
                if found.n_max != about["n_max"]:
                    raise ValueError(f"n_max={about['n_max']}, but {found.n_max} rows of surprisal")
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: no such file. Make it with: curvewatch ngrams.") from None
    except Exception as error:
        # zipfile, zlib, NumPy and json each have their own words for a file that is not what it should be.
        raise ValueError(
            f"{name}: not a file of n-gram surprisals, or damaged ({error}). Make it again with: curvewatch ngrams."
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{name}: its format_version is {version}, this curvewatch reads {FORMAT_VERSION}. Update curvewatch, or "
            "make the file again."
        )
    if tokens is not None:
        found.check_set(tokens, name)
    return found


def _check(ngrams: NgramSurprisals) -> None:
    """Refuses arrays that can't be what they are said to be."""
    surprisal, counts, token_counts = ngrams.surprisal_bits_nN, ngrams.counts_nN, ngrams.token_counts_V
    if surprisal.ndim != 2 or surprisal.dtype != np.float32 or not surprisal.size:
        raise ValueError(f"surprisal_bits_nN: float32 [n_max, N] is expected, got {surprisal.dtype} {surprisal.shape}.")
    if counts.shape != surprisal.shape or counts.dtype != np.int64:
        raise ValueError(f"counts_nN: int64 {surprisal.shape} is expected, got {counts.dtype} {counts.shape}.")
    followed = ngrams.followed_nN
    if followed is not None and (followed.shape != (len(counts) - 1, counts.shape[1]) or followed.dtype != np.int64):
        raise ValueError(f"followed_nN: int64 [n_max - 1, N] is expected, got {followed.dtype} {followed.shape}.")
    if token_counts.ndim != 1 or token_counts.dtype != np.int64:
        raise ValueError(f"token_counts_V: int64 [V] is expected, got {token_counts.dtype} {token_counts.shape}.")
    if not np.isfinite(surprisal).all() or surprisal.min() < 0:
        raise ValueError("surprisal_bits_nN: every surprisal must be finite and 0 or more.")
    if counts.min() < 0 or token_counts.min(initial=0) < 0 or int(token_counts.sum()) != ngrams.total_tokens:
        raise ValueError(f"token_counts_V: they don't sum up to total_tokens={ngrams.total_tokens:,}.")
