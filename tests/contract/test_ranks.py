"""Two ranks: training as without the watch, the file as from one process, and nobody left waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from curvewatch import RunFile, Scorer, ScoringError, open_run
from curvewatch.tokens.annotations import Annotations
from curvewatch.tokens.spans import Spans
from tests.support.hosts import HOSTS, Intruding, Watching, forward_in_training_mode, run, shard
from tests.support.models import random_tokens
from tests.support.ranks import on_ranks
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models
from tests.support.trainings import Training

TRAINING = Training(steps=6, log_every=2)
# 7 sequences make batches of 3, 3 and 1: the second rank has one less than the first.
BATCH_SIZE = 3


def tokens() -> Any:
    found = random_tokens(n_sequences=7, ragged=True)
    n = len(found)
    assert n % 2 == 1
    words = Spans(np.arange(0, n - 1, 2, dtype=np.int32), np.full(n // 2, 2, np.int32), ("word",) * (n // 2),
                  ("",) * (n // 2), ("",) * (n // 2), np.full(n // 2, -1, np.int32), ("",) * (n // 2),
                  np.zeros(n // 2, bool))  # fmt: skip
    return found.with_annotations(Annotations(spans=words)).label("third", np.arange(n) % 3 == 0)


def settings(host: str, layout: str = "ddp") -> dict[str, Any]:
    """How `host` is told of the other rank."""
    if host == "trainer" and layout == "fsdp2":
        dist.is_initialized() or dist.init_process_group("gloo")
        model = fully_sharded(TRAINING.model()).train()
        # How the Trainer is told that a model is sharded already: accelerate's own sharding refuses CPUs.
        model._is_distributed_loading_by_transformers = True
        return {"model": model, "ddp_backend": "gloo", "save_only_model": True}
    if host == "trainer":
        return {"ddp_backend": "gloo"}
    if host == "lightning":
        from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

        if layout == "ddp":
            return {"devices": 2, "strategy": DDPStrategy(process_group_backend="gloo")}
        # By itself Lightning gives all devices of a machine to tensor parallelism, and a group of one to FSDP2.
        sizes: dict[str, Any] = {"data_parallel_size": 2, "tensor_parallel_size": 1}
        return {"devices": 2, "strategy": ModelParallelStrategy(**sizes, process_group_backend="gloo")}
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return {"wrap": fully_sharded if layout == "fsdp2" else DistributedDataParallel}


def fully_sharded(model: Any) -> Any:
    """FSDP2 over both ranks."""
    from torch.distributed.device_mesh import init_device_mesh

    return shard(model, init_device_mesh("cpu", (2,)))


class Keeping(Watching):
    """Keeps the weights of each observation, on rank 0."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, log=self.keep, **settings)
        self.states: dict[int, dict[str, np.ndarray]] = {}

    def keep(self, scalars: dict[str, float], step: int) -> None:
        assert self.watch is not None
        model = self.watch._scorers["eval"]._model
        assert model is not None
        self.states[step] = {name: value.numpy().copy() for name, value in model.state_dict().items()}


def compare(host: str, layout: str, folder: Path) -> dict[str, Any]:
    """On each rank: the training alone, watched, and disturbed."""
    path = folder / "curves.h5"
    watching = (Watching if layout == "fsdp2" else Keeping)(tokens(), path, batch_size=BATCH_SIZE)
    alone = run(host, TRAINING, folder / "alone", **settings(host, layout))
    copies = Snapshots()
    copying = copies.settings(host, TRAINING, settings(host, layout))
    watched = run(host, TRAINING, folder / "watched", watching, **copying)
    disturbed = run(host, TRAINING, folder / "disturbed", Intruding(forward_in_training_mode), **settings(host, layout))
    assert dist.get_world_size() == 2
    return {
        "watched": watched.differences(alone),
        "disturbed": disturbed.differences(alone),
        "digest": sum(float(value.double().abs().sum()) for value in alone.weights.values()),
        "losses": alone.losses,
        "states": getattr(watching, "states", {}),
        "copies": {
            step: {name: value.numpy() for name, value in weights.items()} for step, weights in copies.weights.items()
        },
    }


