"""Passages found in rows of ids: whatever stands around them, with tokenizers of every make, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curvewatch import Passages
from curvewatch.tokens import text as text_room
from curvewatch.tokens.finding import NO_TOKEN, PassageFinder
from tests.support.tokenizers import KINDS, tokenizer_of

TEXTS = [
    "the captain said that 12 lamps sail home",
    "Où est-ce que le café est?",
    "東京は夜です。 don't wait",
    "barrels carry naïve ships at night.",
]
BEFORE = ["", " ", "\n", "(", "x", "said ", "é", ".", "  ", '"']
BEHIND = ["", " ", ".", "s", "\n", ")", "!!", " and"]
# It puts words into lower case and drops blanks, so nothing can be read back around them.
LOSSY = "BERT, transformers"


@pytest.mark.parametrize("kind", KINDS)
def test_found_whatever_stands_around_it(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    finder = PassageFinder(Passages(TEXTS, tokenizer))
    missed = []
    for p, passage in enumerate(TEXTS):
        for before in BEFORE:
            for behind in BEHIND:
                ids = text_room.encode(tokenizer, f"the ships wait {before}{passage}{behind}")
                if finder.find(ids[None]).passage.tolist() != [p]:
                    missed.append((p, before, behind))
    if kind == LOSSY:
        # Glued to a letter or a sign the first or the last word is another token.
        glued = [(before, behind) for _, before, behind in missed]
        assert all(before.strip() not in ("", "said") or behind.strip() not in ("", "and") for before, behind in glued)
    else:
        assert missed == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_looks_like_it_is_not_found(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    finder = PassageFinder(Passages(TEXTS, tokenizer))
    for passage in TEXTS:
        for near in (passage[1:], passage[:-1], passage[:5] + "x" + passage[5:]):
            ids = text_room.encode(tokenizer, f"said {near} night")
            assert not len(finder.find(ids[None]).passage), near


class Letters:
    """A tokenizer of single letters."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 97 for letter in text]

    def decode(self, ids: Any) -> str:
        return "".join(chr(97 + int(i)) for i in ids)

    def __len__(self) -> int:
        return 26


words = st.text("abc", min_size=4, max_size=12)


@settings(deadline=None)
@given(
    st.lists(words, min_size=1, max_size=5, unique=True), st.lists(st.text("abc", min_size=20, max_size=20), max_size=4)
)
def test_against_a_search_in_the_text(passages: list[str], rows: list[str]) -> None:
    """Every occurrence, overlapping ones too, none across two rows."""
    tokenizer = Letters()
    texts = Passages(passages, tokenizer)
    finder = PassageFinder(texts)
    found = finder.find(np.array([tokenizer.encode(row) for row in rows], np.int64).reshape(len(rows), 20))
    expected = {
        (p, r, at)
        for r, row in enumerate(rows)
        for p, passage in enumerate(passages)
        for at in range(20)
        if row.startswith(passage, at)
    }
    got = list(zip(found.passage.tolist(), found.row.tolist(), found.first.tolist(), strict=True))
    assert len(got) == len(set(got))
    assert set(got) == expected


def test_padding_and_rows_that_are_too_short() -> None:
    tokenizer = Letters()
    finder = PassageFinder(Passages(["abcabcabc"], tokenizer))
    assert not len(finder.find(np.zeros((3, 0), np.int64)).passage)
    assert not len(finder.find(np.array([[0, 1, 2]])).passage)
    row = np.array([[0, 1, 2, NO_TOKEN, 0, 1, 2, 0, 1, 2]])
    assert not len(finder.find(row).passage)


def test_names() -> None:
    texts = ["a" * 100 + "b", "a" * 100 + "c", "short one"]
    made = Passages(texts, Letters())
    assert len(set(made.names)) == 3
    assert made.names[2] == "short one"
    assert made.hash != Passages(texts, Letters(), ["x", "y", "z"]).hash
