"""Passages: texts whose occurrences in the training data are followed.

What ids a text has depends on what stands before it: a tokenizer may join a blank to the first word, or put one there.
So a passage is looked for in several forms, by the ids inside it, and what its ends say is verified as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text as text_room
from curvewatch.tokens.names import unique_names

BEFORE = ("", " ", "\n")
"""What a passage is tried to stand behind."""
LEAST_INSIDE = 2
"""Fewer ids than this between a passage's first and last token occur everywhere by chance."""
SHOWN = 60


class Form(NamedTuple):
    """One way in which a passage can stand in a row of ids.

    Attributes:
        passage: Its index.
        inside: Ids that must stand there, one behind the other.
        head: Characters of its text before them.
        reach: Tokens before and behind them in which the rest of its text is looked for; 0: the ids say it all.
    """

    passage: int
    inside: NDArray[np.int64]
    head: int
    reach: int


class Passages:
    """Texts to be found in what is trained on: facts, documents, canaries.

    Follow whole sentences, not answers of a word or two: those occur by chance.

    Args:
        texts: The passages; or a mapping from their names to them.
        tokenizer: Of the training data, as token sets take it.
        names: One for each text; None: the texts themselves, shortened. Spans of a token set whose group (or else whose
            own name) is the name of a passage are its probes.

    Attributes:
        texts: Without blanks at their ends.
        names: All different.

    Raises:
        TypeError: If `texts` is a single text, or something that is no text.
        ValueError: If there is none, names don't fit, two are the same, or a passage is too short to be told from what
            occurs by chance.
    """

    def __init__(
        self, texts: Iterable[str] | Mapping[str, str], tokenizer: Any, names: Sequence[str] | None = None
    ) -> None:
        if isinstance(texts, (str, bytes)):
            raise TypeError(f"texts={brief(texts)}: a list of passages is expected; for one give [text].")
        if isinstance(texts, Mapping):
            if names is not None:
                raise ValueError("names: the mapping names its texts already; give one or the other.")
            names, texts = [str(name) for name in texts], list(texts.values())
        found = list(texts)
        wrong = next((i for i, one in enumerate(found) if not isinstance(one, str)), None)
        if wrong is not None:
            raise TypeError(f"texts[{wrong}]={brief(found[wrong])}: a text is expected.")
        if not found:
            raise ValueError("texts: no passage; give at least one.")
        self.texts = [one.strip() for one in found]
        if names is None:
            names = unique_names([_short(one) for one in self.texts])
        self.names = [str(name) for name in names]
        if len(self.names) != len(self.texts):
            raise ValueError(f"names: {len(self.names):,} names for {len(self.texts):,} texts; one for each is needed.")
        for what, values in (("names", self.names), ("texts", self.texts)):
            twice = _first_twice(values)
            if twice is not None:
                raise ValueError(f"{what}: {brief(twice)} is there twice; each passage once, please.")
        text_room.refuse_what_is_no_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self._forms: list[Form] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"<Passages: {len(self):,}, the first {brief(self.texts[0])}>"

    @property
    def hash(self) -> str:
        """SHA-256 of names and texts."""
        return hashlib.sha256(json.dumps([self.names, self.texts]).encode()).hexdigest()

    @property
    def forms(self) -> list[Form]:
        """All forms of all passages, worked out when first asked for.

        Raises:
            ValueError: If a passage is too short.
        """
        if self._forms is None:
            self._forms = [form for i, one in enumerate(self.texts) for form in _forms_of(i, one, self.tokenizer)]
        return self._forms


def _forms_of(passage: int, text: str, tokenizer: Any) -> list[Form]:
    found: dict[tuple[int, bytes], Form] = {}
    for before in BEFORE:
        ids = text_room.encode(tokenizer, before + text)
        whole = text_room.decode(tokenizer, ids)
        if text not in whole:
            # A tokenizer that changes texts (to lower case, say): only the ids can tell.
            inside, head, reach = ids, 0, 0
        else:
            inside = ids[1:-1]
            behind_first, last = (text_room.decode(tokenizer, ids[end:]) for end in (1, -1))
            head = len(whole) - len(behind_first) - whole.index(text)
            reach = 2 + max(len(whole.encode()) - len(behind_first.encode()), len(last.encode()))
        if len(inside) < LEAST_INSIDE:
            raise ValueError(
                f"texts[{passage}]={brief(text)}: {len(ids)} tokens, too few to be told from what occurs by chance. "
                "Follow the whole sentence that it stands in."
            )
        found.setdefault((head, inside.tobytes()), Form(passage, np.asarray(inside, np.int64), head, reach))
    return list(found.values())


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= SHOWN else one_line[: SHOWN - 1] + "…"


def _first_twice(values: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
