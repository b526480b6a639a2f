"""What was shown live is what the file says afterwards: each measure, in each host, straight and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curvewatch import Live, Run, TokenSet, open_run
from curvewatch.corpus import NgramSurprisals
from curvewatch.live import refitter
from curvewatch.live.showing import Showing
from curvewatch.measures import LAMBDAS, MeasureTable, ThresholdForgetting, measure_curves, recent
from tests.support.hosts import HOSTS, Watching, run
from tests.support.keys import unknown
from tests.support.models import VOCABULARY, random_tokens
from tests.support.trainings import Training

# A checkpoint at each 4th step, where an epoch ends; a row at each 3rd: most checkpoints lie between two rows.
TRAINING = Training(steps=120, rows=16, log_every=3, save_every=4, dropout=0.0, shuffle=False)
CHECKPOINT, BROKE_OFF = 56, 70


class Boom(Exception):
    """What ends a training in these tests."""


def tokens() -> TokenSet:
    """Rows of the training data, which are learned, and others, which are not."""
    seen, other = TRAINING.data().ids.numpy()[:6], random_tokens(8)
    rows = [*seen, *(other.sequence(s) for s in range(other.n_sequences))]
    return TokenSet.from_sequences(rows, per_sequence=None, vocab_size=VOCABULARY)


def ngrams(of: TokenSet) -> NgramSurprisals:
    """Any numbers: what is made of them is under test."""
    rng = np.random.default_rng(1)
    counts_V = rng.integers(1, 99, VOCABULARY)
    surprisal_nN = rng.gamma(2.0, 2.0, (3, len(of))).astype(np.float32)
    return NgramSurprisals(surprisal_nN, rng.integers(0, 9, (3, len(of))), counts_V, int(counts_V.sum()), of.hash)


class Logged:
    """All that was logged, each smoothed value at the step that it stands for."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.smoothed: dict[int, dict[str, float]] = {}

    def __call__(self, scalars: dict[str, float], step: int) -> None:
        assert unknown(scalars) == set()
        json.dumps(scalars)
        part = {key: value for key, value in scalars.items() if "/smoothed/" in key}
        self.rows.setdefault(step, {}).update({key: value for key, value in scalars.items() if key not in part})
        if part:
            at = int(part.pop("curvewatch/eval/smoothed/step"))
            assert at not in self.smoothed, "logged twice"
            self.smoothed[at] = part


def watch(folder: Path, **live: Any) -> tuple[Watching, Logged]:
    logged, of = Logged(), tokens()
    settings = Live(**{"ngrams": ngrams(of), "token_counts": "training", "watched": [0, 5, 17], **live})
    return Watching(of, folder / "curves.h5", log=logged, live=settings), logged


