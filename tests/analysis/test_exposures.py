"""Exposures and batches of a run: tables, effects, retention, columns, the figure, the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import Observation, Passages, RunFile, TokenSet, fingerprints, open_run
from curvewatch.analysis.batches import batches_before, rows_in
from curvewatch.analysis.doctor import BAD, examine
from curvewatch.cli.app import app
from curvewatch.runfile.records import Row, RunPlan, SetRecord, TrainedPart

STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10)
EXPOSED = {2: [0], 4: [0, 1]}
"""Passages by update; of passage 0 the probe gains 2 bits each time, and loses a quarter behind the last."""
BITS = {0: 9.0, 1: 9.0, 2: 7.0, 3: 7.0, 4: 5.0, 5: 5.5, 6: 6.0, 8: 6.5, 10: 7.0}


class Words:
    """A tokenizer of letters."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Any) -> str:
        return "".join(map(chr, ids))

    def __len__(self) -> int:
        return 128


def sequences(step: int) -> np.ndarray:
    """What was trained on in an update."""
    return np.random.default_rng(step).integers(0, 128, (3, 8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = [
        {"prompt": "the sea is", "answer": " b", "fact": "sea"},
        {"prompt": "the sky is", "answer": " g", "fact": "sky"},
        {"prompt": "the sun is", "answer": " r", "fact": "nowhere"},
    ]
    tokens = TokenSet.from_completions(rows, Words(), label="fact")
    passages = Passages({"sea": "the sea is b", "sky": "the sky is g", "moon": "the moon is w"}, Words())
    plan = RunPlan(10, np.array(STEPS), "kept", {}, passages=passages, batches=True)
    file = RunFile.start(tmp_path / "curves.h5", {"eval": SetRecord(tokens, 128, {})}, plan, -1)
    for last, step in zip((0, *STEPS[:-1]), STEPS, strict=True):
        found = np.array(EXPOSED.get(step, []), np.int64)
        prints = np.concatenate(
            [np.zeros(0, np.uint64), *(fingerprints(sequences(u)) for u in range(last + 1, step + 1))]
        )
        of_S = np.repeat(np.arange(last + 1, step + 1), 3)
        if step:
            file.add_trained(
                TrainedPart(last, step, True, found * 0 + step, found, found * 0 + 1, of_S, prints, of_S * 0 - 1)
            )
        surprisal = np.full(len(tokens), BITS[step], np.float32)
        right = np.zeros(len(tokens), bool)
        file.append(Row(step, 0.1, 1e9 + step, {"eval": Observation(surprisal, right, surprisal)}))
    file.close()
    return tmp_path / "curves.h5"


def test_when_each_was_seen(path: Path) -> None:
    found = open_run(path).exposures()
    frame = found.to_pandas()
    assert frame["occurrences"].to_dict() == {"sea": 2, "sky": 1, "moon": 0}
    assert frame["first_step"].tolist() == [2, 4, -1]
    assert frame["last_step"].tolist() == [4, 4, -1]
    assert found.last_seen(3).tolist() == [2, -1, -1]
    assert "2 of 3 passages seen, 3 times" in repr(found)


def test_what_they_did(path: Path) -> None:
    run = open_run(path)
    frame = run.exposures().effects("answer", window=3)
    assert frame[["unit", "passage", "step"]].to_numpy().tolist() == [[0, "sea", 2], [0, "sea", 4], [1, "sky", 4]]
    assert frame["effectivity"].tolist() == [4.0, 2.0, 2.0], "within three steps the next exposure comes"
    assert frame["complete"].tolist() == [True] * 3
    retained = run.exposures().retention("answer", window=1)
    assert [one.gain for one in retained.by_probe] == [4.0, 2.0], "the sky was seen once"
    assert retained.by_probe[0].since_K.tolist() == [1, 2, 4, 6]
    assert retained.by_probe[0].retainability_K.tolist() == [3.5 / 4, 3 / 4, 2.5 / 4, 2 / 4]
    assert retained.common_K.all()
    assert retained.decay.constant > 0
    figure = run.exposures().plot("answer", window=3)
    assert len(figure.axes) == 2
    gained = figure.axes[0].lines[-1].get_ydata()
    assert gained[5:].tolist() == pytest.approx([2.0, (2 + 1.5 + 1.5) / 3, (4 + 1 + 1) / 3])


@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
def test_columns_beside_units(path: Path) -> None:
    frame = open_run(path).units("answer").to_pandas()
    assert frame["exposures"].tolist() == pytest.approx([2, 1, np.nan], nan_ok=True)
    assert frame["last_exposure"].tolist() == pytest.approx([4, 4, np.nan], nan_ok=True)


def test_batches_found_again(path: Path, tmp_path: Path) -> None:
    run = open_run(path)
    rows = np.concatenate([sequences(step) for step in range(1, 11)])
    np.save(tmp_path / "train.npy", rows)
    found = batches_before(run, 8, tmp_path / "train.npy")
    assert (found.first, found.last, found.unknown) == (7, 8, [])
    assert found.frame["step"].tolist() == [7, 7, 7, 8, 8, 8]
    assert found.frame["row"].tolist() == [18, 19, 20, 21, 22, 23]
    (tmp_path / "train.jsonl").write_text("".join(f'{{"input_ids": {row.tolist()}}}\n' for row in rows))
    assert rows_in(tmp_path / "train.jsonl").tolist() == rows_in(tmp_path / "train.npy").tolist()
    with pytest.raises(ValueError, match="before=11: the batches of updates 1 to 10"):
        batches_before(run, 11)
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(ValueError, match=r"other\.txt: a folder that `datasets` saved, \.jsonl or \.npy is expected"):
        rows_in(tmp_path / "other.txt")
    with pytest.raises(ValueError, match=r"shape \[rows, length\] are expected, this is \(2,\)"):
        fingerprints(np.array([1, 2]))


def test_commands(path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", sequences(3))
    run = CliRunner().invoke
    shown = run(app, ["exposures", str(path), "--unit", "answer", "--window", "3", "-o", str(tmp_path / "e.csv")])
    assert shown.exit_code == 0, shown.output
    assert "+2.67 bits an exposure on average (3 exposures of 2 probes)" in shown.output
    assert "2 of 3 passages were trained on" in shown.output
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 4
    shown = run(app, ["batches", str(path), "--before", "4", "--in", str(tmp_path / "train.npy")])
    assert shown.exit_code == 0, shown.output
    assert "step 4: ?, ?, ?" in shown.output
    shown = run(app, ["batches", str(path), "--before", "3", "--in", str(tmp_path / "train.npy")])
    assert "step 3: 0, 1, 2" in shown.output
    assert run(app, ["batches", str(path), "--before", "99"]).exit_code == 1
    wrong = run(app, ["exposures", str(path), "--unit", "word"])
    assert wrong.exit_code == 1
    assert "Traceback" not in wrong.output


def test_the_doctor_looks_at_it(path: Path) -> None:
    findings = examine(path)
    assert not [one for one in findings if one.level == BAD]
    (one,) = [one for one in findings if one.subject == "trained on"]
    assert "3 exposures of 3 passages and 30 sequences in updates up to 10" in one.text


def test_a_run_that_followed_nothing(tmp_path: Path) -> None:
    from tests.support.files import write

    write(tmp_path / "curves.h5", [0, 5])
    with pytest.raises(ValueError, match="no passages were followed"):
        open_run(tmp_path / "curves.h5").exposures()
    with pytest.raises(ValueError, match="batches were not remembered"):
        batches_before(open_run(tmp_path / "curves.h5"), 5)
