"""The live view: what the follower reads is what the run logged, and the screen shows it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.text import Text
from typer.testing import CliRunner

from curvewatch import ForeignFileError, Observation, RunFile, TokenSet
from curvewatch.cli.app import app as command
from curvewatch.corpus import count_ngrams, open_corpus
from curvewatch.errors import FileBusyError
from curvewatch.live import Live, LiveMetrics
from curvewatch.live.given import given_for
from curvewatch.measures.frequency import TargetTypes
from curvewatch.runfile.records import Counted, Row, RunPlan, SetRecord
from curvewatch.terminal import Follower, State
from curvewatch.terminal.app import WatchApp
from curvewatch.terminal.chart import Frame, Line, StepAxis
from curvewatch.terminal.charts import charts_of
from curvewatch.terminal.follow import ROW_BYTES
from curvewatch.terminal.pace import FINISHED, GONE, QUIET, STOPPED, TRAINING, WAITING, Pace
from curvewatch.terminal.words import duration, latest_lines, often_lines
from tests.analysis.synthetic import VOCABULARY, token_set

N = 40
CHANCE = float(np.log2(VOCABULARY))  # 6 bits
STEPS = (0, 1, 2, 5, 10, 20, 40)
PLANNED = (*STEPS, 70, 100)
BEGAN = 1.7e9


def tokens(texts: bool = True) -> TokenSet:
    return token_set(N, texts=texts)


def observed(step: int, n: int = N, seed: int = 0) -> Observation:
    """Made-up numbers of which some are forgotten at each step; entropies that float16 holds exactly."""
    rng = np.random.default_rng((seed, step))
    surprisal = rng.uniform(0, 9, n).astype(np.float32)
    return Observation(surprisal, surprisal < 4, np.round(surprisal).astype(np.float32))


def row(step: int, seed: int = 0, sets: tuple[str, ...] = ("eval",), at: float | None = None) -> Row:
    return Row(step, 0.25, BEGAN + step if at is None else at, {name: observed(step, N, seed) for name in sets})


def start(path: Path, sets: dict[str, TokenSet] | None = None, keep: int = -1, max_steps: int | None = 100) -> RunFile:
    records = {
        name: SetRecord(one, VOCABULARY, {"batch_size": 4}) for name, one in (sets or {"eval": tokens()}).items()
    }
    planned = np.array(PLANNED if max_steps else (), np.int64)
    return RunFile.start(path, records, RunPlan(max_steps, planned, "a test", {"host": {"name": "test"}}), keep)


def write(path: Path, steps: tuple[int, ...] = STEPS, **settings: Any) -> Path:
    with_sets = tuple(settings.get("sets", {"eval": None}))
    file = start(path, **settings)
    for step in steps:
        file.append(row(step, sets=with_sets))
    file.close()
    return path


def logged(rows: list[tuple[int, Observation]]) -> list[dict[str, float]]:
    """What the run logs for these rows."""
    live = LiveMetrics(N, CHANCE, 100)
    return [live.update(step, observation).scalars for step, observation in rows]


def assert_equal(state: State, expected: list[dict[str, float]]) -> None:
    keys = {key for scalars in expected for key in scalars}
    assert set(state.scalars) == keys
    for key in keys:
        values = state.scalars[key]
        np.testing.assert_array_equal(values, [scalars.get(key, np.nan) for scalars in expected], err_msg=key)


# ---------------------------------------------------------------------- the follower


def test_it_shows_what_was_logged_while_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    follower = Follower(path)
    assert not follower.poll().there
    file = start(path)
    state = follower.poll()
    assert (state.there, state.open, state.n_tokens, state.sets, len(state.steps_T)) == (True, True, N, ("eval",), 0)
    rows: list[tuple[int, Observation]] = []
    for step in STEPS:
        file.append(row(step))
        rows.append((step, observed(step)))
        state = follower.poll()
        assert state.steps_T.tolist() == [one for one, _ in rows]
        assert_equal(state, logged(rows))
    assert state.chance == pytest.approx(CHANCE)
    assert state.planned.tolist() == list(PLANNED)
    file.skip(70, "budget")
    assert follower.poll().skipped == ((70, "budget"),)
    file.close()
    closed = follower.poll()
    assert not closed.open
    assert_equal(closed, logged(rows))


def test_a_finished_file_is_read_at_once_and_then_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "curves.h5")
    follower = Follower(path)
    state = follower.poll()
    assert_equal(state, logged([(step, observed(step)) for step in STEPS]))
    opened = []
    monkeypatch.setattr("curvewatch.terminal.follow.Follower._read_block", lambda self: opened.append(1))
    for _ in range(10):
        assert follower.poll() is state
    assert opened == [], "nothing was written, so the file was not opened"


def test_a_long_file_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "curves.h5")
    monkeypatch.setattr("curvewatch.terminal.follow.BLOCK_BYTES", 2 * ROW_BYTES * N)  # two rows
    follower = Follower(path)
    seen = []
    while not seen or seen[-1].behind:
        seen.append(follower.poll(budget_s=0))
    assert [len(state.steps_T) for state in seen] == [2, 4, 6, 7]
    assert [state.behind for state in seen] == [5, 3, 1, 0]
    assert_equal(seen[-1], logged([(step, observed(step)) for step in STEPS]))


@pytest.mark.parametrize("unseen", [False, True], ids=["seen between", "at the same length again"])
def test_training_that_resumed_from_before(tmp_path: Path, unseen: bool) -> None:
    path = write(tmp_path / "curves.h5")
    follower = Follower(path)
    follower.poll()
    file = start(path, keep=5)  # drops 10, 20, 40
    rows = [(step, observed(step)) for step in STEPS[:4]]
    if not unseen:
        assert_equal(follower.poll(), logged(rows))
    for step in STEPS[4:]:
        file.append(row(step, seed=1, at=BEGAN + 1000 + step))
        rows.append((step, observed(step, seed=1)))
    state = follower.poll()
    assert state.steps_T.tolist() == list(STEPS)
    assert_equal(state, logged(rows))
    assert state.notice == "training was resumed after step 5: 3 later observations dropped"
    assert all(one.step <= 5 or one.now == observed(one.step, seed=1).surprisal_bits[one.token] for one in state.latest)
    file.close()


def test_another_run_takes_the_files_place(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5")
    follower = Follower(path)
    first = follower.poll()
    file = start(path)  # anew: the old file is kept under another name
    for step in (0, 3):
        file.append(row(step, seed=2))
    file.close()
    state = follower.poll()
    assert state.run_id != first.run_id
    assert_equal(state, logged([(step, observed(step, seed=2)) for step in (0, 3)]))
    assert "another run" in state.notice


def test_a_file_that_is_deleted_and_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5")
    follower = Follower(path)
    before = follower.poll()
    shutil.move(path, tmp_path / "away.h5")
    gone = follower.poll()
    assert (gone.there, len(gone.steps_T)) == (False, len(STEPS)), "what was read stays to be seen"
    assert Pace.of(gone, BEGAN).phase == GONE
    shutil.copy(tmp_path / "away.h5", path)
    back = follower.poll()
    assert back.there
    assert back.scalars.keys() == before.scalars.keys()
    assert len(back.steps_T) == len(STEPS)


def test_what_is_no_run_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.h5").write_text("my thesis")
    with pytest.raises(ForeignFileError, match=r"thesis\.h5"):
        Follower(tmp_path / "thesis.h5").poll()
    with pytest.raises(KeyError, match="web"):
        Follower(write(tmp_path / "curves.h5"), "web").poll()


def test_several_sets(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5", sets={"web": tokens(), "code": token_set(N, seed=5)})
    first, code = Follower(path).poll(), Follower(path, "code").poll()
    assert (first.set_name, first.sets, code.set_name) == ("web", ("web", "code"), "code")
    assert_equal(code, logged([(step, observed(step)) for step in STEPS]))


def test_forgotten_tokens_against_plain_python(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5")
    state = Follower(path).poll()
    made, rows = tokens(), [(step, observed(step)) for step in STEPS]
    events, expected = [0] * N, []
    live = LiveMetrics(N, CHANCE, 100)
    known = [False] * N
    for (_, before), (step, now) in zip([rows[0], *rows], rows, strict=False):
        live.update(step, now)
        here = []
        for i in range(N):
            lost, unknown = before.correct[i] and not now.correct[i], known[i] and not live.threshold.known_N[i]
            events[i] += bool(lost)
            if lost or unknown:
                here.append((-(now.surprisal_bits[i] - before.surprisal_bits[i]), i, step, bool(unknown)))
        known = live.threshold.known_N.tolist()
        expected = [one[1:] for one in sorted(here)[:12]] + expected
    assert [(one.token, one.step, one.known) for one in state.latest] == expected[:60]
    assert any(known for *_, known in expected), "the example has both kinds"
    assert [one.events for one in state.often] == sorted(events, reverse=True)[: len(state.often)]
    assert len(state.often) == min(30, sum(n > 0 or live.threshold.events_N[i] > 0 for i, n in enumerate(events)))
    for one in state.often:
        view = made.show(one.token)
        assert (one.events, one.context, one.target) == (events[one.token], view.context, view.target)
        assert one.now == rows[-1][1].surprisal_bits[one.token]


def test_tokens_without_a_tokenizer_are_shown_as_ids(tmp_path: Path) -> None:
    made = TokenSet.from_sequences(tokens().ids.reshape(-1, 16), n_tokens=N, per_sequence=10, vocab_size=VOCABULARY)
    state = Follower(write(tmp_path / "curves.h5", sets={"eval": made})).poll()
    one = state.often[0]
    context = made.sequence(int(made.sequence_index[one.token]))[: made.position[one.token]]
    assert (one.context, one.target) == ("".join(f"⟨{i}⟩" for i in context), f"⟨{made.target[one.token]}⟩")


@pytest.mark.parametrize("known", ["corpus", "training", "training, not from the start"])
def test_bands_of_frequency_are_those_that_were_logged(tmp_path: Path, known: str) -> None:
    path, made = tmp_path / "curves.h5", tokens()
    types = TargetTypes.of(made.target)
    rng = np.random.default_rng(3)
    given_D = rng.integers(0, 1000, len(types.ids_D)).astype(float) if known == "corpus" else None
    counted = Counted(types.ids_D, given_D, known != "corpus")
    record = SetRecord(made, VOCABULARY, {"batch_size": 4}, counted)
    plan = RunPlan(100, np.array(PLANNED, np.int64), "a test", {"host": {"name": "test"}})
    file = RunFile.start(path, {"eval": record}, plan, -1)
    live = LiveMetrics(N, CHANCE, 100, types=types)
    expected, so_far_D = [], np.zeros(len(types.ids_D), np.int64)
    for step in STEPS:
        so_far_D += rng.integers(0, 50, len(so_far_D))
        seen_D = None if known == "training, not from the start" and step < 5 else so_far_D
        counts = {"eval": seen_D} if given_D is None and seen_D is not None else {}
        file.append(Row(step, 0.25, BEGAN + step, {"eval": observed(step)}, counts))
        expected.append(live.update(step, observed(step), given_D if given_D is not None else seen_D).scalars)
    file.close()
    state = Follower(path).poll()
    assert_equal(state, expected)
    assert np.isnan(state.scalars["frequency/rare/surprisal_mean"][0]) == (known == "training, not from the start")
    assert [chart.title for chart in charts_of(state)[3:]] == [
        "Surprisal by frequency · bits", "Acquired share by frequency · %", "Forgotten share by frequency · %",
    ]  # fmt: skip


def test_ngrams(tmp_path: Path) -> None:
    path, made = write(tmp_path / "curves.h5"), tokens()
    np.save(tmp_path / "corpus.npy", np.random.default_rng(1).integers(0, VOCABULARY, 5000))
    found = count_ngrams(open_corpus(tmp_path / "corpus.npy"), made, n_max=2)
    found.save(tmp_path / "ngrams.npz")
    state = Follower(path, ngrams=tmp_path / "ngrams.npz").poll()
    given = given_for(Live(ngrams=found), {"eval": made})["eval"]
    live = LiveMetrics(N, CHANCE, 100, types=given.types, ngram_surprisal_nN=given.ngram_surprisal_nN)
    assert_equal(state, [live.update(step, observed(step), given.corpus_count_D).scalars for step in STEPS])
    assert charts_of(state)[-1].title == "Resembles n-grams · correlation"
    with pytest.raises(FileNotFoundError):
        Follower(path, ngrams=tmp_path / "none.npz").poll()


# ---------------------------------------------------------------------- pace and words


def test_pace(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    file = start(path)
    follower = Follower(path)
    assert Pace.of(follower.poll(), BEGAN).phase == WAITING
    for step in STEPS:
        file.append(row(step, at=BEGAN + 2 * step))  # 2 s a step, scoring among them
    state = follower.poll()
    pace = Pace.of(state, BEGAN + 80 + 7)
    assert pace.phase == TRAINING
    assert (pace.observed, pace.expected, pace.share_done, pace.since_last_s) == (7, 9, 0.4, 7)
    # The steps after 20: 10 steps of 20 s and 20 of 40 s, less the scoring of 0.25 s.
    assert pace.step_s == pytest.approx((40 - 0.25) / 20)
    assert pace.left_s == pytest.approx(60 * pace.step_s + 2 * 0.25 - 7)
    assert pace.scoring_share == pytest.approx(6 * 0.25 / 80)
    assert Pace.of(state, BEGAN + 80 + 3600).phase == QUIET, "the writer may have been killed"
    file.skip(70, "budget")
    assert Pace.of(follower.poll(), BEGAN + 80).expected == 8
    file.close()
    assert Pace.of(follower.poll(), BEGAN + 80).phase == STOPPED
    file = start(path, keep=40)
    file.append(row(100))
    assert Pace.of(follower.poll(), BEGAN + 200).phase == FINISHED
    file.close()


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (99, "99 s"), (600, "10 min"), (9000, "2 h 30 min"), (180_000, "2 d 2 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lists_fit_and_show_control_characters(tmp_path: Path) -> None:
    wild = {i: ("\x1b[31m" if i % 3 == 0 else "世" if i % 3 == 1 else "\n") for i in range(VOCABULARY)}
    made = tokens()
    parts = {name: getattr(made, name) for name in ("ids", "starts", "sequence_index", "position", "vocab_size")}
    state = Follower(write(tmp_path / "curves.h5", sets={"eval": TokenSet(**parts, vocabulary=wild)})).poll()
    for width in (30, 47, 90):
        for line in (*latest_lines(state, width, 20), *often_lines(state, width, 20)):
            assert line.cell_len <= width
            assert "\x1b" not in line.plain
            assert "\n" not in line.plain
    assert any("␛[31m⟧" in line.plain for line in often_lines(state, 90, 40))


def test_charts_of_groups_appear_when_they_are_there(tmp_path: Path) -> None:
    from dataclasses import replace

    state = Follower(write(tmp_path / "curves.h5")).poll()
    plain = charts_of(state)
    assert [chart.title.split(" ·")[0] for chart in plain[:3]] == ["Surprisal", "Learned", "Forgotten"]
    state = replace(state, scalars={key: values for key, values in state.scalars.items() if "/" not in key})
    bands = {f"frequency/{band}/surprisal_mean": np.full(len(STEPS), 2.0 + k) for k, band in enumerate(("rare", "mid"))}
    shares = {"frequency/rare/acquired_share": np.full(len(STEPS), 0.25)}
    grouped = charts_of(replace(state, scalars={**state.scalars, **bands, **shares}))
    assert [chart.title for chart in grouped[3:]] == [
        "Surprisal by frequency · bits",
        "Acquired share by frequency · %",
    ]
    drawn = grouped[3].text(replace(state, scalars=bands), 60, 12, True).plain
    assert "rare 2.00" in drawn
    assert "mid 3.00" in drawn
    assert "rare 25.0" in grouped[4].text(replace(state, scalars=shares), 60, 12, False).plain


@pytest.mark.parametrize("steps", [(0,), (7,), (0, 1), (100, 200, 300), tuple(range(0, 3000, 10))])
@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("size", [(24, 5), (36, 9), (150, 40)])
def test_a_chart_fills_its_place_exactly(
    tmp_path: Path, steps: tuple[int, ...], logarithmic: bool, size: tuple[int, int]
) -> None:
    state = Follower(write(tmp_path / "curves.h5", steps, max_steps=None)).poll()
    for chart in charts_of(state):
        for cursor in (None, 0, len(steps) - 1):
            lines = chart.text(state, *size, logarithmic, cursor).plain.split("\n")
            assert len(lines) == size[1]
            assert all(len(line) <= size[0] for line in lines)
            assert any(0x2800 < ord(char) < 0x2900 for line in lines for char in line), "something is drawn"
        columns = chart.columns(state, *size, logarithmic)
        assert (np.diff(columns) > 0).all()
        assert 0 <= columns[0] <= columns[-1] < size[0]


@pytest.mark.parametrize("height", [8, 9, 14, 23])
def test_a_value_stands_beside_its_tick(height: int) -> None:
    steps = np.array([0, 1, 10, 100])
    for value in (0.0, 5.0, 10.0):
        lines = [Line("top", np.full(4, 12.0), "red"), Line("here", np.full(4, value), "blue")]
        rows = Frame(lines, steps, StepAxis(steps, 100), 60, height).text().plain.split("\n")[:-2]
        drawn = [row for row in rows if any(0x2800 < ord(char) < 0x2900 for char in row)]
        assert len(drawn) == 2
        if f"{value:g} ┤" in "".join(rows):
            assert drawn[-1].lstrip().startswith(f"{value:g} ┤")
            assert "here" in drawn[-1]
    assert any(row.lstrip().startswith("0 ┤") for row in rows)


def test_a_long_line_is_drawn_as_if_it_were_short() -> None:
    """Thinning leaves the dots where they were, but for some that lie between two columns."""
    steps = np.arange(1, 6001)
    values = 5 + 4 * np.sin(steps / 500) + np.random.default_rng(0).uniform(0, 0.5, len(steps))
    for logarithmic in (True, False):
        frame = Frame([Line("", values, "red")], steps, StepAxis(steps, None, logarithmic), 60, 16)
        thinned = frame.text().plain
        frame._thinned = lambda x, y: (x, y)  # type: ignore[method-assign]
        whole = frame.text().plain
        dots, same = 0, 0
        for one, other in zip(thinned, whole, strict=True):
            if ord(other) > 0x2800:
                dots += (ord(other) - 0x2800).bit_count()
                same += (max(ord(one) - 0x2800, 0) & (ord(other) - 0x2800)).bit_count()
        assert same >= 0.97 * dots


# ---------------------------------------------------------------------- the screen


def screen(app: WatchApp) -> str:
    """What stands on the screen."""
    return "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())


def on_screen(
    app: WatchApp, act: Callable[[Any], Coroutine[Any, Any, None]], size: tuple[int, int] = (120, 40)
) -> None:
    """Runs the app without a terminal, does `act`, and ends it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await act(pilot)
            app.exit()

    asyncio.run(run())
    if app.failure is not None:
        raise app.failure


