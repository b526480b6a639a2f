"""Annotations in the run file: kept, continued, changed, and never in the way of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from curvewatch import RunFileError, TokenSet, TokenSetMismatchError, Watch, open_run
from curvewatch.errors import FileBusyError
from tests.support.models import PlainLM
from tests.support.tokenizers import WORDS, tokenizer_of

TEXTS = ["the ships, 3.14 of 12 lamps: don't wait", "Où est le café ? 東京は夜です。", "nul \0 and more"]


class Small:
    """The ids of a tokenizer, cut to what the tests' model knows."""

    def __init__(self) -> None:
        self.of = tokenizer_of("tiktoken")

    def encode(self, text: str) -> list[int]:
        return [i % 101 for i in self.of.encode_ordinary(text)]

    def decode(self, ids: list[int]) -> str:
        return self.of.decode(ids)


def annotated() -> TokenSet:
    tokens = TokenSet.from_texts(TEXTS, tokenizer_of("tiktoken"), bos=0, spans=[[(4, 9, "boats", "noun")], [], []])
    return tokens.label("number", r"\d+").label("kind").words()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


def watched(path: Path, tokens: TokenSet, steps: Any = range(3)) -> None:
    with Watch(tokens, path, max_steps=9, schedule=1) as watch:
        for step in steps:
            watch.observe(PlainLM(vocabulary=300), step)


def assert_same(one: TokenSet, other: TokenSet) -> None:
    assert one.annotations.differ_from(other.annotations) == []
    mine, theirs = one.annotations.originals, other.annotations.originals
    assert mine is not None
    assert theirs is not None
    assert np.array_equal(mine.ends_I, theirs.ends_I)
    assert np.array_equal(mine.cut_S, theirs.cut_S)
    assert (mine.lossy, mine.exact) == (theirs.lossy, theirs.exact)
    assert tuple(text.replace("\0", "\ufffd") for text in mine.texts) == tuple(
        text.replace("\0", "\ufffd") for text in theirs.texts
    )


def test_there_and_back(path: Path) -> None:
    tokens = annotated()
    watched(path, tokens)
    back = open_run(path).tokens
    assert back.hash == tokens.hash
    assert_same(back, tokens)


def test_saved_set(tmp_path: Path) -> None:
    tokens = annotated()
    tokens.save(tmp_path / "set.npz")
    back = TokenSet.load(tmp_path / "set.npz")
    assert back.hash == tokens.hash
    assert_same(back, tokens)
    assert back.annotations.originals.texts == tokens.annotations.originals.texts  # type: ignore[union-attr]


def test_plain_h5py_and_xarray(path: Path) -> None:
    """Without curvewatch: which tokens are numbers, and what a span costs."""
    tokens = annotated()
    watched(path, tokens)
    with h5py.File(path) as file:
        names = file["label_name"].asstr()[:].tolist()
        k = names.index("kind")
        of = file["label_value_label"][:] == k
        values = file["label_value_text"].asstr()[:][of]
        codes = file["label_code"][k]
        expected = tokens.labels["kind"].of_tokens()
        assert [values[code] if code >= 0 else "" for code in codes] == expected.tolist()
        texts = file["span_text"].asstr()[:]
        u = texts[file["span_name"][:]].tolist().index("boats")
        first, length = int(file["span_first"][u]), int(file["span_length"][u])
        assert texts[file["span_group"][u]] == "noun"
        bits = file["surprisal"][-1, first : first + length].sum()
        assert np.isclose(bits, open_run(path).surprisal[-1, first : first + length].sum())
        assert file["n_bytes"][:].sum() == sum(len(text.encode()) for text in TEXTS)
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data.label_code.dims == ("label", "token")
        assert data.span_first.dims == ("span",)
        numbers = data.surprisal.where(data.label_code[names.index("number")] == 1).mean("token")
        assert numbers.shape == (3,)


def test_added_afterwards(path: Path) -> None:
    bare = TokenSet.from_texts(TEXTS, tokenizer_of("tiktoken"), bos=0)
    watched(path, bare)
    before = open_run(path).surprisal[:]
    run = open_run(path)
    run.annotate(run.tokens.label("number", r"\d+").words())
    run.annotate(run.tokens.label("kind").label("number", r"[3]"))
    assert_same(open_run(path).tokens, bare.words().label("number", r"[3]").label("kind"))
    assert np.array_equal(open_run(path).surprisal[:], before)
    run.annotate(run.tokens.with_annotations(bare.annotations))
    assert open_run(path).tokens.labels == {}
    assert len(open_run(path).tokens.spans) == 0
    watched(path, bare, range(3, 5))
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4]


