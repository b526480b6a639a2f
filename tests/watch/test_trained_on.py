"""What is trained on, followed as it passes by: exact, over ranks, none twice, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import Live, Passages, RunFileError, Schedule, Watch, fingerprints, open_run
from curvewatch.watch.trained_on import TrainedOn
from tests.support.hosts import Watching, run
from tests.support.models import PlainLM, random_tokens
from tests.support.passages import Numbers, exposures, in_rows, passage, passages_of
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

HOSTS = ["trainer", "lightning", "loop"]
TRAINING = Training(steps=6, rows=24, log_every=2, shuffle=False)


def passages() -> Passages:
    """Two that stand in rows 1 and 9 of the training, and one that is nowhere."""
    nowhere = "w1 w1 w1 w1 w1 w1"
    return Passages({"one": passage(TRAINING, 1), "nine": passage(TRAINING, 9), "nowhere": nowhere}, Numbers())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("host", HOSTS)
def test_in_the_hosts(host: str, accumulate: int, tmp_path: Path) -> None:
    training = Training(steps=7, rows=24, log_every=2, shuffle=False, accumulate=accumulate)
    logged: dict[int, dict[str, float]] = {}
    watching = Watching(
        random_tokens(), tmp_path / "curves.h5", log=lambda scalars, step: logged.update({step: scalars}),
        live=Live(exposures=passages(), batches=True),
    )  # fmt: skip
    run(host, training, tmp_path, watching)
    path = tmp_path / "curves.h5"
    assert exposures(path, "one") == in_rows(training, 1)
    assert exposures(path, "nine") == in_rows(training, 9)
    assert exposures(path, "nowhere") == {}
    trained = open_run(path).trained
    assert (trained.unknown, trained.through) == ([], 7)
    n = training.batch * accumulate
    order = np.arange(7 * n) % training.rows
    assert trained.fingerprint_S.tolist() == fingerprints(training.data().ids.numpy())[order].tolist()
    assert trained.step_S.tolist() == (np.arange(7 * n) // n + 1).tolist()
    total = sum(in_rows(training, 1).values()) + sum(in_rows(training, 9).values())
    assert logged[7]["curvewatch/watch/exposures"] == total
    assert logged[7]["curvewatch/watch/passages_seen_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("host", HOSTS)
def test_training_is_the_same_to_the_bit(host: str, tmp_path: Path) -> None:
    training = Training(steps=5, rows=24, log_every=2)
    alone = run(host, training, tmp_path / "alone")
    watching = Watching(
        random_tokens(), tmp_path / "curves.h5", live=Live(exposures=passages(), batches=True),
        schedule=Schedule.after_exposures(2),
    )  # fmt: skip
    assert run(host, training, tmp_path / "watched", watching).differences(alone) == []


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_resumed_at_a_checkpoint_nothing_is_told_twice(host: str, tmp_path: Path) -> None:
    training = Training(steps=8, rows=40, log_every=5, save_every=3, shuffle=False)
    watching = lambda: Watching(  # noqa: E731
        random_tokens(), tmp_path / "curves.h5", live=Live(exposures=passages_of(training), batches=True)
    )
    run(host, training, tmp_path, watching())
    before = open_run(tmp_path / "curves.h5").trained
    pattern = {"trainer": "trainer/checkpoint-3", "lightning": "lightning/*step=3.ckpt"}[host]
    (checkpoint,) = tmp_path.glob(pattern)
    run(host, training, tmp_path, watching(), resume=str(checkpoint))
    after = open_run(tmp_path / "curves.h5").trained
    of_rows = fingerprints(training.data().ids.numpy())
    assert before.fingerprint_S.tolist() == of_rows[:32].tolist()
    # The Trainer goes on in the data where it was; Lightning begins an epoch's data again.
    then = np.arange(12, 32) if host == "trainer" else np.arange(20)
    assert after.fingerprint_S.tolist() == of_rows[np.concatenate([np.arange(12), then])].tolist()
    assert after.step_S.tolist() == before.step_S.tolist() == np.repeat(np.arange(1, 9), 4).tolist()
    expected = [1, 3] if host == "trainer" else [1, 3, 4, 6]
    assert (after.step_E.tolist(), after.count_E.tolist()) == (expected, [1] * len(expected))
    assert after.unknown == []
    assert len(open_run(tmp_path / "curves.h5").sessions) == 2


def feed(path: Path, first: int, last: int, given: Passages | None = None, **settings: Any) -> Watch:
    """A loop that trains on row k at update k, and resumes at `first`."""
    live = settings.pop("live", None) or Live(exposures=given or passages(), batches=True)
    watch = Watch(random_tokens(), path, schedule=settings.pop("schedule", 2), max_steps=20, live=live, **settings)
    model, ids = PlainLM(), TRAINING.data().ids
    watch.start(model, first - 1)
    watch.observe(model, first - 1)
    for step in range(first, last + 1):
        watch.count(ids[step - 1 : step])
        watch.observe(model, step)
    return watch


def test_of_what_was_not_followed_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "curves.h5"
    feed(path, 1, 10).close()
    assert exposures(path, "nine") == {10: 1}
    feed(path, 5, 6).close()  # resumed at 4
    assert exposures(path, "nine") == {}
    assert exposures(path, "one") == {2: 1}
    assert open_run(path).trained.step_S.tolist() == [1, 2, 3, 4, 5, 6]
    feed(path, 9, 12).close()  # resumed at 8, though only 6 were seen
    trained = open_run(path).trained
    assert trained.unknown == [(7, 8)]
    assert exposures(path, "nine") == {10: 1}
    feed(path, 8, 8).close()  # and again at 7
    assert open_run(path).trained.unknown == [(7, 7)]


def test_a_batch_that_can_not_be_read_ends_it_and_not_training(tmp_path: Path, caplog: Any) -> None:
    watch = feed(tmp_path / "curves.h5", 1, 4)
    model = PlainLM()
    watch.count("no ids at all")
    for step in range(5, 9):
        watch.count(TRAINING.data().ids[step : step + 1])
        watch.observe(model, step)
    watch.close()
    trained = open_run(tmp_path / "curves.h5").trained
    assert trained.unknown == [(5, 8)]
    assert trained.step_S.max() == 4
    assert caplog.text.count("what is trained on is not followed from here on") == 1


def test_labels_and_padding() -> None:
    on = TrainedOn(passages(), fingerprinted=True)
    rows = TRAINING.data().ids[[1, 1, 1, 9]].clone()
    labels, mask = rows.clone(), torch.ones_like(rows)
    labels[0, :] = -100  # a prompt
    labels[1, :7] = -100  # of its six tokens the last is learned, the answer say
    mask[3, 4] = 0  # padding in the midst of it
    on.add(rows, mask, labels)
    on.stamp(1)
    part = on.part(1)
    assert (part.passage_E.tolist(), part.count_E.tolist()) == ([0], [1 + 1])
    assert part.fingerprint_S[0] == part.fingerprint_S[1] == fingerprints(rows[:1].numpy())[0]
    assert part.fingerprint_S[3] != fingerprints(rows[3:].numpy())[0]


def test_padding_is_not_part_of_a_fingerprint() -> None:
    row = np.array([[3, 1, 4, 1, 5]])
    padded = np.array([[3, 1, 4, 1, 5, -1, -1]])
    left = np.array([[-1, 3, 1, 4, 1, 5]])
    assert fingerprints(row) == fingerprints(padded) == fingerprints(left)
    others = [[3, 1, 4, 1], [3, 4, 1, 1, 5], [3, 1, 4, 1, 5, 0], [0, 3, 1, 4, 1, 5]]
    assert len({int(fingerprints(np.array([one]))[0]) for one in [row[0].tolist(), *others]}) == 5


def test_numbers_of_sequences(tmp_path: Path) -> None:
    watch = Watch(random_tokens(), tmp_path / "c.h5", schedule=1, max_steps=3, live=Live(batches="index"))
    model, ids = PlainLM(), TRAINING.data().ids
    watch.observe(model, 0)
    watch.count_batch({"input_ids": ids[:2], "index": torch.tensor([70, 71])})
    watch.observe(model, 1)
    watch.count_batch({"input_ids": ids[:2]})
    watch.observe(model, 2)
    watch.close()
    trained = open_run(tmp_path / "c.h5").trained
    assert trained.index_S.tolist() == [70, 71]
    assert trained.unknown == [(2, 2)]


def on_two_ranks(folder: Path, breaks: bool) -> dict[str, Any] | None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    watch = Watch(random_tokens(), folder / f"{breaks}.h5", schedule=Schedule.after_exposures(2) | Schedule.steps([9]),
                  max_steps=10, live=Live(exposures=passages(), batches=True))  # fmt: skip
    model, ids = PlainLM(), TRAINING.data().ids
    watch.observe(model, 0)
    for step in range(1, 11):
        # The second rank alone meets row 9, at update 5; both meet row 1, at update 7.
        rows = ids[[1]] if step == 7 else ids[[9, 9]] if (step, rank) == (5, 1) else ids[[0]]
        watch.before_batch(model, rows)
        watch.count("no ids" if breaks and step == 8 and rank == 1 else rows)
        watch.observe(model, step)
    watch.finish(model, 10)
    if rank:
        return None
    found = open_run(folder / f"{breaks}.h5")
    trained = found.trained
    return {"steps": found.steps.tolist(), "exposures": [exposures(found.path, name) for name in trained.names],
            "sequences": np.bincount(trained.step_S).tolist(), "unknown": trained.unknown}  # fmt: skip


@pytest.mark.parametrize("breaks", [False, True])
def test_on_two_ranks(breaks: bool, tmp_path: Path) -> None:
    found, _ = on_ranks(2, on_two_ranks, tmp_path, breaks)
    assert found["exposures"] == [{7: 2}, {5: 2}, {}]
    # The step before each exposure, two behind it, and those that any schedule has.
    assert found["steps"] == [0, 4, 5, 6, 7, 8, 9, 10]
    if breaks:
        assert found["unknown"] == [(8, 10)]
        assert found["sequences"] == [0, 2, 2, 2, 2, 3, 2, 2]
    else:
        assert found["unknown"] == []
        assert found["sequences"] == [0, 2, 2, 2, 2, 3, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_a_schedule_behind_exposures(host: str, tmp_path: Path) -> None:
    """Row 9 is trained on at update 3, and with 24 rows in batches of 4 again at update 9."""
    training = Training(steps=12, rows=24, log_every=100, shuffle=False)
    given = Passages({"nine": passage(TRAINING, 9)}, Numbers())
    watching = Watching(
        random_tokens(), tmp_path / "curves.h5", schedule=Schedule.after_exposures(2), live=Live(exposures=given)
    )
    run(host, training, tmp_path, watching)
    assert exposures(tmp_path / "curves.h5", "nine") == {3: 1, 9: 1}
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 3, 4, 8, 9, 10, 12]


def test_behind_exposures_of_before_a_resume(tmp_path: Path) -> None:
    path, schedule = tmp_path / "curves.h5", Schedule.after_exposures(5)
    feed(path, 1, 3, schedule=schedule).close()  # row 1 is trained on at update 2
    feed(path, 4, 9, schedule=schedule).close()
    assert open_run(path).steps.tolist() == [0, 2, 3, 4, 5, 6]


def test_other_passages_are_refused(tmp_path: Path) -> None:
    feed(tmp_path / "curves.h5", 1, 4).close()
    with pytest.raises(RunFileError, match=r"exposures: .*curves.h5 follows 3 other passages. Give the same ones"):
        feed(tmp_path / "curves.h5", 4, 6, Passages([passage(TRAINING, 3)], Numbers()))
    assert len(open_run(tmp_path / "curves.h5")) == 3, "nothing is lost by it"


def test_a_run_that_begins_to_follow_later(tmp_path: Path) -> None:
    feed(tmp_path / "curves.h5", 1, 4, live=Live()).close()
    assert open_run(tmp_path / "curves.h5").trained is None
    feed(tmp_path / "curves.h5", 5, 12).close()
    trained = open_run(tmp_path / "curves.h5").trained
    assert trained.unknown == [(1, 4)]
    assert exposures(tmp_path / "curves.h5", "nine") == {10: 1}


@pytest.mark.parametrize(
    ("make", "error", "what"),
    [
        (lambda: Passages("one text", Numbers()), TypeError, r"texts='one text': a list of passages is expected"),
        (lambda: Passages([], Numbers()), ValueError, r"texts: no passage"),
        (lambda: Passages(["w1 w2 w3 w4", 5], Numbers()), TypeError, r"texts\[1\]=5: a text is expected"),
        (lambda: Passages(["w1 w2 w3 w4"] * 2, Numbers(), ["a", "b"]), ValueError, r"texts: 'w1 w2 w3 w4' is there"),
        (lambda: Passages({"a": "w1 w2"}, Numbers()).forms, ValueError, r"texts\[0\]='w1 w2': 2 tokens, too few"),
        (lambda: Passages(["w1 w2 w3 w4"], Numbers(), ["a", "b"]), ValueError, r"names: 2 names for 1 texts"),
        (lambda: Live(exposures=["a text"]), TypeError, r"exposures=.*Passages\(texts, tokenizer\) is expected"),
        (lambda: Live(batches=3), TypeError, r"batches=3: True, False, or the name of a column"),
        (lambda: Schedule.after_exposures(0), ValueError, r"n=0: a whole number of at least 1"),
    ],
)  # fmt: skip
def test_refused(make: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        make()


def test_a_schedule_without_passages_is_refused(tmp_path: Path) -> None:
    watch = Watch(random_tokens(), tmp_path / "c.h5", max_steps=3, schedule=Schedule.after_exposures())
    with pytest.raises(ValueError, match=r"it follows exposures, and there are none to follow"):
        watch.start(PlainLM())
    assert not (tmp_path / "c.h5").exists()