async def until(pilot: Any, fulfilled: Callable[[], bool]) -> None:
    for _ in range(200):
        await pilot.pause(0.05)
        if fulfilled():
            await pilot.pause()
            return
    raise AssertionError(f"it never came to that:\n{screen(pilot.app)}")


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45)])
def test_the_screen_shows_the_numbers_and_the_tokens(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write(tmp_path / "curves.h5")
    app = WatchApp(path, every=0.1)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: len(app.state.steps_T) == len(STEPS))
        text = screen(app)
        now = logged([(step, observed(step)) for step in STEPS])[-1]
        for part in (
            "curves.h5 · eval", "stopped early", "step 40 of 100", "40 %", "7 of 9 observations",
            f"surprisal {now['surprisal_mean']:.3f}", f"mean {now['surprisal_mean']:.2f}",
            f"p90 {now['surprisal_p90']:.2f}", f"p10 {now['surprisal_p10']:.2f}", f"chance {CHANCE:.1f}",
            f"top-1 {now['accuracy_top1']:.1%}", f"known {now['known_share']:.1%}",
        ):  # fmt: skip
            assert part in text, f"{part!r} is not on\n{text}"
        first = app.state.latest[0]
        assert f"{first.before:.1f} → " in text
        assert f"{tokens().show(first.token).context[-8:]}⟦{tokens().show(first.token).target}⟧" in text
        assert f"{app.state.often[0].events}x " in text
        assert len(text.splitlines()) == size[1]

    on_screen(app, act, size)


