"""No block of code on a page escapes being run: each says its language; conftest.py runs Python and shell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *(`{3,}|~{3,})(.*)$", flags=re.MULTILINE)
RUN = {"python", "sh"}
# What is shown, or belongs to the site. R, Julia and JavaScript are not installed where the tests run.
SHOWN = {"text", "yaml", "toml", "json", "bibtex", "math", "mermaid", "r", "julia", "js", "javascript", "html"}


def languages(page: Path) -> list[str]:
    """What stands behind each opening fence."""
    return [behind.strip() for _, behind in FENCE.findall(page.read_text(encoding="utf-8"))[::2]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_its_language(page):
    unknown = {name for name in languages(page) if name not in RUN | SHOWN and not name.startswith("{")}
    assert not unknown, f"blocks that begin with {sorted(unknown)}: write one of {sorted(RUN)} (run) or {sorted(SHOWN)}"


def test_pages_are_found_and_their_code_is_collected(request):
    found = [name for page in PAGES for name in languages(page) if name in RUN]
    assert len(PAGES) > 5
    assert len(found) > 15
    assert {"README.md", "docs"} <= set(request.config.getini("testpaths"))
