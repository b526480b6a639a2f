"""The site's settings: a fault in a page ends the build. That the real pages have none is `make docs`'s to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SETTINGS = Path(__file__).parents[2] / "docs"
GOOD = """# Title

[a page](other.md), [a place in it](other.md#below) and {py:class}`a class <curvewatch.Schedule>`.

```{eval-rst}
.. autoclass:: curvewatch.Schedule
   :no-members:
```

```{toctree}
other
```
"""
OTHER = "# Other\n\n## Below\n\nText.\n"
FAULTS = {
    "a page that is not there": ("(other.md)", "(another.md)", "another.md"),
    "a place that is not there": ("#below", "#above", "'above'"),
    "a name that is not there": ("<curvewatch.Schedule>", "<curvewatch.Schedules>", "curvewatch.Schedules"),
    "an object that is not there": (":: curvewatch.Schedule", ":: curvewatch.ScheduleHeap", "ScheduleHeap"),
    "a menu line without a page": ("\nother\n", "\nthird\n", "document 'third'"),
    "a page that is in no menu": ("# Title", "# Title", "isn't included in any toctree"),  # `other` above
}


def build(folder: Path, index: str) -> subprocess.CompletedProcess[str]:
    pages = folder / "pages"
    pages.mkdir()
    (pages / "index.md").write_text(index)
    (pages / "other.md").write_text(OTHER)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-c", str(SETTINGS)]
    return subprocess.run([*command, str(pages), str(folder / "site")], capture_output=True, text=True, timeout=120)


def test_pages_in_order_are_built(tmp_path):
    done = build(tmp_path, GOOD)
    assert done.returncode == 0, done.stderr
    assert "curvewatch.Schedule" in (tmp_path / "site" / "index.html").read_text()


def test_faults_end_the_build_and_each_is_named(tmp_path):
    index = GOOD
    for right, wrong, _ in FAULTS.values():
        assert right in index
        index = index.replace(right, wrong)
    done = build(tmp_path, index)
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    for fault, (_, _, named) in FAULTS.items():
        assert any(named in line for line in warnings), (fault, done.stderr)
