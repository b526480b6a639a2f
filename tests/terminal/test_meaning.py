"""Labels, spans, pairs and bits per byte in the terminal: as logged, in charts, in a table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from curvewatch import Observation, RunFile, TokenSet
from curvewatch.live import LiveMetrics
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.terminal import Follower, State
from curvewatch.terminal.app import WatchApp
from curvewatch.terminal.charts import charts_of
from curvewatch.terminal.meaning import label_lines, labels_of
from curvewatch.terminal.plain import snapshot_text
from tests.support.tokenizers import tokenizer_of

STEPS = (0, 1, 2, 5, 10)
PAIRS = [
    {"good": "the ships sail", "bad": "the ship sail", "about": "number"},
    {"good": "don't wait", "bad": "wait don't", "about": "order"},
]


def observed(tokens: TokenSet, step: int) -> Observation:
    rng = np.random.default_rng(step)
    bits = rng.uniform(0, 9, len(tokens)).astype(np.float32)
    boundary = rng.uniform(-1, 1, len(tokens)).astype(np.float32) if tokens.annotations.boundary is not None else None
    return Observation(bits, bits < 4, np.round(bits).astype(np.float32), boundary)


def written(path: Path, tokens: TokenSet) -> Path:
    file = RunFile.start(path, {"eval": SetRecord(tokens, 512, {})}, RunPlan(10, np.array(STEPS), "", {}), -1)
    for step in STEPS:
        file.append(Row(step, 0.1, 1e9 + step, {"eval": observed(tokens, step)}))
    file.close()
    return path


def state_of(path: Path, tokens: TokenSet) -> State:
    return Follower(written(path, tokens)).poll()


def pairs() -> TokenSet:
    return TokenSet.from_pairs(PAIRS, tokenizer_of("GPT-2, transformers"), label="about", bos=0)


def words() -> TokenSet:
    tokens = TokenSet.from_texts(["the ships that sail at night\ncarry 12 lamps"], tokenizer_of("GPT-2, transformers"))
    return tokens.words(boundary="corrected").label("kind").label("hostile", lambda *_: "\x1b[31m[b]red")


@pytest.mark.parametrize("make", [pairs, words])
def test_what_is_shown_is_what_was_logged(make, tmp_path: Path) -> None:
    """Also of words with their boundaries, which stand in the file."""
    tokens = make()
    state = state_of(tmp_path / "curves.h5", tokens)
    live = LiveMetrics(len(tokens), 9.0, 10, tokens=tokens)
    for t, step in enumerate(STEPS):
        for key, value in live.update(step, observed(tokens, step)).scalars.items():
            np.testing.assert_array_equal(state.scalars[key][t], value, err_msg=key)


def test_charts(tmp_path: Path) -> None:
    by_title = {chart.title: chart for chart in charts_of(state_of(tmp_path / "pairs.h5", pairs()))}
    told_apart = by_title["Right · % of items: pair"]
    assert [curve.name for curve in told_apart.curves] == ["all", "number", "order"]
    assert told_apart.level == (50.0, "chance 50")
    state = state_of(tmp_path / "words.h5", words())
    by_title = {chart.title: chart for chart in charts_of(state)}
    assert {"Surprisal by kind · bits", "Learned · % of spans: word", "Bits per byte"} <= set(by_title)
    assert not any("span" in title and "by" in title for title in by_title), "a kind of span is no group of tokens"
    kind = by_title["Surprisal by kind · bits"]
    assert [curve.name for curve in kind.curves] == labels_of(state)["kind"]
    for chart in by_title.values():
        assert chart.text(state, 60, 12, True).plain.count("\n") == 11


def test_the_table_of_labels(tmp_path: Path) -> None:
    tokens = words()
    state = state_of(tmp_path / "curves.h5", tokens)
    lines = [line.plain for line in label_lines(state, 80, 20)]
    label = tokens.labels["kind"]
    largest = label.values[int(np.argmax(label.sizes))]
    of_it = label.codes == label.values.index(largest)
    last = observed(tokens, 10)
    name, n, bits, top1, *_ = [part for part in lines[1].split("  ") if part.strip()]
    assert name.strip() == f"kind: {largest}"
    assert int(n) == of_it.sum()
    assert float(bits) == pytest.approx(last.surprisal_bits[of_it].mean(), abs=0.006)
    assert float(top1) == pytest.approx(100 * last.correct[of_it].mean(), abs=0.06)
    assert not any("\x1b" in line for line in lines), "a hostile value"
    assert "more in the file" in label_lines(state, 80, 3)[-1].plain
    assert len(label_lines(state, 80, 3)) == 3
    text = snapshot_text(state, 1e9 + 20, 80).plain
    assert "Labels: tokens" in text
    assert "label/kind" not in text, "not once more among the numbers"


@pytest.mark.parametrize(("width", "lists"), [(100, ["latest", "labels"]), (200, ["latest", "often", "labels"])])
def test_on_the_screen(width: int, lists: list[str], tmp_path: Path) -> None:
    path = written(tmp_path / "curves.h5", words())

    async def look() -> list[str]:
        app = WatchApp(path)
        async with app.run_test(size=(width, 40)) as pilot:
            for _ in range(100):
                await pilot.pause(0.05)
                if len(app.state.steps_T) == len(STEPS):
                    break
            await pilot.pause(0.1)
            return [str(widget.id) for widget in app.query("#lists > Lines") if widget.display]

    assert asyncio.run(look()) == lists
