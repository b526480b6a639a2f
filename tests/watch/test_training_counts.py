"""Counting tokens as they are trained on: exact, over ranks, never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BatchEncoding

from curvewatch import Live, Watch, open_run
from curvewatch.runfile.records import Seen
from curvewatch.watch.training_counts import MOST_EARLY, TrainingCounts, batch_tokens
from tests.support.hosts import Watching, run, run_trainer
from tests.support.models import VOCABULARY, PlainLM, random_tokens
from tests.support.ranks import on_ranks
from tests.support.trainings import Training

V = 7


def counting() -> TrainingCounts:
    counts = TrainingCounts(V)
    counts.begin_from(np.arange(V), np.zeros(V))
    return counts


@given(st.lists(st.lists(st.tuples(st.integers(-3, V + 2), st.booleans()), min_size=1, max_size=9), max_size=5))
def test_against_list_count(batches: list[list[tuple[int, bool]]]) -> None:
    counts = counting()
    for batch in batches:
        ids, mask = zip(*batch, strict=True)
        counts.add(torch.tensor(ids), torch.tensor(mask))
    seen = [i for batch in batches for i, real in batch if real]
    total_V = counts.total()
    assert total_V is not None
    assert total_V.tolist() == [seen.count(i) for i in range(V)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_whole_numbers_of_any_shape(dtype: torch.dtype) -> None:
    counts = counting()
    counts.add(torch.tensor([[[1, 2], [2, 6]]], dtype=dtype))
    counts.add([[3], [3]])
    counts.add(np.array([0]))
    assert counts.total().tolist() == [1, 1, 2, 2, 0, 0, 1]


def test_goes_on_from_what_was_counted() -> None:
    counts = TrainingCounts(V)
    counts.begin_from(np.array([1, 4]), np.array([10.0, 20.0]))
    counts.add(torch.tensor([4, 5]))
    counts.begin_after(Seen(1000.0))
    assert counts.total().tolist() == [0, 10, 0, 0, 21, 1, 0]
    assert counts.seen.tokens == 1002, "of all tokens, not of the targets alone"
    counts.begin_after(Seen())  # a file of before knows none
    assert counts.total() is not None
    assert np.isnan(counts.seen.tokens)


def test_batches_before_the_first_observation_are_not_lost() -> None:
    counts, buffer = TrainingCounts(), torch.tensor([1, 2])
    counts.add(buffer, torch.tensor([True, False]))
    buffer.fill_(6)  # the script uses it again
    counts.begin(V)
    assert counts.total().tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_batches_that_nobody_ever_looks_at_are_not_kept_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    counts = TrainingCounts()
    with caplog.at_level("INFO", "curvewatch"):
        for _ in range(MOST_EARLY + 5):
            counts.add(torch.tensor([1]))
    assert not counts._early
    assert "before the first observation" in caplog.text


@pytest.mark.parametrize("ids", [torch.rand(3), torch.tensor([True]), "text", None, [[1], [2, 3]]])
def test_what_it_can_not_count_ends_counting_and_not_training(ids: Any, caplog: pytest.LogCaptureFixture) -> None:
    counts = counting()
    with caplog.at_level("INFO", "curvewatch"):
        counts.add(torch.tensor([1]))
        counts.add(ids)
        counts.add(ids)
    assert counts.total() is None
    assert caplog.text.count("nothing by frequency from here on") == 1


def test_a_mask_of_another_size_ends_counting() -> None:
    counts = counting()
    counts.add(torch.tensor([1, 2, 3]), torch.tensor([1, 0]))
    assert counts.total() is None


IDS, MASK = torch.tensor([[1, 2]]), torch.tensor([[1, 0]])


@pytest.mark.parametrize(
    ("batch", "mask"),
    [
        ({"input_ids": IDS, "labels": IDS}, None),
        ({"input_ids": IDS, "attention_mask": MASK}, MASK),
        (BatchEncoding({"input_ids": IDS, "attention_mask": MASK}), MASK),
        ({"input_ids": IDS, "attention_mask": torch.ones(1, 1, 2, 2)}, None),
        (IDS, None),
        ((IDS, IDS), None),
        ([{"input_ids": IDS}, 3], None),
    ],
)
def test_where_the_ids_of_a_batch_are(batch: Any, mask: Any) -> None:
    found, found_mask, _ = batch_tokens(batch)
    assert found is IDS
    assert found_mask is mask


@pytest.mark.parametrize("batch", [{"text": "a"}, "text", 3, None, [], ["a", "b"]])
def test_a_batch_without_ids(batch: Any) -> None:
    with pytest.raises(TypeError):
        batch_tokens(batch)


def rank_counts(off_on_second: bool) -> Any:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    counts, rank = TrainingCounts(V), dist.get_rank()
    if rank == 0:
        counts.begin_from(np.arange(V), np.zeros(V))
    counts.add(torch.tensor([rank, 3]))
    if rank == 1 and off_on_second:
        counts.add("nothing that can be counted")
    total_V = counts.total()
    return None if total_V is None else total_V.tolist()


def test_ranks_count_together() -> None:
    assert on_ranks(2, rank_counts, False)[0] == [1, 1, 0, 2, 0, 0, 0]
    assert on_ranks(2, rank_counts, True) == [None, None]


# ---------------------------------------------------------------------- in the hosts

TRAINING = Training(steps=6, rows=8, log_every=2, accumulate=2, shuffle=False)


@pytest.mark.parametrize("host", ["trainer", "lightning", "loop"])
def test_every_micro_batch_counts(host: str, tmp_path: Path) -> None:
    """Two batches of four rows make an update: all eight rows."""
    logged: dict[int, float] = {}
    watching = Watching(
        random_tokens(), tmp_path / "curves.h5",
        log=lambda scalars, step: logged.update({step: scalars.get("curvewatch/watch/tokens_seen", -1.0)}),
    )  # fmt: skip
    run(host, TRAINING, tmp_path, watching)
    file = open_run(tmp_path / "curves.h5")
    assert file.tokens_seen.tolist() == [step * TRAINING.data().ids.numel() for step in (0, 2, 4, 6)]
    assert [logged[step] for step in (0, 2, 4, 6)] == file.tokens_seen.tolist()
    assert file.to_xarray().tokens_seen.values.tolist() == file.tokens_seen.tolist()
    with file.group() as group:
        ids, counts = group["counted_id"][:], group["training_count"][:]
    once = np.bincount(TRAINING.data().ids.numpy().ravel(), minlength=VOCABULARY)[ids]
    assert np.array_equal(counts, np.array([0, 2, 4, 6])[:, None] * once)


def test_the_trainers_method_is_its_own_again(tmp_path: Path) -> None:
    trainers: list[Any] = []
    run_trainer(TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), before=trainers.append)
    assert "training_step" not in trainers[0].__dict__


def test_two_callbacks_and_a_second_training_count_each_batch_once(tmp_path: Path) -> None:
    """Each wraps the other's wrapper, and not every one of them can be taken off again."""
    again = Watching(random_tokens(), tmp_path / "again.h5").trainer()
    run_trainer(TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), callbacks=(again,), trainings=2)
    once = np.bincount(TRAINING.data().ids.numpy().ravel(), minlength=VOCABULARY)
    for name in ("curves", "again"):
        with open_run(tmp_path / f"{name}.h5").group() as group:
            assert np.array_equal(group["training_count"][-1], 6 * once[group["counted_id"][:]]), name


