"""Part of speech of each scored token: tagged as text, whole sequences at once, and handed to tokens by characters.

Source: Chang, Tu & Bergen (2024), who tag with spaCy and say where in its word a token stands (B, I, L, U). Here no
character is lost: their code drops the first one of each text, which mutilates sequences that begin inside a word.
Suffixes: N scored tokens, I tokens of all sequences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens.boundaries import special_ids
from curvewatch.tokens.labels import originals_of
from curvewatch.tokens.originals import every_token
from curvewatch.tokens.tokenset import TokenSet

UNMATCHED, SPECIAL, UNKNOWN = "[UNMATCHED]", "[SPECIAL]", "[UNK_CHAR]"
NEEDED = ("tok2vec", "transformer", "tagger", "morphologizer", "attribute_ruler", "senter")
"""Parts of a spaCy pipeline that a tag may come from; the others only cost time."""
_LOOKS_SPECIAL = re.compile(r"<\|[^|]*\|>|</?[a-z_]+>|\[(?:CLS|SEP|PAD|MASK|BOS|EOS)\]")
_LOOKS_UNKNOWN = ("<unk>", "[UNK]")

Word = tuple[int, int, str]
"""Where a word begins and ends in its text, in characters, and its tag."""
Tagger = Callable[[str], Iterable[Word]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PartOfSpeech:
    """Tags of the scored tokens; `tokens.label("pos", found.pos)` makes a label of them.

    Attributes:
        pos: The class of each token's word; "[UNMATCHED]" where it lies in none, "[SPECIAL]", "[UNK_CHAR]".
        bilu: Where in its word it stands: B (its first token), I, L (its last), U (it alone); else as `pos`.
        tagger: What tagged, with its version, for the record.
    """

    pos: tuple[str, ...]
    bilu: tuple[str, ...]
    tagger: str

    def label(self, tokens: TokenSet) -> TokenSet:
        """The set with the labels "pos" and "pos_bilu"."""
        return tokens.label("pos", self.pos).label("pos_bilu", self.bilu)


def part_of_speech(tokens: TokenSet, tagger: Any, *, progress: Progress | None = None) -> PartOfSpeech:
    """Part of speech of each scored token.

    Args:
        tokens: A set that knows its texts, or can put them together from those of its tokens.
        tagger: Name of a spaCy pipeline that is installed, the pipeline itself, or a function `tagger(text)` that gives
            `(start, end, tag)` of each word, in characters.
        progress: Called now and then with how many texts are done, and of how many.

    Raises:
        ImportError: If spaCy is asked for and not there.
        TypeError: If `tagger` is nothing of that kind.
        ValueError: If the set knows no text, spaCy no pipeline of that name, or a tag lies outside its text.
    """
    tag, about = _tagger(tagger)
    originals = originals_of(tokens)
    every = every_token(tokens.starts)
    starts_I, ends_I = originals.inked(every)
    special_I, unknown_I = _special(tokens)
    parts, of_part = _parts(tokens, originals.texts, originals.ends_I, special_I)
    pos = np.full(len(tokens.ids), UNMATCHED, object)
    bilu = pos.copy()
    for p, words in enumerate(tag([text for text, _ in parts])):
        text, first = parts[p]
        for start, end, name in words:
            if not 0 <= start <= end <= len(text):
                raise ValueError(
                    f"tagger: {name!r} from {start} to {end} lies outside its text of {len(text)} characters."
                )
        inside = of_part[p]
        tags = tags_of(starts_I[inside] - first, ends_I[inside] - first, words)
        pos[inside], bilu[inside] = [one for one, _ in tags], [one for _, one in tags]
        if progress is not None and (p % 256 == 0 or p == len(parts) - 1):
            progress(p + 1, len(parts))
    for which_I, name in ((special_I, SPECIAL), (unknown_I, UNKNOWN)):
        pos[which_I] = bilu[which_I] = name
    at = tokens.starts[tokens.sequence_index] + tokens.position
    return PartOfSpeech(tuple(pos[at].tolist()), tuple(bilu[at].tolist()), about)


def tags_of(starts: NDArray[np.integer], ends: NDArray[np.integer], words: Sequence[Word]) -> list[tuple[str, str]]:
    """The tag of each token and where in its word it stands; a word has the tokens that no word before it has.

    Args:
        starts: Where each token of a text begins, ascending.
        ends: Where each ends.
        words: Of the text, in order.
    """
    found = [(UNMATCHED, UNMATCHED)] * len(starts)
    free = 0  # tokens before it have a word, or end before this one begins
    for start, end, tag in words:
        while free < len(starts) and ends[free] <= start:
            free += 1
        mine, k = [], free
        while k < len(starts) and starts[k] < end:
            if ends[k] > max(start, starts[k]):  # some of it lies in the word
                mine.append(k)
            k += 1
        free = max(free, k) if mine else free
        for place, token in enumerate(mine):
            where = "U" if len(mine) == 1 else "B" if place == 0 else "L" if place == len(mine) - 1 else "I"
            found[token] = (tag, where)
    return found


def _special(tokens: TokenSet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tokens of all sequences stand for no text, and which for text that the vocabulary does not have."""
    if tokens.tokenizer is not None:
        unknown = getattr(tokens.tokenizer, "unk_token_id", None)
        special = [i for i in special_ids(tokens.tokenizer) if i != unknown]
        return np.isin(tokens.ids, special), tokens.ids == (-1 if unknown is None else unknown)
    texts = tokens.texts() or {}
    unknown_ids = [i for i, text in texts.items() if text.strip() in _LOOKS_UNKNOWN]
    found = [i for i, text in texts.items() if _LOOKS_SPECIAL.fullmatch(text.strip()) and i not in unknown_ids]
    return np.isin(tokens.ids, found), np.isin(tokens.ids, unknown_ids)


