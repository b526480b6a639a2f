"""How a token set shows itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curvewatch.display import card, escaped, marked
from curvewatch.tokens.view import view_of

if TYPE_CHECKING:
    from curvewatch.tokens.tokenset import TokenSet

SHOWN_TOKENS = 3
CONTEXT = 16
"""Tokens before a shown one."""
MOST_VALUES = 6


def set_card(tokens: TokenSet) -> str:
    """What is scored, what it means, and some of it."""
    lengths = tokens.lengths
    ragged = f"{lengths.min():,} to {lengths.max():,}" if lengths.min() < lengths.max() else f"{lengths.max():,}"
    vocabulary = f"{tokens.vocab_size:,} tokens" if tokens.vocab_size else "as large as the model's"
    rows = [
        ("scored", f"{len(tokens):,} tokens in {tokens.n_sequences:,} sequences of {ragged} tokens"),
        ("vocabulary", vocabulary),
        ("made by", escaped(", ".join(f"{key}={value}" for key, value in tokens.made_by.items() if value is not None))),
        ("hash", f"<code>{escaped(tokens.hash[:16])}…</code>"),
    ]
    if tokens.objective != "causal":
        rows.insert(1, ("predicted", escaped(tokens.objective)))
    if tokens.n_bytes is not None:
        rows.append(("covers", f"{int(tokens.n_bytes.sum(dtype='int64')):,} bytes of text"))
    for name, label in tokens.labels.items():
        sizes = list(zip(label.values, label.sizes.tolist(), strict=True))
        more = f", and {len(sizes) - MOST_VALUES:,} more" if len(sizes) > MOST_VALUES else ""
        values = ", ".join(f"{escaped(value, 40)} ({n:,})" for value, n in sizes[:MOST_VALUES])
        rows.append((f"label {name}", values + more))
    for kind in tokens.spans.kinds:
        rows.append((f"spans: {kind}", f"{len(tokens.spans.of_kind(kind)):,}"))
    chosen = sorted({round(i * (len(tokens) - 1) / (SHOWN_TOKENS - 1)) for i in range(SHOWN_TOKENS)})
    views = [view_of(tokens, i, CONTEXT) for i in chosen]
    examples = "".join(f"<div>{view.index:,} {marked(view.context, view.target, view.behind)}</div>" for view in views)
    return card("TokenSet", rows, f'<div style="margin-top:.4em">{examples}</div>')
