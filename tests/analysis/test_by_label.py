"""Labels in the report and in figures: the right means, in a browser, whatever a value is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curvewatch import open_run
from curvewatch.analysis.by_label import MOST_LINES, label_curves
from curvewatch.analysis.moment import Moment
from curvewatch.analysis.report import write_report
from tests.analysis.browser import browser
from tests.analysis.synthetic import write_run

HOSTILE = "</script><img src=x onerror=document.title='taken'>"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_run(tmp_path / "curves.h5", holes=(3,))
    run = open_run(tmp_path / "curves.h5")
    values = np.array(["a", "b", HOSTILE, None], object)[np.arange(run.n_tokens) % 4]
    run.annotate(run.tokens.label("group", values).label("many", np.arange(run.n_tokens) // 3))
    return tmp_path / "curves.h5"


@pytest.mark.parametrize("block", [1 << 24, 700])
def test_curves(block: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvewatch.analysis.by_label.BLOCK_VALUES", block)
    run = open_run(path)
    group, many = label_curves(Moment.now(run), ["group", "many"])
    y_TN = run.surprisal[:].astype(np.float64)
    for v, value in enumerate(group.values):
        chosen = run.tokens.labels["group"].where(value)
        assert group.sizes_V[v] == chosen.sum()
        with np.errstate(all="ignore"):
            assert np.allclose(group.mean_TV[:, v], np.nanmean(y_TN[:, chosen], axis=1), rtol=1e-5)
    assert (group.left_out, len(many.values), many.left_out) == (0, MOST_LINES, run.n_tokens // 3 - MOST_LINES)


def test_figure(path: Path) -> None:
    figure = open_run(path).plot("label:group")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "a (75)" in labels
    assert len(labels) == 3
    with pytest.raises(ValueError, match="label='colour': the token set has no such label"):
        open_run(path).plot("label:colour")


def test_report(path: Path, tmp_path: Path) -> None:
    page = write_report([open_run(path)], tmp_path / "report.html")
    plain = tmp_path / "plain.h5"
    write_run(plain)
    without = write_report([open_run(plain)], tmp_path / "without.html")
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as seen:
        seen.open(page)
        assert seen.console() == []
        assert seen.run("return document.title").startswith("curves")
        assert seen.run("return document.querySelectorAll('#label-charts figure').length") == 2
        rows = seen.run("return [...document.querySelectorAll('#label-charts tbody')][0].innerText").splitlines()
        assert rows[0].startswith("a")
        assert HOSTILE in " ".join(rows)
        assert seen.run("return document.querySelectorAll('#label-charts img').length") == 0
        drawn = seen.run("return document.querySelectorAll('#plot-label-0 .scatterlayer .trace').length")
        assert drawn == 3
        expected = open_run(path).by_label("group")
        cells = seen.run("return [...document.querySelectorAll('#label-charts tbody tr')][0].innerText").split("\t")
        assert int(cells[1]) == expected.loc["a", "tokens"]
        assert float(cells[2]) == pytest.approx(expected.loc["a", "final_surprisal"], rel=5e-3)
        seen.open(without)
        assert seen.run("return document.getElementById('labels').hidden")
        assert seen.console() == []
