"""Figures as objects: they can be changed, saved by their own means, and show themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from curvewatch import TokenSet, open_run
from curvewatch.analysis.figures import FIGURES, figures
from curvewatch.analysis.findings import gather_findings
from tests.support.files import row, start, write
from tests.support.tokenizers import tokenizer_of

PNG = b"\x89PNG"


@pytest.fixture
def runs(tmp_path: Path) -> list:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.h5", range(0, 100, 5))
    return [open_run(tmp_path / "one.h5"), open_run(tmp_path / "two.h5")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_an_object(name: str, runs: list, tmp_path: Path) -> None:
    figure = runs[0].plot(name, *runs[1:])
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(PNG)
    figure.axes[0].set_title("changed")
    figure.savefig(tmp_path / "mine.svg")
    assert "changed" in (tmp_path / "mine.svg").read_text()


def test_what_it_shows(runs: list) -> None:
    lines = runs[0].plot().axes[0].get_lines()
    drawn = {tuple(line.get_ydata()) for line in lines}
    means = tuple(runs[0].surprisal[:].mean(axis=1, dtype=float)[1:])
    assert any(len(values) == len(means) and pytest.approx(means, rel=1e-5) == values for values in drawn)
    both = runs[0].plot("accuracy", runs[1])
    assert [text.get_text() for text in both.axes[0].get_legend().get_texts()] == ["one", "two"]


def test_one_token(runs: list) -> None:
    figure = runs[0].curve(3).plot()
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_ylabel() == "surprisal (bits)"
    assert figure._repr_png_().startswith(PNG)


def test_no_such_figure(runs: list) -> None:
    with pytest.raises(ValueError, match=r"name='pie': no such figure. There are surprisal, accuracy"):
        runs[0].plot("pie")
    with pytest.raises(ValueError, match=r"'cross_run': it compares runs"):
        runs[0].plot("cross_run")


def test_nothing_to_draw_yet(tmp_path: Path) -> None:
    write(tmp_path / "curves.h5", [0])
    assert "no observation after step 0" in [t.get_text() for t in open_run(tmp_path / "curves.h5").plot().texts]


def test_pyplot_is_not_loaded(tmp_path: Path) -> None:
    """It would choose how figures are shown, and keep every one of them."""
    import subprocess
    import sys

    write(tmp_path / "curves.h5", range(0, 60, 5))
    code = "import sys, curvewatch; curvewatch.open_run(sys.argv[1]).plot(); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "curves.h5")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_nothing_to_draw_yet_of_labels_and_pairs(tmp_path: Path) -> None:
    tokens = TokenSet.from_pairs([("a cat sat", "a cats sat")], tokenizer_of("GPT-2, transformers"), bos=0)
    tokens = tokens.label("even", np.arange(len(tokens)) % 2 == 0)
    file = start(tmp_path / "curves.h5", tokens)
    file.append(row(0, len(tokens)))
    file.close()
    run = open_run(tmp_path / "curves.h5")
    assert {path.stem for path in figures(gather_findings([run]), tmp_path / "figures", ("png",))} >= {"label_even"}
    kind = run.tokens.spans.kinds[0]
    for name in ("label:even", f"items:{kind}"):
        assert "no observation after step 0" in [t.get_text() for t in run.plot(name).texts]
