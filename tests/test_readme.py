"""The README: short, with links that lead somewhere. Its code is run by conftest.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(([^)\s]+)\)", README)))


def test_it_is_a_screen_and_a_half():
    assert len(README.splitlines()) <= 90


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_to_files_of_the_repository(link):
    assert (ROOT / link).is_file()


def test_every_page_of_a_task_or_a_host_is_linked():
    pages = [*(ROOT / "docs" / "start").glob("*.md"), *(ROOT / "docs" / "tasks").glob("*.md")]
    assert len(pages) >= 9
    assert {str(page.relative_to(ROOT)) for page in pages} <= set(LINKS)


def test_the_file_tree_names_every_room():
    source = ROOT / "src" / "curvewatch"
    rooms = {path.name for path in source.glob("*.py") if path.name != "__init__.py"}
    rooms |= {f"{path.parent.name}/" for path in source.glob("*/__init__.py")}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page[page.index("src/curvewatch/\n") : page.index("integrations/      ")]
    assert set(re.findall(r"^  (\S+)", tree, flags=re.MULTILINE)) == rooms
