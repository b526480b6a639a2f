"""What can be set for the live side: wrong settings are refused before training, right ones do what they say."""

from __future__ import annotations

import gc
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import Live, Observation, TokenSetMismatchError, Watch, open_run
from curvewatch.corpus import count_ngrams
from curvewatch.live import LiveMetrics, Metrics
from curvewatch.live.forgotten import COLUMNS, forgotten_table, most_forgotten
from curvewatch.live.metrics import Lines, Table
from curvewatch.live.watched import WatchedTokens, stratified
from curvewatch.runfile.recorder import release
from tests.support.keys import unknown
from tests.support.models import VOCABULARY, PlainLM, random_tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


class Sink:
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, Metrics]] = []

    def __call__(self, metrics: Metrics, step: int) -> None:
        self.shown.append((step, metrics))

    def with_table(self, key: str) -> list[int]:
        return [step for step, metrics in self.shown if f"curvewatch/eval/{key}" in metrics.tables]


def watch_steps(path: Path, steps: int, tokens: Any = None, **live: Any) -> tuple[Watch, Sink]:
    sink, model = Sink(), PlainLM()
    watch = Watch(tokens or random_tokens(), path, schedule=1, max_steps=steps, live=Live(**live))
    watch.start(model, sinks=[sink])
    for step in range(steps + 1):
        watch.count(np.arange(10))
        watch.observe(model, step)
    watch.finish(model, steps)
    return watch, sink


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"refit_every": 0}, ValueError, "refit_every=0"),
    ({"refit_every": 1.5}, TypeError, "refit_every=1.5"),
    ({"bands": 1}, ValueError, "bands=1"),
    ({"trends_from": -1}, ValueError, "trends_from=-1"),
    ({"trends_from": 2.5}, ValueError, "trends_from=2.5"),
    ({"bands": 99}, ValueError, "bands=99"),
    ({"table_rows": -1}, ValueError, "table_rows=-1"),
    ({"watched": 1000}, ValueError, "watched=1000"),
    ({"watched": -1}, ValueError, "watched=-1"),
    ({"watched": True}, ValueError, "watched=True"),
    ({"batch_ids": 3}, TypeError, "batch_ids=3"),
]