def test_the_screen_follows_a_run_from_before_its_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    app = WatchApp(path, every=0.1)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: "is not there yet" in screen(app))
        file = start(path)
        await until(pilot, lambda: "nothing was scored yet" in screen(app))
        rows = []
        for step in STEPS[:3]:
            file.append(row(step))
            rows.append((step, observed(step)))
            await until(pilot, lambda: f"surprisal {logged(rows)[-1]['surprisal_mean']:.3f}" in screen(app))
            assert f"step {step} of 100" in screen(app)
        file.close()
        path.unlink()
        await until(pilot, lambda: "file is gone" in screen(app))

    on_screen(app, act)


def test_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5", sets={"web": tokens(), "code": token_set(N, seed=5)})
    app = WatchApp(path, every=0.1)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: "· web 1/2" in screen(app))
        await pilot.press("s")
        await until(pilot, lambda: "· code 2/2" in screen(app))
        await pilot.press("c")
        await until(pilot, lambda: "Forgotten · tokens" in screen(app))
        assert "Learned" not in screen(app)
        await pilot.press("left", "left")
        at_10 = logged([(step, observed(step)) for step in STEPS])[4]
        await until(pilot, lambda: "at step 10" in screen(app))
        assert f"mean {at_10['surprisal_mean']:.2f}" in screen(app)
        await pilot.press("escape")
        await until(pilot, lambda: "at step" not in screen(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "no planned step so far" in screen(app))
        await pilot.press("escape", "x", "q")

    on_screen(app, act, (100, 30))


def test_the_pointer_marks_an_observation(tmp_path: Path) -> None:
    app = WatchApp(write(tmp_path / "curves.h5"), every=0.1)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: len(app.state.steps_T) == len(STEPS))
        first = logged([(0, observed(0))])[0]
        await pilot.hover("ChartView", offset=(6, 5))
        await until(pilot, lambda: f"mean {first['surprisal_mean']:.2f}" in screen(app))
        assert screen(app).count("at step 0") == 2, "in all charts"
        await pilot.hover("#head")
        await until(pilot, lambda: "at step" not in screen(app))

    on_screen(app, act, (100, 30))


