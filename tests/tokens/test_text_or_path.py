"""What `from_text` takes for a text, what for a path, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curvewatch import TokenSet
from curvewatch.tokens.given import read_text


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "a book").write_text("Well.", encoding="utf-8")
    (tmp_path / "book").write_text("Wäll.", encoding="utf-8")
    (tmp_path / "latin").write_bytes("Wäll.".encode("latin-1"))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("book", "Wäll."),
        ("a book", "Well."),
        (Path("book"), "Wäll."),
        ("the cat sat.", "the cat sat."),
        ("wikitext\n", "wikitext\n"),
        ("ACGT" * 1024, "ACGT" * 1024),
        ("ACGT" * 64, "ACGT" * 64),  # longer than a file's name can be
        ("", ""),
    ],
)
def test_text_or_path(given: Any, text: str) -> None:
    assert read_text(given) == text


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("boook", FileNotFoundError, r"^text_or_path='boook': no such file\. Check the path; .*a line break.*"),
        ("boook.txt", FileNotFoundError, r"^text_or_path='boook.txt': no such file"),
        ("corpus/book", FileNotFoundError, r"^text_or_path='corpus/book': no such file"),
        ("an old book.txt", FileNotFoundError, r"^text_or_path='an old book.txt': no such file"),
        ("a/" * 300, FileNotFoundError, r"^text_or_path='a/a/.*…: no such file"),
        (Path("a boook"), FileNotFoundError, r"^text_or_path=PosixPath\('a boook'\): no such file"),
        ("corpus", IsADirectoryError, r"^text_or_path='corpus': a folder\. Give one file"),
        (Path("corpus"), IsADirectoryError, r"^text_or_path=PosixPath\('corpus'\): a folder\. Give one file"),
        ("latin", ValueError, r"^text_or_path='latin': it is no UTF-8 text \(.* at byte 1\)\. Give a text file"),
        (["the cat"] * 999, TypeError, r"^text_or_path=\['the cat', .*…: .*got a list\. Join the texts, '\\n'"),
        (("a", "b"), TypeError, r"^text_or_path=\('a', 'b'\): .*got a tuple\. Join"),
        (b"the cat" * 999, TypeError, r"^text_or_path=b'the cat.*…: one text .*got a bytes\. Pass a str"),
        (None, TypeError, r"^text_or_path=None: .*Pass a str"),
    ],
)  # fmt: skip
def test_what_is_refused(given: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as raised:
        TokenSet.from_text(given, tokenizer=None)
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 250
