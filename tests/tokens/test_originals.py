"""Where tokens end in their text, and how many bytes they stand for: all of the text's, each once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curvewatch import TokenSet
from curvewatch.tokens import text as text_room
from curvewatch.tokens.annotations import bits_per_byte, why_no_bits_per_byte
from curvewatch.tokens.offsets import bytes_of_characters
from curvewatch.tokens.originals import CUT_BEFORE, CUT_BEHIND
from tests.support.tokenizers import KINDS, WORDS, tokenizer_of

LOSSY = ("T5", "BERT, transformers")
BOS = 0


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_add_up(kind: str) -> None:
    texts = [WORDS, WORDS[5:40], "the end", "👩‍🚀🚀 e\u0301 x", " two  spaces \n"]
    tokens = TokenSet.from_texts(texts, tokenizer_of(kind), bos=BOS)
    assert tokens.n_bytes is not None
    for s, one in enumerate(texts):
        assert tokens.n_bytes[tokens.sequence_index == s].sum() == len(one.encode())
    assert (tokens.n_bytes >= 0).all()
    originals = tokens.annotations.originals
    assert originals is not None
    assert originals.texts == tuple(texts)
    assert originals.lossy == (kind in LOSSY)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text(kind: str, text: str) -> None:
    ids, ends = text_room.encode_with_ends(tokenizer_of(kind), text)
    assert np.array_equal(ids, text_room.encode(tokenizer_of(kind), text))
    if not len(ids):
        return  # all of it was dropped
    assert ends is not None
    assert (np.diff(ends) >= 0).all()
    assert ends[-1] == len(text)
    assert ends[0] >= 0


@pytest.mark.parametrize("kind", ["GPT-2", "GPT-2, transformers", "tiktoken"])
def test_a_token_covers_what_it_stands_for(kind: str) -> None:
    tokens = TokenSet.from_texts(["the ships, 3.14 of them"], tokenizer_of(kind), bos=BOS)
    originals = tokens.annotations.originals
    assert originals is not None
    starts, ends = originals.ranges(tokens.scored)
    covered = [originals.texts[0][a:b] for a, b in zip(starts, ends, strict=True)]
    assert "".join(covered) == "the ships, 3.14 of them"
    assert covered == [tokens.decode([i]) for i in tokens.target]


@pytest.mark.parametrize("kind", ["GPT-2", "Llama", "T5", "tiktoken"])
def test_in_pieces_as_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, text = tokenizer_of(kind), WORDS * 12
    whole = text_room.encode_with_ends(tokenizer, text)
    monkeypatch.setattr(text_room, "PIECE_CHARACTERS", 300)
    assert len(list(text_room._pieces(text))) > 5
    pieces = text_room.encode_with_ends(tokenizer, text)
    assert np.array_equal(pieces.ids, whole.ids)
    assert pieces.ends is not None
    assert whole.ends is not None
    # Blanks that a normaliser puts together may go to the token on either side of a cut.
    assert np.abs(pieces.ends - whole.ends).max() <= (2 if kind == "T5" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_one_text(kind: str) -> None:
    """Rows that lie side by side share the text between them, each character once."""
    text = WORDS * 30
    tokens = TokenSet.from_text(text, tokenizer_of(kind), n_tokens=320, context=17, per_sequence=None, bos=BOS)
    originals = tokens.annotations.originals
    if kind == "ByT5":
        assert originals is None, "growing prefixes of a long text would take for ever"
        return
    assert originals is not None
    assert tokens.n_bytes is not None
    assert all(one in text for one in originals.texts)
    for s, one in enumerate(originals.texts):
        assert tokens.n_bytes[tokens.sequence_index == s].sum() == len(one.encode())
    assert set(originals.cut_S.tolist()) <= {CUT_BEFORE | CUT_BEHIND, CUT_BEFORE, CUT_BEHIND}
    assert originals.lossy == (kind in LOSSY)


def test_ids_are_those_of_before() -> None:
    """What is known of the texts is no part of a set's identity."""
    with_texts = TokenSet.from_texts([WORDS, "the end of it"], tokenizer_of("GPT-2"))
    rows = [text_room.encode(tokenizer_of("GPT-2"), one).tolist() for one in (WORDS, "the end of it")]
    assert with_texts.hash == TokenSet.from_sequences(rows).hash
    labelled = with_texts.label("number", r"\d+").label("kind").words()
    assert labelled.hash == with_texts.hash


