"""Labels and words on the command line: added to a run that is over, and asked for."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from curvewatch import TokenSet, Watch, open_run
from tests.analysis.synthetic import write_run
from tests.cli.test_cli import call
from tests.support.models import PlainLM
from tests.support.tokenizers import WORDS, tokenizer_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("label") / "curves.h5"
    tokens = TokenSet.from_texts([WORDS, WORDS.upper()], tokenizer_of("tiktoken"), bos=0)
    model = PlainLM(vocabulary=300)
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    ids = torch.from_numpy(tokens.sequence(0).astype("int64"))[None]
    with Watch(tokens, path, max_steps=40, schedule=2) as watch:
        for step in range(41):
            watch.observe(model, step)
            logits = model(ids)[:, :-1]
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
    return path


@pytest.fixture
def file(trained: Path, tmp_path: Path) -> Path:
    path = tmp_path / "curves.h5"
    path.write_bytes(trained.read_bytes())
    return path


def test_added_and_taken_away(file: Path) -> None:
    with h5py.File(file) as h5:
        before = h5["surprisal"][:]
    said = call("label", file, "--regex", r"number=\d+", "--kind", "--words").stderr
    assert "label number, label kind" in said
    run = open_run(file)
    expected = run.tokens.label("number", r"\d+").labels["number"]
    assert run.tokens.labels["number"].same_as(expected)
    assert run.tokens.spans.kinds == ["word"]
    assert np.array_equal(run.surprisal[:], before)
    info = call("info", file).stdout
    assert "label number, label kind" in info
    assert "spans of kind word" in info
    assert f"{len(WORDS.encode()) + len(WORDS.upper().encode())} bytes of text" in info
    call("label", file, "--remove", "kind", "--remove", "word")
    assert list(open_run(file).tokens.labels) == ["number"]
    assert len(open_run(file).tokens.spans) == 0


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_from_a_file(ending: str, file: Path, tmp_path: Path) -> None:
    n = open_run(file).n_tokens
    frame = pd.DataFrame({"half": np.arange(n) < n // 2, "mod": [None if i == 3 else f"m{i % 3}" for i in range(n)]})
    shuffled = frame.assign(token=np.arange(n)).sample(frac=1, random_state=0)
    for given in (frame, shuffled):
        path = tmp_path / f"labels.{ending}"
        given.to_csv(path, index=False) if ending == "csv" else given.to_parquet(path)
        call("label", file, "--labels", path)
        labels = open_run(file).tokens.labels
        assert labels["half"].values == ("no", "yes")
        assert labels["half"].codes.tolist() == frame["half"].astype(int).tolist()
        assert labels["mod"].of_tokens().tolist() == frame["mod"].fillna("").tolist()


def test_tables(file: Path) -> None:
    call("label", file, "--kind", "--words")
    run = open_run(file)
    whole = pd.read_csv(io.StringIO(call("table", file).stdout), index_col="token")
    assert whole["label.kind"].fillna("").tolist() == run.tokens.labels["kind"].of_tokens().tolist()
    some = pd.read_csv(io.StringIO(call("table", file, "-w", "label.kind=number").stdout), index_col="token")
    assert some.index.tolist() == np.flatnonzero(run.tokens.labels["kind"].where("number")).tolist()
    by = pd.read_csv(io.StringIO(call("table", file, "--by", "kind").stdout), index_col="kind")
    for value, row in by.iterrows():
        chosen = whole[whole["label.kind"] == value]
        assert row["tokens"] == len(chosen)
        assert row["final_surprisal"] == pytest.approx(chosen["final_surprisal"].mean())
        assert row["learned_share"] == pytest.approx((chosen["acquisition_status"] == "learned").mean())
        ages = chosen.loc[chosen["acquisition_status"] == "learned", "age_of_acquisition"]
        assert row["median_age_of_acquisition"] == pytest.approx(ages.median(), nan_ok=True)
    words = pd.read_csv(io.StringIO(call("table", file, "--unit", "word", "--sort", "final_surprisal").stdout))
    assert len(words) == len(run.units("word"))
    assert words["final_surprisal"].is_monotonic_decreasing
    assert "ships" in set(words["name"])
    found = run.select(labels={"kind": "number"})
    assert found.tolist() == some.index.tolist()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "nothing to add"),
        (["--regex", "number"], 2, "NAME=PATTERN"),
        (["--regex", "number=("], 1, "not a regular expression"),
        (["--remove", "x"], 2, "no such label"),
        (["--labels", "x.doc"], 2, ".csv or .parquet"),
        (["--labels", "missing.csv"], 1, "missing.csv"),
    ],
)
def test_wrong_usage(words: list[str], code: int, says: str, file: Path) -> None:
    before = file.read_bytes()
    output = call("label", file, *words, code=code).output
    assert says in " ".join(output.replace("│", " ").split())
    assert file.read_bytes() == before


def test_labels_that_do_not_fit(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("a\nx\ny\n")
    assert "2 rows; the set has" in call("label", file, "--labels", path, code=1).stderr
    path.write_text("token,a\n0,x\n0,y\n")
    assert "does not name each of the" in call("label", file, "--labels", path, code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-w", "label.kind=none"], 1, "no such value"),
        (["-w", "label.colour=red"], 1, "no such label"),
        (["--unit", "reply"], 1, "no such spans"),
        (["--by", "colour"], 1, "no such label"),
        (["--by", "kind", "-w", "status=learned"], 2, "rows of their own"),
        (["--by", "kind", "--sort", "nothing"], 2, "no such column of numbers"),
    ],
)
def test_tables_that_are_not_there(words: list[str], code: int, says: str, file: Path) -> None:
    call("label", file, "--kind")
    output = call("table", file, *words, code=code).output
    assert says in " ".join(output.replace("│", " ").split())


def test_while_training_writes(file: Path) -> None:
    tokens = open_run(file).tokens
    watch = Watch(tokens, file, max_steps=60, schedule=2)
    watch.start(PlainLM(vocabulary=300), 40)
    try:
        assert "error:" in call("label", file, "--kind", code=1).stderr
    finally:
        watch.close()


def test_kinds_of_curves_become_labels(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    write_run(path, 40)
    call("label", path, "--kinds", "rho1, trends")
    run = open_run(path)
    for name in ("rho1", "trends"):
        assert run.tokens.labels[name].of_tokens().tolist() == run.kinds(name).names.tolist()
    assert "one of rho1, trends" in call("label", path, "--kinds", "colour", code=1).output
