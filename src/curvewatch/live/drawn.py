"""Tables and curves as trackers show them: a page of HTML, a Plotly figure."""

from __future__ import annotations

from html import escape
from typing import Any

from curvewatch.live.metrics import Lines, Table

STYLE = """
body { font: 13px/1.4 system-ui, sans-serif; margin: 8px; color: #222; background: #fff }
table { border-collapse: collapse }
th, td { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { position: sticky; top: 0; background: #f4f4f4; white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
td.target { font-weight: 600; background: #fff3c4; white-space: pre }
td.context { text-align: right; white-space: pre-wrap; color: #555; max-width: 48em }
""".strip()
# From the rarest to the most frequent: one scale of dark to light, which also reads in grey.
COLOURS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#d8c010")


def table_page(table: Table) -> str:
    """The table as a page of its own; all text is escaped."""
    heads = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(_cell(name, value) for name, value in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><style>{STYLE}</style></head>'
        f"<body><table><thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></body></html>"
    )


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, (int, float)):
        return (
            f'<td class="number">{value:,.2f}</td>'
            if isinstance(value, float)
            else f'<td class="number">{value:,}</td>'
        )
    # The end of a context is what stands before the target.
    kind = f' class="{column}"' if column in ("context", "target") else ""
    return f"<td{kind}>{escape(str(value))}</td>"


def lines_figure(lines: Lines) -> Any:
    """The curves as a Plotly figure; needs `plotly`."""
    import plotly.graph_objects as go

    n = max(1, len(lines.names) - 1)
    traces = [
        go.Scatter(
            x=list(lines.x), y=list(y), name=name, mode="lines",
            line={"width": 1.5, "color": COLOURS[round(i / n * (len(COLOURS) - 1))]},
        )
        for i, (name, y) in enumerate(zip(lines.names, lines.ys, strict=True))
    ]  # fmt: skip
    layout = {
        "title": {"text": lines.title},
        "xaxis": {"title": {"text": lines.x_name}},
        "yaxis": {"rangemode": "tozero"},
        "template": "plotly_white",
        "margin": {"l": 50, "r": 10, "t": 40, "b": 45},
    }
    return go.Figure(traces, layout)