def test_a_small_window_says_so(tmp_path: Path) -> None:
    app = WatchApp(write(tmp_path / "curves.h5"), every=0.1)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: "needs 80 x 24 characters; this window has 79 x 24" in screen(app))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Surprisal · bits" in screen(app))

    on_screen(app, act, (79, 24))


def test_trouble_that_passes_is_shown_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "curves.h5")
    app = WatchApp(path, every=0.05)
    poll, busy = Follower.poll, threading.Event()

    def sometimes(self: Follower, budget_s: float = 0.5) -> State:
        if busy.is_set():
            raise FileBusyError("the writer has been busy for 10 s")
        return poll(self, budget_s)

    monkeypatch.setattr(Follower, "poll", sometimes)

    async def act(pilot: Any) -> None:
        await until(pilot, lambda: "surprisal" in screen(app))
        busy.set()
        await until(pilot, lambda: "the writer has been busy" in screen(app))
        assert "Surprisal · bits" in screen(app), "what was read stays"
        busy.clear()
        await until(pilot, lambda: "the writer has been busy" not in screen(app))

    on_screen(app, act)


def test_a_file_that_cannot_be_read_ends_the_view(tmp_path: Path) -> None:
    (tmp_path / "thesis.h5").write_text("my thesis")
    app = WatchApp(tmp_path / "thesis.h5", every=0.01)

    async def act(pilot: Any) -> None:
        for _ in range(100):
            await pilot.pause(0.05)
            if app.failure is not None:
                break

    with pytest.raises(ForeignFileError):
        on_screen(app, act)


