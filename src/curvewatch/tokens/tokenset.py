"""TokenSet: the fixed evaluation sequences and the scored positions in them. It says WHAT is watched.

Suffixes: S sequences, N scored tokens, L tokens of the longest sequence.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.tokens import builders, saved
from curvewatch.tokens import text as text_room
from curvewatch.tokens.given import (
    check_parts,
)
from curvewatch.tokens.view import TokenView

OBJECTIVES = ("causal",)


@dataclass(frozen=True, eq=False)
class TokenSet:
    """A fixed evaluation token set: sequences, and in them the N positions whose surprisal is scored.

    Build one with `from_text`, `from_dataset` or `from_sequences`. The order of the tokens is fixed (by sequence, then
    by position); token i of the set is column i of every array that curvewatch writes.

    Attributes:
        ids: All sequences behind one another, int32.
        starts: Where each sequence begins in `ids`, and their end; int64, shape [S + 1].
        sequence_index: Sequence of each scored token, int32, shape [N].
        position: Position of each scored token in its sequence (never 0), int32, shape [N].
        vocab_size: Number of tokens in the vocabulary; None where only the model can tell.
        objective: How a token is predicted; "causal": from everything to its left.
        made_by: How the set was made (constructor, seed, settings), for the record.
        tokenizer: Only for showing text; not part of the set's identity.
        vocabulary: Text of each token id that occurs; instead of a tokenizer, for a set read from a file.
        extras: What a file that it was loaded from says besides; kept when it is saved.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    sequence_index: NDArray[np.int32]
    position: NDArray[np.int32]
    vocab_size: int | None = None
    objective: str = "causal"
    made_by: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Any = field(default=None, repr=False)
    vocabulary: Mapping[int, str] | None = field(default=None, repr=False)
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_parts(self, OBJECTIVES)
        if self.tokenizer is not None:
            text_room.refuse_what_is_no_tokenizer(self.tokenizer)
        for array in (self.ids, self.starts, self.sequence_index, self.position):
            array.flags.writeable = False

    # ------------------------------------------------------------------ builders

    @classmethod
    def from_text(
        cls,
        text_or_path: str | os.PathLike[str],
        tokenizer: Any,
        n_tokens: int = 10_000,
        context: int = 128,
        per_sequence: int | None = 10,
        seed: int = 0,
        *,
        bos: int | None = None,
        vocab_size: int | None = None,
    ) -> TokenSet:
        """A token set from plain text: sequences drawn from all over it, and positions drawn in each.

        Args:
            text_or_path: The text, or the path of a UTF-8 file.
            tokenizer: The model's tokenizer (transformers, tokenizers, or anything with encode and decode).
            n_tokens: N, how many tokens to score.
            context: Tokens in a sequence, `bos` included. Not longer than the model's context.
            per_sequence: Scored positions in a sequence; None scores every position.
            seed: For the choice of sequences and positions; kept in the set.
            bos: Token id to put before each sequence that does not begin with it; only then has its first token a
                context to be scored in.
            vocab_size: If the tokenizer does not know it.

        Raises:
            ValueError: If the text is too short, or an argument makes no sense.
            FileNotFoundError: If `text_or_path` looks like a path (one word, or the name of a text file) and there is
                no such file.
            IsADirectoryError: If it is a folder.
            TypeError: If it is neither a text nor a path, or `tokenizer` can't encode.
        """
        parts = builders.from_text(
            text_or_path, tokenizer, n_tokens, context, per_sequence, seed, bos=bos, vocab_size=vocab_size
        )
        return cls(**parts)

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        n_tokens: int = 10_000,
        context: int | None = None,
        per_sequence: int | None = 10,
        seed: int = 0,
        *,
        column: str = "input_ids",
        bos: int | None = None,
        tokenizer: Any = None,
        vocab_size: int | None = None,
    ) -> TokenSet:
        """A token set from tokenised rows: a `datasets.Dataset`, or anything that yields rows with `column`.

        Tables of pyarrow, pandas and polars, PyTorch's datasets (a `TensorDataset` of one tensor, too) and streams will
        do. Rows may be packed (all of one length) or ragged. A dataset with a length is sampled by `seed`; one that can
        only be streamed is read from its start.

        Args:
            dataset: Rows, each a mapping with `column`, or a table.
            n_tokens: N.
            context: Cut rows to this many tokens, `bos` included; None takes them whole.
            per_sequence: Scored positions in a row (fewer where it is shorter); None scores every position.
            seed: For the choice of rows and positions.
            column: The column of token ids.
            bos: Token id to put before each row that does not begin with it.
            tokenizer: For showing text.
            vocab_size: If there is no tokenizer to say it; else the model does.

        Raises:
            ValueError: If the rows hold too few tokens, or `dataset` is several datasets.
            KeyError: If a row has no such column.
            TypeError: If `dataset` has no rows.
        """
        parts = builders.from_dataset(
            dataset, n_tokens, context, per_sequence, seed,
            column=column, bos=bos, tokenizer=tokenizer, vocab_size=vocab_size,
        )  # fmt: skip
        return cls(**parts)

    @classmethod
    def from_sequences(
        cls,
        sequences: ArrayLike | Sequence[Sequence[int]],
        positions: ArrayLike | Sequence[Sequence[int]] | None = None,
        *,
        n_tokens: int | None = None,
        per_sequence: int | None = None,
        seed: int = 0,
        bos: int | None = None,
        vocab_size: int | None = None,
        tokenizer: Any = None,
    ) -> TokenSet:
        """A token set from ids that you have already: words, amino acids, moves, anything a causal model predicts.

        Args:
            sequences: An integer array [S, L], or a list of sequences of unequal length.
            positions: For each sequence the positions to score, counted in the sequence as given; None leaves the
                choice to `per_sequence`.
            n_tokens: Stop at this many tokens; None takes all that `per_sequence` gives.
            per_sequence: Scored positions drawn in each sequence; None scores every one that has a context.
            seed: For the choice of positions.
            bos: Token id to put before each sequence that does not begin with it; `position` then counts from it.
            vocab_size: Size of the vocabulary; None takes the tokenizer's, or else the model's.
            tokenizer: For showing text.

        Raises:
            ValueError: Naming the sequence and what is wrong with it.
            TypeError: If there are no sequences, or a setting is no whole number.
        """
        parts = builders.from_sequences(
            sequences, positions, n_tokens=n_tokens, per_sequence=per_sequence, seed=seed,
            bos=bos, vocab_size=vocab_size, tokenizer=tokenizer,
        )  # fmt: skip
        return cls(**parts)

    # ------------------------------------------------------------------ what it holds

    def __len__(self) -> int:
        return len(self.position)

    @property
    def n_tokens(self) -> int:
        """N, the number of scored tokens."""
        return len(self.position)

    @property
    def n_sequences(self) -> int:
        """S, the number of sequences."""
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each sequence, shape [S]."""
        return np.diff(self.starts)

    @property
    def context(self) -> int:
        """L, tokens in the longest sequence."""
        return int(self.lengths.max())

    @cached_property
    def target(self) -> NDArray[np.int32]:
        """Id of each scored token, shape [N]."""
        targets: NDArray[np.int32] = self.ids[self.starts[self.sequence_index] + self.position]
        return targets

    @property
    def chance(self) -> float:
        """log2(vocabulary size): the surprisal of guessing, in bits.

        Raises:
            ValueError: If the vocabulary size is not known yet.
        """
        if self.vocab_size is None:
            raise ValueError("vocab_size: not known for this token set. Build it with vocab_size= or tokenizer=.")
        return math.log2(self.vocab_size)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of what is scored: objective, sequences, positions. The same on every machine."""
        digest = hashlib.sha256(f"curvewatch token set 1 {self.objective}\n".encode())
        for array, dtype in (
            (self.starts, "<i8"),
            (self.ids, "<i4"),
            (self.sequence_index, "<i8"),
            (self.position, "<i8"),
        ):
            digest.update(np.ascontiguousarray(array, dtype).tobytes())
        return digest.hexdigest()

    def sequence(self, s: int) -> NDArray[np.int32]:
        """Token ids of sequence `s`."""
        return self.ids[self.starts[s] : self.starts[s + 1]]

    # ------------------------------------------------------------------ as text

    def show(self, i: int, width: int | None = None) -> TokenView:
        """Context and target of scored token `i` as text.

        Args:
            i: Index of the token, 0 to N - 1; negative counts from the end.
            width: Show at most this many tokens of context; None shows all.

        Raises:
            IndexError: If there is no token `i`.
            ValueError: If the set knows no tokenizer.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"i={i}: this token set has tokens 0 to {len(self) - 1}.")
        i %= len(self)
        s, p = int(self.sequence_index[i]), int(self.position[i])
        before = self.sequence(s)[max(0, p - width) if width is not None else 0 : p]
        return TokenView(i, s, p, self.decode(before), self.decode([int(self.target[i])]))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, by the tokenizer or by the texts kept in the file.

        Raises:
            ValueError: If the set knows neither.
        """
        if self.tokenizer is not None:
            return text_room.decode(self.tokenizer, ids)
        if self.vocabulary is not None:
            return "".join(self.vocabulary.get(int(i), f"<{int(i)}>") for i in ids)
        raise ValueError("tokenizer: this token set has none, so ids can't be shown as text. Build it with tokenizer=.")

    def texts(self) -> dict[int, str] | None:
        """Text of every token id that occurs in the set; None without a tokenizer."""
        if self.tokenizer is None:
            return dict(self.vocabulary) if self.vocabulary is not None else None
        unique = np.unique(self.ids)
        return dict(zip(unique.tolist(), text_room.token_texts(self.tokenizer, unique), strict=True))

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the set to `path` (.npz, no pickled objects), replacing what is there in one step."""
        return saved.write(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], tokenizer: Any = None) -> TokenSet:
        """Reads what `save` wrote.

        Whatever else stands in the file's `about` is kept in `extras`, and saved again.

        Raises:
            ValueError: If the file is not a saved token set, or a newer curvewatch wrote it.
        """
        return saved.read(path, partial(cls, tokenizer=tokenizer))