def assert_rows(path: Path, answer: dict[str, Any]) -> None:
    """Each row is of the weights that all ranks together had at its step, worked out a second time."""
    copies = Snapshots()
    for step, weights in answer["copies"].items():
        copies.weights[step] = {name: torch.from_numpy(value) for name, value in weights.items()}
    assert_rows_are_the_training_models(path, copies, TRAINING.model, tokens(), [0, 2, 4, 6])


@pytest.mark.parametrize("host", HOSTS)
def test_data_parallel(host: str, tmp_path: Path) -> None:
    first, second = on_ranks(2, compare, host, "ddp", tmp_path)
    for answer in (first, second):
        assert_rows(tmp_path / "curves.h5", answer)
        assert answer["watched"] == []
        assert {"losses", "torch stream"} <= set(answer["disturbed"])
    assert first["digest"] == second["digest"], "the ranks did not train together"
    assert first["losses"] != second["losses"], "the ranks saw the same data"
    assert not second["states"], "metrics are shown by rank 0 alone"
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0, 2, 4, 6] == list(first["states"])
    # The same weights, scored by this process alone: equal to the last bit, since each batch is.
    model = TRAINING.model()
    for row, state in enumerate(first["states"].values()):
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        observation = Scorer(tokens(), batch_size=BATCH_SIZE).score(model)
        assert np.array_equal(file.surprisal[row], observation.surprisal_bits)
        assert np.array_equal(file.correct[row], observation.correct)
        assert np.array_equal(file.entropy[row], observation.entropy_bits)


@pytest.mark.parametrize("host", HOSTS)
def test_fully_sharded(host: str, tmp_path: Path) -> None:
    answers = on_ranks(2, compare, host, "fsdp2", tmp_path)
    for answer in answers:
        assert_rows(tmp_path / "curves.h5", answer)
        assert answer["watched"] == []
        assert {"losses", "torch stream"} <= set(answer["disturbed"])
    sharded = open_run(tmp_path / "curves.h5")
    assert sharded.steps.tolist() == [0, 2, 4, 6]
    # Step 0 has the weights that every process can make for itself.
    plain = Scorer(tokens(), batch_size=BATCH_SIZE).score(TRAINING.model())
    assert np.array_equal(sharded.surprisal[0], plain.surprisal_bits)