def interrupted(host: str, folder: Path, **live: Any) -> tuple[Watching, Logged]:
    """Trained up to `BROKE_OFF`, and from `CHECKPOINT` to the end by a second process's callback."""
    first, _ = watch(folder, **live)
    if host == "trainer":
        from transformers import TrainerCallback

        class Failing(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == BROKE_OFF:
                    raise Boom

        with pytest.raises(Boom):
            run(host, TRAINING, folder, first, callbacks=(Failing(),))
        checkpoint: Any = str(folder / "trainer" / f"checkpoint-{CHECKPOINT}")
    elif host == "lightning":
        from lightning.pytorch import Callback

        class FailingToo(Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == BROKE_OFF:
                    raise Boom

        with pytest.raises(Boom):
            run(host, TRAINING, folder, first, callbacks=(FailingToo(),))
        (checkpoint,) = map(str, (folder / "lightning").glob(f"*step={CHECKPOINT}.ckpt"))
    else:
        run(host, TRAINING, folder, first, until=BROKE_OFF)
        checkpoint = CHECKPOINT
    assert first.watch is not None
    first.watch.close()
    second, logged = watch(folder, **live)
    run(host, TRAINING, folder, second, resume=checkpoint)
    return second, logged


def measured(file: Run, n_rows: int | None = None, max_steps: int | None = None) -> MeasureTable:
    n_rows = len(file) if n_rows is None else n_rows
    return measure_curves(
        file.surprisal[:n_rows], file.steps[:n_rows], chance=file.chance, max_steps=max_steps or file.max_steps,
        correct=file.correct[:n_rows],
    )  # fmt: skip


def assert_tokens_equal(showing: Showing, file: Run) -> None:
    """Every measure of every token."""
    table, of_set = measured(file), showing.sets["eval"]
    assert of_set.smoothed is not None
    assert of_set.smoothed.recent is not None
    so_far = of_set.smoothed.so_far
    assert so_far is not None
    assert so_far.step == file.steps[-1]
    lambdas_equal = LAMBDAS[so_far.lambda_index_N] == table["smoothing_lambda"]
    assert lambdas_equal.mean() >= 0.999
    same_age = np.isclose(so_far.age_N, table["age_of_acquisition"], rtol=0, atol=1e-5, equal_nan=True)
    assert same_age.mean() >= 0.999
    assert (so_far.status_N == table.codes("acquisition_status")).mean() >= 0.999
    np.testing.assert_allclose(
        so_far.forgettability_N[lambdas_equal], table["forgettability"][lambdas_equal], rtol=0, atol=2e-4
    )
    assert (so_far.events_N == table["forgetting_events_threshold"]).mean() >= 0.999
    np.testing.assert_allclose(of_set.smoothed.recent.mean(), table["final_surprisal"], rtol=1e-6)
    np.testing.assert_allclose(
        of_set.smoothed.recent.variability(), table["within_run_variability"], rtol=1e-4, atol=1e-5
    )
    assert np.array_equal(of_set.current.top1.events_N, table["forgetting_events_top1"])
    fixed = ThresholdForgetting(file.n_tokens, file.chance / 2)
    for step, surprisal_N in zip(file.steps.tolist(), file.surprisal[:], strict=True):
        fixed.update(step, surprisal_N)
    assert np.array_equal(of_set.current.threshold.events_N, fixed.events_N)
    assert np.array_equal(of_set.current.threshold.first_known_step_N, fixed.first_known_step_N, equal_nan=True)


def assert_logged_equal(logged: Logged, file: Run, first_step: int = 0) -> None:
    """What was logged at the last step, and at one midway."""
    steps, table = file.steps.tolist(), measured(file)
    assert sorted(logged.smoothed) == [step for step in steps if step >= first_step]
    learned = table["acquisition_status"] == "learned"
    acquired = learned | (table["acquisition_status"] == "left_censored")
    forgettability, events = table["forgettability"], table["forgetting_events_threshold"]
    # The test has power: tokens of all kinds.
    assert 0 < learned.sum() < file.n_tokens
    assert forgettability.max() > 0.5
    expected = {
        "acquired_share": acquired.mean(),
        "acquisition_step_median": 10 ** np.median(table["age_of_acquisition"][acquired]),
        "forgettability_mean": forgettability.mean(),
        "forgettability_p90": np.percentile(forgettability, 90),
        "forgetting_events_total": events.sum(),
        "last_quarter_surprisal_mean": table["final_surprisal"].mean(),
        "within_run_variability_mean": table["within_run_variability"].mean(),
        "last_quarter_rows": sum(step > 0.75 * steps[-1] for step in steps),
    }
    last = logged.smoothed[steps[-1]]
    counts = file_counts(file)
    of_target = pd.Series(counts[-1][np.searchsorted(counted_ids(file), file.tokens.target)])
    for name, values in {
        "surprisal": file.surprisal[-1],
        "acquisition": table["age_of_acquisition"],
        "forgettability": forgettability,
        "variability": table["within_run_variability"],
    }.items():
        expected[f"frequency_{name}_correlation"] = of_target.corr(pd.Series(values), method="spearman")
        of_ngram = pd.Series(-ngrams(file.tokens).surprisal_bits_nN[-1])
        expected[f"ngram_probability_{name}_correlation"] = of_ngram.corr(pd.Series(values), method="spearman")
        length = pd.Series(file.tokens.position)
        expected[f"context_length_{name}_correlation"] = length.corr(pd.Series(values), method="spearman")
    assert {key.removeprefix("curvewatch/eval/smoothed/") for key in last} == set(expected)
    for key, value in expected.items():
        assert last[f"curvewatch/eval/smoothed/{key}"] == pytest.approx(value, rel=2e-3, abs=2e-3), key
    for row in (len(steps) // 2, len(steps) - 1):
        if steps[row] >= first_step:
            assert_row_equal(logged.rows[steps[row]], file, row, counts[row])


def assert_row_equal(scalars: dict[str, float], file: Run, row: int, counts_D: np.ndarray) -> None:
    """The scalars of one observation, bands and n-grams among them, from the file alone."""
    got = {key.removeprefix("curvewatch/eval/"): value for key, value in scalars.items()}
    y = file.surprisal[row].astype(float)
    assert got["surprisal_mean"] == pytest.approx(y.mean())
    for i, key in ((i, key) for i in (0, 5, 17) for key in got if key.startswith(f"watched/{i}")):
        if key.split("/")[1].split()[0] == str(i):
            assert got[key] == pytest.approx(y[i])
    for n, ngram in enumerate(ngrams(file.tokens).surprisal_bits_nN.astype(float), 1):
        assert got[f"ngram/{n}gram_correlation"] == pytest.approx(np.corrcoef(ngram, y)[0, 1], abs=1e-5)
    of_target = counts_D[np.searchsorted(counted_ids(file), file.tokens.target)]
    rank = pd.Series(of_target).rank()  # ties share their mean
    band = np.minimum(((rank - 0.5) / len(rank) * 3).astype(int), 2)
    known = ThresholdForgetting(file.n_tokens, file.chance / 2)
    for step, surprisal_N in zip(file.steps[: row + 1].tolist(), file.surprisal[: row + 1], strict=True):
        known.update(step, surprisal_N)
    correct = file.correct[: row + 1]
    forgotten = (correct[:-1] & ~correct[1:]).any(axis=0)
    for k, name in enumerate(("rare", "mid", "frequent")):
        chosen = (band == k).to_numpy()
        if chosen.any():
            assert got[f"frequency/{name}/surprisal_mean"] == pytest.approx(y[chosen].mean())
            acquired = np.isfinite(known.first_known_step_N[chosen])
            assert got[f"frequency/{name}/acquired_share"] == pytest.approx(acquired.mean())
            assert got[f"frequency/{name}/forgotten_share"] == pytest.approx(forgotten[chosen].mean())


def counted_ids(file: Run) -> np.ndarray:
    with file.group() as group:
        return group["counted_id"][:]


def file_counts(file: Run) -> np.ndarray:
    with file.group() as group:
        return group["training_count"][:]


def assert_counts_are_those_of_the_batches(file: Run) -> None:
    """16 rows in order, again and again, four to a step."""
    data, ids = TRAINING.data().ids.numpy(), counted_ids(file)
    assert ids.tolist() == np.unique(file.tokens.target).tolist()
    for step, counts_D in zip(file.steps.tolist(), file_counts(file), strict=True):
        rows = np.arange(4 * step) % 16
        expected = np.bincount(data[rows].ravel(), minlength=VOCABULARY)[ids] if step else np.zeros(len(ids))
        assert np.array_equal(counts_D, expected), step


@pytest.mark.parametrize("host", HOSTS)
def test_straight(host: str, tmp_path: Path) -> None:
    watching, logged = watch(tmp_path)
    run(host, TRAINING, tmp_path, watching)
    assert watching.watch is not None
    assert watching.watch.showing is not None
    file = open_run(tmp_path / "curves.h5")
    assert_tokens_equal(watching.watch.showing, file)
    assert_logged_equal(logged, file)
    assert_counts_are_those_of_the_batches(file)


@pytest.mark.parametrize("host", HOSTS)
def test_resumed(host: str, tmp_path: Path) -> None:
    """From a checkpoint between two rows; all is as if training had never been interrupted."""
    (tmp_path / "straight").mkdir()
    straight, straight_log = watch(tmp_path / "straight")
    run(host, TRAINING, tmp_path / "straight", straight)
    watching, logged = interrupted(host, tmp_path / "resumed")
    assert watching.watch is not None
    assert watching.watch.showing is not None
    file = open_run(tmp_path / "resumed" / "curves.h5")
    assert_tokens_equal(watching.watch.showing, file)
    assert_logged_equal(logged, file, first_step=CHECKPOINT)
    assert_counts_are_those_of_the_batches(file)
    assert logged.smoothed == {
        step: {key: pytest.approx(value, rel=1e-9, abs=1e-9) for key, value in part.items()}
        for step, part in straight_log.smoothed.items()
        if step > CHECKPOINT
    }


def test_beside_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large sets are refitted by another thread: the same values, none missing at the end."""
    (tmp_path / "at once").mkdir()
    at_once, at_once_log = watch(tmp_path / "at once")
    run("loop", TRAINING, tmp_path / "at once", at_once)
    monkeypatch.setattr(refitter, "WAIT_TOKENS", 0)
    monkeypatch.setattr(recent, "KEPT_BYTES", 0)  # each row that leaves the last quarter comes from the file
    watching, logged = watch(tmp_path / "beside")
    run("loop", TRAINING, tmp_path / "beside", watching)
    assert watching.watch is not None
    assert watching.watch.showing is not None
    assert_tokens_equal(watching.watch.showing, open_run(tmp_path / "beside" / "curves.h5"))
    last = TRAINING.steps
    assert logged.smoothed[last] == at_once_log.smoothed[last]
    assert set(logged.smoothed) <= set(at_once_log.smoothed)
    assert all(logged.smoothed[step] == at_once_log.smoothed[step] for step in logged.smoothed)
    assert len(logged.smoothed) > 0.5 * len(at_once_log.smoothed)


def test_refit_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    watching, logged = watch(tmp_path, refit_every=7)
    run("loop", TRAINING, tmp_path, watching)
    steps = open_run(tmp_path / "curves.h5").steps.tolist()
    assert sorted(logged.smoothed) == sorted({*steps[6::7], steps[-1]})


def test_counts_of_a_run_that_goes_on_from_an_unknown_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file knows the counts at rows and checkpoints only; elsewhere nothing is told rather than something wrong."""
    first, _ = watch(tmp_path)
    run("loop", TRAINING, tmp_path, first, until=BROKE_OFF)
    second, logged = watch(tmp_path)
    watched = second.loop(TRAINING)
    model = TRAINING.model()
    with caplog.at_level("INFO", "curvewatch"):
        watched.start(model, 58)
    watched.count(TRAINING.data().ids)
    assert watched.observe(model, 60) is not None
    watched.close()
    assert "what was counted up to it is not known" in caplog.text
    assert not any("frequency" in key for key in (*logged.rows[60], *logged.smoothed[60]))
    assert np.isnan(file_counts(open_run(tmp_path / "curves.h5"))[-1]).all()