@pytest.mark.parametrize(("settings", "kind", "said"), WRONG)
def test_settings_that_make_no_sense(settings: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Live(**settings)


COUNTS: list[tuple[Any, type[Exception], str]] = [
    ("often", ValueError, "token_counts='often'"),
    (np.ones(5), ValueError, "5 numbers, but the token set 'eval' has id"),
    (np.ones((2, VOCABULARY)), ValueError, "one number for each token id"),
    (np.full(VOCABULARY, np.nan), ValueError, "0 or more"),
    (-np.ones(VOCABULARY), ValueError, "0 or more"),
    (np.zeros(VOCABULARY), ValueError, "some are more"),
    (["a"] * VOCABULARY, ValueError, "one number for each token id"),
]


@pytest.mark.parametrize(("counts", "kind", "said"), COUNTS)
def test_counts_that_do_not_fit(counts: Any, kind: type[Exception], said: str, path: Path) -> None:
    with pytest.raises(kind, match=said):
        Watch(random_tokens(), path, live=Live(token_counts=counts))
    assert not path.exists()


def test_what_is_no_live(path: Path) -> None:
    with pytest.raises(TypeError, match=r"live=\{'bands': 3\}: a curvewatch.Live is expected"):
        Watch(random_tokens(), path, live={"bands": 3})  # type: ignore[arg-type]


def test_ngrams_of_another_set_or_of_none(path: Path, tmp_path: Path) -> None:
    tokens, other = random_tokens(), random_tokens(seed=9)
    ngrams = count_ngrams([tokens.ids], tokens, n_max=2)
    with pytest.raises(TokenSetMismatchError, match="ngrams"):
        Watch(other, path, live=Live(ngrams=ngrams))
    with pytest.raises(ValueError, match="dict by their names"):
        Watch({"a": tokens, "b": other}, path, live=Live(ngrams=ngrams))
    with pytest.raises(ValueError, match="no token set"):
        Watch(tokens, path, live=Live(ngrams={"web": ngrams}))
    with pytest.raises(TypeError, match="NgramSurprisals is expected"):
        Watch(tokens, path, live=Live(ngrams=3))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        Watch(tokens, path, live=Live(ngrams=tmp_path / "none.npz"))


def test_a_watched_token_that_is_not_there_is_found_before_training(path: Path) -> None:
    with pytest.raises(ValueError, match=r"watched=\[3, 99999\]: indices from 0 to 34"):
        Watch(random_tokens(), path, max_steps=5, live=Live(watched=[3, 99_999]))
    assert not path.exists()


def test_counts_from_an_array_a_file_and_the_ngrams(path: Path, tmp_path: Path) -> None:
    tokens = random_tokens()
    counts_V = np.random.default_rng(0).integers(1, 1000, VOCABULARY)
    np.save(tmp_path / "counts.npy", counts_V)
    ngrams = count_ngrams([np.repeat(np.arange(VOCABULARY), counts_V)], tokens, n_max=2)
    found = []
    for k, live in enumerate(
        ({"token_counts": counts_V}, {"token_counts": tmp_path / "counts.npy"}, {"ngrams": ngrams})
    ):
        file = tmp_path / f"{k}.h5"
        _, sink = watch_steps(file, 2, tokens, **live)
        scalars = sink.shown[-2][1].scalars
        found.append({key: value for key, value in scalars.items() if "/frequency/" in key})
        with open_run(file).group() as group:
            assert group["corpus_count"][:].tolist() == counts_V[np.unique(tokens.target)].tolist()
            assert "training_count" not in group
    assert len(found[0]) == 9
    assert found[0] == found[1] == found[2]


def test_counts_of_one_sets_ngrams_serve_all_sets(path: Path) -> None:
    sets = {"a": random_tokens(), "b": random_tokens(seed=9)}
    corpus = np.random.default_rng(0).zipf(1.3, 5000) % VOCABULARY
    ngrams = count_ngrams([corpus], sets["a"], n_max=2)
    _, sink = watch_steps(path, 1, sets, ngrams={"a": ngrams})
    assert {key.split("/")[1] for key in sink.shown[0][1].scalars if "/frequency/" in key} == {"a", "b"}
    assert {key.split("/")[1] for key in sink.shown[0][1].scalars if "/ngram/" in key} == {"a"}


def test_bands_by_number(path: Path) -> None:
    _, sink = watch_steps(path, 2, bands=5, token_counts=np.arange(1, VOCABULARY + 1))
    keys = {key.split("/")[3] for key in sink.shown[0][1].scalars if "/frequency/" in key}
    assert keys == {"01", "02", "03", "04", "05"}


def test_tables_come_at_doublings_and_at_the_end(path: Path) -> None:
    _, sink = watch_steps(path, 40)
    assert sink.with_table("watched_curves") == [7, 15, 31, 40]  # 8, 16, 32 observations
    assert all(unknown([*metrics.scalars, *metrics.histograms, *metrics.tables]) == set() for _, metrics in sink.shown)


def test_what_is_turned_off(path: Path) -> None:
    watch, sink = watch_steps(path, 9, smoothed=False, watched=0, table_rows=0, token_counts=None)
    keys = {key for _, metrics in sink.shown for key in (*metrics.scalars, *metrics.histograms, *metrics.tables)}
    assert not any(part in key for key in keys for part in ("smoothed", "watched", "frequency", "most_forgotten"))
    assert watch.showing is not None
    assert watch.showing.sets["eval"].smoothed is None


def test_refits_become_rarer(path: Path) -> None:
    _, sink = watch_steps(path, 300)
    at = [metrics.scalars["curvewatch/eval/smoothed/step"] for _, metrics in sink.shown
          if "curvewatch/eval/smoothed/step" in metrics.scalars]  # fmt: skip
    assert at[:127] == list(range(127)), "each of the first"
    assert at[-1] == 300, "and the last"
    assert 127 + 64 * 0.9 < len(at) < 127 + 100


@pytest.mark.parametrize("wait_tokens", [0, 20_000])
def test_a_run_that_ends_early_has_its_last_refit_too(
    wait_tokens: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvewatch.live.refitter.WAIT_TOKENS", wait_tokens)
    sink, model = Sink(), PlainLM()
    watch = Watch(random_tokens(), path, schedule=1, max_steps=40, live=Live(refit_every=7))
    watch.start(model, sinks=[sink])
    for step in range(11):
        watch.observe(model, step)
    watch.finish(model, 10)
    key = "curvewatch/eval/smoothed/step"
    refits = [metrics.scalars[key] for _, metrics in sink.shown if key in metrics.scalars]
    assert refits == [6, 10], "the seventh observation, and the last"


def test_a_loop_that_never_counts_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = PlainLM()
    watch = Watch(random_tokens(), path, schedule=1, max_steps=3, live=Live(token_counts="training"))
    with caplog.at_level(logging.INFO, "curvewatch"), watch:
        logged = [watch.observe(model, step) for step in range(4)]
    assert "calls watch.count(input_ids) for every batch" in caplog.text
    assert not any("frequency" in key for row in logged if row for key in row)


# ---------------------------------------------------------------------- which tokens


def test_watched_tokens_are_spread_over_frequency() -> None:
    rng = np.random.default_rng(0)
    target_N = (rng.zipf(1.4, 5000) % 300).astype(np.int32)
    counts_N = np.bincount(target_N)[target_N].astype(float)
    chosen = stratified(target_N, counts_N, 12)
    assert (np.diff(counts_N[chosen]) >= 0).all(), "from rare to frequent"
    parts = np.searchsorted(np.sort(counts_N), counts_N[chosen]) * 12 // 5000
    assert parts[0] == 0
    assert parts[-1] >= 6
    assert len(set(target_N[chosen].tolist())) >= 8, "not the same word again and again"
    assert stratified(target_N, counts_N, 12).tolist() == chosen.tolist()
    assert stratified(target_N, counts_N, 0).size == 0
    assert sorted(stratified(target_N[:4], counts_N[:4], 9).tolist()) == [0, 1, 2, 3]


def test_watched_curves_are_the_tokens_own() -> None:
    tokens = random_tokens()
    watched = WatchedTokens(tokens, [4, 2])
    rows = np.random.default_rng(0).random((3, len(tokens))).astype(np.float32)
    for step, row in zip((0, 1, 10), rows, strict=True):
        metrics = watched.update(step, row)
    assert list(metrics.values()) == [rows[2, 4], rows[2, 2]]
    assert [key.split()[0] for key in metrics] == ["watched/4", "watched/2"]
    lines = watched.lines()
    assert isinstance(lines, Lines)
    assert list(lines.x) == [0.0, 1.0], "log10 of the steps, without step 0"
    assert np.array_equal(lines.ys, rows[1:, [4, 2]].T)


def test_most_forgotten_against_a_plain_sort() -> None:
    rng = np.random.default_rng(0)
    live = LiveMetrics(500, 8.0)
    for step in range(1, 30):
        live.advance(step, observation(rng.random(500) * 16, rng.random(500) < rng.random(500)))
    top1, threshold = live.top1.events_N, live.threshold.events_N
    expected = sorted(range(500), key=lambda i: (-top1[i], -threshold[i], i))
    assert most_forgotten(live, 50).tolist() == expected[:50]
    assert most_forgotten(live, 1000).tolist() == [i for i in expected if top1[i] or threshold[i]]


def observation(surprisal: Any, correct: Any) -> Observation:
    y = np.asarray(surprisal, np.float32)
    return Observation(y, np.asarray(correct, bool), y)


def test_the_table_of_forgotten_tokens() -> None:
    tokens, live = random_tokens(), LiveMetrics(35, 8.0)
    correct = np.zeros(35, bool)
    for step, known in enumerate(([7, 9], [], [7], []), 1):
        correct[:] = False
        correct[known] = True
        last = observation(np.arange(35), correct)
        live.advance(step, last)
    table = forgotten_table(tokens, live, last, None, 50)
    assert isinstance(table, Table)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    assert [(row["token"], row["events_top1"], row["surprisal_bits"], row["correct"]) for row in rows] == [
        (7, 2, 7.0, False),
        (9, 1, 9.0, False),
    ]
    assert str(int(tokens.target[7])) in rows[0]["target"]
    before = tokens.sequence(int(tokens.sequence_index[7]))[: int(tokens.position[7])]
    assert all(str(i) in rows[0]["context"] for i in before.tolist())


# ---------------------------------------------------------------------- trouble


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("what", ["advance", "refit"])
def test_what_fails_live_costs_no_row_and_no_training(
    what: str, beside: bool, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from curvewatch.live import SmoothedMetrics, refitter

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room for curves")

    monkeypatch.setattr(SmoothedMetrics, what, fail)
    if beside:
        monkeypatch.setattr(refitter, "WAIT_TOKENS", 0)
    _, sink = watch_steps(path, 9)
    assert open_run(path).steps.tolist() == list(range(10))
    rows = [step for step, metrics in sink.shown if "curvewatch/eval/surprisal_mean" in metrics.scalars]
    assert rows == list(range(10))
    said = [record for record in caplog.records if "no room for curves" in record.getMessage()]
    assert len(said) == 1, "said once"


def test_what_fails_live_is_raised_if_that_is_wanted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curvewatch.live import SmoothedMetrics

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room for curves")

    monkeypatch.setattr(SmoothedMetrics, "refit", fail)
    watch = Watch(random_tokens(), path, schedule=1, max_steps=9, on_error="raise")
    with pytest.raises(MemoryError):
        watch.observe(PlainLM(), 0)
    watch.close()
    assert open_run(path).steps.tolist() == [0], "the row was taken before anything was shown"


def test_a_row_that_can_not_be_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of the last quarter nothing is told any more; all else goes on."""
    from curvewatch.live import SmoothedMetrics
    from curvewatch.measures import recent

    def unreadable(step: int) -> Any:
        raise OSError("the disk is gone")

    smoothed = SmoothedMetrics(5, 8.0, 40, unreadable)
    smoothed.recent = recent.RecentSurprisal(5, unreadable, most_kept=0)
    y = np.random.default_rng(0).random((40, 5)).astype(np.float32)
    failed = []
    for step in range(1, 41):
        try:
            smoothed.advance(step, y[step - 1])
        except OSError:
            failed.append(step)
    assert failed == [2], "step 1 is the first to leave the last quarter"
    metrics = smoothed.refit(40, y[-1])
    assert "smoothed/forgettability_mean" in metrics.scalars
    assert not any("last_quarter" in key or "variability" in key for key in metrics.scalars)


def test_a_run_that_goes_far_beyond_its_planned_end(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Knots laid between steps 500 and 501 don't reach to 5,000: the curves are given up, memory is not."""
    model = PlainLM()
    watch = Watch(random_tokens(), path, schedule=500, max_steps=501, on_error="raise")
    for step in (0, 500, 501, 1000, 5000, 9000):
        scalars = watch.observe(model, step, force=True)
    assert scalars is not None
    assert "curvewatch/eval/smoothed/last_quarter_rows" in scalars
    assert watch.showing is not None
    smoothed = watch.showing.sets["eval"].smoothed
    assert smoothed is not None
    assert smoothed.growing is None
    watch.close()
    assert caplog.text.count("would take") == 1
    assert open_run(path).steps.tolist() == [0, 500, 501, 1000, 5000, 9000]
    again = Watch(random_tokens(), path, schedule=500, max_steps=501)
    again.start(model, 9000)
    assert again.observe(model, 9500, force=True) is not None
    again.close()


def test_a_watch_that_is_forgotten_leaves_no_thread_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvewatch.live.refitter.WAIT_TOKENS", 0)
    before = set(threading.enumerate())
    watch, model = Watch(random_tokens(), path, schedule=1, max_steps=9), PlainLM()
    for step in range(5):
        watch.observe(model, step)
    refitters = [t for t in set(threading.enumerate()) - before if "refit" in t.name]
    assert refitters
    del watch
    gc.collect()
    for thread in refitters:
        thread.join(20)
        assert not thread.is_alive(), thread.name
    release(str(path))


def test_trends_live_are_those_of_the_file(path: Path) -> None:
    sink, live = Sink(), Live(trends_from=3, smoothed=False)
    watch = Watch(random_tokens(), path, schedule=1, max_steps=9, live=live)
    watch.start(PlainLM(), sinks=[sink])
    for step in range(7):
        watch.observe(PlainLM(seed=step % 3), step)
    watch.close()
    # Resumed, it goes on from the rows that the file has.
    watch = Watch(random_tokens(), path, schedule=1, max_steps=9, live=live)
    watch.start(PlainLM(), 6, sinks=[sink])
    for step in range(7, 10):
        watch.observe(PlainLM(seed=step % 3), step)
    watch.finish(PlainLM(), 9)
    run = open_run(path)
    expected = run.kinds("trends", from_step=3).shares
    shown: dict[int, dict[str, float]] = {}
    for step, metrics in sink.shown:
        shown.setdefault(step, {}).update(metrics.scalars)
    for name in ("upward", "downward", "stagnated", "unclassified"):
        assert shown[9][f"curvewatch/eval/kind/{name}_share"] == pytest.approx(expected[name])
        assert f"curvewatch/eval/kind/{name}_share" not in shown[4]
    assert unknown(shown[9]) == set()
