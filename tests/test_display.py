"""What objects show of themselves in a notebook: readable, harmless, and never an error."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from curvewatch import TokenSet, open_run
from curvewatch.analysis.card import MOST_VALUES
from curvewatch.analysis.compare import compare
from curvewatch.display import card, escaped, line, marked
from tests.support.files import write
from tests.support.models import random_tokens

HOSTILE = [
    "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "&lt;b&gt;", "\x1b[31mred", "a\u202eb\u2066c",
    "nul\0", "\ud800", "x" * 10_000, "</div></table>", "javascript:alert(1)", "${7*7}{{7*7}}", "\u200b\ufeff",
]  # fmt: skip


class Strict(HTMLParser):
    """Which elements and attributes there are; that all that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "polyline":
            self.open.append(tag)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def looked_at(page: str) -> Strict:
    found = Strict()
    found.feed(page)
    assert found.open == []
    assert found.tags <= {"div", "b", "table", "tr", "td", "span", "mark", "svg", "title", "polyline", "code"}
    assert not {name for name in found.attributes if name.startswith("on") or name in ("href", "src")}
    assert not set("\x1b\u202e\u2066\0\u200b\ufeff") & set(page)
    page.encode()
    return found


class Words:
    def encode(self, text: str) -> list[int]:
        return [int(text)]

    def decode(self, ids: list[int]) -> str:
        return "".join(HOSTILE[i] for i in ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(text: str) -> None:
    found = looked_at(card(text, [(text, escaped(text))], marked(text, text, text)))
    if text == HOSTILE[0]:
        assert text in found.text
    assert len(escaped(text)) < 5000
    looked_at(line([1, 2], [3, 4], text))


def test_token_set() -> None:
    tokens = TokenSet.from_sequences([list(range(12)), [3, 2, 1]], tokenizer=Words(), vocab_size=12).label(
        "x", np.array([f"{HOSTILE[i % 9]}" for i in range(13)], object)
    )
    found = looked_at(tokens._repr_html_())
    assert "13 tokens in 2 sequences of 3 to 12 tokens" in found.text
    assert "alert(1)" in found.text
    for i in range(len(tokens)):
        looked_at(tokens.show(i)._repr_html_())
    assert "token 3, sequence 0, position 4" in looked_at(tokens.show(3)._repr_html_()).text


def test_token_set_without_texts() -> None:
    found = looked_at(TokenSet.from_sequences([[1, 2]])._repr_html_())
    assert "1 tokens in 1 sequences" in found.text
    assert "⟨2⟩" in found.text


def test_run(tmp_path: Path) -> None:
    path = tmp_path / "<b>curves.h5"
    write(path, [0, 5, 7, 9])
    found = looked_at(open_run(path)._repr_html_())
    assert "<b>curves.h5" in found.text
    assert "4, steps 0 to 9 of 100 planned" in found.text
    assert "polyline" in found.tags
    mean = open_run(path).surprisal[-1].mean()
    assert f"{mean:.2f} at last" in found.text


def test_run_that_has_no_row_yet(tmp_path: Path) -> None:
    write(tmp_path / "curves.h5", [])
    assert "none yet" in looked_at(open_run(tmp_path / "curves.h5")._repr_html_()).text


def test_run_of_a_large_file_reads_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "curves.h5", [0, 5, 7])
    monkeypatch.setattr("curvewatch.analysis.card.MOST_VALUES", 70)
    found = looked_at(open_run(tmp_path / "curves.h5")._repr_html_())
    assert MOST_VALUES > 70
    assert "polyline" not in found.tags
    assert "bits at first" in found.text


def test_run_whose_file_is_gone_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    write(path, [0, 5])
    run = open_run(path)
    with h5py.File(path, "r+") as file:
        del file["correct"]
    assert "can't be shown" in looked_at(run._repr_html_()).text
    path.unlink()
    assert "can't be shown" in looked_at(run._repr_html_()).text


def test_comparison(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.h5", range(0, 100, 5), tokens=random_tokens())
    found = looked_at(compare([open_run(tmp_path / "one.h5"), open_run(tmp_path / "two.h5")])._repr_html_())
    assert "one, two" in found.text
    assert "final surprisal" in found.text


def test_a_line_needs_two_points() -> None:
    assert line([1], [2], "x") == line([1, 2], [np.nan, 3], "x") == ""
    assert "polyline" in line([1, 2, 3], [2, 2, 2], "flat")
