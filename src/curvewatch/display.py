"""How objects show themselves in a notebook: small pieces of HTML, whatever texts they hold.

Colours are the notebook's own, so that a card is readable on light and on dark pages.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

SHOWN_CHARACTERS = 400
"""Of one text."""
_BOX = "border:1px solid color-mix(in srgb, currentColor 25%, transparent);border-radius:6px;padding:.6em .8em;"
_BOX += "max-width:46em;font-size:13px;line-height:1.5;overflow-wrap:anywhere"
_QUIET = "opacity:.65"
_MARK = "background:color-mix(in srgb, #e8a33d 45%, transparent);border-radius:3px;padding:0 .15em"


def escaped(text: object, most: int = SHOWN_CHARACTERS) -> str:
    """A text as HTML that shows it and does nothing else, cut to `most` characters.

    Signs that steer a terminal or the direction of writing are shown as their code: they would change how the text
    around them is read.
    """
    shown = str(text)
    cut = shown[:most] + ("…" if len(shown) > most else "")
    visible = "".join(f"\\x{ord(c):02x}" if _steers(c) else c for c in cut)
    return html.escape(visible.encode("utf-8", "replace").decode(), quote=True)


def _steers(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs")


def card(title: object, rows: Iterable[tuple[str, str]], below: str = "") -> str:
    """A box with a title and lines of name and value.

    Args:
        title: As text.
        rows: Names as text, values as HTML.
        below: HTML that follows.
    """
    cells = "".join(
        f'<tr style="background:none"><td style="{_QUIET};text-align:left;padding:0 1em 0 0;vertical-align:top;'
        f'white-space:nowrap">{escaped(name)}</td><td style="text-align:left;padding:0">{value}</td></tr>'
        for name, value in rows
    )
    table = f'<table style="border:0;margin:.3em 0 0;font-size:inherit">{cells}</table>'
    return f'<div style="{_BOX}"><b>{escaped(title)}</b>{table}{below}</div>'


def marked(before: str, text: str, behind: str = "") -> str:
    """A token in its context, as HTML; blanks and line breaks are seen."""

    def seen(part: str) -> str:
        return escaped(part).replace("\n", "↵\n")

    context = before[-SHOWN_CHARACTERS:]
    cut = "…" if len(context) < len(before) else ""
    return (
        f'<span style="white-space:pre-wrap"><span style="{_QUIET}">{cut}{seen(context)}</span>'
        f'<mark style="{_MARK};color:inherit">{seen(text)}</mark>{seen(behind[:SHOWN_CHARACTERS])}</span>'
    )


def line(xs: Sequence[float], ys: Sequence[float], about: str, width: int = 260, height: int = 46) -> str:
    """A curve as a small picture (SVG), from the lowest to the highest of its finite values; "" without two of them."""
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(points) < 2:
        return ""
    (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points, strict=True))
    place = " ".join(
        f"{3 + (width - 6) * (x - x0) / ((x1 - x0) or 1):.1f},{3 + (height - 6) * (y1 - y) / ((y1 - y0) or 1):.1f}"
        for x, y in points
    )
    return (
        f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" style="display:block;'
        f'max-width:100%"><title>{escaped(about)}</title><polyline points="{place}" fill="none" stroke="currentColor" '
        'stroke-width="1.5"/></svg>'
    )


def shown(make: Callable[[], str], title: str) -> str:
    """What `make` makes; if it fails, a card that says why, where a notebook would show a long traceback."""
    try:
        return make()
    except Exception as error:
        return card(title, [("can't be shown", escaped(f"{type(error).__name__}: {error}"))])
