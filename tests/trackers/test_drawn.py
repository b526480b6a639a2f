"""Pages and charts for trackers: every value is there, and text from the data stays text."""

from __future__ import annotations

import re

import pytest

from curvewatch.live.metrics import Lines, Table
from curvewatch.trackers.drawn import lines_figure, table_page


def cells(page: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)[1:]]


def test_a_target_is_marked_behind_its_context_and_markup_in_it_is_text():
    columns = ("token", "context", "target", "events_top1", "forgettability_bits", "correct")
    page = table_page(Table(columns, [[1867, " <b>who</b> &", "</td><script>", 1200, None, True]]))
    assert page.count("<th") - page.count("<thead") == 5, "target has no column of its own"
    (row,) = cells(page)
    assert row[0] == "1867", "an index is typed into commands: no thousands separator"
    assert row[1] == ('<span class="context">&lt;b&gt;who&lt;/b&gt; &amp;</span><mark>&lt;/td&gt;&lt;script&gt;</mark>')
    assert row[2:] == ["1,200", "", "yes"]
    assert "<script" not in page


def test_half_a_character_is_no_reason_not_to_write_the_page():
    page = table_page(Table(("context", "target"), [["\ud800", "\udfff"]]))
    assert page.encode()
    assert cells(page) == [['<span class="context">?</span><mark>?</mark>']]


def test_a_tag_in_a_token_is_no_tag_in_the_chart():
    pytest.importorskip("plotly")
    figure = lines_figure(Lines("title", "log10 step", [0.0], [[3.0], [2.0]], ["1 </s> & \ud800", "2 'a'"]))
    assert [trace.name for trace in figure.data] == ["1 &lt;/s&gt; &amp; ?", "2 'a'"]


def test_a_table_of_any_columns_is_shown_as_it_is():
    page = table_page(Table(("step", "target", "some_value"), [[100_000, "x", 1234.5], [0, None, float("nan")]]))
    assert cells(page) == [["100000", "x", "1,234.50"], ["0", "", "nan"]]
    assert "some value" in page


def test_curves_over_log_steps_are_drawn_over_steps():
    pytest.importorskip("plotly")
    figure = lines_figure(Lines("title", "log10 step", [0.0, 1.0, 2.5], [[3.0, 2.0, 1.0], [9.0, 8.0, 7.0]], ["a", "b"]))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "step"
    assert figure.data[0].x == pytest.approx([1, 10, 10**2.5])
    assert [tuple(trace.y) for trace in figure.data] == [(3.0, 2.0, 1.0), (9.0, 8.0, 7.0)]
    assert [trace.name for trace in figure.data] == ["a", "b"]
    plain = lines_figure(Lines("title", "epoch", [1.0], [[3.0]], ["a"]))
    assert plain.layout.xaxis.type is None
    assert plain.data[0].x == (1.0,)
