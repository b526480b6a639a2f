"""The report's map of curves and what predicts learning, in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curvewatch import Run, open_run
from curvewatch.analysis.curve_map import curve_map
from curvewatch.analysis.findings import gather_findings
from curvewatch.analysis.predict import predict
from curvewatch.analysis.report import points, write_report
from curvewatch.corpus import contextual_diversity, count_ngrams
from curvewatch.errors import TokenSetMismatchError
from tests.analysis.browser import Browser
from tests.analysis.synthetic import VOCABULARY, token_set, write_run
from tests.analysis.test_report import assert_quiet

PLACE = "const b = document.getElementById('points').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
ROOM = 0.04  # of the map's width, that is left free on each side


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Three runs of 300 tokens with a label."""
    tokens = token_set(300).label("kind", np.where(np.arange(300) % 3 == 0, "third", "other"))
    folder = tmp_path_factory.mktemp("labelled")
    return [open_run(write_run(folder / f"{seed}.h5", tokens=tokens, seed=seed)) for seed in (1, 2, 3)]


def corpus() -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [np.minimum(rng.geometric(0.1, 30) - 1, VOCABULARY - 1).tolist() for _ in range(200)]


def drag(page: Browser, start: tuple[float, float], stop: tuple[float, float]) -> None:
    """Presses the button at one place, given as shares of the map, and lets it go at another."""
    page.run("document.getElementById('points').scrollIntoView({block: 'center', behavior: 'instant'})")
    left, top, width, height = page.run(PLACE)
    places = [{"x": left + x * width, "y": top + y * height} for x, y in (start, stop)]
    page.devtools("Input.dispatchMouseEvent", type="mousePressed", button="left", clickCount=1, **places[0])
    page.devtools("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **places[1])
    page.devtools("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, **places[1])


def on_map(run: Run) -> np.ndarray:
    """Where each token lies on the canvas, as shares of its width and height from the upper left."""
    found = curve_map(run).points_NK
    low, high = np.nanmin(found, axis=0), np.nanmax(found, axis=0)
    shares = ((found - low) / (high - low) + ROOM) / (1 + 2 * ROOM)
    return np.stack([shares[:, 0], 1 - shares[:, 1]], axis=1)


def test_a_region_is_dragged_and_its_tokens_are_listed(page: Browser, tmp_path: Path, labelled: list[Run]) -> None:
    run = labelled[0]
    page.open(write_report([run], tmp_path / "map.html"))
    painted = (
        "const c = document.getElementById('points'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height)"
    )
    assert page.run(f"{painted}.data; return d.filter((v, i) => i % 4 === 3 && v).length") > 300
    places = on_map(run)
    drag(page, (0.02, 0.02), (0.5, 0.55))
    inside = np.flatnonzero((places > 0.02).all(axis=1) & (places[:, 0] < 0.5) & (places[:, 1] < 0.55))
    count = page.run("return document.getElementById('region-title').textContent")
    assert abs(int(count.split()[0]) - len(inside)) <= 1  # a point on the edge
    assert "Most common: " in page.run("return document.getElementById('region-words').textContent")
    curves = page.run("return document.getElementById('plot-region').data.map(t => [t.name, t.y])")
    assert [name for name, _ in curves] == ["all", f"mean of {count.split()[0]}"]
    fits = [run.curve(int(i)).smoothed_T[-1] for i in inside]
    assert curves[1][1][-1] == pytest.approx(np.mean(fits), abs=0.06)
    page.click("#region-list button")
    token = int(page.run("return document.querySelector('#region-list button').title").split("#")[1])
    assert token in inside
    assert page.run("return location.hash") == f"#token={token}"
    assert_quiet(page)


def test_a_point_is_clicked_and_colours_follow_measures_and_labels(
    page: Browser, tmp_path: Path, labelled: list[Run]
) -> None:
    run = labelled[0]
    page.open(write_report([run], tmp_path / "map.html"))
    places = on_map(run)
    far = int(np.argmin(np.abs(places - [0.0, 0.5]).sum(axis=1)))  # by itself, at the left
    drag(page, tuple(places[far]), tuple(places[far]))
    assert page.run("return document.getElementById('region-title').textContent") == "1 token chosen"
    assert page.run("return document.querySelector('#region-list button').title") == f"token #{far}"
    names = page.run("return [...document.getElementById('points-colour').options].map(o => o.textContent)")
    assert names[:3] == ["final surprisal", "within-run variability", "age of acquisition"]
    assert names[-2:] == ["acquisition status", "label kind"]
    shown = page.run("return document.querySelector('#region-list .value').textContent")
    assert float(shown.removesuffix(" bits")) == pytest.approx(run.measures()["final_surprisal"][far], abs=0.1)
    choose = "const s = document.getElementById('points-colour'); s.value = s.options.length - 1;"
    page.run(f"{choose} s.dispatchEvent(new Event('change'))")
    assert page.run("return document.querySelector('#region-list .value').textContent") == (
        "third" if far % 3 == 0 else "other"
    )
    assert page.run("return document.getElementById('points-legend').textContent") == "other (200)third (100)"
    assert_quiet(page)


def test_the_map_by_keyboard(page: Browser, tmp_path: Path, labelled: list[Run]) -> None:
    page.open(write_report([labelled[0]], tmp_path / "map.html"), width=390)
    page.run("document.getElementById('points').focus()")

    def press(key: str) -> None:
        page.run(f"document.getElementById('points').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")

    title = "return document.getElementById('region-title').textContent"
    press("Enter")
    assert page.run(title) == "300 tokens chosen"
    for _ in range(8):
        press("+")
    press("ArrowRight")
    press("Enter")
    assert 0 <= int(page.run(title).split()[0].replace("No", "0")) < 300
    press("Escape")
    assert page.run(title) == "No region chosen: all tokens"
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert_quiet(page)


def test_where_there_are_too_many_points_a_sample_is_laid_out_and_said(
    page: Browser, tmp_path: Path, labelled: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "MOST_POINTS", 100)
    plain, arrays = points.points_of(gather_findings([labelled[0]]))
    assert plain is not None
    assert plain["n"] == 100
    assert arrays["points.x"]["shape"] == [100]
    page.open(write_report([labelled[0]], tmp_path / "some.html"))
    assert "100 of 300 tokens (a random sample, seed 0)" in page.run(
        "return document.getElementById('about-points').textContent"
    )
    assert_quiet(page)


def test_without_curves_that_can_be_fitted_there_is_no_map(page: Browser, tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "few.h5", 2, 40))
    page.open(write_report([run], tmp_path / "few.html"))
    hidden = "return [...document.querySelectorAll('[data-points], [data-predicted]')].every(e => e.hidden)"
    assert page.run(hidden)
    assert_quiet(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_what_predicts_it(page: Browser, tmp_path: Path, labelled: list[Run], width: int) -> None:
    tokens = labelled[0].tokens
    ngrams, diversity = count_ngrams(corpus(), tokens), contextual_diversity(corpus(), tokens)
    found = predict(labelled, ngrams, diversity)
    page.open(write_report(labelled, tmp_path / "why.html", ngrams=ngrams, diversity=diversity), width=width)
    rows = page.run(
        "return [...document.querySelectorAll('#effects tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    assert [name for name, *_ in rows] == list(found.predictors.numbers)
    for name, *cells in rows:
        for cell, one in zip(cells, found.found.values(), strict=True):
            value = next(effect.value for effect in one.effects if effect.name == name)
            assert float(cell.replace("\u2212", "-")) == pytest.approx(value, abs=0.0051)
    last = page.run("return [...document.querySelectorAll('#models tbody tr:last-child td')].map(c => c.textContent)")
    expected = [one.steps[-1].fit.adjusted_r2 for one in found.found.values()]
    assert [float(cell.split(" %")[0]) for cell in last] == pytest.approx([100 * r for r in expected], abs=0.051)
    assert page.run("return document.getElementById('plot-hump').data.length") == 5
    words = page.run("return [...document.querySelectorAll('#predicted-words li')].map(l => l.textContent)")
    assert "\n".join(words) == found.in_words()
    colours = page.run("return [...document.getElementById('points-colour').options].map(o => o.textContent)")
    assert "predictor unigram" in colours
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert_quiet(page)


def test_diversity_alone_and_other_ngrams_are_refused(tmp_path: Path, labelled: list[Run]) -> None:
    tokens = labelled[0].tokens
    with pytest.raises(ValueError, match="Give ngrams="):
        write_report(labelled, tmp_path / "x.html", diversity=contextual_diversity(corpus(), tokens))
    other = count_ngrams(corpus(), token_set(200))
    with pytest.raises(TokenSetMismatchError, match="ngrams: it holds"):
        write_report(labelled, tmp_path / "x.html", ngrams=other)
    assert not (tmp_path / "x.html").exists()


def test_a_part_of_the_map_is_the_map_of_that_part(labelled: list[Run]) -> None:
    run = labelled[0]
    chosen = np.arange(0, 300, 2)
    found = curve_map(run, tokens=chosen)
    assert np.isnan(found.points_NK[1::2]).all()
    everything = curve_map(run)
    known = np.isfinite(found.points_NK).all(axis=1)
    for k in range(2):
        r = np.corrcoef(found.points_NK[known, k], everything.points_NK[known, k])[0, 1]
        assert r > 0.98
    with pytest.raises(IndexError, match="from 0 to 299"):
        curve_map(run, tokens=[300])
