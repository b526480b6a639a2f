"""Every figure and table of Chang, Tu & Bergen (2024) from run files of several seeds, in one folder.

In: runs of one token set, n-grams, diversity. Out: figures, tables, and `paper.md`, which holds them in order. Each is
named as the released code names it.

Table of contents:
    write_paper: the folder. items: what one figure or table is.
    making: all of them. curves, histograms: the figures. document: `paper.md`.
"""

from curvewatch.analysis.paper.writing import write_paper

__all__ = ["write_paper"]
