"""Runs of two tokenizers on the same texts: equal where the model spends the same on each byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Observation, RunFile, TokenSet, TokenSetMismatchError, open_run
from curvewatch.analysis.across import bits_per_byte_of
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.cli.test_cli import call
from tests.support.tokenizers import WORDS, tokenizer_of

TEXTS = ["the ships sail the sea", "Où est le café ? 12 lamps", WORDS]


def made(path: Path, kind: str, rate: Any, texts: list[str] = TEXTS, **settings: Any) -> Any:
    """A run whose model spends `rate` bits on each byte; two rows, the first twice as expensive."""
    tokens = TokenSet.from_texts(texts, tokenizer_of(kind), bos=0, **settings)
    if "per_sequence" not in settings:
        tokens = tokens.words()
    tokens = tokens.label("number", r"\d+")
    assert tokens.n_bytes is not None
    file = RunFile.start(path, {"eval": SetRecord(tokens, 512, {})}, RunPlan(9, np.arange(2), "", {}), -1)
    bits = (rate(tokens) if callable(rate) else rate) * tokens.n_bytes
    for step in (0, 1):
        y = (bits * (2 - step)).astype(np.float32)
        file.append(Row(step, 0.1, 1e9, {"eval": Observation(y, np.zeros(len(y), bool), y)}))
    file.close()
    return open_run(path)


def test_by_text(tmp_path: Path) -> None:
    one, two = made(tmp_path / "a.h5", "GPT-2", 1.5), made(tmp_path / "b.h5", "tiktoken", 1.25)
    assert one.set_hash != two.set_hash
    frame = bits_per_byte_of([one, two])
    assert frame.index.tolist() == TEXTS
    assert frame.columns.tolist() == ["a", "b", "bytes"]
    assert np.allclose(frame["a"], 1.5, rtol=1e-5)
    assert np.allclose(frame["b"], 1.25, rtol=1e-5)
    assert frame["bytes"].tolist() == [len(text.encode()) for text in TEXTS]
    first = bits_per_byte_of([one, two], row=0)
    assert np.allclose(first["a"], 3.0, rtol=1e-5)


def test_by_word_and_by_label(tmp_path: Path) -> None:
    runs = [made(tmp_path / f"{k}.h5", kind, 1.5) for k, kind in enumerate(("GPT-2", "tiktoken", "ByT5"))]
    words = bits_per_byte_of(runs, by="word")
    assert np.allclose(words[["0", "1", "2"]], 1.5, rtol=1e-4)
    the = words.xs("the", level="word").loc[TEXTS[0]]
    assert the.index.tolist() == [1, 2], "it occurs twice there"
    assert set(words.reset_index()["word"]) == {word for text in TEXTS for word in text.split()}
    numbers = bits_per_byte_of(runs, by="number")
    assert numbers.index.tolist() == ["no", "yes"]
    assert np.allclose(numbers[["0", "1", "2"]], 1.5, rtol=1e-4)


def test_what_is_refused(tmp_path: Path) -> None:
    good = made(tmp_path / "a.h5", "GPT-2", 1.5)
    with pytest.raises(ValueError, match="takes at least two"):
        bits_per_byte_of([good])
    sampled = made(tmp_path / "b.h5", "tiktoken", 1.5, per_sequence=3)
    with pytest.raises(ValueError, match=r"b\.h5: its bits per byte would mislead: only some of its positions"):
        bits_per_byte_of([good, sampled])
    lossy = made(tmp_path / "c.h5", "BERT, transformers", 1.5)
    with pytest.raises(ValueError, match="does not keep the text"):
        bits_per_byte_of([good, lossy])
    other = made(tmp_path / "d.h5", "tiktoken", 1.5, [*TEXTS[:2], "another"])
    with pytest.raises(TokenSetMismatchError, match=r"text 2 is .* in .*a\.h5 and 'another' in .*d\.h5"):
        bits_per_byte_of([good, other])
    fewer = made(tmp_path / "e.h5", "tiktoken", 1.5, TEXTS[:2])
    with pytest.raises(TokenSetMismatchError, match="3 texts"):
        bits_per_byte_of([good, fewer])
    two = made(tmp_path / "f.h5", "tiktoken", 1.5)
    with pytest.raises(ValueError, match="label='colour'"):
        bits_per_byte_of([good, two], by="colour")
    with pytest.raises(IndexError):
        bits_per_byte_of([good, two], row=7)


def test_on_the_command_line(tmp_path: Path) -> None:
    for name, kind in (("a", "GPT-2"), ("b", "tiktoken")):
        made(tmp_path / f"{name}.h5", kind, 1.5)
    files = tmp_path / "a.h5", tmp_path / "b.h5"
    lines = call("compare", *files, "--by", "number").stdout.splitlines()
    assert lines[0] == "number,a,b,bytes"
    assert [line.split(",")[:3] for line in lines[1:]] == [["no", "1.5000", "1.5000"], ["yes", "1.5000", "1.5000"]]
    call("compare", *files, "--by", "word", "-o", tmp_path / "words.csv")
    assert (tmp_path / "words.csv").read_text().startswith("text,word,occurrence,a,b,bytes\n")
