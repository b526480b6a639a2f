"""Lays a W&B project's workspace out for our metrics: a saved view, its panels in sections, without any clicking.

    pip install wandb-workspaces
    python examples/wandb_view.py my-team/my-project

The view then stands in the project's list of views. What it shows is told in docs/live.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import wandb_workspaces.workspaces as ws
from wandb_workspaces.reports.v2 import LinePlot, MediaBrowser

STEP = "curvewatch/watch/step"  # in every row, whatever the host's own axis is called
COLUMNS = 3
CORRELATED = ("surprisal", "acquisition", "forgettability", "variability")


def main() -> None:
    """Saves the view, and says where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", help="entity/project")
    parser.add_argument("--set", default="eval", help="name of the token set")
    parser.add_argument("--bands", type=int, default=3, help="frequency bands, as in Live(bands=...)")
    parser.add_argument("--ngrams", type=int, default=5, help="the longest n-gram; 0 without any")
    options = parser.parse_args()
    entity, _, project = options.project.partition("/")
    if not (entity and project):
        parser.error(f"project: {options.project!r}; entity/project is expected")
    workspace(entity, project, options.set, options.bands, options.ngrams).save()  # prints the address


def workspace(entity: str, project: str, name: str = "eval", n_bands: int = 3, n_max: int = 5) -> ws.Workspace:
    """Returns the view, not saved yet.

    Args:
        entity: Team or user.
        project: An existing project.
        name: Of the token set.
        n_bands: Frequency bands.
        n_max: The longest n-gram; 0 without any.
    """
    of_set = f"curvewatch/{name}"
    bands = ("rare", "mid", "frequent") if n_bands == 3 else [f"{i:02d}" for i in range(1, n_bands + 1)]

    def by_band(metric: str) -> list[str]:
        return [f"frequency/{band}/{metric}" for band in bands]

    def smoothed(title: str, *metrics: str) -> LinePlot:
        return lines(title, f"{of_set}/smoothed", *metrics, x=f"{of_set}/smoothed/step")

    sections = {
        "Learning": [
            lines("Surprisal: mean, best and worst tenth, bit",
                  of_set, "surprisal_mean", "surprisal_p10", "surprisal_p90"),
            lines("Acquired, known, first choice: share of tokens",
                  of_set, "acquired_share", "known_share", "accuracy_top1"),
        ],
        "By frequency": [
            lines("Surprisal by frequency, bit", of_set, *by_band("surprisal_mean")),
            lines("Acquired share by frequency", of_set, *by_band("acquired_share")),
            lines("Forgotten share by frequency", of_set, *by_band("forgotten_share")),
        ],
        "Which n-gram": [
            lines("Correlation with n-gram models, r",
                  of_set, *(f"ngram/{n}gram_correlation" for n in range(1, n_max + 1))),
            lines("The nearest n", of_set, "ngram/nearest"),
        ] if n_max else [],
        "Forgetting": [
            lines("Forgetting events so far", of_set, "forgetting_events_total", "threshold_forgetting_events_total"),
            lines("Tokens forgotten at least once, share", of_set, "forgotten_share"),
            page("The tokens most forgotten", f"{of_set}/most_forgotten"),
        ],
        "Smoothed (provisional)": [
            smoothed("Age of acquisition, median step", "acquisition_step_median"),
            smoothed("Acquired share, halfway threshold", "acquired_share"),
            smoothed("Forgettability, bit", "forgettability_mean", "forgettability_p90"),
            smoothed("Variability over the last quarter so far, bit", "within_run_variability_mean"),
            smoothed("Rank correlation with frequency", *(f"frequency_{one}_correlation" for one in CORRELATED)),
        ],
        "Watched tokens": [
            # One panel for all: their keys hold index and text, which nobody knows beforehand.
            LinePlot(
                title="Surprisal of the watched tokens, bit", x=STEP, metric_regex=f"^{of_set}/watched/", log_x=True
            ),
            page("The same, from rare to frequent", f"{of_set}/watched_curves"),
        ],
        "Text": [page("What the model wrote", "curvewatch/text/samples")],
        "Cost": [
            lines("Share of the time that training waited", "curvewatch/watch", "time_share"),
            lines("Seconds an observation", "curvewatch/watch", "seconds"),
            lines("Trouble", "curvewatch/watch", "rows_behind", "rows_lost", "failures"),
        ],
    }  # fmt: skip
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Learning curves of {name}",
        sections=[_section(title, panels) for title, panels in sections.items() if panels],
    )


def lines(title: str, prefix: str, *metrics: str, x: str = STEP) -> LinePlot:
    """Returns one panel of several metrics over log step."""
    return LinePlot(title=title, x=x, y=[f"{prefix}/{one}" for one in metrics], log_x=True)


def page(title: str, key: str) -> MediaBrowser:
    """Returns one panel of a page or chart, with a slider over the steps."""
    return MediaBrowser(title=title, media_keys=[key], num_columns=1)


def _section(title: str, panels: Sequence[LinePlot | MediaBrowser]) -> ws.Section:
    columns = min(COLUMNS, len(panels))
    layout = ws.SectionLayoutSettings(columns=columns, rows=-(-len(panels) // columns))
    return ws.Section(name=title, panels=list(panels), is_open=title != "Cost", layout_settings=layout)


if __name__ == "__main__":
    main()
