"""Files of every format so far open, are continued and are analysed, with the values that went into them."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import Observation, RunFile, RunFileError, open_run
from curvewatch.analysis.doctor import BAD, examine
from curvewatch.cli.app import app
from curvewatch.runfile import layout
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.terminal.follow import Follower
from tests.formats.kept.make import STEPS, N, values

FILES = sorted((Path(__file__).parent / "kept").glob("*/*.h5.gz"))


@pytest.fixture(params=FILES, ids=lambda file: f"{file.parent.name}/{file.name.split('.')[0]}")
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param.parent.name}.{request.param.name.split('.')[0]}.h5"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return path


def version_of(path: Path) -> int:
    return int(path.name.split("-")[0])


def test_there_is_one_of_every_format() -> None:
    assert {version_of(file.parent) for file in FILES} == set(range(1, layout.FORMAT_VERSION + 1))


def test_they_hold_together_all_that_the_layout_names(tmp_path: Path) -> None:
    """A dataset that is new takes a file that has it, made now: later code must read it, too."""
    found = set()
    for file in FILES:
        (path := tmp_path / "one.h5").write_bytes(gzip.decompress(file.read_bytes()))
        with h5py.File(path) as h5:
            found |= {*h5, *h5.get(layout.TRAINED_ON, ())}
    assert {dataset.name for dataset in (*layout.DATASETS, *layout.TRAINED_ON_DATASETS)} - found == set()


def test_opened(kept: Path) -> None:
    with h5py.File(kept) as file:
        assert file.attrs["format_version"] == version_of(kept)
        has = set(file)
    run, whole = open_run(kept), kept.stem.endswith("whole")
    assert run.steps.tolist() == list(STEPS)
    assert run.due_steps.tolist() == ([0, 5, 6] if "due_step" in has else list(STEPS))
    for t, step in enumerate(STEPS):
        surprisal, correct, entropy = values(step)
        assert np.array_equal(run.surprisal[t], surprisal)
        assert np.array_equal(run.correct[t], correct)
        assert np.allclose(run.entropy[t], entropy, rtol=1e-3 if version_of(kept) < 3 else 0)
    assert run.seconds.tolist() == [0.5] * 3
    assert run.time.tolist() == [1e9 + step for step in STEPS]
    assert run.tokens_seen.tolist() == pytest.approx(
        [100.0 * step for step in STEPS] if "tokens_seen" in has else [np.nan] * 3, nan_ok=True
    )
    for name, each in (("words_seen", 70.0), ("bytes_seen", 400.0)):
        found = getattr(run, name).tolist()
        assert found == pytest.approx([each * step if name in has else np.nan for step in STEPS], nan_ok=True)
    assert (run.boundary is not None) is ("boundary" in has)
    if run.boundary is not None:
        assert np.array_equal(run.boundary[1], (np.arange(N) / 10 - 5).astype(np.float32))
    assert (run.base_kl is not None) is ("base_kl" in has)
    if run.base_kl is not None:
        assert run.base_kl[:, 3].tolist() == [np.float32(step / 10) for step in STEPS]
    assert (run.dropout_sd is not None) is ("dropout_sd" in has)
    if run.dropout_sd is not None:
        assert run.dropout_sd[:, 3].tolist() == [np.float32(step / 20) for step in STEPS]
    assert (run.max_steps, run.schedule, run.chance, run.weights) == (10, "kept", 4.0, "training")
    assert run.planned_steps.tolist() == [0, 5, 6, 9]
    assert run.skipped == ({9: "over budget ä"} if whole and "skipped_step" in has else {})
    assert [session["host"] for session in run.sessions] == [{"name": "kept"}]
    assert [(one.step, one.prompt, one.text, one.token_ids) for one in run.samples] == (
        [(7, "By", " the sea", (1, 2))] if whole and "sample" in has else []
    )
    tokens = run.tokens
    assert [tokens.sequence(s).tolist() for s in range(3)] == [[1, 2, 3, 4, 5], [5, 4, 3], [2, 2, 2, 1]]
    assert tokens.hash == run.set_hash
    kind = kept.name.split(".")[1]
    assert tokens.objective == {"masked": "masked_in_2", "seq2seq": "seq2seq"}.get(kind, "causal")
    if kind == "masked":
        assert (tokens.masking.mask_id, tokens.masking.row_N.tolist()) == (7, [0, 1, 0, 1, 0, 1, 0, 1, 0])
    if kind == "seq2seq":
        assert [tokens.encoder.sequence(s).tolist() for s in range(3)] == [[7, 6], [5], [4, 4, 4]]
    if whole:
        assert str(tokens.show(2)) == " the sea<b>⟦ä⟧"
    assert list(tokens.labels) == (["sea"] if "label" in has else [])
    reference = tokens.annotations.reference
    assert (reference is not None) is ("reference_surprisal" in has)
    if reference is not None:
        assert reference.name == "the base"
        assert np.array_equal(reference.surprisal_N, values(1)[0])
        assert reference.correct_N.tolist() == [i % 2 == 0 for i in range(N)]
        assert run.against().base == "the base"
    if "span" in has:
        assert tokens.spans.name == ("water",)
        assert tokens.labels["sea"].of_tokens().tolist() == ["yes" if i == 2 else "no" for i in tokens.target]


def test_what_it_was_trained_on(kept: Path) -> None:
    trained = open_run(kept).trained
    with h5py.File(kept) as h5:
        assert (trained is not None) is (layout.TRAINED_ON in h5)
    if trained is None:
        return
    assert (trained.names, trained.texts) == (["a fact", "ä"], ["the sea is blue", "a fact nobody saw"])
    assert (trained.step_E.tolist(), trained.passage_E.tolist(), trained.count_E.tolist()) == ([5, 7], [0, 0], [3, 3])
    assert (trained.step_S.tolist(), trained.fingerprint_S.tolist()) == ([5, 5, 7, 7], [5, 5, 7, 7])
    assert (trained.index_S.tolist(), trained.unknown, trained.through) == ([-4, -4, -2, -2], [(1, 4), (6, 6)], 7)


def test_continued(kept: Path) -> None:
    """From step 5, as after a checkpoint: the row of step 7 is scored again, and another comes."""
    tokens, before = open_run(kept).tokens, open_run(kept)
    skipped = before.skipped
    plan = RunPlan(12, np.array([0, 5, 6, 9, 12]), "kept", {"host": {"name": "later"}})
    file = RunFile.start(kept, {"eval": SetRecord(tokens, 16, {"batch_size": 4})}, plan, 5)
    assert file.dropped_steps == (7,)
    for step in (7, 12):
        file.append(Row(step, 0.25, 2e9 + step, {"eval": Observation(*values(step + 1))}))
    file.skip(13, "later")
    file.close()
    run = open_run(kept)
    assert run.steps.tolist() == [0, 5, 7, 12]
    assert np.array_equal(run.surprisal[1], values(5)[0])
    assert np.array_equal(run.surprisal[2], values(8)[0])
    assert [session["host"]["name"] for session in run.sessions] == ["kept", "later"]
    assert run.samples == []
    assert 13 in run.skipped
    assert 9 not in run.skipped or 9 not in skipped
    with h5py.File(kept) as h5:
        assert h5.attrs["format_version"] == version_of(kept)


def test_continued_as_it_is(kept: Path) -> None:
    """Older code goes on reading the file, so its types stay, and what has no place there is left out."""
    tokens, old = open_run(kept).tokens, version_of(kept) < 3
    file = RunFile.start(kept, {"eval": SetRecord(tokens, 16, {})}, RunPlan(10, np.array([0, 5, 6, 9]), "kept", {}), 5)
    surprisal, correct, entropy = values(8)
    entropy[0] = 1e30
    file.append(Row(8, 0.25, 2e9, {"eval": Observation(surprisal, correct, entropy)}, due_step=6))
    file.close()
    run = open_run(kept)
    assert run.due_steps.tolist() == ([0, 5, 8] if old else [0, 5, 6])
    with h5py.File(kept) as h5:
        assert h5["entropy"].dtype == (np.float16 if old else np.float32)
        assert ("due_step" in h5) is not old
    with np.errstate(over="ignore"):  # beyond float16: inf
        expected = entropy.astype(np.float16 if old else np.float32)
    assert np.array_equal(run.entropy[2], expected.astype(np.float32))


def test_continued_with_other_weights(kept: Path) -> None:
    before = kept.read_bytes()
    plan = RunPlan(10, np.array([0]), "kept", {}, weights="averaged")
    with pytest.raises(RunFileError, match=r"of the training weights, this run scores the averaged ones.*another path"):
        RunFile.start(kept, {"eval": SetRecord(open_run(kept).tokens, 16, {})}, plan, 7)
    assert kept.read_bytes() == before


def test_analysed(kept: Path, tmp_path: Path) -> None:
    run = open_run(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = run.measures()
        assert table["forgetting_events_top1"].sum() > 0
        assert run.to_pandas().shape[0] == N
        assert run.to_xarray().sizes["step"] == 3
        run.annotate(run.tokens.label("third", np.arange(N) % 3 == 0))
        assert open_run(kept).tokens.labels["third"].sizes.tolist() == [6, 3]
    # Where a row can't say that it stands for another step, that one is missing.
    says_due = version_of(kept) >= 3
    found = [finding.text for finding in examine(kept) if finding.level == BAD]
    assert found == ([] if says_due else ["1 planned observations are missing: steps 6."])
    for command in (
        ["info", str(kept)],
        ["table", str(kept)],
        ["report", str(kept), "--output", str(tmp_path / "r.html")],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, (command, done.output)
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert Follower(kept).poll(30).steps_T[-1] == 7


def test_a_row_that_waits_in_the_journal(kept: Path) -> None:
    """A row that only the journal holds yet is there for a reader, beside a file of any version."""
    plan = RunPlan(10, np.array([0]), "kept", {})
    file = RunFile.start(kept, {"eval": SetRecord(open_run(kept).tokens, 16, {})}, plan, 7)
    file.append(Row(8, 0.1, 1.0, {"eval": Observation(*values(8))}))
    assert kept.with_name(f"{kept.name}.journal").exists()
    assert open_run(kept).steps.tolist() == [0, 5, 7, 8]
    file.close()
    assert open_run(kept).steps.tolist() == [0, 5, 7, 8]
