"""Units, bits per byte and the axis of tokens on the report's page, against the run's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curvewatch import Observation, RunFile, TokenSet, open_run
from curvewatch.analysis.against import in_words
from curvewatch.analysis.figures import figure, figures
from curvewatch.analysis.findings import gather_findings
from curvewatch.analysis.report import units as units_room
from curvewatch.analysis.report import write_report
from curvewatch.runfile.records import Row, RunPlan, Seen, SetRecord
from tests.analysis.browser import Browser
from tests.cli.test_cli import write_rows
from tests.support.tokenizers import tokenizer_of

STEPS = [0, 1, 2, 4, 8, 16, 32, 64]
PAIRS = [
    {"good": "the ships sail", "bad": "the ship sail", "about": "number"},
    {"good": "he sails home", "bad": "he sail home", "about": "number"},
    {"good": "don't wait", "bad": "wait don't", "about": "<b>order</b>"},
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose good sentence is the cheaper one from step 4 on."""
    path = tmp_path_factory.mktemp("units") / "pairs.h5"
    tokens = TokenSet.from_pairs(PAIRS, tokenizer_of("GPT-2, transformers"), label="about", bos=0)
    bad_N = np.zeros(len(tokens), bool)
    for first, length, member in zip(tokens.spans.first, tokens.spans.length, tokens.spans.member, strict=True):
        bad_N[first : first + length] |= member == "bad"
    rng = np.random.default_rng(0)
    file = RunFile.start(path, {"eval": SetRecord(tokens, 512, {})}, RunPlan(64, np.array(STEPS), "", {}), -1)
    for step in STEPS:
        lead = 0.5 if step < 4 else -2
        bits = 9 / (1 + step / 8) + rng.uniform(0, 0.1, len(tokens)) + np.where(bad_N, -lead, lead)
        right = np.full(len(tokens), step >= 16)
        seen = Seen(3000.0 * step**1.1, 2000.0 * step, 9000.0 * step)
        observation = Observation(np.maximum(bits, 0).astype(np.float32), right, np.ones(len(tokens), np.float32))
        file.append(Row(step, 0.1, 1e9 + step, {"eval": observation}, seen=seen))
    file.close()
    return path


def page_of(written: Path, folder: Path) -> Path:
    return write_report([open_run(written)], folder / "report.html")


def test_units_are_found_and_drawn(page: Browser, written: Path, tmp_path: Path) -> None:
    run = open_run(written)
    page.open(page_of(written, tmp_path))
    assert page.run("return document.getElementById('unit-kind').textContent").startswith("pair (6)critical")
    pairs = run.units("pair")
    measures = pairs.measures()
    page.type("#unit-search", "SAILS home")
    assert page.run("return document.querySelectorAll('#unit-results li').length") == 1
    page.click("#unit-results li")
    assert page.run("return document.querySelector('#unit-name mark').textContent") == "he sails home"
    row = pairs.spans.name.index("he sails home")
    x, y = page.run("const t = document.getElementById('plot-unit').data[0]; return [t.x, t.y]")
    assert x == STEPS[1:]
    np.testing.assert_allclose(y, pairs.surprisal[1:, row], rtol=1e-5)
    facts = page.run("return document.getElementById('unit-facts').textContent")
    assert f"{measures['final_surprisal'][row]:.3g} bits" in facts
    assert f"{pairs.spans.length[row]} tokens of sequence" in facts
    squares = page.run("return document.getElementById('plot-unit').data[1].x")
    assert squares == [16, 32, 64]
    page.type("#unit-search", "nothing of the kind")
    assert "None found" in page.run("return document.getElementById('unit-results').textContent")
    assert page.run("return document.querySelectorAll('b.order, #unit-results b').length") == 0, "hostile groups"
    assert page.console() == []


def test_pairs_told_apart(page: Browser, written: Path, tmp_path: Path) -> None:
    items = open_run(written).units("pair").items
    page.open(page_of(written, tmp_path))
    shown = page.run("return document.getElementById('plot-items').data.map(t => [t.name, t.y])")
    assert [name for name, _ in shown] == ["all (3)", "number (2)", "&lt;b&gt;order&lt;/b&gt; (1)"]
    np.testing.assert_allclose(shown[0][1], 100 * items.accuracy()[1:], rtol=1e-4)
    np.testing.assert_allclose(shown[1][1], 100 * items.accuracy(group="number")[1:], rtol=1e-4)
    assert shown[0][1][0] < 50 < shown[0][1][-1]


def test_over_tokens(page: Browser, written: Path, tmp_path: Path) -> None:
    """The points stay, and stand where the run says."""
    run = open_run(written)
    page.open(page_of(written, tmp_path))
    assert page.run("return document.getElementById('plot-surprisal').data.at(-1).x") == STEPS[1:]
    page.click("#axis")
    for plot in ("plot-surprisal", "plot-unit", "plot-token"):
        x = page.run(f"return document.getElementById('{plot}').data.find(t => t.y.length === {len(STEPS) - 1}).x")
        np.testing.assert_allclose(x, run.tokens_seen[1:], rtol=1e-4)
    assert page.run("return document.getElementById('plot-surprisal').layout.xaxis.title.text") == "tokens seen"
    page.click("#axis")
    assert page.run("return document.getElementById('plot-surprisal').data.at(-1).x") == STEPS[1:]
    assert page.console() == []


