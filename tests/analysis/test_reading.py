"""The reader's page in a browser: its texts, colours, slider, keys; on a desk and on a phone; with hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Observation, RunFile, RunFileError, TokenSet, open_run
from curvewatch.analysis.report import reading
from curvewatch.analysis.report.reading import write_reading
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.analysis.browser import Browser, browser
from tests.cli.test_cli import call
from tests.support.tokenizers import tokenizer_of

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'> & \u202e\u2066 x"
TEXTS = [
    "the ships sail at night",
    "Où est le café ? 東京 🚀",
    HOSTILE,
    *(f"text number {n} of many" for n in range(9)),
]
STEPS = [0, 1, 2, 4, 8, 16, 32]


def made(path: Path, steps: list[int] = STEPS, texts: list[str] = TEXTS) -> Any:
    tokens = TokenSet.from_texts(texts, tokenizer_of("tiktoken"), bos=0)
    n = len(tokens)
    file = RunFile.start(path, {"eval": SetRecord(tokens, 256, {})}, RunPlan(32, np.array(steps), "", {}), -1)
    for t, step in enumerate(steps):
        y = (8 - t + np.arange(n) % 3).astype(np.float32)
        y[5] = np.nan
        correct = np.arange(n) % 4 == t % 4
        file.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(y, correct, y)}))
    file.close()
    return open_run(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    return write_reading(made(folder / "curves.h5"), folder / "page.html")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def test_the_texts_are_there_and_nothing_else_happens(page: Path, seen: Browser) -> None:
    seen.open(page)
    assert seen.run("return document.title") == "curves · curvewatch"
    shown = seen.run("return [...document.querySelectorAll('.sequence')].map(b => b.textContent)")
    assert len(shown) == 8
    for s, text in enumerate(shown):
        assert text.endswith(TEXTS[s])
    assert seen.run("return document.querySelectorAll('img, .sequence script').length") == 0
    assert [one for one in seen.requests() if not one.startswith(("file:", "blob:", "data:"))] == []
    assert seen.console() == []


def test_colours_follow_step_and_choice(page: Path, seen: Browser) -> None:
    seen.open(page)
    style = "return [...document.querySelectorAll('.token')].slice(0, 8).map(s => getComputedStyle(s).backgroundColor)"
    at_end = seen.run(style)
    assert seen.run("return document.getElementById('step').value") == "32"
    assert len(set(at_end)) > 1
    assert at_end[5] == "rgba(0, 0, 0, 0)", "not a number: no colour"
    seen.run("const w = document.getElementById('when'); w.value = 0; w.dispatchEvent(new Event('input'))")
    assert seen.run("return document.getElementById('step').value") == "0"
    assert seen.run(style) != at_end
    for how in ("change", "age", "forgotten"):
        seen.run(f"const h = document.getElementById('how'); h.value = '{how}'; h.dispatchEvent(new Event('change'))")
        assert seen.run("return document.getElementById('legend').textContent")
    # Forgotten now: first choice before, and not at the last observation; told by a line, too.
    seen.run("const w = document.getElementById('when'); w.value = 6; w.dispatchEvent(new Event('input'))")
    lost = seen.run(
        "return [...document.querySelectorAll('.token')].slice(0, 8).map(s => s.classList.contains('lost'))"
    )
    assert lost == [i % 4 != 6 % 4 and any(i % 4 == t % 4 for t in range(6)) for i in range(8)]


def key(seen: Browser, name: str) -> None:
    seen.run(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {name!r}, bubbles: true}}))")


def test_keys(page: Path, seen: Browser) -> None:
    seen.open(page)
    key(seen, "ArrowLeft")
    assert seen.run("return document.getElementById('step').value") == "16"
    key(seen, "n")
    assert seen.run("return document.getElementById('page').value") == "2 of 2"
    assert len(seen.run("return [...document.querySelectorAll('.sequence')]")) == 4
    key(seen, "p")
    key(seen, ".")
    key(seen, ".")
    detail = seen.run("return document.getElementById('detail').textContent")
    assert "token 1: " in detail
    assert "bits now" in detail
    key(seen, "c")
    assert seen.run("return document.getElementById('how').value") == "change"


def test_search(page: Path, seen: Browser) -> None:
    seen.open(page)
    find = "const f = document.getElementById('find'); f.value = '{}'; f.dispatchEvent(new Event('input'))"
    seen.run(find.format("CAFÉ"))
    assert len(seen.run("return [...document.querySelectorAll('.sequence')]")) == 1
    seen.run(find.format("not there"))
    assert "No sequence has this text" in seen.run("return document.getElementById('text').textContent")


def test_on_a_phone(page: Path, seen: Browser) -> None:
    seen.open(page, width=390, height=800, dark=True)
    assert seen.run("return document.documentElement.scrollWidth <= innerWidth"), "nothing reaches beyond the screen"
    seen.run("document.querySelector('.token').click()")
    assert "token 0: " in seen.run("return document.getElementById('detail').textContent")


def test_a_large_set_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Browser) -> None:
    monkeypatch.setattr(reading, "MOST_VALUES", 1000)
    path = write_reading(made(tmp_path / "curves.h5"), tmp_path / "page.html")
    seen.open(path)
    said = seen.run("return document.getElementById('subtitle').textContent")
    assert "sequences of 12, evenly spaced," in said


def test_sets_of_ids_and_files_without_rows(tmp_path: Path) -> None:
    ids = TokenSet.from_sequences([[1, 2, 3]], vocab_size=9)
    plan = RunPlan(9, np.array([0]), "", {})
    file = RunFile.start(tmp_path / "ids.h5", {"eval": SetRecord(ids, 9, {})}, plan, -1)
    y = np.ones(2, np.float32)
    with pytest.raises(RunFileError, match="no observation yet"):
        write_reading(open_run(tmp_path / "ids.h5"), tmp_path / "page.html")
    file.append(Row(0, 0.1, 1.0, {"eval": Observation(y, y > 2, y)}))
    file.close()
    with pytest.raises(ValueError, match="knows no text"):
        write_reading(open_run(tmp_path / "ids.h5"), tmp_path / "page.html")


def test_the_command(tmp_path: Path) -> None:
    made(tmp_path / "curves.h5")
    call("read", tmp_path / "curves.h5", "-o", tmp_path / "page.html", "--title", "<i>mine</i>")
    assert "<title>&lt;i&gt;mine&lt;/i&gt; · curvewatch</title>" in (tmp_path / "page.html").read_text()