def _parts(
    tokens: TokenSet, texts: Sequence[str], ends_I: NDArray[np.int32], special_I: NDArray[np.bool_]
) -> tuple[list[tuple[str, int]], list[NDArray[np.int64]]]:
    """Sequences cut at special tokens: of each part the text, where it begins in its sequence's, and its tokens."""
    parts, of_part = [], []
    for s, text in enumerate(texts):
        here = np.arange(tokens.starts[s], tokens.starts[s + 1])
        cuts = np.flatnonzero(special_I[here])
        for first, behind in zip([0, *(cuts + 1)], [*cuts, len(here)], strict=True):
            inside = here[first:behind]
            if not len(inside):
                continue
            start = int(ends_I[inside[0] - 1]) if first else 0
            parts.append((text[start : int(ends_I[inside[-1]])], start))
            of_part.append(inside)
    return parts, of_part


def _tagger(given: Any) -> tuple[Callable[[Sequence[str]], Iterator[list[Word]]], str]:
    """What tags texts, and its name."""
    if isinstance(given, str):
        if find_spec("spacy") is None:
            raise ImportError(
                f"tagger={given!r}: part of speech needs spaCy. Install it with: pip install 'curvewatch[pos]', and a "
                "pipeline such as en_core_web_sm."
            )
        import spacy

        try:
            given = spacy.load(given)
        except OSError as error:
            raise ValueError(
                f"tagger={given!r}: spaCy finds no such pipeline. Install it with: python -m spacy download {given} "
                f"({error})"
            ) from error
    if hasattr(given, "pipe") and hasattr(given, "pipe_names"):
        idle = [name for name in given.pipe_names if name not in NEEDED]

        def by_spacy(texts: Sequence[str]) -> Iterator[list[Word]]:
            with given.select_pipes(disable=idle):
                for document in given.pipe(texts):
                    yield [(word.idx, word.idx + len(word.text), word.pos_) for word in document]

        about = given.meta
        return by_spacy, f"spaCy pipeline {about.get('lang')}_{about.get('name')} {about.get('version')}"
    if not callable(given):
        raise TypeError(
            f"tagger={brief(given)}: the name of a spaCy pipeline, the pipeline, or a function of a text is expected."
        )

    def by_function(texts: Sequence[str]) -> Iterator[list[Word]]:
        for text in texts:
            yield [(int(start), int(end), str(tag)) for start, end, tag in given(text)]

    return by_function, getattr(given, "__qualname__", type(given).__name__)
