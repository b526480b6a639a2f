"""Run: measures kept and renewed, curves, selection, tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curvewatch import Observation, Run, RunFile, open_run
from curvewatch.analysis.cache import cache_path
from curvewatch.analysis.moment import Moment, gather
from curvewatch.measures import MeasureTable, measure_curves, smooth_curves
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from tests.analysis.synthetic import VOCABULARY, row, schedule, token_set, write_run


def same(a: MeasureTable, b: MeasureTable) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)


def plain(run: Run) -> MeasureTable:
    return measure_curves(
        run.surprisal[:], run.steps, chance=run.chance, max_steps=run.max_steps, correct=run.correct[:]
    )


def test_measures_are_those_of_the_arrays_and_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run.measures()
    assert same(first, plain(run))
    assert first["acquisition_status"][3] == "unfitted"
    assert np.isnan(first["final_surprisal"][3])
    monkeypatch.setattr("curvewatch.analysis.cache.measure_curves", lambda *a, **k: pytest.fail("computed again"))
    again = run.measures()
    assert same(first, again)
    assert again.info == first.info


def test_other_options_are_kept_apart(run: Run) -> None:
    assert run.measures(paper=True).info.paper
    assert not run.measures().info.paper


def test_a_growing_file_is_measured_anew_and_a_moment_stays(tmp_path: Path) -> None:
    tokens, steps = token_set(40), schedule(50)
    chance = float(np.log2(VOCABULARY))
    record = SetRecord(tokens, VOCABULARY, {"batch_size": 1})
    plan = RunPlan(100_000, steps, "test", {})
    file = RunFile.start(tmp_path / "grows.h5", {"eval": record}, plan, -1)
    for step in steps[:30].tolist():
        file.append(Row(step, 0.0, 1e9 + step, {"eval": row(step, 40, chance, 100_000, 1)}))
    run = open_run(tmp_path / "grows.h5")
    moment, dataset, early = Moment.now(run), run.to_xarray(), run.measures()
    for step in steps[30:].tolist():
        file.append(Row(step, 0.0, 1e9 + step, {"eval": row(step, 40, chance, 100_000, 1)}))
    assert moment.surprisal.shape == (30, 40)
    assert moment.surprisal[:].shape == moment.surprisal[-30:].shape == (30, 40)
    assert dataset.surprisal.values.shape == (30, 40)
    moment.check()
    late = run.measures()
    assert early.info.n_steps == 30
    assert late.info.n_steps == 50
    assert same(late, plain(run))
    file.close()


def test_rows_scored_again_after_a_resume_are_not_taken_for_the_old_ones(tmp_path: Path) -> None:
    tokens, steps = token_set(20), schedule(20)
    record, plan = SetRecord(tokens, VOCABULARY, {"batch_size": 1}), RunPlan(100_000, steps, "test", {})
    chance = float(np.log2(VOCABULARY))
    path = tmp_path / "resumed.h5"
    for session, keep in enumerate((-1, int(steps[9]))):
        file = RunFile.start(path, {"eval": record}, plan, keep)
        for step in steps[len(file.steps) :].tolist():
            observation = row(step, 20, chance, 100_000, seed=session)
            file.append(Row(step, 0.0, 1e9 + step + 0.5 * session, {"eval": observation}))
        file.close()
        run = open_run(path)
        assert len(run) == 20
        assert same(run.measures(), plain(run))


def test_a_broken_cache_is_replaced(run: Run) -> None:
    good = run.measures()
    cache_path(run).write_bytes(cache_path(run).read_bytes()[:100])
    assert same(run.measures(), good)


@pytest.mark.parametrize("n_steps", [0, 1, 2, 10])
@pytest.mark.filterwarnings("ignore::curvewatch.measures.MeasureWarning")
def test_few_observations_give_what_can_be_had(tmp_path: Path, n_steps: int) -> None:
    run = open_run(write_run(tmp_path / "few.h5", n_steps, 20))
    table = run.measures()
    assert table.info.n_steps == n_steps
    assert table.info.warnings
    assert len(run.to_pandas()) == 20
    assert run.to_xarray(measures=True).surprisal.shape == (n_steps, 20)
    assert isinstance(run.show(0), str)


def test_a_curve_is_the_column_and_its_fit(run: Run) -> None:
    curve = run.curve(-7)
    assert curve.token.index == 293
    assert np.array_equal(curve.surprisal_T, run.surprisal[:, 293])
    whole = smooth_curves(run.surprisal[:], run.steps)
    np.testing.assert_allclose(curve.smoothed_T[1:], whole.curves_TN[:, 293], atol=1e-4)
    assert np.isnan(curve.smoothed_T[0])
    assert curve.measures["age_of_acquisition"] == run.measures()["age_of_acquisition"][293]
    with pytest.raises(IndexError, match="0 to 299"):
        run.curve(300)


def test_show_has_context_target_and_drawing(run: Run) -> None:
    text = run.show(12, width=70)
    assert f"⟦{run.tokens.show(12).target}⟧" in text
    assert "chance 6.00 bits" in text
    assert max(map(len, text.splitlines())) <= 70
    assert "no fit" in run.show(3)


def test_control_characters_of_a_token_never_reach_the_terminal(tmp_path: Path) -> None:
    made = token_set(20)
    parts = {name: getattr(made, name) for name in ("ids", "starts", "sequence_index", "position", "vocab_size")}
    texts = dict.fromkeys(range(VOCABULARY), "\x1b[2J\n\u202e")
    run = open_run(write_run(tmp_path / "evil.h5", 40, 20, tokens=type(made)(**parts, vocabulary=texts)))
    text = run.show(5)
    assert "⟦␛[2J␊⟧" in text
    assert not set("\x1b\u202e") & set(text)
    assert repr(text) == text


def test_a_notebook_shows_a_picture(run: Run) -> None:
    curve = run.curve(12)
    assert "<svg" in (curve._repr_svg_() or "")
    assert repr(curve) == str(curve)


def test_select(run: Run) -> None:
    texts = np.array([run.tokens.decode([i]) for i in run.tokens.target])
    assert np.array_equal(run.select(token="the"), np.flatnonzero(texts == " the"))
    assert np.array_equal(run.select(token=5), run.select(token=" the"))
    assert np.array_equal(
        run.select(pattern=r"^ word1\d$"), [i for i, t in enumerate(texts) if t[:6] == " word1" and len(t) == 7]
    )
    table = run.measures()
    events = table["forgetting_events_top1"]
    found = run.select(min_forgetting=2, sort="forgettability", limit=10)
    assert (events[found] >= 2).all()
    values = table["forgettability"][found]
    assert (np.diff(values) <= 0).all()
    assert set(run.select(status="unfitted")) == {3}
    assert len(run.select(token="nowhere")) == 0
    wanted = " the"
    expected = [i for i in range(300) if wanted in run.tokens.show(i).context]
    assert run.select(context=wanted).tolist() == expected


@pytest.mark.parametrize(
    ("conditions", "message"),
    [({"min_age": 2}, "no such measure"), ({"what": 1}, "no such condition"), ({"sort": "x"}, "sort='x'"),
     ({"status": "x"}, "left_censored"), ({"pattern": "("}, "regular expression")],
)  # fmt: skip
def test_select_names_what_it_does_not_know(run: Run, conditions: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run.select(**conditions)


def test_tables(run: Run) -> None:
    frame, dataset = run.to_pandas(), run.to_xarray(measures=True)
    assert frame.target_text[12] == run.tokens.show(12).target
    assert frame.acquisition_status[3] == "unfitted"
    assert np.array_equal(dataset.surprisal.values, run.surprisal[:], equal_nan=True)
    assert dataset.surprisal.attrs["units"] == "bit"
    got = dataset.surprisal.isel(token=[9, 2, 2], step=slice(None, None, -3)).values
    assert np.array_equal(got, run.surprisal[:][::-3, [9, 2, 2]])
    assert np.array_equal(dataset.correct.isel(step=-1).values, run.correct[-1])
    np.testing.assert_array_equal(dataset.forgettability.values, frame.forgettability)


def test_a_set_without_texts(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "ids.h5", 40, 20, tokens=token_set(20, texts=False)))
    assert "⟦⟨" in run.show(3)
    assert "target_text" not in run.to_pandas()
    assert len(run.select(token=int(run.tokens.target[0]))) >= 1
    with pytest.raises(ValueError, match="give a token id"):
        run.select(token="the")


def test_gather_reads_scattered_tokens(run: Run) -> None:
    tokens = np.array([250, 3, 3, 77])
    assert np.array_equal(gather(run.surprisal, tokens), run.surprisal[:][:, tokens], equal_nan=True)


def test_opening_a_run_loads_no_plotting_and_no_tables(made: Path) -> None:
    code = (
        f"import sys, curvewatch; run = curvewatch.open_run({str(made / 'run2.h5')!r}); run.curve(0); run.measures()\n"
        "print([m for m in ('pandas', 'xarray', 'matplotlib', 'plotly', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_observation_is_what_was_appended(run: Run) -> None:
    expected: Observation = row(int(run.steps[5]), 300, run.chance, 100_000, 1)
    assert np.array_equal(run.surprisal[5], expected.surprisal_bits)
