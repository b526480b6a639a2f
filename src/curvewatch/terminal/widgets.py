"""The parts of the screen: charts, lists of tokens, and the page behind `?`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from curvewatch.analysis.characters import visible
from curvewatch.terminal.chart import MIN_COLUMNS, MIN_ROWS
from curvewatch.terminal.charting import Chart
from curvewatch.terminal.state import State


class Lines(Widget):
    """Lines of text that are made anew for the size that there is.

    Args:
        make: `make(width, height)` gives the lines.
        title: Shown in the border.
        id: Of the widget.
    """

    def __init__(self, make: Callable[[int, int], list[Text]], title: str = "", id: str | None = None) -> None:
        super().__init__(id=id)
        self._make = make
        if title:
            self.border_title = Content(title)

    def render(self) -> RenderResult:
        """The lines."""
        return Text("\n", no_wrap=True, end="").join(self._make(self.size.width, self.size.height))


class ChartView(Widget):
    """One chart; the pointer over it marks an observation in all of them."""

    class Pointed(Message):
        """The pointer is at an observation.

        Attributes:
            cursor: Its index; None when the pointer has left.
        """

        def __init__(self, cursor: int | None) -> None:
            super().__init__()
            self.cursor = cursor

    def __init__(self) -> None:
        super().__init__()
        self._chart: Chart | None = None
        self._state: State | None = None
        self._logarithmic = True
        self._cursor: int | None = None

    def show(self, chart: Chart, state: State, logarithmic: bool, cursor: int | None) -> None:
        """Draws this chart from now on."""
        self._chart, self._state, self._logarithmic, self._cursor = chart, state, logarithmic, cursor
        self.border_title = Content(chart.title)
        self.border_subtitle = Content("" if cursor is None else f"at step {state.steps_T[cursor]:,}")
        self.refresh()

    def render(self) -> RenderResult:
        """The chart, at the size that there is."""
        width, height = self.size
        if self._chart is None or self._state is None or width < MIN_COLUMNS or height < MIN_ROWS:
            return ""
        return self._chart.text(self._state, width, height, self._logarithmic, self._cursor)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Finds the observation under the pointer."""
        if self._chart is None or self._state is None:
            return
        positions_T = self._chart.columns(self._state, self.size.width, self.size.height, self._logarithmic)
        offset = event.get_content_offset(self)
        if offset is not None and len(positions_T):
            self.post_message(self.Pointed(int(np.argmin(np.abs(positions_T - offset.x)))))

    def on_leave(self, _: events.Leave) -> None:
        """Back to the last observation."""
        self.post_message(self.Pointed(None))


class About(ModalScreen[None]):
    """What the numbers mean, and what was skipped and why.

    Args:
        state: The run.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Back"),
    ]
    MEANING = (
        ("surprisal", "-log2 p(token | context), bits: the mean of all tokens, and their 10th and 90th percentiles"),
        ("chance", "log2 of the number of the model's outputs: the surprisal of guessing"),
        ("top-1", "tokens that are the model's first choice; forgotten: they were so at the observation before"),
        ("known", "tokens whose smoothed surprisal is at or below half of chance, until it rises 1 bit above that"),
        ("ever", "tokens that have been known at some time"),
        ("threshold", "forgotten: known tokens whose smoothed surprisal rose 1 bit above the threshold"),
        ("frequency", "of tokens in the training text: thirds of the scored tokens, from rare to frequent"),
        ("⟦ ⟧", "the token itself, behind its context"),
        ("▼  ●  ○", "no longer known  ·  the first choice now  ·  not the first choice now"),
    )

    OF_MEANING = (
        ("events", "events", "steps at which more tokens jumped at once than the run's own past explains"),
        ("label", "label/", "what the tokens are: mean surprisal by the label's value, those with most tokens"),
        ("spans", "span/", "words, answers, replies: right where all their tokens are the first choice"),
        ("items", "item/", "pairs and questions: right where the right member costs the fewest bits"),
        ("per byte", "bits_per_byte", "bits that the text costs for each of its bytes"),
    )

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def compose(self) -> ComposeResult:
        """One page that scrolls."""
        with VerticalScroll() as page:
            page.border_title = Content("What is shown")
            page.border_subtitle = Content("esc: back")
            yield Static(self.page())

    def page(self) -> Table:
        """Its text."""
        state = self._state
        page = Table.grid(padding=(0, 2, 0, 0))
        page.add_column(style="bold", no_wrap=True)
        page.add_column()
        for name, about in self.MEANING:
            page.add_row(name, about)
        for name, prefix, about in self.OF_MEANING:
            if any(key.startswith(prefix) for key in state.scalars):
                page.add_row(name, about)
        page.add_row()
        page.add_row("file", Text(visible(str(state.path))))
        if state.run_id:
            page.add_row("run", Text(visible(state.run_id)))
            page.add_row("token set", Text(f"{visible(state.set_name)}, {state.n_tokens:,} tokens"))
        if state.notice:
            page.add_row("note", state.notice)
        page.add_row()
        page.add_row("not scored", "" if state.skipped else "no planned step so far")
        for step, why in state.skipped:
            page.add_row(Text(f"{step:,}", justify="right"), Text(visible(why)))
        return page