def test_added_to_a_file_of_ids(path: Path) -> None:
    tokens = TokenSet.from_sequences([[5, 6, 7, 8], [9, 10, 11]], vocab_size=300)
    watched(path, tokens)
    run = open_run(path)
    run.annotate(run.tokens.label("half", np.arange(5) < 2))
    assert open_run(path).tokens.labels["half"].codes.tolist() == [1, 1, 0, 0, 0]
    with pytest.raises(TokenSetMismatchError, match="these annotations are of"):
        run.annotate(TokenSet.from_sequences([[5, 6, 7, 8], [9, 10, 12]], vocab_size=300).label("half", [True] * 5))


def test_while_training_writes(path: Path) -> None:
    with Watch(annotated(), path, max_steps=9, schedule=1) as watch:
        watch.observe(PlainLM(vocabulary=300), 0)
        watch.flush() if hasattr(watch, "flush") else None
        run = open_run(path)
        with pytest.raises(FileBusyError):
            run.annotate(run.tokens.label("number", r"\d+"))


def test_resumed_with_others(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = annotated()
    watched(path, tokens)
    watched(path, TokenSet.from_texts(TEXTS, tokenizer_of("tiktoken"), bos=0), range(3, 4))
    assert "annotations" not in caplog.text
    assert_same(open_run(path).tokens, tokens)
    watched(path, tokens.label("number", r"1").label("new", r"a"), range(4, 5))
    assert (
        "the run file's annotations are not those of the set that is given (number): the file's are kept" in caplog.text
    )
    assert_same(open_run(path).tokens, tokens.label("new", r"a"))
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4]


def test_resumed_with_texts_that_the_file_lacks(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = annotated()
    bare = TokenSet.from_sequences([tokens.sequence(s) for s in range(3)], vocab_size=tokens.vocab_size)
    assert bare.hash == tokens.hash
    watched(path, bare)
    assert not open_run(path).tokens.annotations
    watched(path, tokens, range(3, 4))
    assert_same(open_run(path).tokens, tokens)
    assert "annotations" not in caplog.text


def test_several_sets(path: Path) -> None:
    sets = {"a": annotated(), "b": TokenSet.from_sequences([[5, 6, 7]], vocab_size=tokenizer_of("tiktoken").n_vocab)}
    with Watch(sets, path, max_steps=9, schedule=1) as watch:
        watch.observe(PlainLM(vocabulary=300), 0)
    assert_same(open_run(path, "a").tokens, sets["a"])
    run = open_run(path, "b")
    run.annotate(run.tokens.label("first", [True, False]))
    assert open_run(path, "b").tokens.labels["first"].values == ("no", "yes")
    assert_same(open_run(path, "a").tokens, sets["a"])


def lead_astray(file: h5py.File, what: str) -> None:
    if what == "label_code":
        file["label_code"][0, 0] = 1_000_000
    elif what == "span_name":
        file["span_name"][0] = -5
    elif what == "span_first":
        file["span_first"][0] = 10**6
    elif what == "span_length":
        file["span_length"][0] = 0
    elif what == "character_end":
        file["character_end"][0, 3] = 10**6
    elif what == "n_bytes":
        del file["n_bytes"]
    elif what == "texts":
        file.attrs["texts"] = "["


@pytest.mark.parametrize(
    "what", ["label_code", "span_name", "span_first", "span_length", "character_end", "n_bytes", "texts"]
)
def test_what_leads_astray_is_refused(what: str, path: Path) -> None:
    watched(path, annotated())
    with h5py.File(path, "r+") as file:
        lead_astray(file, what)
    with pytest.raises(RunFileError, match="damaged, or changed by another program"):
        _ = open_run(path).tokens


def test_hostile_texts(path: Path) -> None:
    texts = ["<script>alert(1)</script> & \u202e", "\ud800 lone", "a\0b", "'\"`${}", WORDS]
    tokens = TokenSet.from_texts(texts, tokenizer_of("tiktoken"), bos=0).words().label("x", lambda text, before: text)
    watched(path, tokens)
    back = open_run(path).tokens
    assert back.labels["x"].codes.tolist() == tokens.labels["x"].codes.tolist()
    assert len(back.spans) == len(tokens.spans)


def test_sets_may_be_called_as_later_datasets_are(path: Path) -> None:
    """A run of before that has a set called "label" goes on."""
    sets = {"label": annotated(), "span": TokenSet.from_sequences([[5, 6, 7]], vocab_size=300)}
    with Watch(sets, path, max_steps=9, schedule=1) as watch:
        watch.observe(PlainLM(vocabulary=300), 0)
    assert_same(open_run(path, "label").tokens, sets["label"])
    run = open_run(path, "span")
    run.annotate(run.tokens.label("first", [True, False]))
    assert open_run(path, "span").tokens.labels["first"].values == ("no", "yes")
    with pytest.raises(ValueError, match="the name 'surprisal' can't be used"):
        Watch({"surprisal": sets["span"]}, path)
