"""Tables and curves as trackers show them: a page of HTML, a Plotly figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from curvewatch.live.metrics import Lines, Table

STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #666; --rule: #ddd; --head: #f4f4f4; --mark: #ffe9a8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --faint: #999; --rule: #3a3a3a; --head: #262626; --mark: #5c4a10 }
}
body { font: 13px/1.45 system-ui, sans-serif; margin: 8px; color: var(--ink) }
table { border-collapse: collapse; width: 100% }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top }
th { position: sticky; top: 0; background: var(--head); font-weight: 600; vertical-align: bottom }
.number { text-align: right; font-variant-numeric: tabular-nums }
.text { width: 100% }
td.text { min-width: 14em; white-space: pre-wrap; overflow-wrap: anywhere }
.context { color: var(--faint) }
.context, mark, td.text { unicode-bidi: isolate }
mark { background: var(--mark); color: inherit; font-weight: 600; border-radius: 2px; white-space: pre }
""".strip()
# What stands above a column, where its name does not say it to everybody.
HEADS = {
    "events_top1": "times forgotten, top-1",
    "events_threshold": "by threshold",
    "forgettability_bits": "forget\u00adtability, bit",
    "surprisal_bits": "surprisal now, bit",
    "correct": "first choice now",
    "context": "in its context",
    "text": "what it wrote",
    "repetition": "repeats, tokens",
    "status": "ended by",
}
INDICES = ("token", "step")  # typed into commands, so without separators
# From the rarest to the most frequent: one scale of dark to light, which also reads in grey.
COLOURS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#d8c010")
LOG10 = "log10 "


def table_page(table: Table) -> str:
    """The table as a page of its own; all text is escaped. A column `target` is marked at the end of its `context`."""
    shown = [name for name in table.columns if not (name == "target" and "context" in table.columns)]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    kinds = {name: _kind(name, rows) for name in shown}
    heads = "".join(f"<th{kinds[name]}>{escape(HEADS.get(name, name.replace('_', ' ')))}</th>" for name in shown)
    body = "\n".join(
        f"<tr>{''.join(f'<td{kinds[name]}>{_cell(name, row)}</td>' for name in shown)}</tr>" for row in rows
    )
    page = (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><style>{STYLE}</style></head>'
        f"<body><table><thead><tr>{heads}</tr></thead>\n<tbody>{body}</tbody></table></body></html>"
    )
    return _writable(page)


def _writable(text: str) -> str:
    # Tokens can be half a character; a lone surrogate is no UTF-8, and the file of it could not be written.
    return text.encode("utf-8", "replace").decode()


def _kind(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if column in ("context", "text"):
        return ' class="text"'
    return ' class="number"' if any(_is_number(row[column]) for row in rows) else ""


def _cell(column: str, row: Mapping[str, Any]) -> str:
    value = row[column]
    if column == "context":
        target = f"<mark>{escape(str(row['target']))}</mark>" if "target" in row else ""
        return f'<span class="context">{escape(str(value).lstrip())}</span>{target}'
    if _is_number(value):
        return f"{value:,.2f}" if isinstance(value, float) else str(value) if column in INDICES else f"{value:,}"
    return escape(str({None: "", True: "yes", False: "no"}.get(value, value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def lines_figure(lines: Lines) -> Any:
    """The curves as a Plotly figure; needs `plotly`."""
    import plotly.graph_objects as go

    n = max(1, len(lines.names) - 1)
    x, axis = _x_axis(lines)
    traces = [
        go.Scatter(
            x=x, y=list(y), name=escape(_writable(name), quote=False), mode="lines",  # Plotly reads tags
            line={"width": 1.75, "color": COLOURS[round(i / n * (len(COLOURS) - 1))]},
            hovertemplate="%{y:.2f} at %{x:,}",
        )
        for i, (name, y) in enumerate(zip(lines.names, lines.ys, strict=True))
    ]  # fmt: skip
    layout = {
        "title": {"text": lines.title, "font": {"size": 14}},
        "xaxis": axis,
        "yaxis": {"rangemode": "tozero"},
        "template": "plotly_white",
        "margin": {"l": 45, "r": 10, "t": 40, "b": 45},
    }
    return go.Figure(traces, layout)


def _x_axis(lines: Lines) -> tuple[Sequence[float], dict[str, Any]]:
    """Values and axis; a logarithm is shown as what it is the logarithm of."""
    if not lines.x_name.startswith(LOG10):
        return list(lines.x), {"title": {"text": lines.x_name}}
    title = {"text": lines.x_name.removeprefix(LOG10)}
    return [round(10**x, 6) for x in lines.x], {"title": title, "type": "log", "dtick": "D2", "tickformat": ",d"}
