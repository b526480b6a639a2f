"""Spans measured as tokens are: against sums made by hand, and tokens measured one by one."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from curvewatch import Observation, RunFile, TokenSet, open_run
from curvewatch.analysis import units as units_room
from curvewatch.analysis.run import Run
from curvewatch.measures import measure_curves
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.tokens.spans import Spans

N, STEPS = 120, [0, *range(1, 60, 2)]
VOCABULARY = 64


def spans_of(rng: np.random.Generator, n: int = 40) -> Spans:
    first = np.sort(rng.integers(0, N - 12, n)).astype(np.int32)
    length = rng.integers(1, 12, n).astype(np.int32)
    kinds = tuple("word" if i % 2 else "fact" for i in range(n))
    blank = ("",) * n
    return Spans(first, length, kinds, tuple(f"s{i}" for i in range(n)), blank, np.full(n, -1, np.int32), blank,
                 np.zeros(n, bool))  # fmt: skip


def made(path: Path, spans: Spans, seed: int = 0) -> tuple[Run, np.ndarray, np.ndarray]:
    """A run whose tokens fall from chance, at rates of their own."""
    rng = np.random.default_rng(seed)
    tokens = TokenSet.from_sequences(rng.integers(0, VOCABULARY, (4, N // 4 + 1)), vocab_size=VOCABULARY)
    assert len(tokens) == N
    tokens = tokens.with_annotations(type(tokens.annotations)(spans=spans))
    rate = rng.uniform(0.02, 0.3, N)
    curves = 6 * np.exp(-rate * np.array(STEPS)[:, None]) + rng.normal(0, 0.2, (len(STEPS), N))
    correct = rng.random((len(STEPS), N)) < 0.7
    file = RunFile.start(path, {"eval": SetRecord(tokens, VOCABULARY, {})}, RunPlan(60, np.array(STEPS), "", {}), -1)
    for t, step in enumerate(STEPS):
        observation = Observation(curves[t].astype(np.float32), correct[t], np.ones(N, np.float32))
        file.append(Row(step, 0.1, 1e9 + step, {"eval": observation}))
    file.close()
    return open_run(path), curves.astype(np.float32), correct


@pytest.mark.parametrize("block", [1 << 22, 400])
def test_curves_of_units(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_room, "BLOCK_VALUES", block)
    spans = spans_of(np.random.default_rng(3))
    run, curves, correct = made(tmp_path / "curves.h5", spans)
    words = run.units("word")
    chosen = [i for i, kind in enumerate(spans.kind) if kind == "word"]
    ranges = [slice(int(spans.first[i]), int(spans.first[i] + spans.length[i])) for i in chosen]
    expected = np.stack([curves[:, one].sum(axis=1, dtype=np.float64) for one in ranges], axis=1)
    assert words.surprisal.shape == expected.shape == (len(STEPS), len(words))
    assert np.allclose(words.surprisal[:], expected, atol=1e-5)
    assert np.allclose(words.surprisal[3:9, 2:7], expected[3:9, 2:7], atol=1e-5)
    assert np.allclose(words.surprisal[-1], expected[-1], atol=1e-5)
    assert np.allclose(words.surprisal[:, 4], expected[:, 4], atol=1e-5)
    assert np.allclose(words.surprisal[-2, -1], expected[-2, -1], atol=1e-5)
    every = np.stack([correct[:, one].all(axis=1) for one in ranges], axis=1)
    assert np.array_equal(words.correct[:], every)
    assert words.spans.name == tuple(f"s{i}" for i in chosen)


def test_measures_of_units_with_a_chance_of_their_own(tmp_path: Path) -> None:
    run, curves, correct = made(tmp_path / "curves.h5", spans_of(np.random.default_rng(3)))
    words = run.units("word")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = run.measures(unit="word")
        for u in (0, 5, len(words) - 1):
            inside = slice(int(words.spans.first[u]), int(words.spans.first[u] + words.spans.length[u]))
            alone = measure_curves(
                curves[:, inside].sum(axis=1, dtype=np.float64)[:, None], STEPS, chance=6.0 * words.spans.length[u],
                max_steps=60, correct=correct[:, inside].all(axis=1)[:, None],
            )  # fmt: skip
            for name in table:
                if table.units[name] == "" and name != "smoothing_lambda":
                    assert table[name][u] == alone[name][0], name
                else:
                    assert table[name][u] == pytest.approx(alone[name][0], abs=1e-4, nan_ok=True), name
    assert {"learned"} <= set(table["acquisition_status"])
    assert np.isnan(table.info.chance)
    frame = words.to_pandas()
    assert frame["name"].tolist() == list(words.spans.name)
    assert np.allclose(frame["length"], words.spans.length)
    assert frame.index.name == "unit"


def test_units_of_one_token_are_tokens(tmp_path: Path) -> None:
    blank = ("",) * N
    alone = Spans(np.arange(N, dtype=np.int32), np.ones(N, np.int32), ("token-like",) * N, blank, blank,
                  np.full(N, -1, np.int32), blank, np.zeros(N, bool))  # fmt: skip
    run, _, _ = made(tmp_path / "curves.h5", alone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = run.measures(unit="token-like"), run.measures()
    for name in mine:
        if mine[name].dtype.kind == "f":
            assert np.allclose(mine[name], theirs[name], atol=2e-4, equal_nan=True), name
        else:
            assert np.array_equal(mine[name], theirs[name]), name


def test_no_such_units(tmp_path: Path) -> None:
    run, _, _ = made(tmp_path / "curves.h5", spans_of(np.random.default_rng(3)))
    with pytest.raises(KeyError, match=r"unit='reply'.*there are 'fact', 'word'"):
        run.measures(unit="reply")
    with pytest.raises(ValueError, match="belong to no pairs and questions"):
        _ = run.units("word").items
    with pytest.raises(ValueError, match="chance has shape"):
        measure_curves(np.ones((9, 3)), range(9), chance=[1.0, 2.0])
    with pytest.raises(ValueError, match="a positive number of bits"):
        measure_curves(np.ones((9, 3)), range(9), chance=[1.0, 2.0, -1])


# ---------------------------------------------------------------------- items


def pairs(tmp_path: Path) -> tuple[Run, np.ndarray]:
    """Ten questions of two to four options."""
    rng = np.random.default_rng(5)
    item, member, first = [], [], []
    at = 0
    for i in range(10):
        n = 2 + i % 3
        right = int(rng.integers(n))
        for k in range(n):
            item.append(i)
            member.append("right" if k == right else "wrong")
            first.append(at)
            at += 3
    n = len(item)
    spans = Spans(np.array(first, np.int32), np.full(n, 3, np.int32), ("choice",) * n, tuple(f"o{i}" for i in range(n)),
                  tuple("even" if i % 2 == 0 else "odd" for i in item), np.array(item, np.int32), tuple(member),
                  np.zeros(n, bool))  # fmt: skip
    run, curves, _ = made(tmp_path / "curves.h5", spans)
    sums = np.stack([curves[:, f : f + 3].sum(axis=1, dtype=np.float64) for f in first], axis=1)
    right = np.zeros((len(STEPS), 10))
    for i in range(10):
        own = [u for u in range(n) if item[u] == i]
        best = next(u for u in own if member[u] == "right")
        right[:, i] = sums[:, best] < np.min([sums[:, u] for u in own if u != best], axis=0)
    return run, right


def test_right_answers(tmp_path: Path) -> None:
    run, right = pairs(tmp_path)
    items = run.units("choice").items
    assert len(items) == 10
    assert np.array_equal(items.right(), right)
    assert np.allclose(items.accuracy(), right.mean(axis=1))
    even = np.array([group == "even" for group in items.group])
    assert np.allclose(items.accuracy(group="even"), right[:, even].mean(axis=1))
    assert items.chance == pytest.approx(np.mean([1 / (2 + i % 3) for i in range(10)]))
    assert items.forgetting_events().tolist() == ((right[:-1] == 1) & (right[1:] == 0)).sum(axis=0).tolist()
    assert items.forgetting_events().sum() > 0
    with pytest.raises(ValueError, match="bytes of these units are not known"):
        items.right(per="byte")
    with pytest.raises(ValueError, match="per='letter'"):
        items.margin(per="letter")
    with pytest.raises(ValueError, match=r"group='none'.*'even', 'odd'"):
        items.accuracy(group="none")


def test_ties_count_half() -> None:
    from curvewatch.analysis.items import right_of

    found = right_of(np.array([[1.0, 0.0, -1.0, np.nan, np.inf]]))
    assert found[0, :3].tolist() == [1.0, 0.5, 0.0]
    assert np.isnan(found[0, 3])
    assert found[0, 4] == 1.0