def test_a_checkpoint_before_the_first_observation_is_no_error(tmp_path: Path) -> None:
    watch = Watch(random_tokens(), tmp_path / "curves.h5", max_steps=4, live=Live(token_counts="training"))
    watch.count(torch.tensor([1]))
    watch.checkpoint(1)
    assert not (tmp_path / "curves.h5").exists()


def test_a_loop_that_is_resumed_and_counts_no_more_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was counted up to the checkpoint is no count of what came behind it."""
    path, model = tmp_path / "curves.h5", PlainLM()
    for first, last in ((0, 6), (7, 10)):
        watch = Watch(random_tokens(), path, schedule=2, max_steps=10, live=Live(token_counts="training"))
        for step in range(first, last + 1):
            if 0 < step <= 6:
                watch.count(torch.arange(VOCABULARY))
            watch.observe(model, step)
        watch.close()
    with open_run(path).group() as group:
        assert group["training_count"][:, 0].tolist()[:4] == [0, 2, 4, 6]
        assert np.isnan(group["training_count"][4:]).all()
    seen = open_run(path).tokens_seen
    assert seen[:4].tolist() == [0, 2 * VOCABULARY, 4 * VOCABULARY, 6 * VOCABULARY]
    assert np.isnan(seen[4:]).all()
    assert "no batch was counted" in caplog.text


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_checkpoint_of_a_callback_that_comes_first_has_the_whole_count(accumulate: int, tmp_path: Path) -> None:
    from lightning.pytorch import Callback

    class Saving(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 3 and not (tmp_path / "three.ckpt").exists():
                trainer.save_checkpoint(tmp_path / "three.ckpt")

    training = Training(steps=6, rows=64, log_every=2, accumulate=accumulate, shuffle=False)
    run("lightning", training, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), callbacks=(Saving(),))
    with open_run(tmp_path / "curves.h5").group() as group:
        ids, saved, rows = group["counted_id"][:], group["saved_count"][:], group["training_count"][:]
        assert group["saved_tokens_seen"][-1] == training.data().ids[: 4 * accumulate * 3].numel()
    ids_of = training.data().ids.numpy()
    trained = [np.bincount(ids_of[: 4 * accumulate * k].ravel(), minlength=VOCABULARY)[ids] for k in range(7)]
    assert np.array_equal(rows, trained[::2])
    assert np.array_equal(saved[-1], trained[3])
    # Resumed there, where no row is, the tokens go on as if nothing had been.
    straight = open_run(tmp_path / "curves.h5").tokens_seen
    watching = Watching(random_tokens(), tmp_path / "curves.h5")
    run("lightning", training, tmp_path, watching, resume=str(tmp_path / "three.ckpt"))
    assert len(open_run(tmp_path / "curves.h5").sessions) == 2
    assert open_run(tmp_path / "curves.h5").tokens_seen.tolist() == straight.tolist()
    assert straight[-1] == training.data().ids[: 4 * accumulate * 6].numel()


def test_a_method_that_was_replaced_before_stays_replaced(tmp_path: Path) -> None:
    calls: list[int] = []
    trainers: list[Any] = []

    def before(trainer: Any) -> None:
        original = trainer.training_step
        trainer.training_step = lambda *a, **k: (calls.append(1), original(*a, **k))[1]
        trainers.append((trainer, trainer.training_step))

    run_trainer(TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "curves.h5"), before=before)
    ((trainer, replaced),) = trainers
    assert len(calls) == 12
    assert trainer.training_step is replaced


def test_batches_that_only_the_script_understands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`batch_ids` tells where the ids are; without it counting is off, and the log says what to do."""
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader

    from curvewatch.integrations.lightning import CurveWatchCallback
    from tests.support.models import gpt2

    class Odd(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = gpt2(0.0)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.model(input_ids=batch["odd"], labels=batch["odd"]).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    ids = TRAINING.data().ids
    settings = {"max_steps": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    for name, live in (("with", Live(batch_ids=lambda batch: batch["odd"])), ("without", Live())):
        callback = CurveWatchCallback(random_tokens(), tmp_path / f"{name}.h5", schedule=1, live=live)
        with caplog.at_level("INFO", "curvewatch"):
            Trainer(callbacks=[callback], **settings).fit(Odd(), DataLoader([{"odd": row} for row in ids], 4))
    with open_run(tmp_path / "with.h5").group() as group:
        expected = np.bincount(ids[:8].numpy().ravel(), minlength=VOCABULARY)[group["counted_id"][:]]
        assert np.array_equal(group["training_count"][-1], expected)
    with open_run(tmp_path / "without.h5").group() as group:
        assert np.isnan(group["training_count"][1:]).all()
    assert "no 'input_ids'" in caplog.text
    assert "Live(batch_ids=...)" in caplog.text


def test_nothing_is_counted_when_it_is_not_asked_for(tmp_path: Path) -> None:
    run("trainer", TRAINING, tmp_path, Watching(random_tokens(), tmp_path / "c.h5", live=Live(token_counts=None)))
    with open_run(tmp_path / "c.h5").group() as group:
        assert "training_count" not in group
