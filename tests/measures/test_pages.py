"""The measures' pages: they say of every measure what there is to say, and what they say is so."""

from __future__ import annotations

import importlib.util
import re
import shlex
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import curvewatch
import curvewatch.measures
from curvewatch.analysis.compare import compare
from curvewatch.cli.app import app
from curvewatch.corpus import count_ngrams, load_ngrams
from curvewatch.live.keys import SET_KEYS
from curvewatch.measures import frequency
from curvewatch.measures.table import UNITS
from tests.analysis.synthetic import VOCABULARY, write_run

FOLDER = Path(__file__).parents[2] / "docs" / "measures"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
SECTIONS = [
    "Definition",
    "Worked example",
    "What raises it, what lowers it",
    "When there is no value",
    "Traps",
    "How to get it",
    "Source",
]
LARGEST_PICTURE = 60_000  # bytes

each_page = pytest.mark.parametrize("text", [TEXTS[path.name] for path in PAGES], ids=[path.stem for path in PAGES])


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level."""
    return re.split(r"^## ", text.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the first table, without its head."""
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE).group(0).splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def anchors(name: str) -> set[str]:
    """Places in a page: its headings, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.+)$", (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_a_page_says_all_there_is_to_say(text):
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert "$" in section(text, "Definition")
    assert len(re.findall(r"^!\[.{20,}\]\([\w-]+\.png\)$", text, re.MULTILINE)) == 1


@each_page
def test_the_worked_example_is_right(text):
    blocks = python_blocks(section(text, "Worked example"))
    assert len(blocks) == 1 == len(python_blocks(text))
    assert "from curvewatch" in blocks[0]
    assert re.search(r"^(assert |np\.testing\.assert_)", blocks[0], re.MULTILINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(blocks[0], {})


def test_every_column_of_the_table_has_its_place():
    table = rows(section(TEXTS["index.md"], "Columns of the table"))
    named = {}
    for link, unit, _about in table:
        column, page, _, anchor = re.fullmatch(r"\[`(\w+)`\]\(([\w-]+\.md)(#([\w-]+))?\)", link).groups()
        named[column] = unit
        assert {cells[0].strip("`"): cells[1] for cells in rows(TEXTS[page])}[column] == unit
        assert anchor is None or anchor in anchors(page)
    assert named == {column: unit or "-" for column, unit in UNITS.items()}


def test_every_page_stands_in_the_index():
    linked = re.findall(r"\]\(([\w-]+\.md)", TEXTS["index.md"])
    assert set(linked) == {path.name for path in PAGES}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", TEXTS[name])
    assert links
    for target, anchor in links:
        assert (FOLDER / target).exists(), target
        if anchor:
            assert anchor in anchors(target or name), f"{target}#{anchor}"


def test_a_sudden_fall_makes_the_spline_swing_as_far_as_its_page_says():
    x_T = np.linspace(0, 4, 80)
    fall_TN = np.where(x_T < 2, 16.0, 0.05)[:, None]
    with pytest.warns(curvewatch.measures.MeasureWarning):
        table = curvewatch.measures.measure_curves(fall_TN, 10**x_T, chance=15.6)
    lowest, rises = float(table["min_surprisal"][0]), float(table["forgettability"][0])
    said = " ".join(section(TEXTS["smoothed-curve.md"], "Traps").split())
    assert f"a minimum of {lowest:.2f} bits and, though it never rises, a forgettability of {rises:.2f} bits" in said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of one token set, under the names that the pages use."""
    made = tmp_path_factory.mktemp("pages")
    for seed, name in enumerate(("curves.h5", "seed1.h5", "seed2.h5")):
        write_run(made / name, n_steps=80, seed=seed)
    np.save(made / "train.npy", np.random.default_rng(0).integers(0, VOCABULARY, 5000))
    return made


@each_page
def test_it_is_had_as_the_page_says(text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run = curvewatch.open_run("curves.h5")
    names = {
        **{name: getattr(curvewatch.measures, name) for name in curvewatch.measures.__all__},
        **{"run": run, "runs": [run, curvewatch.open_run("seed1.h5")], "compare": compare},
        **{"surprisal_TN": run.surprisal[:], "correct_TN": run.correct[:], "steps": run.steps},
        **{"chance": run.chance, "max_steps": run.max_steps, "counts_D": np.arange(len(set(run.tokens.target)))},
        **{"TargetTypes": frequency.TargetTypes, "frequency_bands": frequency.frequency_bands},
        **{"frequency_correlations": frequency.frequency_correlations, "np": np},
        **{"count_ngrams": count_ngrams, "load_ngrams": load_ngrams},
    }
    hows = [re.findall(r"`([^`]+)`", how)[0] for _, how in rows(section(text, "How to get it"))]
    assert any(how.startswith("curvewatch") for how in hows)
    for how in hows:
        if how.startswith("curvewatch/<set>/"):
            assert how.removeprefix("curvewatch/<set>/") in SET_KEYS
        elif how.startswith("curvewatch "):
            result = CliRunner().invoke(app, shlex.split(how)[1:], env={"COLUMNS": "200"})
            assert result.exit_code == 0, result.output
            written = re.search(r"-o (\S+)", how)
            assert Path(written[1]).exists() if written else result.stdout
        else:
            assert np.size(eval(how, names)) > 0


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The script that draws, which is no module of the package."""
    spec = importlib.util.spec_from_file_location("measures_pictures", FOLDER / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all pictures as they are drawn today."""
    made = tmp_path_factory.mktemp("pictures")
    pictures.draw_all(made)
    return made


def test_pictures_show_what_the_functions_return(drawn):
    names = {path.name for path in drawn.iterdir()}
    assert names == {path.name for path in FOLDER.glob("*.png")}
    assert names == {name for text in TEXTS.values() for name in re.findall(r"\]\(([\w-]+\.png)\)", text)}
    for name in names:
        # Pixels depend on matplotlib's version; the numbers in the picture do not.
        assert Image.open(FOLDER / name).info["Description"] == Image.open(drawn / name).info["Description"]
        assert 0 < (FOLDER / name).stat().st_size < LARGEST_PICTURE


def test_pictures_are_the_same_each_time(pictures, drawn, tmp_path):
    some = ["forgettability", "frequency"]
    pictures.draw_all(tmp_path, some)
    for name in some:
        assert (tmp_path / f"{name}.png").read_bytes() == (drawn / f"{name}.png").read_bytes()