def test_bits_per_byte(page: Browser, written: Path, tmp_path: Path) -> None:
    run = open_run(written)
    page.open(page_of(written, tmp_path))
    tiles = page.run("return document.getElementById('figures').textContent")
    assert run.tokens.n_bytes is not None
    expected = float(run.surprisal[-1].sum()) / int(run.tokens.n_bytes.sum())
    assert f"{expected:.3g}bits per byte now" in tiles.replace(" bits", "bits")


def test_many_units(page: Browser, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than fit there are the extremes and a sample, and the page says so."""
    monkeypatch.setattr(units_room, "ON_PAGE", 4)
    monkeypatch.setattr(units_room, "EXTREMES", 2)
    page.open(page_of(written, tmp_path))
    assert "This page holds 4 of them" in page.run("return document.getElementById('about-units').textContent")
    assert "of 4" in page.run("return document.getElementById('unit-count').textContent")


def test_without_spans_and_counts_there_is_neither(page: Browser, single: Path) -> None:
    page.open(single)
    assert page.run("return [...document.querySelectorAll('[data-units]')].every(e => e.hidden)")
    assert page.run("return document.getElementById('axis').hidden")
    assert "per byte" not in page.run("return document.getElementById('figures').textContent")


def test_a_figure_for_each_label_and_kind_of_pairs(written: Path, tmp_path: Path) -> None:
    run = open_run(written)
    tokens = run.tokens.label("a b", np.arange(run.n_tokens) % 2 == 0)
    run.annotate(tokens)
    findings = gather_findings([open_run(written)])
    names = {path.name for path in figures(findings, tmp_path, ["svg"])}
    assert {"label_a_b.svg", "items_pair.svg", "items_critical.svg", "surprisal.svg"} <= names
    drawn = figure(findings, "items:pair").axes[0].get_lines()
    np.testing.assert_allclose(drawn[1].get_ydata(), 100 * run.units("pair").items.accuracy()[1:])
    share = np.asarray(open_run(written).correct)[1:, ::2].mean(axis=1)
    drawn = {line.get_label(): line.get_ydata() for line in figure(findings, "accuracy:a b").axes[0].get_lines()}
    np.testing.assert_allclose(next(y for name, y in drawn.items() if name.startswith("yes")), 100 * share)
    with pytest.raises(ValueError, match="label:NAME, accuracy:NAME, map:NAME and items:KIND"):
        figure(findings, "nothing")


def test_what_it_cost_stands_on_the_first_screen(page: Browser, written: Path, tmp_path: Path) -> None:
    run = open_run(written)
    page.open(page_of(written, tmp_path))
    assert page.run("return document.getElementById('cost').hidden"), "it is held against nothing"
    run.annotate(run.tokens.with_reference())
    page.open(page_of(written, tmp_path))
    found = open_run(written).against()
    assert page.run("return document.getElementById('about-cost').textContent") == in_words(found)
    lost, gained = page.run("return document.getElementById('plot-cost').data.slice(0, 2).map(t => t.y)")
    np.testing.assert_allclose(lost, 100 * found.lost_share_T, atol=1e-3)
    np.testing.assert_allclose(gained, 100 * found.gained_share_T, atol=1e-3)
    change = page.run("return document.getElementById('plot-change').data[0].y")
    np.testing.assert_allclose(change, found.change_mean_T, rtol=1e-4)
    table = page.run("return ['cost-table', 'cost-items'].map(id => document.getElementById(id).textContent).join('')")
    assert f"{found.change_mean_T[-1]:.3g}".lstrip("-") in table
    assert "gained beyond chance" in table
    assert page.console() == []


def test_events_are_marked_and_listed(page: Browser, made: Path, tmp_path: Path) -> None:
    run = open_run(made / "run2.h5")
    page.open(write_report([run], tmp_path / "quiet.html"))
    assert page.run("return document.getElementById('events').hidden") == (not run.events())
    bits = np.array(run.surprisal[:])
    bits[45:, ::5] += 6
    write_rows(tmp_path / "event.h5", run, bits)
    eventful = open_run(tmp_path / "event.h5")
    page.open(write_report([eventful], tmp_path / "event.html"))
    items = page.run("return [...document.querySelectorAll('#event-list li')].map(li => li.textContent)")
    events = eventful.events()
    assert len(items) == len(events) > 0
    assert all(item.startswith(str(event)) for item, event in zip(items, events, strict=True))
    marks = page.run("return document.getElementById('plot-surprisal').layout.shapes.slice(1).map(s => s.x0)")
    assert marks == [event.event.step for event in events]
    above, below = eventful.plot("events").axes
    assert [line.get_xdata()[0] for line in above.get_lines()[1:]] == [event.event.step for event in events]
    assert len(below.collections) == len(events)
    page.click("#event-list button")
    assert f"token #{events[0].examples(1)[0]}," in page.run("return document.getElementById('facts').textContent")
    assert page.console() == []
