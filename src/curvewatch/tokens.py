"""TokenSet: the fixed evaluation sequences and the scored positions in them. It says WHAT is watched.

Suffixes: S sequences, N scored tokens, L tokens of the longest sequence.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch import text as text_room
from curvewatch.dataset_rows import rows_of
from curvewatch.errors import brief
from curvewatch.positions import choose_positions
from curvewatch.replacing import replacing
from curvewatch.token_input import (
    LARGEST_ID,
    IntArray,
    as_ids,
    begins_with,
    check_settings,
    given_positions,
    read_text,
    with_first,
)
from curvewatch.token_view import TokenView

OBJECTIVES = ("causal",)
SAVED_FORMAT = "curvewatch token set"
SAVED_VERSION = 1
"""Of the .npz; a file that names none is of version 1, too."""


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
        _check(self)
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
        check_settings(
            n_tokens=n_tokens, context=context, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size,
            needed=("n_tokens", "context", "seed"),
        )  # fmt: skip
        text = read_text(text_or_path)
        encoded = text_room.encode(tokenizer, text)
        body = context - (bos is not None)  # tokens of the text in a sequence
        scorable = context - 1
        wanted = min(per_sequence or scorable, scorable)
        needed, available = math.ceil(n_tokens / wanted), len(encoded) // body if body else 0
        if available < needed:
            raise ValueError(
                f"text_or_path: the text has {len(encoded):,} tokens, which makes {available:,} sequences of "
                f"context={context}, but n_tokens={n_tokens:,} at {wanted} a sequence needs {needed:,}. Give a longer "
                f"text, a smaller n_tokens (at most {available * wanted:,} here), a shorter context, or a larger "
                "per_sequence."
            )
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(available, needed, replace=False))
        rows = encoded[: available * body].reshape(available, body)[chosen]
        made_by = {"constructor": "from_text", "context": context, "per_sequence": per_sequence, "seed": seed}
        return cls._assemble(
            rows,
            positions=None,
            rng=rng,
            n_tokens=n_tokens,
            per_sequence=per_sequence,
            bos=bos,
            vocab_size=vocab_size or text_room.vocabulary_size(tokenizer),
            tokenizer=tokenizer,
            made_by=made_by,
        )

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
        check_settings(
            n_tokens=n_tokens, context=context, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size,
            needed=("n_tokens", "seed"),
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        rows: list[NDArray[np.int64]] = []
        found = 0
        for row in rows_of(dataset, column, rng):
            added = bos is not None and not begins_with(row, bos)
            kept = row if context is None else row[: context - added]
            scorable = len(kept) - (not added)
            if scorable < 1:
                continue
            rows.append(kept)
            found += min(per_sequence or scorable, scorable)
            if found >= n_tokens:
                break
        else:
            raise ValueError(
                f"dataset: its {len(rows):,} usable rows hold {found:,} scorable tokens at per_sequence="
                f"{per_sequence}, fewer than n_tokens={n_tokens:,}. Give more rows, n_tokens={found:,}, or a larger "
                "per_sequence."
            )
        made_by = {
            "constructor": "from_dataset",
            "column": column,
            "context": context,
            "per_sequence": per_sequence,
            "seed": seed,
        }
        return cls._assemble(
            rows,
            positions=None,
            rng=rng,
            n_tokens=n_tokens,
            per_sequence=per_sequence,
            bos=bos,
            vocab_size=vocab_size or (text_room.vocabulary_size(tokenizer) if tokenizer is not None else None),
            tokenizer=tokenizer,
            made_by=made_by,
        )

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
        check_settings(n_tokens=n_tokens, per_sequence=per_sequence, seed=seed, bos=bos, vocab_size=vocab_size)
        if not hasattr(sequences, "__iter__"):
            raise TypeError(f"sequences={brief(sequences)}: rows of token ids are expected.")
        if isinstance(sequences, np.ndarray) and sequences.ndim != 2:
            raise ValueError(f"sequences: an array [S, L] is expected, got one of shape {sequences.shape}.")
        rows = [as_ids(row, f"sequences[{s}]") for s, row in enumerate(sequences)]  # type: ignore[arg-type]
        if positions is not None and (per_sequence is not None or n_tokens is not None):
            raise ValueError("positions: give either positions, or per_sequence and n_tokens, not both.")
        made_by = {
            "constructor": "from_sequences",
            "positions": "given" if positions is not None else "drawn",
            "per_sequence": per_sequence,
            "seed": seed,
        }
        return cls._assemble(
            rows,
            positions=positions,
            rng=np.random.default_rng(seed),
            n_tokens=n_tokens,
            per_sequence=per_sequence,
            bos=bos,
            vocab_size=vocab_size or (text_room.vocabulary_size(tokenizer) if tokenizer is not None else None),
            tokenizer=tokenizer,
            made_by=made_by,
        )

    @classmethod
    def _assemble(
        cls,
        rows: Sequence[IntArray] | IntArray,
        *,
        positions: Any,
        rng: np.random.Generator,
        n_tokens: int | None,
        per_sequence: int | None,
        bos: int | None,
        vocab_size: int | None,
        tokenizer: Any,
        made_by: Mapping[str, Any],
    ) -> TokenSet:
        shifts_S = [int(bos is not None and not begins_with(row, bos)) for row in rows]
        if bos is not None:
            rows = [with_first(row, bos) for row in rows]
        lengths_S = np.array([len(row) for row in rows], np.int64)
        if len(lengths_S) == 0:
            raise ValueError("sequences: there is none; a token set needs at least one sequence of two tokens.")
        if positions is None:
            sequence_index, position = choose_positions(lengths_S, per_sequence, rng)
            sequence_index, position = sequence_index[:n_tokens], position[:n_tokens]
        else:
            sequence_index, position = given_positions(positions, shifts_S)
        if len(position) == 0:
            raise ValueError(
                "sequences: no position can be scored. A token needs at least one token before it: give sequences of "
                "two tokens or more, or bos=."
            )
        if n_tokens is not None and len(position) < n_tokens:
            raise ValueError(
                f"n_tokens={n_tokens:,}: the sequences hold only {len(position):,} scorable tokens at per_sequence="
                f"{per_sequence}. Give more sequences, or a smaller n_tokens."
            )
        ids: NDArray[Any] = np.concatenate(rows)
        if ids.min() < 0 or ids.max() > LARGEST_ID:  # a tokenizer may give anything
            raise ValueError(
                f"sequences: token ids run from {ids.min()} to {ids.max()}; they must be 0 or more, at most "
                f"{LARGEST_ID}."
            )
        return cls(
            ids=ids.astype(np.int32),
            starts=np.concatenate([[0], np.cumsum(lengths_S)]).astype(np.int64),
            sequence_index=sequence_index.astype(np.int32),
            position=position.astype(np.int32),
            vocab_size=vocab_size,
            made_by={**made_by, "bos": bos},
            tokenizer=tokenizer,
        )

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
        path = Path(path)
        texts = self.texts() or {}
        about = {
            **self.extras,
            "format": SAVED_FORMAT,
            "format_version": SAVED_VERSION,
            "vocab_size": self.vocab_size,
            "objective": self.objective,
            "made_by": dict(self.made_by),
        }
        with replacing(path) as file:
            np.savez_compressed(
                file,
                ids=self.ids,
                starts=self.starts,
                sequence_index=self.sequence_index,
                position=self.position,
                vocabulary_id=np.array(list(texts), np.int64),
                vocabulary_text=np.array(json.dumps(list(texts.values()))),
                about=np.array(json.dumps(about)),
            )
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str], tokenizer: Any = None) -> TokenSet:
        """Reads what `save` wrote.

        Whatever else stands in the file's `about` is kept in `extras`, and saved again.

        Raises:
            ValueError: If the file is not a saved token set, or a newer curvewatch wrote it.
        """
        name = f"path={os.fspath(path)}"
        try:
            with np.load(path, allow_pickle=False) as saved:
                about = dict(json.loads(str(saved["about"])))
                kind, version = about.pop("format", SAVED_FORMAT), about.pop("format_version", 1)
                if kind != SAVED_FORMAT or type(version) is not int:
                    raise ValueError(f"its format is {str(kind)[:80]!r}, version {str(version)[:80]!r}")
                if version > SAVED_VERSION:
                    raise _NewerFormatError(
                        f"{name}: a token set saved in format {version}, this curvewatch knows formats up to "
                        f"{SAVED_VERSION}. Upgrade curvewatch, or save the set again with this version."
                    )
                known = {key: about.pop(key) for key in ("vocab_size", "objective", "made_by")}
                texts = json.loads(str(saved["vocabulary_text"]))
                vocabulary = dict(zip(saved["vocabulary_id"].tolist(), texts, strict=True))
                arrays = {name: saved[name] for name in ("ids", "starts", "sequence_index", "position")}
            return cls(**arrays, **known, tokenizer=tokenizer, vocabulary=vocabulary or None, extras=about)
        except (FileNotFoundError, _NewerFormatError):
            raise
        except Exception as error:
            raise ValueError(f"{name}: not a token set saved by curvewatch ({error}). Save it again.") from error


class _NewerFormatError(ValueError):
    """A file that is in order, but for a newer curvewatch."""


def _check(tokens: TokenSet) -> None:
    if tokens.objective not in OBJECTIVES:
        raise ValueError(f"objective={tokens.objective!r}: only {', '.join(map(repr, OBJECTIVES))} can be scored.")
    if tokens.vocab_size is not None:
        if tokens.vocab_size < 2:
            raise ValueError(f"vocab_size={tokens.vocab_size}: a vocabulary has at least two tokens.")
        if int(tokens.ids.max()) >= tokens.vocab_size:
            raise ValueError(
                f"sequences: token id {int(tokens.ids.max())} lies beyond vocab_size={tokens.vocab_size}. Were they "
                "made with another tokenizer? If its ids have holes, give the highest one and 1 as vocab_size=."
            )
    key = tokens.sequence_index.astype(np.int64) * (int(tokens.position.max()) + 1) + tokens.position
    if not (np.diff(key) > 0).all():
        raise ValueError("positions: tokens must be in order of sequence and position, each once.")
    if tokens.position.min() < 1:
        raise ValueError("positions: position 0 has no context to be predicted from. Pass bos= to give it one.")
    beyond = tokens.position >= tokens.lengths[tokens.sequence_index]
    if beyond.any():
        i = int(np.argmax(beyond))
        s = int(tokens.sequence_index[i])
        raise ValueError(
            f"positions: position {int(tokens.position[i])} of sequence {s} lies beyond its {int(tokens.lengths[s])} "
            "tokens."
        )