def test_bits_per_byte() -> None:
    texts = ["the ships that sail", "é 🚀"]
    of = {}
    for kind in ("GPT-2", "tiktoken", "Llama", "ByT5"):
        tokens = TokenSet.from_texts(texts, tokenizer_of(kind), bos=BOS)
        assert why_no_bits_per_byte(tokens) is None
        # A model that spends the same on each byte of the text, however it is cut.
        assert tokens.n_bytes is not None
        of[kind] = bits_per_byte(tokens, 1.5 * tokens.n_bytes.astype(np.float32))
    assert of == pytest.approx(dict.fromkeys(of, 1.5), rel=1e-6)
    assert math.isnan(bits_per_byte(tokens, np.full(len(tokens), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: TokenSet.from_sequences([[1, 2, 3]]), "bytes of its tokens are not known"),
        (lambda: TokenSet.from_text(WORDS * 9, tokenizer_of("GPT-2"), 20, 10, 3), "only some of its positions"),
        (lambda: TokenSet.from_texts([WORDS], tokenizer_of("BERT, transformers")), "case, blanks or accents"),
        (lambda: TokenSet.from_texts([WORDS], tokenizer_of("T5")), "case, blanks or accents"),
    ],
)
def test_where_bits_per_byte_would_mislead(make: Any, why: str) -> None:
    reason = why_no_bits_per_byte(make())
    assert reason is not None
    assert why in reason


@given(st.text(max_size=20))
def test_bytes_of_characters(text: str) -> None:
    expected = [len(c.encode("utf-8", "surrogatepass")) for c in text]
    assert bytes_of_characters(text).tolist() == expected


def test_a_dataset_of_texts() -> None:
    rows = [{"text": "the ships " * n, "language": "en" if n % 2 else "fr"} for n in range(3, 12)]
    tokens = TokenSet.from_dataset(
        rows, n_tokens=60, column="text", labels=["language"], tokenizer=tokenizer_of("GPT-2"), per_sequence=None
    )
    originals = tokens.annotations.originals
    assert originals is not None
    languages = {row["text"]: row["language"] for row in rows}
    expected = [languages[originals.texts[s]] for s in tokens.sequence_index]
    assert tokens.labels["language"].of_tokens().tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"texts": "one text"}, TypeError, "texts='one text': a list of texts"),
        ({"texts": []}, ValueError, "texts: there is none"),
        ({"texts": ["good", 3]}, TypeError, r"texts\[1\]=3: a text is expected, got a int"),
        ({"texts": ["good", ""]}, ValueError, r"texts\[1\]='': the tokenizer makes no token"),
        ({"texts": ["good"], "score": "some"}, ValueError, "score='some': 'all' positions or those of 'spans'"),
        ({"texts": ["good"], "score": "spans"}, ValueError, "give spans to score"),
        ({"texts": ["good"], "labels": {"x": ["a", "b"]}}, ValueError, r"labels\['x'\].*1 texts"),
        ({"texts": ["good"], "spans": [[(0, 9)]]}, ValueError, r"spans\[0\]\[0\]=\(0, 9\).*4 characters"),
        ({"texts": ["good"], "spans": [[(2, 2)]]}, ValueError, "or is empty"),
        ({"texts": ["a  b"], "spans": [[(1, 3)]]}, ValueError, "nothing but white space"),
        ({"texts": ["good"], "spans": [[(0,)]]}, TypeError, r"\(start, end\), \(start, end, name\)"),
        ({"texts": ["good"], "spans": [[(0.0, 2)]]}, TypeError, "whole numbers of characters"),
        ({"texts": ["good"], "spans": [[], []]}, ValueError, "spans: 2 lists for 1 texts"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        TokenSet.from_texts(**{"tokenizer": tokenizer_of("GPT-2"), "bos": BOS, **arguments})


def test_a_text_that_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenSet.from_texts(["the ships that sail at night"], tokenizer_of("tiktoken"), context=5, bos=BOS)
    assert "1 of 1 texts have more than context=5 tokens" in caplog.text
    originals = tokens.annotations.originals
    assert originals is not None
    assert originals.cut_S.tolist() == [CUT_BEHIND]
    assert "the ships that sail at night".startswith(originals.texts[0])
    with pytest.raises(ValueError, match="the text was cut before it"):
        TokenSet.from_texts(
            ["the ships that sail at night"], tokenizer_of("tiktoken"), context=5, bos=BOS, spans=[[(23, 28)]]
        )
