"""The script that lays out a W&B workspace: what it saves, and that every panel asks for what is logged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.keys import unknown
from tests.support.process import environment
from tests.support.wandb_server import WandbServer, serving

EXAMPLES = Path(__file__).parents[2] / "examples"


def saved(home: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The view that the script saves, and what it prints."""
    with serving() as server:
        done = run(server, home, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    (view,) = server.views
    return view, done.stdout + done.stderr


def run(server: WandbServer, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = environment(WANDB_BASE_URL=server.url, WANDB_API_KEY="a" * 40, HOME=str(home))
    command = [sys.executable, str(EXAMPLES / "wandb_view.py"), *arguments]
    return subprocess.run(command, env=settings, cwd=home, capture_output=True, text=True, timeout=120, check=False)


def panels(view: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}


def test_the_view_is_saved_in_sections(tmp_path):
    view, printed = saved(tmp_path, "team/project")
    assert (view["entityName"], view["projectName"], view["type"]) == ("team", "project", "project-view")
    assert "/team/project?nw=" in printed, "where to find it"
    shown = panels(view)
    assert list(shown) == [
        "Learning", "By frequency", "Which n-gram", "Forgetting", "Smoothed (provisional)", "Watched tokens", "Text",
        "Cost",
    ]  # fmt: skip
    assert shown["Learning"][0]["metrics"] == [f"curvewatch/eval/surprisal_{one}" for one in ("mean", "p10", "p90")]
    assert len(shown["Which n-gram"][0]["metrics"]) == 5
    lines = [one for name in shown for one in shown[name] if "xAxis" in one]
    assert all(one["xLogScale"] for one in lines)
    steps = {name: {one["xAxis"] for one in shown[name] if "xAxis" in one} for name in shown}
    assert steps["Smoothed (provisional)"] == {"curvewatch/eval/smoothed/step"}
    assert set.union(*(steps[name] for name in shown if name != "Smoothed (provisional)")) == {"curvewatch/watch/step"}


def test_every_panel_shows_what_is_logged(tmp_path):
    view, _ = saved(tmp_path, "team/project", "--set", "web", "--bands", "4", "--ngrams", "3")
    asked = [one for found in panels(view).values() for one in found]
    keys = {key for one in asked for key in (*one.get("metrics", ()), *one.get("mediaKeys", ()))}
    assert len(keys) > 30
    assert unknown(keys) == set()
    assert "curvewatch/web/frequency/04/surprisal_mean" in keys
    assert "curvewatch/web/ngram/4gram_correlation" not in keys
    (pattern,) = [one["metricRegex"] for one in asked if "metricRegex" in one]
    assert re.search(pattern, "curvewatch/web/watched/17 the")
    assert not re.search(pattern, "curvewatch/web/watched_curves")


@pytest.mark.parametrize("project", ["project", "/project", "team/"])
def test_a_project_without_its_team_is_refused(project, tmp_path):
    with serving() as server:
        done = run(server, tmp_path, project)
    assert done.returncode == 2
    assert "entity/project is expected" in done.stderr
    assert not server.views