def losses_when_scored_before_the_update(folder: Path, how: str) -> list[float]:
    """FSDP2 leaves its root gathered after a forward pass: without a reshard the next one sees weights of before."""
    dist.init_process_group("gloo")
    model = fully_sharded(TRAINING.model()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scorer, ids, losses = Scorer(tokens(), batch_size=BATCH_SIZE), torch.arange(32).view(2, 16), []
    torch.manual_seed(0)
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        if how == "scored":
            scorer.score(model)
        elif how == "plain forward":
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                model(input_ids=ids)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_fully_sharded_scored_before_the_update(tmp_path: Path) -> None:
    found = {
        how: on_ranks(2, losses_when_scored_before_the_update, tmp_path, how)[0]
        for how in ("alone", "scored", "plain forward")
    }
    assert found["scored"] == found["alone"]
    assert found["plain forward"] != found["alone"], "the test has no power"


# ---------------------------------------------------------------------- trouble on one rank


def trouble(host: str, folder: Path, kind: str, on_error: str) -> dict[str, Any]:
    """A training in which one rank has trouble; what became of it on this rank."""
    watching = Watching(tokens(), folder / "curves.h5", batch_size=BATCH_SIZE, on_error=on_error)
    watching.settings.update(TROUBLES[kind](folder) or {})
    error = None
    try:
        run(host, TRAINING, folder, watching, **settings(host))
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    finally:
        if watching.watch is not None:
            watching.watch.close()
    return {"error": error}


def rank() -> int:
    import os

    return int(os.environ["RANK"])


def forward_fails_on_rank_1(folder: Path) -> dict[str, Any]:
    calls = []

    def forward(model: Any, batch: Any) -> Any:
        calls.append(1)
        # Calls 1 to 3 are the survey's; each observation makes 2 on a rank. 8 and 9 are observation 3, of step 4.
        if rank() == 1 and len(calls) == 8:
            raise RuntimeError("only here")
        return getattr(model, "model", model)(input_ids=batch.input_ids).logits

    return {"forward": forward}


def out_of_memory_on_rank_1(folder: Path) -> dict[str, Any]:
    def forward(model: Any, batch: Any) -> Any:
        if rank() == 1 and len(batch.input_ids) == 3:
            raise torch.OutOfMemoryError("only here")
        return getattr(model, "model", model)(input_ids=batch.input_ids).logits

    return {"forward": forward}


def survey_fails_on_rank_1(folder: Path) -> dict[str, Any]:
    def forward(model: Any, batch: Any) -> Any:
        if rank() == 1:
            raise RuntimeError("only here")
        return getattr(model, "model", model)(input_ids=batch.input_ids).logits

    return {"forward": forward}


def foreign_file(folder: Path) -> None:
    if rank() == 0:
        (folder / "curves.h5").write_text("my thesis")


def unforeseen_error_of_the_file(folder: Path) -> None:
    def start(*_: Any, **__: Any) -> None:
        raise PermissionError("no rename here")

    RunFile.start = start  # type: ignore[method-assign]  # this process ends with the test


def full_disk(folder: Path) -> None:
    append_all = RunFile.append_all

    def refuse(file: RunFile, rows: list[Any]) -> None:
        if any(row.step == 4 for row in rows):
            raise OSError("no space")
        append_all(file, rows)

    RunFile.append_all = refuse  # type: ignore[method-assign]


def tracker_fails(folder: Path) -> dict[str, Any]:
    def log(scalars: dict[str, float], step: int) -> None:
        if step == 4:
            raise ConnectionError("no tracker")

    return {"log": log}


TROUBLES: dict[str, Callable[[Path], dict[str, Any] | None]] = {
    found.__name__: found
    for found in (
        forward_fails_on_rank_1,
        out_of_memory_on_rank_1,
        survey_fails_on_rank_1,
        foreign_file,
        unforeseen_error_of_the_file,
        full_disk,
        tracker_fails,
    )
}


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("forward_fails_on_rank_1", [0, 2, 6]), ("full_disk", [0, 2]), ("tracker_fails", [0, 2, 4, 6])],
)
def test_trouble_on_one_rank_is_survived_by_all(kind: str, steps: list[int], tmp_path: Path) -> None:
    assert on_ranks(2, trouble, "loop", tmp_path, kind, "warn") == [{"error": None}] * 2
    assert open_run(tmp_path / "curves.h5").steps.tolist() == steps


def test_out_of_memory_on_one_rank_makes_smaller_batches_on_all(tmp_path: Path) -> None:
    assert on_ranks(2, trouble, "loop", tmp_path, "out_of_memory_on_rank_1", "warn")[0]["error"] is None
    file = open_run(tmp_path / "curves.h5")
    assert file.steps.tolist() == [0, 2, 4, 6]
    with file.group() as group:
        assert '"batch_size": 1' in group.attrs["scorer"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ["forward_fails_on_rank_1", "tracker_fails"])
def test_trouble_on_one_rank_is_raised_on_all(host: str, kind: str, tmp_path: Path) -> None:
    answers = on_ranks(2, trouble, host, tmp_path, kind, "raise")
    assert all(answer["error"] for answer in answers), answers
    assert any("only here" in answer["error"] or "no tracker" in answer["error"] for answer in answers)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ["survey_fails_on_rank_1", "foreign_file", "unforeseen_error_of_the_file"])
def test_what_one_rank_refuses_all_refuse(host: str, kind: str, tmp_path: Path) -> None:
    answers = on_ranks(2, trouble, host, tmp_path, kind, "warn")
    expected = ScoringError.__name__ if kind.startswith("survey") else "Error"
    assert all(answer["error"] and expected in answer["error"] for answer in answers), answers
