"""What is logged of labels, spans, pairs: against a reference that walks through them one by one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Observation, TokenSet, Watch, open_run
from curvewatch.live.current import LiveMetrics
from curvewatch.live.keys import ITEM_METRICS, LABEL_METRICS, SPAN_METRICS
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.names import unique_names
from curvewatch.tokens.spans import Spans
from tests.support.keys import unknown
from tests.support.models import PlainLM
from tests.support.tokenizers import WORDS, tokenizer_of

CHANCE = 8.0
N = 60


def tokens_of(spans: Spans | None = None) -> TokenSet:
    rows = np.arange(N + 1)[None]
    tokens = TokenSet.from_sequences(rows, vocab_size=256)
    return tokens.with_annotations(Annotations(spans=spans)) if spans is not None else tokens


def observations(n: int = 9, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    found = []
    for t in range(n):
        surprisal = (8 * np.exp(-0.2 * t * rng.random(N)) + rng.normal(0, 1.5, N)).astype(np.float32)
        surprisal[rng.random(N) < 0.05] = np.nan
        found.append(Observation(surprisal, rng.random(N) < 0.5, np.ones(N, np.float32)))
    return found


def test_labels() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice(np.array(["a", "b/c", "ä", None], object), N)
    tokens = tokens_of().label("x", values).label("number", rng.random(N) < 0.3)
    live, plain = LiveMetrics(N, CHANCE, 100, tokens=tokens), LiveMetrics(N, CHANCE, 100)
    before: np.ndarray | None = None
    for step, one in enumerate(observations()):
        found = live.update(step, one).scalars
        assert {key: found[key] for key in plain.update(step, one).scalars} == {
            key: value for key, value in found.items() if not key.startswith("label/")
        }, "the set's own are as without"
        for name, shown, value in (
            ("x", "a", "a"),
            ("x", "b_c", "b/c"),
            ("number", "yes", "yes"),
            ("number", "no", "no"),
        ):
            chosen = tokens.labels[name].where(value)
            expected = {
                "n_tokens": chosen.sum(),
                "surprisal_mean": np.nanmean(one.surprisal_bits[chosen].astype(np.float64)),
                "accuracy_top1": one.correct[chosen].mean(),
                "known_share": plain.threshold.known_N[chosen].mean(),
                "acquired_share": plain.threshold.acquired_N[chosen].mean(),
                "forgotten_share": (plain.top1.events_N[chosen] > 0).mean(),
                "forgetting_events": 0 if before is None else (before & ~one.correct)[chosen].sum(),
            }
            mine = {key.rpartition("/")[2]: y for key, y in found.items() if key.startswith(f"label/{name}/{shown}/")}
            assert mine == pytest.approx(expected, rel=1e-6)
            assert len(mine) == len(LABEL_METRICS)
        before = one.correct
    assert unknown({f"curvewatch/eval/{key}" for key in found}) == set()


def test_many_values_show_the_largest() -> None:
    values = np.arange(N) // 2  # 30 values
    values[:6] = 0
    tokens = tokens_of().label("many", values)
    found = LiveMetrics(N, CHANCE, tokens=tokens).update(0, observations()[0]).scalars
    shown = {key.split("/")[2] for key in found if key.startswith("label/many/")}
    assert len(shown) == 20
    assert "0" in shown


def spans_of() -> Spans:
    """Words of one to four tokens, and pairs."""
    first = np.array([0, 2, 2, 9, 20, 26, 32, 38, 44, 50], np.int32)
    length = np.array([1, 4, 2, 3, 6, 6, 6, 6, 6, 6], np.int32)
    kind = ("word",) * 4 + ("pair",) * 6
    member = ("",) * 4 + ("good", "bad") * 3
    item = np.array([-1] * 4 + [0, 0, 1, 1, 2, 2], np.int32)
    group = ("",) * 4 + ("agreement",) * 4 + ("island",) * 2
    return Spans(first, length, kind, tuple(f"n{i}" for i in range(10)), group, item, member, np.zeros(10, bool))


class One:
    """One span as the definitions have it."""

    def __init__(self, length: int) -> None:
        self.level, self.average, self.known, self.acquired = length * CHANCE / 2, math.nan, False, False
        self.before: bool | None = None
        self.events = self.now = 0

    def update(self, step: int, bits: float, correct: bool) -> None:
        if math.isfinite(bits):
            self.average = bits if math.isnan(self.average) else 0.8 * self.average + 0.2 * bits
        if step > 0:
            if not self.known and self.average <= self.level:
                self.known = self.acquired = True
            elif self.known and self.average > self.level + 1:
                self.known = False
        self.now = int(self.before is True and not correct)
        self.events += self.now
        self.before = correct


def test_spans_and_pairs() -> None:
    spans = spans_of()
    live = LiveMetrics(N, CHANCE, 100, tokens=tokens_of(spans))
    kept = [One(int(n)) for n in spans.length]
    right_before: list[bool] | None = None
    item_events = np.zeros(3, int)
    keys: set[str] = set()
    for step, one in enumerate(observations(14)):
        found = live.update(step, one).scalars
        bits, correct = [], []
        for f, n, mine in zip(spans.first.tolist(), spans.length.tolist(), kept, strict=True):
            bits.append(float(one.surprisal_bits[f : f + n].sum(dtype=np.float64)))
            correct.append(bool(one.correct[f : f + n].all()))
            mine.update(step, bits[-1], correct[-1])
        for name, chosen in (("word", range(4)), ("pair", range(4, 10))):
            finite = [bits[u] for u in chosen if math.isfinite(bits[u])]
            expected = {
                "n_spans": len(chosen),
                "accuracy_top1": np.mean([correct[u] for u in chosen]),
                "known_share": np.mean([kept[u].known for u in chosen]),
                "acquired_share": np.mean([kept[u].acquired for u in chosen]),
                "forgotten_share": np.mean([kept[u].events > 0 for u in chosen]),
                "forgetting_events": sum(kept[u].now for u in chosen),
                **({"surprisal_mean": np.mean(finite)} if finite else {}),
            }
            mine = {key.rpartition("/")[2]: y for key, y in found.items() if key.startswith(f"span/{name}/")}
            assert mine == pytest.approx(expected, rel=1e-5)
        margins = np.array([bits[5] - bits[4], bits[7] - bits[6], bits[9] - bits[8]])
        known = ~np.isnan(margins)
        right = [bool(margin > 0) for margin in margins]
        now = 0 if right_before is None else sum(b and not r for b, r in zip(right_before, right, strict=True))
        if right_before is not None:
            item_events += [b and not r for b, r in zip(right_before, right, strict=True)]
        assert found["item/pair/n_items"] == 3
        assert found["item/pair/chance"] == 0.5
        assert found["item/pair/forgetting_events"] == now
        assert found["item/pair/forgotten_share"] == pytest.approx((item_events > 0).mean())
        if known.any():
            assert found["item/pair/accuracy"] == pytest.approx(np.mean([margins[i] > 0 for i in range(3) if known[i]]))
            assert found["item/pair/margin_mean"] == pytest.approx(margins[known].mean(), rel=1e-5)
        if known[:2].all():
            assert found["item/pair/agreement/margin_mean"] == pytest.approx(margins[:2].mean(), rel=1e-5)
        assert found["item/pair/agreement/n_items"] == 2
        right_before = right
        keys |= set(found)
    assert item_events.sum() > 0, "the test has no power"
    assert unknown({f"curvewatch/eval/{key}" for key in keys}) == set()
    assert {key.rpartition("/")[2] for key in SPAN_METRICS} == {
        key.split("/")[-1] for key in keys if key.startswith("span/word/")
    }
    assert {key.rpartition("/")[2] for key in ITEM_METRICS} == {
        key.split("/")[-1] for key in keys if key.startswith("item/")
    }


def test_replayed_as_updated() -> None:
    tokens = tokens_of(spans_of()).label("even", np.arange(N) % 2 == 0)
    rows = list(enumerate(observations(10)))
    whole, resumed = LiveMetrics(N, CHANCE, tokens=tokens), LiveMetrics(N, CHANCE, tokens=tokens)
    for step, one in rows[:-1]:
        whole.update(step, one)
    resumed.replay(rows[:-1])
    assert whole.update(*rows[-1]).scalars == resumed.update(*rows[-1]).scalars


def test_bits_per_byte_of_a_watch(tmp_path: Path) -> None:
    tokens = TokenSet.from_texts([WORDS, "the end"], tokenizer_of("tiktoken"), bos=0)
    seen: dict[str, Any] = {}
    with Watch(
        tokens, tmp_path / "a.h5", max_steps=2, schedule=1, log=lambda scalars, step: seen.update(scalars)
    ) as watch:
        watch.observe(PlainLM(vocabulary=300), 0)
        watch.observe(PlainLM(vocabulary=300), 1)
    total = open_run(tmp_path / "a.h5").surprisal[-1].sum(dtype=np.float64)
    n_bytes = len(WORDS.encode()) + len(b"the end")
    assert seen["curvewatch/eval/bits_per_byte"] == pytest.approx(total / n_bytes, rel=1e-6)
    sampled = TokenSet.from_texts([WORDS], tokenizer_of("tiktoken"), per_sequence=5)
    seen.clear()
    with Watch(
        sampled, tmp_path / "b.h5", max_steps=2, schedule=1, log=lambda scalars, step: seen.update(scalars)
    ) as watch:
        watch.observe(PlainLM(vocabulary=300), 0)
    assert "curvewatch/eval/surprisal_mean" in seen
    assert "curvewatch/eval/bits_per_byte" not in seen


def test_names_in_keys() -> None:
    assert unique_names(["a", "b/c", "b:c", "", "日本", " x ", "a" * 60, "a" * 50]) == [
        "a", "b_c", "b_c 2", "3", "__ 4", "x", "a" * 40, "a" * 40 + " 7",
    ]  # fmt: skip
