"""The command: what it prints, what it writes, how it fails."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from curvewatch import Observation, Run, RunFile, open_run
from curvewatch.cli.app import app
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.analysis.synthetic import VOCABULARY, row, schedule, token_set, write_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs of one token set, the first with a NaN."""
    folder = tmp_path_factory.mktemp("cli")
    for seed in (1, 2, 3):
        write_run(folder / f"run{seed}.h5", seed=seed, holes=(3,) if seed == 1 else ())
    return folder


def call(*words: object, code: int = 0) -> Result:
    """Runs the command; no failure is ever an unhandled exception."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_info(made: Path) -> None:
    text = call("info", made / "run1.h5").stdout
    run = open_run(made / "run1.h5")
    for part in (run.run_id, "300 tokens", "60, steps 0 to 100,000, 100% of 100,000", "tests.Model, 1,000 parameters"):
        assert part in text
    assert "(1 not finite)" in text


def test_what_a_file_says_of_itself_gives_the_terminal_no_commands(made: Path, tmp_path: Path) -> None:
    """Nor is it markup of rich's; and a session is anything that JSON can hold."""
    evil = "\x1b]0;title\x07[bold]x[/]\x1b[2J\u202e"
    path = tmp_path / f"run{evil.replace('/', '')}.h5"
    path.write_bytes((made / "run1.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["run_id"] = evil
        session = {
            "model": {"class": evil, "parameters": evil},
            "host": evil,
            "versions": {evil: evil},
            "from_step": "0",
        }
        sessions = file["provenance/sessions"]
        sessions.resize((2,))
        sessions[:] = [json.dumps(session | {"dropped_rows": evil})] * 2
    for words in (["info", path], ["doctor", path], ["report", path, "-o", tmp_path / "r.html"]):
        result = call(*words, code=words[0] == "doctor")  # the file has a NaN
        assert "␛]0;title␇[bold]x[" in result.output or words[0] == "report"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", result.output), result.output
    result = call("info", f"{path}.not", code=1)
    assert "␛]0;title␇[bold]x[" in result.output
    assert "\x1b" not in result.output


def test_table_in_a_pipe_is_csv_of_the_measures(made: Path) -> None:
    result = call("table", made / "run1.h5", "--sort", "forgettability", "-n", "5", "-w", "min_forgetting=1")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    run = open_run(made / "run1.h5")
    expected = run.select(min_forgetting=1, sort="forgettability", limit=5)
    assert [int(one["token"]) for one in rows] == expected.tolist()
    np.testing.assert_allclose([float(r["forgettability"]) for r in rows], run.measures()["forgettability"][expected])


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_table_to_a_file(made: Path, tmp_path: Path, ending: str) -> None:
    import pandas as pd

    path = tmp_path / f"t{ending}"
    call("table", made / "run1.h5", "-o", path)
    read = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert len(read) == 300
    expected = open_run(made / "run1.h5").measures()["final_surprisal"]
    np.testing.assert_allclose(read.final_surprisal.to_numpy(), expected)


def test_show_by_index_and_by_text_and_as_picture(made: Path, tmp_path: Path) -> None:
    run = open_run(made / "run1.h5")
    assert "token 12 ·" in call("show", made / "run1.h5", "12").stdout
    the = run.select(token="the")
    result = call("show", made / "run1.h5", "the", "-k", "2")
    assert f"token {the[1]} ·" in result.stdout
    assert f"2 of {len(the)} occurrences" in result.stderr
    for ending, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        call("show", made / "run1.h5", "12", "-o", tmp_path / f"c{ending}")
        assert (tmp_path / f"c{ending}").read_bytes().startswith(head)


def test_export_holds_the_same_numbers(made: Path, tmp_path: Path) -> None:
    import pandas as pd
    import xarray as xr

    run: Run = open_run(made / "run1.h5")
    for ending in (".npz", ".parquet", ".nc"):
        call("export", made / "run1.h5", "-o", tmp_path / f"x{ending}")
    with np.load(tmp_path / "x.npz") as npz:
        assert np.array_equal(npz["surprisal"], run.surprisal[:], equal_nan=True)
        assert np.array_equal(npz["correct"], run.correct[:])
        assert npz["target_text"][12] == run.tokens.show(12).target
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert np.array_equal(np.stack(frame.surprisal).T, run.surprisal[:], equal_nan=True)
    with xr.open_dataset(tmp_path / "x.nc") as dataset:
        assert np.array_equal(dataset.surprisal.values, run.surprisal[:], equal_nan=True)
        assert dataset.age_of_acquisition.attrs["units"] == "log10(step)"


def test_compare(made: Path, tmp_path: Path) -> None:
    result = call("compare", *(made / f"run{i}.h5" for i in (1, 2, 3)), "-o", tmp_path / "v.csv")
    assert "3 runs of 300 tokens: run1, run2, run3" in result.stdout
    assert "final surprisal" in result.stdout
    values = np.genfromtxt(tmp_path / "v.csv", delimiter=",", skip_header=1)
    assert values.shape == (300, 2)
    assert np.isfinite(np.delete(values[:, 1], 3)).all()


def test_compare_with_another_schedule_says_what_it_leaves_out(made: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "short.h5", 45, seed=5)
    result = call("compare", made / "run2.h5", tmp_path / "short.h5")
    assert "scored at different steps" in result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("forgettability"))
    assert line.split()[1] == "-"


def test_compare_refuses_other_tokens_and_names_both(made: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "other.h5", 40, tokens=token_set(300, seed=9))
    message = call("compare", made / "run1.h5", tmp_path / "other.h5", code=1).stderr.replace("\n", " ")
    assert open_run(made / "run1.h5").set_hash in message
    assert open_run(tmp_path / "other.h5").set_hash in message


def test_report_and_figures(made: Path, tmp_path: Path) -> None:
    result = call("report", made / "run1.h5", "-o", tmp_path / "r.html")
    assert result.stdout.strip() == str(tmp_path / "r.html")
    result = call("figures", made / "run1.h5", made / "run2.h5", "-o", tmp_path / "f", "--formats", "pdf")
    names = {Path(line).name for line in result.stdout.split()}
    assert names == {f"{n}.pdf" for n in (
        "surprisal", "accuracy", "acquisition", "distributions", "dataset_map", "events", "correlations", "cross_run"
    )}  # fmt: skip


def test_paths_are_printed_whole_however_narrow_the_terminal(made: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("curvewatch.cli.common.out.width", 20)
    page = tmp_path / "a page with a rather long name.html"
    assert call("report", made / "run2.h5", "-o", page).stdout == f"{page}\n"
    assert f"{made / 'run2.h5'}\n" in call("info", made / "run2.h5").stdout


def test_doctor_finds_a_healthy_file_healthy(made: Path) -> None:
    assert "healthy" in call("doctor", made / "run2.h5").stdout


def test_doctor_finds_nan_missing_rows_and_damage(made: Path, tmp_path: Path) -> None:
    assert "1 tokens are NaN" in call("doctor", made / "run1.h5", code=1).stdout
    steps = schedule(40)
    write_run(tmp_path / "gap.h5", steps=np.delete(steps, [7, 8]), planned=steps, n_tokens=20)
    assert f"2 planned observations are missing: steps {steps[7]}, {steps[8]}" in call(
        "doctor", tmp_path / "gap.h5", code=1
    ).stdout.replace("\n", " ")
    whole = (made / "run2.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    call("doctor", tmp_path / "cut.h5", code=1)
    (tmp_path / "text.h5").write_text("not HDF5 at all\n" * 100)
    assert "not an HDF5 file" in call("doctor", tmp_path / "text.h5", code=1).stdout
    with h5py.File(tmp_path / "changed.h5", "w") as copy, h5py.File(made / "run2.h5") as source:
        for name in source:
            source.copy(name, copy)
        copy.attrs.update(source.attrs)
        copy["position"][0] += 0
        copy["sequences"][0, 0] = (copy["sequences"][0, 0] + 1) % VOCABULARY
    assert "contents changed" in call("doctor", tmp_path / "changed.h5", code=1).stdout


def test_doctor_repairs_what_a_crash_left(tmp_path: Path) -> None:
    code = f"""
import os, numpy as np
from curvewatch import RunFile
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.analysis.synthetic import row, schedule, token_set
tokens, steps = token_set(20), schedule(12)
file = RunFile.start({str(tmp_path / "dies.h5")!r}, {{"eval": SetRecord(tokens, 64, {{"batch_size": 1}})}},
                     RunPlan(100_000, steps, "test", {{}}), -1)
for step in steps.tolist():
    file.append(Row(step, 0.0, 1e9 + step, {{"eval": row(step, 20, 6.0, 100_000, 1)}}))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert len(open_run(tmp_path / "dies.h5")) == 12
    assert "a writer has it open, or crashed" in call("doctor", tmp_path / "dies.h5").stdout.replace("\n", " ")
    call("doctor", "--repair", tmp_path / "dies.h5")
    assert "closed in order" in call("doctor", tmp_path / "dies.h5").stdout
    assert len(open_run(tmp_path / "dies.h5")) == 12


def test_a_file_with_two_sets(tmp_path: Path) -> None:
    sets = {"web": token_set(20), "code": token_set(30, seed=4)}
    records = {name: SetRecord(one, VOCABULARY, {"batch_size": 1}) for name, one in sets.items()}
    steps = schedule(40)
    file = RunFile.start(tmp_path / "two.h5", records, RunPlan(100_000, steps, "test", {}), -1)
    for step in steps.tolist():
        file.append(Row(step, 0.0, 1e9, {n: row(step, len(s), 6.0, 100_000, 1) for n, s in sets.items()}))
    file.close()
    text = call("info", tmp_path / "two.h5").stdout
    assert "set web" in text
    assert "set code" in text
    assert "name one" in call("table", tmp_path / "two.h5", code=1).stderr
    assert len(call("table", tmp_path / "two.h5", "--set", "code").stdout.splitlines()) == 31
    call("doctor", tmp_path / "two.h5")


@pytest.mark.parametrize("n_steps", [0, 1, 2, 10])
@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
def test_few_observations(tmp_path: Path, n_steps: int) -> None:
    a = write_run(tmp_path / "a.h5", n_steps, 20)
    b = write_run(tmp_path / "b.h5", n_steps, 20, seed=2)
    call("info", a)
    result = call("table", a)
    assert len(result.stdout.splitlines()) == 21
    assert "note:" in result.stderr
    call("show", a, "3")
    call("show", a, "3", "-o", tmp_path / "c.png")
    call("compare", a, b)
    call("figures", a, b, "-o", tmp_path / "f", "--formats", "png")
    call("doctor", a)
    for ending in (".npz", ".parquet", ".nc"):
        call("export", a, "-o", tmp_path / f"x{ending}")


@pytest.mark.parametrize("command", ["info", "table", "doctor", "report", "figures"])
def test_what_is_no_run_file(tmp_path: Path, command: str) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = np.arange(10)
    (tmp_path / "empty.h5").touch()
    for name in ("foreign.h5", "empty.h5", "missing.h5"):
        result = call(command, tmp_path / name, code=1)
        assert name in result.output
    call(command, tmp_path, code=1)


@pytest.mark.parametrize(
    "words",
    [["table", "F", "-w", "nonsense=1"], ["table", "F", "-w", "min_forgetting"], ["table", "F", "-o", "x.doc"],
     ["table", "F", "-w", "min_forgetting=two"], ["show", "F", "1", "-o", "x.bmp"], ["export", "F", "-o", "x.xls"],
     ["compare", "F"], ["table"], ["nosuch"], ["figures", "F", "--formats", "gif"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(made: Path, words: list[str]) -> None:
    call(*[made / "run1.h5" if word == "F" else word for word in words], code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["show", "F", "300"], "0 to 299"), (["show", "F", "nowhere"], "no scored token"),
     (["show", "F", "the", "-k", "999"], "choose 1 to"), (["table", "F", "--sort", "x"], "no such measure"),
     (["table", "F", "--set", "x"], "holds ['eval']"), (["compare", "F", "F"], "same run")],
)  # fmt: skip
def test_what_the_data_does_not_have_exits_with_1(made: Path, words: list[str], message: str) -> None:
    assert message in call(*[made / "run1.h5" if word == "F" else word for word in words], code=1).stderr


def test_pipes_and_help_in_a_real_process(made: Path) -> None:
    command = [sys.executable, "-m", "curvewatch.cli"]
    line = f"{' '.join(command)} table {made / 'run1.h5'} | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
    assert done.stdout.startswith("token,")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for name in ("info", "table", "show", "compare", "report", "figures", "export", "doctor"):
        assert name in done.stdout
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip()


def test_without_its_packages_the_command_says_how_to_get_them() -> None:
    code = "import sys; sys.modules['typer'] = None; from curvewatch.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs typer" in done.stderr
    assert "pip install 'curvewatch[analysis]'" in done.stderr


def test_events(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "quiet.h5", 60, 400))
    assert "0 events in 60 rows" in call("events", run.path).output
    bits = np.array(run.surprisal[:])
    bits[45:, ::5] += 6
    write_rows(tmp_path / "event.h5", run, bits)
    eventful = open_run(tmp_path / "event.h5")
    eventful.annotate(eventful.tokens.label("fifth", np.arange(400) % 5 == 0))
    (event,) = eventful.events()
    assert event.event.step == run.steps[45]
    assert set(event.event.tokens_n.tolist()) >= set(range(0, 400, 5))
    assert [(one.label, one.value) for one in event.over] == [("fifth", "yes")]
    done = call("events", eventful.path, "-o", tmp_path / "e.csv", "--examples", 2)
    assert str(event) in done.output
    assert "over-represented: fifth 'yes' x" in done.output
    assert done.output.count(" bits  ") == 2
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 2
    call("events", eventful.path, "-o", "e.txt", code=2)


def write_rows(path: Path, run: Any, bits: np.ndarray) -> None:
    """A run file with these rows, of the same set."""
    plan = RunPlan(run.max_steps, run.steps, "again", {})
    file = RunFile.start(path, {"eval": SetRecord(run.tokens, int(2**run.chance + 0.5), {})}, plan, -1)
    for t, step in enumerate(run.steps.tolist()):
        seen = Observation(bits[t].astype(np.float32), run.correct[t], run.entropy[t])
        file.append(Row(step, 0.1, 1e9 + step, {"eval": seen}))
    file.close()
