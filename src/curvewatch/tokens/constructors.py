"""The constructors of a token set, with what their arguments mean; how they work stands in `builders`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from curvewatch.tokens import builders
from curvewatch.tokens.assembling import Parts
from curvewatch.tokens.masking import CAUSAL, builder_settings

if TYPE_CHECKING:
    from typing_extensions import Self


class Constructors:
    """What `TokenSet` is built by."""

    if TYPE_CHECKING:

        def __init__(self, **parts: Any) -> None: ...

    @classmethod
    def _for(cls, objective: str, parts: Parts) -> Self:
        """The set of these parts, for the objective that `builder_settings` made room for."""
        made: Any = cls(**parts)
        found: Self = made if objective == CAUSAL else made.masked(objective)
        return found

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
        objective: str = CAUSAL,
    ) -> Self:
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
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            ValueError: If the text is too short, or an argument makes no sense.
            FileNotFoundError: If `text_or_path` looks like a path (one word, or the name of a text file) and there is
                no such file.
            IsADirectoryError: If it is a folder.
            TypeError: If it is neither a text nor a path, or `tokenizer` can't encode.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = builders.from_text(
            text_or_path, tokenizer, n_tokens, per_sequence=per_sequence, seed=seed, vocab_size=vocab_size, **room
        )
        return cls._for(objective, parts)

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[str],
        tokenizer: Any,
        *,
        spans: Any = None,
        score: str = "all",
        labels: Mapping[str, Sequence[Any]] | None = None,
        context: int | None = None,
        per_sequence: int | None = None,
        seed: int = 0,
        bos: int | None = None,
        vocab_size: int | None = None,
        objective: str = CAUSAL,
    ) -> Self:
        """A token set from texts, each a sequence of its own, with all of its positions scored.

        The same texts make a set for every tokenizer, and bits per byte and spans can then be compared between them.

        Args:
            texts: The texts.
            tokenizer: The model's tokenizer.
            spans: For each text a list of spans in characters: `(start, end)`, `(start, end, name)` or
                `(start, end, name, group)`. A span has every token that covers some of it.
            score: "all" positions, or only those of the "spans".
            labels: By name, one value for each text (its language, its source).
            context: Cut texts to this many tokens, `bos` included; None takes them whole.
            per_sequence: Scored positions drawn in each text; None scores every one.
            seed: For that draw.
            bos: Token id to put before each text that does not begin with it; without it the first token of a text has
                no context, and is not scored.
            vocab_size: If the tokenizer does not know it.
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            TypeError: If `texts` are no texts, or `tokenizer` can't encode.
            ValueError: If a text has no token, a span lies outside its text or has a token that can't be scored, or
                labels don't fit.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = builders.from_texts(
            texts, tokenizer, spans=spans, score=score, labels=labels, per_sequence=per_sequence, seed=seed,
            vocab_size=vocab_size, **room,
        )  # fmt: skip
        return cls._for(objective, parts)

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
        labels: Sequence[str] = (),
        bos: int | None = None,
        tokenizer: Any = None,
        vocab_size: int | None = None,
        objective: str = CAUSAL,
    ) -> Self:
        """A token set from rows of ids or of text: a `datasets.Dataset`, or anything that yields rows with `column`.

        Tables of pyarrow, pandas and polars, PyTorch's datasets (a `TensorDataset` of one tensor, too) and streams will
        do. Rows may be packed (all of one length) or ragged. A dataset with a length is sampled by `seed`; one that can
        only be streamed is read from its start.

        Args:
            dataset: Rows, each a mapping with `column`, or a table.
            n_tokens: N.
            context: Cut rows to this many tokens, `bos` included; None takes them whole.
            per_sequence: Scored positions in a row (fewer where it is shorter); None scores every position.
            seed: For the choice of rows and positions.
            column: The column of token ids, or of texts, for which it takes the tokenizer.
            labels: Columns that become labels of the tokens in a row: its language, its source.
            bos: Token id to put before each row that does not begin with it.
            tokenizer: For showing text, and for encoding it.
            vocab_size: If there is no tokenizer to say it; else the model does.
            objective: "causal", or what `masked` takes, for a masked model: "masked", "masked_l2r", "masked_in_7".

        Raises:
            ValueError: If the rows hold too few tokens, or `dataset` is several datasets.
            KeyError: If a row has no such column.
            TypeError: If `dataset` has no rows.
        """
        room = builder_settings(objective, tokenizer, bos, context)
        parts = builders.from_dataset(
            dataset, n_tokens, per_sequence=per_sequence, seed=seed, column=column, labels=labels, tokenizer=tokenizer,
            vocab_size=vocab_size, **room,
        )  # fmt: skip
        return cls._for(objective, parts)

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
        encoder_ids: ArrayLike | Sequence[Sequence[int]] | None = None,
    ) -> Self:
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
            encoder_ids: Of an encoder-decoder model: what its encoder is fed beside each sequence, which its decoder
                then predicts; sequences begin with the token that the decoder starts with.

        Raises:
            ValueError: Naming the sequence and what is wrong with it.
            TypeError: If there are no sequences, or a setting is no whole number.
        """
        parts = builders.from_sequences(
            sequences, positions, n_tokens=n_tokens, per_sequence=per_sequence, seed=seed,
            bos=bos, vocab_size=vocab_size, tokenizer=tokenizer, encoder_ids=encoder_ids,
        )  # fmt: skip
        return cls(**parts)
