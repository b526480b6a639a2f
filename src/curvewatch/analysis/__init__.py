"""From run files to findings: tables, single curves, comparison of runs, figures, and the report.

Table of contents:
    cache: the measures of a run, computed once and kept beside its file.
    moment: a run's rows as of one moment, while the file grows.
    select: which tokens.
    curve, characters: one token's curve, and how it is drawn in characters.
    frames: pandas and xarray.
    summary: the run step by step, mean and quantiles over its tokens.
    compare: several runs of one token set.
    doctor: what is wrong with a file, and what can be done.
    figures: for papers. report: one HTML page.

Each is imported when it is used: plotting and tables cost seconds to load.
"""
