"""Labels and spans: the right tokens, worked out a second time character by character."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from curvewatch import TokenSet
from curvewatch.tokens.labels import Label
from curvewatch.tokens.spans import Spans
from tests.support.tokenizers import KINDS, tokenizer_of

BOS = 0
TEXTS = [
    "the ships, 3.14 of 12 lamps: don't wait",
    "Où est le café ? 東京は夜です。 👩‍🚀🚀 home",
    "  def f(x_1): return {x: 2}",
]


def of_texts(kind: str = "GPT-2", **settings: Any) -> TokenSet:
    return TokenSet.from_texts(TEXTS, tokenizer_of(kind), bos=BOS, **settings)


def characters_of(tokens: TokenSet) -> list[tuple[int, set[int]]]:
    """For each scored token its sequence and its characters: without blanks, if it has any but those.

    The later pieces of a character that is split have that character.
    """
    originals = tokens.annotations.originals
    assert originals is not None
    found = []
    for s, p in zip(tokens.sequence_index.tolist(), tokens.position.tolist(), strict=True):
        at = int(tokens.starts[s]) + p
        start, end = int(originals.ends_I[at - 1]), int(originals.ends_I[at])
        inked = {c for c in range(start, end) if not originals.texts[s][c].isspace()}
        found.append((s, inked or set(range(start, end)) or {end - 1}))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", [r"\d+", r"[A-Z]\w*", r"\S+é", "ships, 3", "京"])
def test_regular_expressions(kind: str, pattern: str) -> None:
    tokens = of_texts(kind)
    found = tokens.label("found", pattern).labels["found"]
    assert found.values == ("no", "yes")
    matched = [{c for match in re.finditer(pattern, text) for c in range(*match.span())} for text in TEXTS]
    for (s, own), code in zip(characters_of(tokens), found.codes.tolist(), strict=True):
        assert code == bool(own & matched[s])
    assert found.codes.any()


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_the_tokens_that_cover_them(kind: str) -> None:
    tokens = of_texts(kind).words()
    spans, own = tokens.spans, characters_of(tokens)
    words = [(s, m.start(), m.end()) for s, text in enumerate(TEXTS) for m in re.finditer(r"\S+", text)]
    for s, start, end in words:
        covering = [i for i, (t, c) in enumerate(own) if t == s and c & set(range(start, end))]
        u = next(u for u in range(len(spans)) if spans.first[u] == covering[0] and spans.name[u] == TEXTS[s][start:end])
        inside = range(int(spans.first[u]), int(spans.first[u] + spans.length[u]))
        assert covering == list(inside)
        reaches = any(own[i][1] - set(range(start, end)) for i in covering)
        assert spans.impure[u] == reaches
    assert len(spans) == len(words)


def test_words_again_take_the_place_of_words() -> None:
    tokens = of_texts(spans=[[(4, 9)], [], []])
    assert tokens.words().words().spans.same_as(tokens.words().spans)
    assert tokens.words(r"\w+").spans.kinds == ["word", "span"]
    assert tokens.words("x*").spans.of_kind("word").name == ("x", "x"), "no word is empty"


def test_words_at_the_edges_of_a_sequence() -> None:
    text = " ".join(f"word{n}" for n in range(400))
    tokens = TokenSet.from_text(text, tokenizer_of("tiktoken"), 150, 31, None, bos=BOS).words()
    whole = set(text.split())
    assert set(tokens.spans.name) <= whole
    assert len(tokens.spans) >= 5
    # Without bos the first token of a sequence is not scored, nor the word that it begins.
    without = TokenSet.from_texts(["one two three"], tokenizer_of("GPT-2")).words()
    assert without.spans.name == ("two", "three")


def test_spans_as_they_are_given() -> None:
    spans = [[(4, 9, "boats", "noun"), (11, 15)], [(0, 2, None, "adverb")], []]
    tokens = of_texts(spans=spans)
    assert tokens.spans.name == ("boats", "3.14", "Où")
    assert tokens.spans.group == ("noun", "", "adverb")
    assert tokens.spans.kinds == ["span"]
    more = tokens.with_spans([[], [], [(2, 5, "def")]], kind="keyword")
    assert more.spans.kind == ("span", "span", "span", "keyword")
    assert more.spans.of_kind("keyword").name == ("def",)
    with pytest.raises(KeyError, match=r"unit='fact'.*'span', 'keyword'"):
        more.spans.of_kind("fact")
    for first, length, name in zip(more.spans.first, more.spans.length, ("ships", "3.14", "Où", "def"), strict=True):
        assert more.decode(more.target[first : first + length]).strip() == name


def test_only_the_tokens_of_spans() -> None:
    spans = [[(4, 9)], [(0, 2)], [(2, 5), (2, 9)]]
    everything, some = of_texts(spans=spans), of_texts(spans=spans, score="spans")
    assert len(some) < len(everything)
    assert some.hash != everything.hash
    covered = {
        int(i) for f, n in zip(everything.spans.first, everything.spans.length, strict=True) for i in range(f, f + n)
    }
    kept = sorted(covered)
    for name in ("sequence_index", "position"):
        assert np.array_equal(getattr(some, name), getattr(everything, name)[kept])
    assert some.n_bytes is not None
    assert everything.n_bytes is not None
    assert np.array_equal(some.n_bytes, everything.n_bytes[kept])
    y = np.random.default_rng(0).random(len(everything))
    assert np.allclose(some.spans.sums(y[kept]), everything.spans.sums(y))


def test_sums_and_all() -> None:
    rng = np.random.default_rng(1)
    first = np.sort(rng.integers(0, 90, 40)).astype(np.int32)
    length = rng.integers(1, 11, 40).astype(np.int32)
    blank = ("",) * 40
    spans = Spans(first, length, ("span",) * 40, blank, blank, np.full(40, -1, np.int32), blank, np.zeros(40, bool))
    spans.check(100)
    y = rng.random((3, 100))
    expected = [[row[f : f + n].sum() for f, n in zip(first, length, strict=True)] for row in y]
    assert np.allclose(spans.sums(y), expected)
    truth = rng.random((3, 100)) < 0.8
    every = [[row[f : f + n].all() for f, n in zip(first, length, strict=True)] for row in truth]
    assert spans.all_of(truth).tolist() == every
    y[1, first[3]] = np.nan
    assert np.isnan(spans.sums(y)[1, 3])
    assert not np.isnan(spans.sums(y)[0]).any()
    with pytest.raises(ValueError, match="beyond the 50"):
        spans.check(50)


def test_values_that_are_given() -> None:
    tokens = of_texts()
    n = len(tokens)
    truth = np.arange(n) % 3 == 0
    assert np.array_equal(tokens.label("x", truth).labels["x"].codes, truth)
    assert tokens.label("x", truth.tolist()).labels["x"].values == ("no", "yes")
    values = ["b" if i % 3 else "a" for i in range(n - 1)] + [None]
    label = tokens.label("x", values).labels["x"]
    assert label.values == ("b", "a")
    assert label.of_tokens().tolist() == [*values[:-1], ""]
    assert label.sizes.sum() == n - 1
    assert np.array_equal(label.where("a"), [value == "a" for value in values])
    assert tokens.label("x", np.arange(n) // 4).labels["x"].values[0] == "0"
    pd = pytest.importorskip("pandas")
    assert tokens.label("x", pd.Series(values, dtype="category")).labels["x"].same_as(label)


def test_functions_of_a_token() -> None:
    tokens = of_texts()
    label = tokens.label("x", lambda text, before: "after blank" if before.endswith(" ") else text.strip()[:1] or None)
    own = label.labels["x"].of_tokens()
    assert own[0] == "t"
    assert set(own) >= {"s", "3"}
    assert tokens.label("y", lambda text, before: "3" in text).labels["y"].values == ("no", "yes")


def test_built_in() -> None:
    tokens = TokenSet.from_texts(["the 12 x_1 , word2 \n\n unhappiness"], tokenizer_of("GPT-2"), bos=BOS)
    tokens = tokens.label("kind").label("piece").label("position")
    counts = np.zeros(500)
    counts[tokens.target[0]] = 123
    tokens = tokens.label("frequency", counts=counts)
    texts = [tokens.decode([i]) for i in tokens.target]
    kinds = list(zip([text.strip() for text in texts], tokens.labels["kind"].of_tokens(), strict=True))
    assert kinds[0][1] == "word"
    assert {kind for text, kind in kinds if text.isdigit()} == {"number"}
    assert (",", "punctuation") in kinds
    assert {kind for text, kind in kinds if "_" in text} == {"code"}
    assert {kind for text, kind in kinds if not text} <= {"whitespace"}
    assert tokens.labels["piece"].of_tokens()[0] == "first"
    assert tokens.labels["piece"].of_tokens()[-1] == "inner"
    assert tokens.labels["position"].of_tokens()[:7].tolist() == ["1", "2-3", "2-3", "4-7", "4-7", "4-7", "4-7"]
    assert tokens.labels["frequency"].of_tokens()[0] == "100-999"
    assert set(tokens.labels["frequency"].of_tokens()[1:]) <= {"0", "100-999"}


def test_texts_that_are_put_together_from_tokens() -> None:
    """A set of ids with a tokenizer can be labelled, too; its bytes are not counted."""
    rows = [tokenizer_of("GPT-2").encode(text).ids for text in TEXTS]
    tokens = TokenSet.from_sequences(rows, tokenizer=tokenizer_of("GPT-2"))
    assert tokens.n_bytes is None
    label = tokens.label("number", r"\d+").labels["number"]
    with_texts = TokenSet.from_texts(TEXTS, tokenizer_of("GPT-2")).label("number", r"\d+").labels["number"]
    assert np.array_equal(label.codes, with_texts.codes)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("a/b", r"\d"), ValueError, "name='a/b': a label's name"),
        ((" x", r"\d"), ValueError, "name=' x'"),
        (("x" * 65, r"\d"), ValueError, "up to 64"),
        ((3, r"\d"), ValueError, "name=3"),
        (("x", "("), ValueError, "is not a regular expression"),
        (("x", [1, 2, 3]), ValueError, r"values of shape \(3,\); one for each of the"),
        (("x",), ValueError, r"not built in \(there are kind, piece, position, frequency\)"),
        (("frequency",), ValueError, "counts: the label 'frequency' needs"),
        (("x", 3), TypeError, "makes no label"),
        (("x", {"a": 1}), TypeError, "makes no label"),
    ],
)
def test_labels_that_are_refused(arguments: tuple[Any, ...], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        of_texts().label(*arguments)


def test_more_that_is_refused() -> None:
    tokens = of_texts()
    with pytest.raises(ValueError, match=r"the value 0\.5 of token 0.*into ranges first"):
        tokens.label("x", np.full(len(tokens), 0.5))
    with pytest.raises(ValueError, match="no token has a value"):
        tokens.label("x", np.full(len(tokens), np.nan))
    with pytest.raises(ValueError, match=r"the value \[1\] of token 0"):
        tokens.label("x", lambda text, before: [1])
    with pytest.raises(ValueError, match="one number for each id"):
        tokens.label("frequency", counts=[1, 2])
    with pytest.raises(ValueError, match="knows no text, only ids"):
        TokenSet.from_sequences([[1, 2, 3]]).label("number", r"\d")
    with pytest.raises(ValueError, match="does not know its texts"):
        TokenSet.from_sequences([[1, 2, 3]]).words()
    with pytest.raises(ValueError, match="does not know its texts"):
        TokenSet.from_sequences([[1, 2, 3]]).with_spans([[(0, 1)]])
    with pytest.raises(ValueError, match=r"pattern='\(': not a regular"):
        tokens.words("(")
    with pytest.raises(ValueError, match=r"no such value. There are no, yes"):
        tokens.label("x", r"\d").labels["x"].where("maybe")
    with pytest.raises(ValueError, match=r"span 'the' of text 0 \(characters 0 to 3\).*Pass bos="):
        TokenSet.from_texts(TEXTS, tokenizer_of("GPT-2"), spans=[[(0, 3)], [], []])
    with pytest.raises(ValueError, match=r"tokens are not scored.*per_sequence=None"):
        of_texts(per_sequence=1, spans=[[(0, 20)], [], []])
    with pytest.raises(ValueError, match="label 'x': 2 values; the set has"):
        tokens._annotated(labels={"x": Label(np.zeros(2, np.int32), ("a",))})


def test_very_many_values(caplog: pytest.LogCaptureFixture) -> None:
    tokens = TokenSet.from_sequences(np.arange(20_000).reshape(100, 200) % 97)
    with caplog.at_level("INFO", "curvewatch"):
        label = tokens.label("x", np.arange(len(tokens)) % 10_000).labels["x"]
    assert len(label.values) == 10_000
    assert "label 'x' has 10000 values: the 20 with most tokens are shown live" in caplog.text
