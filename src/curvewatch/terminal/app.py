"""The screen: follows a run in a thread of its own and shows what it finds."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.widgets import Footer, Static

from curvewatch.analysis.characters import visible
from curvewatch.errors import ForeignFileError, RunFileError, TokenSetMismatchError
from curvewatch.terminal import meaning, words
from curvewatch.terminal.charts import charts_of
from curvewatch.terminal.follow import Follower
from curvewatch.terminal.pace import Pace
from curvewatch.terminal.state import State
from curvewatch.terminal.widgets import About, ChartView, Lines

MIN_WIDTH, MIN_HEIGHT = 80, 24
WIDE, HIGH = 130, 36
VERY_WIDE = 190
"""On a smaller screen there are two charts, from `WIDE` on four, from `VERY_WIDE` on six; `c` changes the last."""
MOST_CHARTS = 6
ATTEMPTS = 5
"""A file that could never be read is given up after so many tries."""


class WatchApp(App[None]):
    """Follows one run file.

    Args:
        path: The run file; it may come later.
        set_name: Token set to begin with; None: the first.
        every: Seconds between two looks at the file.
        ngrams: N-gram surprisals that the run was given; see `Measuring`.

    Attributes:
        failure: What ended the view, if it ended by a failure.
        state: What is shown.
    """

    CSS_PATH = "app.tcss"
    TITLE = "curvewatch"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("s", "next_set", "Next set"),
        Binding("c", "next_chart", "Next chart"),
        Binding("x", "axis", "Log/linear"),
        Binding("left", "move(-1)", "Look back", key_display="←"),
        Binding("right", "move(1)", "Forward", key_display="→", show=False),
        Binding("escape", "now", "Now", show=False),
        Binding("question_mark", "about", "What is shown", key_display="?"),
    ]

    class Polled(Message):
        """What the thread found.

        Attributes:
            state: The run.
            trouble: Why it could not be read just now; "" if it could.
        """

        def __init__(self, state: State, trouble: str) -> None:
            super().__init__()
            self.state, self.trouble = state, trouble

    def __init__(
        self,
        path: str | os.PathLike[str],
        set_name: str | None = None,
        every: float = 1.0,
        ngrams: str | os.PathLike[str] | None = None,
    ) -> None:
        # Without colours there are no shades of grey either: the terminal's own two are used.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.state = State(Path(path))
        self.failure: Exception | None = None
        self._every, self._ngrams = every, ngrams
        self._followers: dict[str | None, Follower] = {}
        self._wanted = set_name
        self._wake, self._stop = threading.Event(), threading.Event()
        self._trouble = ""
        self._logarithmic = True
        self._offset = 0
        self._cursor: int | None = None
        # Held here, since a query asks only the screen on top.
        self._head = Lines(self._head_lines, id="head")
        self._charts = Grid(id="charts")
        self._views = [ChartView() for _ in range(MOST_CHARTS)]
        self._lists = Horizontal(id="lists")
        self._latest = Lines(
            lambda w, h: words.latest_lines(self.state, w, h), "Forgotten last · before → then", id="latest"
        )
        self._often = Lines(
            lambda w, h: words.often_lines(self.state, w, h), "Forgotten most often · bits now", id="often"
        )
        self._labels = Lines(
            lambda w, h: meaning.label_lines(self.state, w, h), "Labels · their tokens now", id="labels"
        )
        self._waiting, self._small = Static(id="waiting"), Static(id="small")

    def compose(self) -> ComposeResult:
        """The whole screen."""
        yield self._head
        with self._charts:
            yield from self._views
        with self._lists:
            yield self._latest
            yield self._often
            yield self._labels
        yield self._waiting
        yield self._small
        yield Footer()

    def on_mount(self) -> None:
        """Begins to follow."""
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal must be given back, whatever ends the view
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._arrange()
        self.set_interval(1.0, self._head.refresh)
        self._follow()

    # ------------------------------------------------------------------ the thread

    @work(thread=True, exclusive=True)
    def _follow(self) -> None:
        """Polls until the end, never in the way of the screen."""
        failures = 0
        while not self._stop.is_set():
            name = self._wanted
            follower = self._followers.setdefault(name, Follower(self.state.path, name, self._ngrams))
            trouble, began = "", time.monotonic()
            try:
                state = follower.poll(budget_s=min(0.5, self._every))
                failures = 0
            except RunFileError as error:
                # The writer or the disk may be busy, and that passes; what is no run file, or another set's, stays so.
                state, trouble, failures = follower.state, str(error), failures + 1
                lasting = isinstance(error, (ForeignFileError, TokenSetMismatchError))
                if lasting or (failures >= ATTEMPTS and not state.run_id):
                    self._fail(error)
                    return
            except Exception as error:
                self._fail(error)
                return
            if state.set_name:
                self._followers.setdefault(state.set_name, follower)
            if name == self._wanted:
                self.post_message(self.Polled(state, trouble))
            if not (state.behind and not trouble):
                self._wake.wait(max(0.0, self._every - (time.monotonic() - began)))
            self._wake.clear()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.call_from_thread(self.exit)

    def on_unmount(self) -> None:
        """Lets the thread end."""
        self._stop.set()
        self._wake.set()

    # ------------------------------------------------------------------ what is shown

    @on(Polled)
    def _show(self, found: Polled) -> None:
        fresh = (found.state.version, found.state.set_name) != (self.state.version, self.state.set_name)
        self.state, self._trouble = found.state, found.trouble
        if fresh:
            if self._cursor is not None and self._cursor >= len(self.state.steps_T):
                self._cursor = None
            self._arrange()
            self._draw()
        self._head.refresh()

    def _head_lines(self, width: int, height: int) -> list[Text]:
        pace = Pace.of(self.state, time.time())
        lines = [words.where(self.state, pace, width), words.how(self.state, pace, width)]
        if self._trouble:
            lines.append(Text(visible(self._trouble), words.RED, no_wrap=True, overflow="ellipsis"))
        else:
            lines.append(words.headline(self.state, width))
        return lines[:height]

    def _draw(self) -> None:
        views = [view for view in self._views if view.display]
        charts = charts_of(self.state)
        if not charts:
            return
        # The last place is for the rest in turn.
        firsts, rest = charts[: len(views) - 1], charts[len(views) - 1 :]
        shown = [*firsts, *([rest[self._offset % len(rest)]] if rest else [])]
        for view, chart in zip(views, shown, strict=False):
            view.show(chart, self.state, self._logarithmic, self._cursor)
        self._latest.refresh()
        self._often.refresh()
        self._labels.refresh()

    def _arrange(self, size: Size | None = None) -> None:
        """Lays the screen out for its size and for what there is to show."""
        width, height = size or self.size
        small, empty = width < MIN_WIDTH or height < MIN_HEIGHT, not len(self.state.steps_T)
        most = 2 if width < WIDE or height < HIGH else 4 if width < VERY_WIDE else MOST_CHARTS
        places = min(most, len(charts_of(self.state)))
        for k, view in enumerate(self._views):
            view.display = k < places
        self._charts.styles.grid_size_columns = 2 if places in (1, 2, 4) else 3
        self._charts.styles.grid_size_rows = 2 if places > 3 else 1
        self._charts.styles.height = "2fr" if places > 3 else "1.5fr"
        self._head.display = not small
        self._charts.display = self._lists.display = not (small or empty)
        # With labels there are three lists side by side, or two where there is no room for three.
        self._labels.display = bool(meaning.labels_of(self.state))
        self._often.display = not self._labels.display or width >= VERY_WIDE
        self._waiting.display, self._small.display = empty and not small, small
        self._small.update(
            Text(f"The view needs {MIN_WIDTH} x {MIN_HEIGHT} characters; this window has {width} x {height}.")
        )
        self._waiting.update(self._what_is_awaited())
        self.refresh_bindings()

    def _what_is_awaited(self) -> Text:
        path = visible(str(self.state.path))
        if self.state.there:
            return Text(f"{path}\n\nis there, but nothing was scored yet.\nThe first observation will be shown here.")
        if self.state.run_id:
            return Text(f"{path}\n\nwas deleted or moved. If it comes back, it will be shown here.")
        return Text(f"{path}\n\nis not there yet. It will be shown here as soon as training has made it.")

    def on_resize(self, event: events.Resize) -> None:
        """Another size, another layout."""
        self._arrange(event.size)
        self._draw()

    @on(ChartView.Pointed)
    def _point(self, pointed: ChartView.Pointed) -> None:
        if pointed.cursor != self._cursor:
            self._cursor = pointed.cursor
            self._draw()

    # ------------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything now; those that don't are not shown."""
        if action == "next_set":
            return len(self.state.sets) > 1
        if action == "next_chart":
            return len(charts_of(self.state)) > sum(view.display for view in self._views)
        if action in ("move", "axis"):
            return len(self.state.steps_T) > 1
        return True

    def action_next_set(self) -> None:
        """Follows the next token set of the file."""
        sets = self.state.sets
        if len(sets) > 1:
            self._wanted = sets[(sets.index(self.state.set_name) + 1) % len(sets)]
            self._cursor = None
            self._wake.set()

    def action_next_chart(self) -> None:
        """Shows another chart in the last place."""
        self._offset += 1
        self._draw()

    def action_axis(self) -> None:
        """Changes the axis of steps between log and linear."""
        self._logarithmic = not self._logarithmic
        self._draw()

    def action_move(self, by: int) -> None:
        """Marks the observation before or after the marked one."""
        n = len(self.state.steps_T)
        if n:
            at = (n - 1 if self._cursor is None else self._cursor) + by
            self._cursor = None if at >= n - 1 else max(0, at)
            self._draw()

    def action_now(self) -> None:
        """Marks nothing: values are those of the last observation."""
        self._cursor = None
        self._draw()

    def action_about(self) -> None:
        """Says what is shown."""
        self.push_screen(About(self.state))
