"""TokenSet: the fixed evaluation sequences and the scored positions in them. It says WHAT is watched.

Suffixes: S sequences, N scored tokens, L tokens of the longest sequence.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curvewatch.tokens import saved
from curvewatch.tokens import text as text_room
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.encoder_input import EncoderInput
from curvewatch.tokens.given import check_parts
from curvewatch.tokens.in_words import InWords
from curvewatch.tokens.labels import Label, label_of
from curvewatch.tokens.masking import CAUSAL, Masking
from curvewatch.tokens.objectives import Objectives, check_objective
from curvewatch.tokens.originals import Scored
from curvewatch.tokens.reference import FIRST, Reference
from curvewatch.tokens.spans import KIND, WORD, Spans, place, wishes
from curvewatch.tokens.unit_constructors import UnitConstructors
from curvewatch.tokens.words import WORDS, words_of


@dataclass(frozen=True, eq=False)
class TokenSet(UnitConstructors, Objectives, InWords):
    """A fixed evaluation token set: sequences, and in them the N positions whose surprisal is scored.

    Build one with `from_text`, `from_texts`, `from_dataset` or `from_sequences`. The order of the tokens is fixed (by
    sequence, then by position); token i of the set is column i of every array that curvewatch writes.

    Attributes:
        ids: All sequences behind one another, int32.
        starts: Where each sequence begins in `ids`, and their end; int64, shape [S + 1].
        sequence_index: Sequence of each scored token, int32, shape [N].
        position: Position of each scored token in its sequence (never 0), int32, shape [N].
        vocab_size: Number of tokens in the vocabulary; None where only the model can tell.
        objective: How a token is predicted; "causal": from everything to its left. "seq2seq": from that and the
            encoder's input. "masked", "masked_l2r", "masked_in_7": from all other tokens (see `masked`).
        made_by: How the set was made (constructor, seed, settings), for the record.
        tokenizer: Only for showing text; not part of the set's identity.
        vocabulary: Text of each token id that occurs; instead of a tokenizer, for a set read from a file.
        extras: What a file that it was loaded from says besides; kept when it is saved.
        annotations: What the tokens mean: texts, bytes, labels, spans. Not part of the set's identity either.
        masking: What is hidden from a masked model; of masked sets.
        encoder: What the encoder is fed beside each sequence; of "seq2seq" sets.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    sequence_index: NDArray[np.int32]
    position: NDArray[np.int32]
    vocab_size: int | None = None
    objective: str = CAUSAL
    made_by: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Any = field(default=None, repr=False)
    vocabulary: Mapping[int, str] | None = field(default=None, repr=False)
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)
    annotations: Annotations = field(default_factory=Annotations, repr=False)
    masking: Masking | None = field(default=None, repr=False)
    encoder: EncoderInput | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_parts(self)
        check_objective(self)
        if self.tokenizer is not None:
            text_room.refuse_what_is_no_tokenizer(self.tokenizer)
        self.annotations.check(self)
        for array in (self.ids, self.starts, self.sequence_index, self.position):
            array.flags.writeable = False

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
        for part in (self.masking, self.encoder):
            digest.update(part.identity() if part is not None else b"")
        return digest.hexdigest()

    def sequence(self, s: int) -> NDArray[np.int32]:
        """Token ids of sequence `s`."""
        return self.ids[self.starts[s] : self.starts[s + 1]]

    # ------------------------------------------------------------------ what it means

    @property
    def scored(self) -> Scored:
        """Which tokens are scored."""
        return Scored(self.starts, self.sequence_index, self.position)

    @property
    def n_bytes(self) -> NDArray[np.int32] | None:
        """UTF-8 bytes of the text that each scored token covers, shape [N]; None where they are not known."""
        return self.annotations.n_bytes

    @property
    def labels(self) -> Mapping[str, Label]:
        """The labels by name."""
        return self.annotations.labels

    @property
    def spans(self) -> Spans:
        """Runs of tokens that belong together, of all kinds."""
        return self.annotations.spans

    def label(self, name: str, what: Any = None, *, counts: ArrayLike | None = None) -> TokenSet:
        r"""The same set with one more label; one of the same name gives way.

        A label puts the tokens into groups, which have their own live metrics, and by which tables and comparisons can
        be divided: `tokens.label("number", r"\d+")`, `tokens.label("kind")`, `tokens.label("language", array)`.

        Args:
            name: Of the label.
            what: A regular expression (the label is yes or no: whether some of a match lies in the token); a value for
                each token (truth values, texts or whole numbers, None for no value), shape [N]; a function
                `what(token's text, text before it)` of such a value; or None for a label that is built in: "kind"
                (word, number, punctuation, whitespace, code), "piece" (first or inner of a word), "position" (ranges
                of the position in the sequence), "frequency" (ranges of `counts`).
            counts: For "frequency": how often each token id occurs, shape [vocabulary].

        Raises:
            TypeError: If `what` is nothing of that kind.
            ValueError: If the values don't fit, the expression is none, or the set knows no text to look in.
        """
        label = label_of(self, name, what, counts)
        return self._annotated(labels={**self.labels, name: label})

    def with_spans(self, spans: Any, *, kind: str = KIND) -> TokenSet:
        """The same set with further spans, given in characters of the sequences' texts.

        Args:
            spans: For each sequence a list of `(start, end)`, `(start, end, name)` or `(start, end, name, group)`.
            kind: What they are.

        Raises:
            TypeError: If they are anything else.
            ValueError: If one lies outside its text or has a token that is not scored, or the set knows no texts.
        """
        texts = self.annotations.originals.texts if self.annotations.originals is not None else ()
        if not texts:
            raise ValueError("spans: this token set does not know its texts. Build it with from_texts, or from_text.")
        return self._annotated(
            spans=self.spans.and_others(place(self.annotations.originals, self.scored, wishes(spans, texts, kind)))
        )

    def words(self, pattern: str = WORDS, *, boundary: str = "none") -> TokenSet:
        r"""The same set with its words as spans of kind "word"; words that a sequence's edge cuts are left out.

        Words that it has already give way.

        Args:
            pattern: Regular expression of one word: by default what stands between blanks, as studies of reading times
                have it; `r"\w+"` for words without punctuation.
            boundary: "none": a word's surprisal is the sum over its tokens. "corrected": it is that of the word, with
                the probability that it ends there (see `boundaries`); an extra number is then measured and kept for
                each token. Needs the tokenizer, and words between blanks.

        Raises:
            ValueError: If the expression is none, or the set knows no texts, or lacks what a correction needs.
        """
        found, flags_V = words_of(self, pattern, boundary)
        others = np.flatnonzero(np.array([kind != WORD for kind in self.spans.kind], bool))
        return self._annotated(spans=self.spans.take(others).and_others(found), boundary=flags_V)

    def with_reference(
        self, surprisal: ArrayLike | None = None, *, correct: ArrayLike | None = None, name: str = "base"
    ) -> TokenSet:
        """The same set with the scores of a base model, against which a training's changes are followed.

        Args:
            surprisal: Of the base, bits, shape [N]; None: the run's own first row will be the base.
            correct: Whether each target was its first choice, shape [N]; None: not known, so that nothing can be lost.
            name: Of the base.

        Raises:
            ValueError: If the shapes are others, or the name is that of the first row.
        """
        if surprisal is None:
            return self._annotated(reference=Reference(FIRST))
        known = None if correct is None else np.asarray(correct, bool)
        return self._annotated(reference=Reference(str(name), np.asarray(surprisal, np.float32), known))

    def with_annotations(self, annotations: Annotations) -> TokenSet:
        """The same set with these annotations in the place of its own."""
        return replace(self, annotations=annotations)

    def _annotated(self, **changed: Any) -> TokenSet:
        return self.with_annotations(replace(self.annotations, **changed))

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
