"""One figure or table of the paper, as made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Item:
    """A figure or a table.

    Attributes:
        name: Of its files, without ending.
        title: In words.
        released: What it is called in the released code: its figure's file, or the function that prints it.
        caption: What is shown, of how many tokens and runs, with which settings.
        ours: What of it is not in the paper; empty if all is.
        figure: If it is one.
        tables: pandas DataFrames by title; a figure may have some, too.
    """

    name: str
    title: str
    released: str
    caption: str
    ours: str = ""
    figure: Figure | None = None
    tables: dict[str, Any] = field(default_factory=dict)