# ---------------------------------------------------------------------- printed once


def test_once(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5")
    result = CliRunner().invoke(command, ["watch", str(path), "--once"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    now = logged([(step, observed(step)) for step in STEPS])[-1]
    lines = dict(line.split()[:2] for line in result.stdout.splitlines() if len(line.split()) > 1)
    for key, value in now.items():
        assert float(lines[key]) == pytest.approx(value, rel=1e-5), key
    assert "stopped early   step 40 of 100" in result.stdout
    assert "⟦" in result.stdout
    assert "\x1b" not in result.stdout


def test_once_without_a_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["watch", str(tmp_path / "nothing.h5"), "--once"])
    assert result.exit_code == 1
    assert "no such file" in result.stderr


def test_in_a_pipe_it_prints_once(tmp_path: Path) -> None:
    path = write(tmp_path / "curves.h5")
    done = subprocess.run(
        [sys.executable, "-m", "curvewatch.cli", "watch", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "surprisal_mean" in done.stdout


ON_A_TERMINAL = """
import os, pty, sys, select, signal, time
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="30")
    os.execv(sys.executable, [sys.executable, "-m", "curvewatch.cli", "watch", sys.argv[1]])
import fcntl, struct, termios
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
said, acted, end = b"", sys.argv[2] == "nothing", time.monotonic() + 40
while time.monotonic() < end:
    if select.select([fd], [], [], 0.1)[0]:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    if not acted and "step 40 of 100".encode() in said:
        acted = True
        if sys.argv[2].startswith("SIG"):
            os.kill(pid, getattr(signal, sys.argv[2]))
        else:
            os.write(fd, sys.argv[2].encode())
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(said)
sys.exit(code if acted else 99)
"""


@pytest.mark.parametrize("how", ["q", "\x03", "SIGINT", "SIGTERM"], ids=["q", "ctrl-c", "SIGINT", "SIGTERM"])
def test_the_terminal_is_given_back(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "curves.h5")
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, str(path), how], capture_output=True, timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    said = done.stdout
    assert done.returncode == 0, (done.returncode, said[-500:], done.stderr)
    assert said.rindex(b"\x1b[?1049l") > said.rindex(b"\x1b[?1049h"), "the first screen is back"
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l"), "and the cursor"
    assert b"Traceback" not in said
    codes = {int(code) for part in _graphics(said) for code in part.split(";") if code}
    assert codes.isdisjoint({*range(30, 39), *range(40, 49), *range(90, 108)}), "NO_COLOR"


def test_an_error_stands_on_the_terminal_that_was_given_back(tmp_path: Path) -> None:
    (tmp_path / "thesis.h5").write_text("my thesis")
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, str(tmp_path / "thesis.h5"), "nothing"], capture_output=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    after = done.stdout[done.stdout.rindex(b"\x1b[?1049l") :]
    assert b"error:" in after
    assert b"thesis.h5" in after
    assert b"Traceback" not in done.stdout


def _graphics(said: bytes) -> set[str]:
    import re

    return {part.decode() for part in re.findall(rb"\x1b\[([0-9;]*)m", said)}


def test_plain_text_has_no_more_columns_than_asked_for(tmp_path: Path) -> None:
    from curvewatch.terminal.plain import snapshot_text

    state = Follower(write(tmp_path / "curves.h5")).poll()
    text = snapshot_text(state, BEGAN + 90, 90)
    assert isinstance(text, Text)
    assert max(len(line) for line in text.plain.splitlines()) <= 90
