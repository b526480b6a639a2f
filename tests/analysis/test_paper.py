"""Every figure and table of the paper in one folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from curvewatch import open_run
from curvewatch.analysis.paper import write_paper
from curvewatch.analysis.paper.curves import most_forgotten, typical
from curvewatch.analysis.paper.document import markdown
from curvewatch.analysis.predict import predict
from curvewatch.cli.app import app
from curvewatch.corpus import contextual_diversity, count_ngrams
from tests.analysis.test_predict import corpus, the_set, write_seeds

RELEASED = (
    "examples_", "_crossrun.pdf", "contextual_diversity.png", "dataset_map.pdf", "final_surprisal_crossrun_correlation",
    "surprisal_ngram_correlation.pdf", "surprisal_crossrun_correlation.pdf", "run_lrts", "directions_of_effect",
)  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def written(seeds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, of three runs with everything but texts."""
    folder = tmp_path_factory.mktemp("paper") / "out"
    tokens = the_set()
    write_paper(
        [open_run(path) for path in seeds],
        folder,
        count_ngrams(corpus(), tokens),
        contextual_diversity(corpus(), tokens),
    )
    return folder


def test_every_figure_and_table_is_there_and_named(written: Path) -> None:
    text = (written / "paper.md").read_text()
    for name in RELEASED:
        assert name in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) >= 10
    for name in pictures:
        assert (written / name).stat().st_size > 2_000
        assert (written / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    record = json.loads((written / "paper.json").read_text())
    assert {path.name for path in written.iterdir()} == {*record["files"], "paper.md", "paper.json"}
    assert list(record["missing"]) == ["sampled_texts"]
    assert "those of the released code" in record["settings"]["measures"]
    for item in record["items"]:
        assert f"{item['title']}\n" in text
        assert "240 tokens, 3 runs" in item["caption"] or item["name"].startswith(("example", "contextual"))


def test_tables_hold_the_numbers_of_predict(written: Path, seeds: list[Path]) -> None:
    tokens = the_set()
    runs = [open_run(path) for path in seeds]
    found = predict(runs, count_ngrams(corpus(), tokens), contextual_diversity(corpus(), tokens), paper=True)
    models = pd.read_csv(written / "likelihood_ratios.csv", index_col=[0, 1])
    for target, one in found.found.items():
        for step in one.steps:
            assert models.loc[(target, step.name), "adjusted_r2"] == pytest.approx(step.fit.adjusted_r2, rel=1e-12)
    directions = pd.read_csv(written / "directions.csv", index_col=0)
    for target, one in found.found.items():
        assert directions[target].to_dict() == {effect.name: effect.signs for effect in one.effects}
    peaks = pd.read_csv(written / "surprisal_ngram_correlation.csv", index_col=0)
    assert found.hump is not None
    assert peaks["peak_step"].tolist() == found.hump.peak_n.tolist()


def test_examples_are_what_they_are_called(seeds: list[Path]) -> None:
    tables = [open_run(path).measures(paper=True) for path in seeds]
    early, median, late = typical(tables[0])
    age_N = tables[0]["age_of_acquisition"]
    learned_N = tables[0]["acquisition_status"] == "learned"
    assert age_N[early] < age_N[median] < age_N[late]
    assert age_N[median] == pytest.approx(np.median(age_N[learned_N]), abs=0.05)
    (first, second) = most_forgotten(tables)
    everywhere = np.all([one["acquisition_status"] == "learned" for one in tables], axis=0)
    mean_N = np.where(everywhere, np.mean([one["forgettability"] for one in tables], axis=0), -1)
    assert [first, second] == np.argsort(-mean_N, kind="stable")[:2].tolist()


def test_without_ngrams_of_one_run_it_says_what_is_missing_and_removes_only_its_own(
    seeds: list[Path], tmp_path: Path
) -> None:
    tokens = the_set()
    runs = [open_run(path) for path in seeds]
    write_paper(runs, tmp_path, count_ngrams(corpus(), tokens))
    (tmp_path / "mine.csv").write_text("kept")
    write_paper(runs[:1], tmp_path, examples=[3, 4])
    text = (tmp_path / "paper.md").read_text()
    assert "tokens 3, 4 (given)" in text
    for missing in ("n-grams were not given", "contextual diversity was not given", "it compares runs, and one is"):
        assert missing in text
    assert (tmp_path / "mine.csv").read_text() == "kept"
    assert (tmp_path / "examples.png").exists()
    assert not (tmp_path / "directions.csv").exists()
    assert not (tmp_path / "effects.png").exists()


def test_runs_of_a_few_rows_make_what_they_can(tmp_path: Path) -> None:
    from tests.analysis.synthetic import write_run

    for n_steps, said in ((0, "no step was scored"), (1, "no step after 0"), (3, "the first run wrote no texts")):
        run = open_run(write_run(tmp_path / f"few{n_steps}.h5", n_steps, 40))
        counted = count_ngrams([np.arange(64)] * 4, run.tokens)
        write_paper([run], tmp_path / f"out{n_steps}", counted)
        text = (tmp_path / f"out{n_steps}" / "paper.md").read_text()
        assert said in text[text.index("## Not made") :]


def test_a_run_that_was_stopped_among_others_is_told_of(tmp_path: Path) -> None:
    from tests.analysis.synthetic import write_run

    whole = open_run(write_run(tmp_path / "whole.h5", 60))
    short = open_run(write_run(tmp_path / "short.h5", 8, steps=np.arange(8), max_steps=100_000))
    write_paper([whole, short], tmp_path / "out", count_ngrams([np.arange(64)] * 4, whole.tokens))
    text = (tmp_path / "out/paper.md").read_text()
    assert "short 8, steps 0 to 7" in text
    assert "short stands at step 7 of 100,000: all its values are provisional" in text
    assert "short: Only 7 scored steps" in text


def test_too_few_tokens_to_regress_leave_out_that_only(tmp_path: Path) -> None:
    from tests.analysis.synthetic import token_set, write_run

    tokens = token_set(3)
    run = open_run(write_run(tmp_path / "few.h5", 40, tokens=tokens))
    write_paper([run], tmp_path / "out", count_ngrams([np.arange(64)] * 4, tokens))
    text = (tmp_path / "out/paper.md").read_text()
    assert "- regressions: surprisal: 3 tokens have a value of it" in text
    assert (tmp_path / "out/dataset_map.png").exists()


def test_the_command(seeds: list[Path], tmp_path: Path) -> None:
    tokens = the_set()
    count_ngrams(corpus(), tokens).save(tmp_path / "n.npz")
    contextual_diversity(corpus(), tokens).save(tmp_path / "d.npz")
    names = [str(path) for path in seeds]
    out = tmp_path / "paper"
    given = ["--ngrams", str(tmp_path / "n.npz"), "--diversity", str(tmp_path / "d.npz"), "-o", str(out)]
    result = CliRunner().invoke(app, ["paper", *names, *given, "--own", "--example", "5"])
    assert result.exit_code == 0, result.output
    assert str(out / "paper.md") in result.output
    text = (out / "paper.md").read_text()
    assert "curvewatch's own definitions" in text
    assert "tokens 5 (given)" in text
    for arguments, said in (
        ([*names, "--diversity", str(tmp_path / "d.npz")], "give --ngrams, too"),
        ([*names, "-o", str(tmp_path / "n.npz")], "a file is there; give a folder"),
        ([*names, "--example", "9999", "-o", str(tmp_path / "y")], "no token 9999; indices lie from 0 to 239"),
        ([names[0], names[0], "-o", str(tmp_path / "y")], "Give each run once"),
    ):
        result = CliRunner().invoke(app, ["paper", *arguments])
        assert result.exit_code != 0
        assert said in " ".join(re.sub(r"[│\x1b]|\[[0-9;]*m", " ", result.output).split())
    assert not (tmp_path / "y").exists()


def test_markdown_keeps_signs_and_bars_in_their_cells() -> None:
    table = pd.DataFrame({"a|b": ["---", "x|y"], "n": [1234567.0, np.nan]}, index=pd.Index(["p", "q"], name="k"))
    assert markdown(table) == [
        "| k | a\\|b | n |",
        "| --- | --- | --- |",
        "| p | `---` | 1,234,567 |",
        "| q | x\\|y | - |",
    ]
