"""The report in a real browser: it draws, a search works, nothing leaves the page, nothing is logged."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from curvewatch import open_run
from curvewatch.analysis.findings import gather_findings
from curvewatch.analysis.report import pack, write_report
from curvewatch.analysis.report.chosen import choose
from curvewatch.errors import TokenSetMismatchError
from tests.analysis.browser import Browser
from tests.analysis.synthetic import WORDS, token_set, write_run

PLOTS = ["region", "surprisal", "accuracy", "acquired", "age", "forgettability", "token", "map", "correlation"]
CROSS_PLOTS = ["agreement", "cross"]


@pytest.fixture(scope="session")
def triple(made: Path) -> Path:
    """The report of three runs."""
    return write_report([open_run(made / f"run{i}.h5") for i in (1, 2, 3)], made / "triple.html")


def drawn(page: Browser) -> list[str]:
    """Names of the charts that hold a drawing of some size."""
    found: list[str] = page.run(
        "return [...document.querySelectorAll('.plot')].filter(p => p.querySelector('.main-svg')?.clientHeight > 100)"
        ".map(p => p.id.replace('plot-', ''))"
    )
    return found


def assert_quiet(page: Browser) -> None:
    """Nothing was logged, and nothing but the page itself was asked for."""
    assert page.console() == []
    outside = [url for url in page.requests() if not re.match(r"(data|blob|file|about):", url)]
    assert outside == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_draws_in_light_and_dark_wide_and_narrow(page: Browser, triple: Path, width: int, dark: bool) -> None:
    page.open(triple, width=width, dark=dark)
    assert sorted(drawn(page)) == sorted(PLOTS + CROSS_PLOTS)
    assert page.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert_quiet(page)


def test_a_single_run_has_no_section_across_runs(page: Browser, single: Path) -> None:
    page.open(single)
    assert sorted(drawn(page)) == sorted(PLOTS)
    assert page.run("return [...document.querySelectorAll('[data-cross]')].every(e => e.hidden)")


def test_search_and_pick_show_the_tokens_own_curve(page: Browser, single: Path, made: Path) -> None:
    run = open_run(made / "run1.h5")
    page.open(single)
    page.type("#search", "the")
    rows = page.run("return [...document.querySelectorAll('#results li[data-row]')].map(li => Number(li.dataset.row))")
    exact = run.select(token="the")
    assert set(rows[: len(exact)]) == set(exact.tolist())
    page.click("#results li:nth-child(2)")
    token = rows[1]
    assert page.run("return document.querySelector('#context mark').textContent").strip() == "the"
    assert page.run("return location.hash") == f"#token={token}"
    shown = page.run(
        "const t = document.getElementById('plot-token').data.find(t => t.name === 'raw'); return [t.x, t.y]"
    )
    after = run.steps > 0
    assert shown[0] == run.steps[after].tolist()
    np.testing.assert_allclose(shown[1], run.surprisal[:, token][after], atol=0.5 * pack.GRAIN + 1e-6)
    smooth = page.run(
        "const t = document.getElementById('plot-token').data.find(t => t.name === 'smoothed'); return [t.x, t.y]"
    )
    expected = run.curve(token).fit.at(np.clip(smooth[0], 1, run.steps[-1]))[:, 0]
    np.testing.assert_allclose(smooth[1], expected, atol=0.5 * pack.GRAIN + 1e-3)
    page.type("#search", "#17")
    assert page.run("return document.querySelectorAll('#results li[data-row]').length") == 1
    page.type("#search", "no such thing")
    assert "No token found" in page.run("return document.getElementById('results').textContent")
    assert_quiet(page)


def test_a_link_opens_its_token_and_the_theme_can_be_chosen(page: Browser, triple: Path) -> None:
    page.open(triple, hash="#token=123")
    assert "#123," in page.run("return document.getElementById('facts').textContent")
    for expected in ("light", "dark"):
        page.click("#theme")
        assert page.run("return document.documentElement.dataset.theme") == expected
    assert sorted(drawn(page)) == sorted(PLOTS + CROSS_PLOTS)


def test_a_gallery_row_leads_to_the_curve(page: Browser, triple: Path) -> None:
    page.open(triple)
    assert page.run("return document.querySelectorAll('#gallery .card').length") == 3
    page.click("#gallery .card:nth-child(2) .row:nth-child(3)")
    picked = page.run("return document.querySelector('#gallery .card:nth-child(2) .row:nth-child(3) mark').textContent")
    assert page.run("return document.querySelector('#context mark').textContent") == picked


@pytest.mark.parametrize("n_steps", [0, 1, 2, 10])
def test_few_observations(page: Browser, tmp_path: Path, n_steps: int) -> None:
    run = open_run(write_run(tmp_path / "few.h5", n_steps, 40))
    path = write_report([run], tmp_path / "few.html")
    page.open(path)
    assert page.run("return document.querySelectorAll('.note').length") >= 1
    assert ("surprisal" in drawn(page)) == (n_steps > 1)
    assert_quiet(page)


def test_runs_of_different_length_and_texts_that_look_like_code(page: Browser, tmp_path: Path) -> None:
    evil = WORDS | {5: "</script><script>alert(1)</script>", 6: "<img src=x onerror=alert(1)>", 7: "\u2028@@DATA@@"}
    made = token_set(60)
    parts = {name: getattr(made, name) for name in ("ids", "starts", "sequence_index", "position", "vocab_size")}
    tokens = type(made)(**parts, vocabulary=evil)
    runs = [open_run(write_run(tmp_path / f"{n}.h5", n, tokens=tokens, seed=n)) for n in (60, 40)]
    page.open(write_report(runs, tmp_path / "odd.html", title="<b>@@STYLE@@</b>"))
    assert page.run("return document.getElementById('title').textContent") == "<b>@@STYLE@@</b>"
    page.type("#search", "onerror")
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert "scored at different steps" in page.run("return document.getElementById('notes').textContent")
    assert_quiet(page)


def test_a_set_without_texts_shows_ids(page: Browser, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "ids.h5", 40, tokens=token_set(30, texts=False)))
    page.open(write_report([run], tmp_path / "ids.html"))
    page.type("#search", f"⟨{int(run.tokens.target[7])}⟩")
    assert page.run("return document.querySelector('#results mark').textContent") == f"⟨{int(run.tokens.target[7])}⟩"
    assert_quiet(page)


def test_the_sample_has_the_extremes_and_says_so(page: Browser, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "many.h5", 40, 3_000))
    findings = gather_findings([run])
    which, everything = choose(findings, 500)
    again, _ = choose(findings, 500)
    assert not everything
    assert len(which) == 500
    assert np.array_equal(which, again)
    assert (np.diff(which) > 0).all()
    most = np.argsort(-findings.runs[0].measures["forgettability"])[:20]
    assert np.isin(most, which).all()


def test_different_token_sets_are_refused(tmp_path: Path, made: Path) -> None:
    other = open_run(write_run(tmp_path / "other.h5", 40, tokens=token_set(300, seed=9)))
    run = open_run(made / "run1.h5")
    with pytest.raises(TokenSetMismatchError, match=f"{run.set_hash}.*{other.set_hash}"):
        write_report([run, other], tmp_path / "no.html")
    assert not (tmp_path / "no.html").exists()


def test_the_page_is_one_file_and_forbids_requests(triple: Path) -> None:
    text = triple.read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", text)
    assert len(text) < 8_000_000
