"""A callback finds its Trainer among its callers: on each version of transformers, and what happens if it can't."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import Trainer
from transformers.trainer_callback import CallbackHandler

from curvewatch import open_run
from curvewatch.integrations import transformers as adapter
from curvewatch.integrations.transformers import CurveWatchCallback
from tests.support.hosts import run
from tests.support.models import CONTEXT, random_tokens
from tests.support.trackers import tensorboard
from tests.support.trainings import Training

TRAINING = Training(steps=4, log_every=2)
MEAN = "train/curvewatch/eval/surprisal_mean"
LOST = (
    f"transformers {transformers.__version__}: {{}} is no longer among the callers of a callback's on_train_begin. "
    "Find another way in CurveWatchCallback._sender (integrations/transformers.py), or users must call attach(trainer)."
)


class Asking(CurveWatchCallback):
    """Notes what is found; being a subclass it stands between the Trainer and the callback, as users' classes do."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.found: list[Any] = []

    def on_train_begin(self, *arguments: Any, **keywords: Any) -> None:
        super().on_train_begin(*arguments, **keywords)

    def _sender(self) -> Any:
        self.found.append(super()._sender())
        return self.found[-1]


def train(folder: Path, callback: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Trainer:
    """Trains beside a TensorBoard in `folder/board`; the Trainer."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(folder / "board"))
    if int(transformers.__version__.split(".")[0]) < 5:
        settings["logging_dir"] = str(folder / "board")  # before version 5 it takes the folder from here
    trainers: list[Trainer] = []
    before = settings.pop("before", lambda trainer: None)

    def note(trainer: Trainer) -> None:
        trainers.append(trainer)
        before(trainer)

    callbacks = (callback,) if callback is not None else ()
    run("trainer", TRAINING, folder, callbacks=callbacks, report_to="tensorboard", before=note, **settings)
    return trainers[0]


def counted(path: Path) -> bool:
    """Whether all tokens that were trained on have been counted, in the end."""
    with open_run(path).group() as group:
        counts = group["training_count"][-1] if "training_count" in group else np.zeros(1)
        total = int(np.asarray(counts, np.int64).sum())
    return 0 < total <= TRAINING.steps * TRAINING.batch * CONTEXT


@pytest.mark.parametrize("arguments", [{}, {"auto_find_batch_size": True}], ids=["plain", "auto_find_batch_size"])
def test_it_is_found(arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = Asking(random_tokens(), tmp_path / "curves.h5")
    trainer = train(tmp_path, callback, monkeypatch, **arguments)
    ((found, handler),) = callback.found
    assert found is trainer, LOST.format("the Trainer")
    assert isinstance(handler, CallbackHandler), LOST.format("the CallbackHandler")
    assert handler is trainer.callback_handler
    assert [step for step, _ in tensorboard(tmp_path / "board")[MEAN]] == [0, 2, 4]
    assert counted(tmp_path / "curves.h5"), f"transformers {transformers.__version__}: training_step is not passed"


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a version of transformers called its callbacks from somewhere else."""
    monkeypatch.setattr(adapter, "_caller", lambda kind, frame: None)


@pytest.mark.usefixtures("lost")
def test_what_is_lost_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, CurveWatchCallback(random_tokens(), tmp_path / "curves.h5"), monkeypatch)
    (said,) = [record for record in caplog.records if "was not found" in record.getMessage()]
    assert (said.name, said.levelno) == ("curvewatch", logging.WARNING)
    for part in ("report_to=", "token_counts=", "callback.attach(trainer)", transformers.__version__):
        assert part in said.getMessage()
    # What the message says, no more and no less.
    assert open_run(tmp_path / "curves.h5").steps.tolist() == [0, 2, 4]
    board = tensorboard(tmp_path / "board")
    assert [step for step, _ in board["train/loss"]] == [2, 4]
    assert not any("curvewatch" in key for key in board)
    assert not counted(tmp_path / "curves.h5")


@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize("given", ["in callbacks=", "by attach alone"])
def test_the_way_out(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callback = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5")
    first = callback if given == "in callbacks=" else None
    trainer = train(tmp_path, first, monkeypatch, before=callback.attach)
    assert sum(one is callback for one in trainer.callback_handler.callbacks) == 1
    assert "was not found" not in caplog.text
    assert [step for step, _ in tensorboard(tmp_path / "board")[MEAN]] == [0, 2, 4]
    assert counted(tmp_path / "curves.h5")


def test_attach_wants_a_trainer(tmp_path: Path) -> None:
    callback = CurveWatchCallback(random_tokens(), tmp_path / "curves.h5")
    with pytest.raises(TypeError, match=r"trainer=\{'steps': 4\}: a transformers\.Trainer is expected, got dict"):
        callback.attach({"steps": 4})
