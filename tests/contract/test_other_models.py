"""Masked and encoder-decoder models: the same promises as for causal ones, in every host, on two ranks, resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from curvewatch import Live, open_run
from tests.support.hosts import HOSTS, Intruding, Watching, forward_in_training_mode, run, shard
from tests.support.models import tokens_for
from tests.support.ranks import on_ranks
from tests.support.recomputing import Snapshots, assert_rows_are_the_training_models
from tests.support.trainings import Training

BERT, T5 = Training(architecture="bert", log_every=2), Training(architecture="t5", log_every=2)
EACH = pytest.mark.parametrize("training", [BERT, T5], ids=["bert", "t5"])


def fresh(training: Training) -> Callable[[], Any]:
    return partial(Training.model, replace(training, checkpointing=None))


@EACH
@pytest.mark.parametrize("host", HOSTS)
def test_bit_identical_and_each_row_the_training_models(host: str, training: Training, tmp_path: Path) -> None:
    tokens, copies = tokens_for(training.architecture), Snapshots()
    alone = run(host, training, tmp_path / "alone")
    watching = Watching(tokens, tmp_path / "curves.h5", live=Live(dropout_passes=2, batches=True))
    watched = run(host, training, tmp_path / "watched", watching, **copies.settings(host, training))
    assert alone.differences(watched) == []
    disturbed = run(host, training, tmp_path / "disturbed", Intruding(forward_in_training_mode))
    assert {"losses", "optimizer state", "torch stream"} <= set(disturbed.differences(alone))
    steps = open_run(tmp_path / "curves.h5").steps.tolist()
    assert_rows_are_the_training_models(tmp_path / "curves.h5", copies, fresh(training), tokens, steps)
    assert len(steps) >= 4


@EACH
@pytest.mark.parametrize("host", HOSTS)
def test_bfloat16(host: str, training: Training, tmp_path: Path) -> None:
    training = replace(training, bf16=True)
    alone = run(host, training, tmp_path / "alone")
    watching = Watching(tokens_for(training.architecture), tmp_path / "curves.h5")
    assert alone.differences(run(host, training, tmp_path / "watched", watching)) == []
    assert len(open_run(tmp_path / "curves.h5")) >= 4


def on_two(training: Training, host: str, layout: str, folder: Path) -> list[str]:
    """On each rank: the training alone and watched; what differs. The rows are recomputed from the weights."""
    settings: dict[str, Any] = {"ddp_backend": "gloo"} if host == "trainer" else {}
    if host == "loop":
        dist.is_initialized() or dist.init_process_group("gloo")
        settings = {"wrap": DistributedDataParallel if layout == "ddp" else sharded}
    tokens = tokens_for(training.architecture, ragged=True)
    alone = run(host, training, folder / "alone", **settings)
    copies = Snapshots()
    watching = Watching(tokens, folder / "curves.h5", batch_size=3)
    watched = run(host, training, folder / "watched", watching, **copies.settings(host, training, settings))
    if dist.get_rank() == 0:
        steps = open_run(folder / "curves.h5").steps.tolist()
        assert len(steps) >= 4
        assert_rows_are_the_training_models(folder / "curves.h5", copies, fresh(training), tokens, steps)
    return alone.differences(watched)


def sharded(model: Any) -> Any:
    from torch.distributed.device_mesh import init_device_mesh

    return shard(model, init_device_mesh("cpu", (2,)))


@EACH
@pytest.mark.parametrize(("host", "layout"), [("trainer", "ddp"), ("loop", "ddp"), ("loop", "fsdp2")])
def test_two_ranks(host: str, layout: str, training: Training, tmp_path: Path) -> None:
    found = on_ranks(2, on_two, training, host, layout, tmp_path)
    assert found == [[], []]


@EACH
@pytest.mark.parametrize("host", ["trainer", "loop"])
def test_resumed(host: str, training: Training, tmp_path: Path) -> None:
    """From the checkpoint of step 4: the file is that of a training that was never interrupted."""
    training = replace(training, steps=8, rows=16, save_every=4, dropout=0.0, shuffle=False)
    tokens = tokens_for(training.architecture)
    run(host, training, tmp_path / "whole", Watching(tokens, tmp_path / "whole.h5"))
    first, then = (Watching(tokens, tmp_path / "curves.h5") for _ in range(2))
    run(host, training, tmp_path, first)
    resume: Any = 4 if host == "loop" else str(tmp_path / "trainer" / "checkpoint-4")
    run(host, training, tmp_path, then, resume=resume)
    whole, resumed = open_run(tmp_path / "whole.h5"), open_run(tmp_path / "curves.h5")
    assert resumed.steps.tolist() == whole.steps.tolist()
    assert np.array_equal(np.asarray(resumed.surprisal), np.asarray(whole.surprisal))
    assert len(resumed.sessions) == 2


def test_what_is_learned_of_a_batch_is_what_masks_hide(tmp_path: Path) -> None:
    """Counts, fingerprints and passages are of the text, not of what a masked model is fed."""
    for training, whole in ((BERT, lambda ids: ids), (T5, lambda ids: ids.flip(1))):
        training = replace(training, shuffle=False, rows=40)
        path = tmp_path / f"{training.architecture}.h5"
        tokens = tokens_for(training.architecture)
        run("trainer", training, tmp_path, Watching(tokens, path, live=Live(batches=True)))
        ids = whole(training.data().ids[: training.steps * training.batch])
        with open_run(path).group() as group:
            counted, counts = group["counted_id"][:], group["training_count"][-1]
        expected = torch.bincount(ids.flatten(), minlength=101).numpy()[counted]
        assert counts.tolist() == expected.tolist()
        from curvewatch import fingerprints

        assert open_run(path).trained.fingerprint_S.tolist() == fingerprints(ids.numpy()).tolist()
