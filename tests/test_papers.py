"""What a project keeps beside its code says what the code does: version, commands, files, links."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import curvewatch

ROOT = Path(__file__).parents[1]
TEMPLATES = sorted(path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PAPERS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load(text(name))


def test_this_version_is_dated_alike_in_the_changelog_and_the_citation() -> None:
    citation = loaded("CITATION.cff")
    assert citation["version"] == curvewatch.__version__
    assert f"## {curvewatch.__version__} ({citation['date-released']})" in text("CHANGELOG.md")


def test_the_paper_is_cited() -> None:
    (paper,) = loaded("CITATION.cff")["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Chang", "Tu", "Bergen"]
    assert (paper["year"], paper["doi"]) == (2024, "10.1162/tacl_a_00708")


def test_before_a_commit_runs_what_lint_runs() -> None:
    ((hook,),) = [repo["hooks"] for repo in loaded(".pre-commit-config.yaml")["repos"]]
    assert hook["entry"] == "make lint"
    assert hook["always_run"]
    assert not hook["pass_filenames"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_issues_ask_for_what_the_command_prints(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}")
    assert {"name", "description", "body"} <= set(form)
    labels = [part["attributes"].get("label", "") for part in form["body"]]
    assert "`curvewatch doctor curves.h5`" in labels
    assert "`curvewatch info curves.h5`" in labels
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))


def test_the_quick_tests_are_there() -> None:
    """A file that was moved would be missed by `make check` alone, and by nobody who runs all tests."""
    (line,) = re.findall(r"^QUICK := ((?:.*\\\n)*.*)", text("Makefile"), flags=re.MULTILINE)
    words = line.replace("\\\n", " ").replace('"', "").split()
    assert len(words) > 5
    for word in words:
        path, _, test = word.partition("::")
        assert (ROOT / path).is_file(), path
        assert f"def {test.partition('[')[0]}(" in text(path) if test else True, word


@pytest.mark.parametrize("name", PAPERS)
def test_commands_and_files_that_are_named_are_there(name: str) -> None:
    page, folder = text(name), (ROOT / name).parent
    for target in re.findall(r"`make ([\w-]+)", page):
        assert re.search(rf"^{target}:", text("Makefile"), flags=re.MULTILINE), target
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page):
        assert (folder / link).exists(), link
    for path in re.findall(r"`((?:tests|examples|configs|\.ci|docs|integrations)/[\w./]*)`", page):
        assert (ROOT / path).exists(), path


def test_make_says_all_that_check_does() -> None:
    said = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for tool in (
        "ruff check",
        "ruff format --check",
        "mypy src/curvewatch",
        "mypy integrations",
        "lint-imports",
        "pytest",
    ):
        assert tool in said, tool
