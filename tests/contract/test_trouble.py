"""Trouble, in the host or in the watch: the host sees its own exceptions and no others, and the file stays good."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curvewatch import RunFile, RunFileError, ScoringError, TokenSet, open_run
from curvewatch.watch.trouble import FAILURES_IN_A_ROW
from tests.support.hosts import HOSTS, Watching, run
from tests.support.models import VOCABULARY, random_tokens
from tests.support.trainings import Training

TRAINING = Training(steps=6, log_every=1)


class Boom(Exception):
    """The script's own trouble."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.h5"


@pytest.fixture
def watching(path: Path) -> Iterator[Watching]:
    made = Watching(random_tokens(), path)
    yield made
    if made.watch is not None:
        made.watch.close()


def failing_at(host: str, step: int, error: BaseException) -> dict[str, Any]:
    """Settings of `run` with which the host's training raises `error` when `step` updates are done."""
    if host == "trainer":
        from transformers import TrainerCallback

        class Failing(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == step:
                    raise error

        return {"callbacks": (Failing(),)}
    if host == "lightning":
        from lightning.pytorch import Callback

        class FailingToo(Callback):
            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == step:
                    raise error

        return {"callbacks": (FailingToo(),)}

    def after(done: int, _model: Any) -> None:
        if done == step + 1:  # before it is observed
            raise error

    return {"after": after}


class Failing:
    """A user's `forward` that fails from its nth observation on, `times` times."""

    def __init__(self, at: int, times: int = 10**9, error: type[Exception] = RuntimeError) -> None:
        self.at, self.times, self.error = at, times, error
        self.calls = self.failed = 0

    def __call__(self, module: Any, batch: Any) -> Any:
        self.calls += 1
        # The survey, which stands for the first, makes three calls.
        # The first call is the survey's, and the 7 sequences make one batch: call n + 1 is observation n.
        if self.calls > (self.at and self.at + 2) and self.failed < self.times:
            self.failed += 1
            raise self.error("the user's forward fails")
        return getattr(module, "model", module)(input_ids=batch.input_ids).logits


# ---------------------------------------------------------------------- the host's trouble


@pytest.mark.parametrize("error", [Boom("of the script"), KeyboardInterrupt()])
@pytest.mark.parametrize("host", HOSTS)
def test_an_exception_in_training(host: str, error: BaseException, path: Path, watching: Watching) -> None:
    # Lightning answers Ctrl-C by shutting down and leaving the process.
    expected = SystemExit if host == "lightning" and isinstance(error, KeyboardInterrupt) else type(error)
    with pytest.raises(expected) as caught:
        run(host, TRAINING, path.parent, watching, **failing_at(host, 4, error))
    assert caught.value is error or expected is SystemExit
    assert watching.watch is not None
    assert watching.watch.flush(10)
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("host", HOSTS)
def test_a_new_training_after_an_exception_in_the_same_process(host: str, path: Path, watching: Watching) -> None:
    """A notebook: the cell is interrupted and run again, while the old objects still lie about."""
    with pytest.raises(Boom):
        run(host, TRAINING, path.parent, watching, **failing_at(host, 4, Boom()))
    again = Watching(random_tokens(), path)
    run(host, TRAINING, path.parent, again)
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert open_run(path.with_name("curves.1.h5")).steps.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_early_stopping(host: str, path: Path, watching: Watching) -> None:
    if host == "trainer":
        from transformers import TrainerCallback

        class Stopping(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_training_stop = state.global_step == 4
    else:
        from lightning.pytorch import Callback

        class Stopping(Callback):  # type: ignore[no-redef]
            def on_train_batch_end(self, trainer, *_):
                trainer.should_stop = trainer.global_step == 4

    training = Training(steps=60, log_every=3)
    run(host, training, path.parent, watching, callbacks=(Stopping(),))
    assert open_run(path).steps.tolist() == [0, 3, 4], "the last step is scored though it was not foreseen"
    assert open_run(path).max_steps == 60


@pytest.mark.parametrize("host", ["trainer", "lightning"])
def test_a_second_training_with_the_same_objects(host: str, path: Path, watching: Watching) -> None:
    run(host, Training(steps=4, log_every=2), path.parent, watching, trainings=2)
    assert open_run(path).steps.tolist() == [0, 2, 4]
    if host == "trainer":  # Lightning's second fit finds its training done
        assert open_run(path.with_name("curves.1.h5")).steps.tolist() == [0, 2, 4]


def test_auto_find_batch_size(path: Path, watching: Watching) -> None:
    """The Trainer begins again in the same process with smaller batches."""
    refused = []

    def large_batches_fail(module: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
        if torch.is_grad_enabled() and len(keywords["input_ids"]) > 2:
            refused.append(len(keywords["input_ids"]))
            raise torch.OutOfMemoryError("CUDA out of memory. (simulated)")

    training = Training(steps=4, log_every=2)
    model = training.model()
    model.register_forward_pre_hook(large_batches_fail, with_kwargs=True)
    run("trainer", training, path.parent, watching, model=model, auto_find_batch_size=True)
    assert refused
    assert open_run(path).steps.tolist() == [0, 2, 4]


def test_out_of_memory_in_scoring_does_not_shrink_the_training_batch(path: Path) -> None:
    """The Trainer takes a bare out-of-memory error from a callback for its own."""
    forward = Failing(at=2, error=torch.OutOfMemoryError)
    watching = Watching(random_tokens(), path, forward=forward)
    alone = run("trainer", TRAINING, path.parent, auto_find_batch_size=True)
    watched = run("trainer", TRAINING, path.parent, watching, auto_find_batch_size=True)
    assert forward.failed
    assert alone.differences(watched) == []


def test_out_of_memory_in_the_survey_does_not_shrink_the_training_batch(path: Path) -> None:
    watching = Watching(random_tokens(), path, forward=Failing(at=0, error=torch.OutOfMemoryError))
    with pytest.raises(ScoringError, match="fails"):
        run("trainer", TRAINING, path.parent, watching, auto_find_batch_size=True)


# ---------------------------------------------------------------------- the watch's trouble


@pytest.mark.parametrize("host", HOSTS)
def test_a_forward_that_fails_once(host: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The 3rd observation, of step 2, is missing; all else is there, and training is as without a watch."""
    alone = run(host, TRAINING, path.parent)
    watched = run(host, TRAINING, path.parent, Watching(random_tokens(), path, forward=Failing(3, times=1)))
    assert alone.differences(watched) == []
    assert open_run(path).steps.tolist() == [0, 1, 3, 4, 5, 6]
    assert "scoring failed at step 2: scoring failed: the user's forward fails" in caplog.text


@pytest.mark.parametrize("host", HOSTS)
def test_a_forward_that_goes_on_failing(host: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forward = Failing(3)
    alone = run(host, TRAINING, path.parent)
    watched = run(host, TRAINING, path.parent, Watching(random_tokens(), path, forward=forward))
    assert alone.differences(watched) == []
    assert open_run(path).steps.tolist() == [0, 1]
    assert forward.failed == FAILURES_IN_A_ROW
    assert "the watch steps aside" in caplog.text
    assert sum("said once" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_a_forward_that_fails_with_on_error_raise(host: str, path: Path) -> None:
    watching = Watching(random_tokens(), path, forward=Failing(3), on_error="raise")
    with pytest.raises(ScoringError, match="the user's forward fails") as caught:
        run(host, TRAINING, path.parent, watching)
    assert not isinstance(caught.value, RuntimeError)
    assert watching.watch is not None
    watching.watch.close()
    assert open_run(path).steps.tolist() == [0, 1]


@pytest.mark.parametrize("host", HOSTS)
def test_logging_that_fails(host: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def log(scalars: dict[str, float], step: int) -> None:
        raise ConnectionError("no such tracker")

    alone = run(host, TRAINING, path.parent)
    watched = run(host, TRAINING, path.parent, Watching(random_tokens(), path, log=log))
    assert alone.differences(watched) == []
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sum("no such tracker" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_logging_that_fails_with_on_error_raise(host: str, path: Path) -> None:
    def log(scalars: dict[str, float], step: int) -> None:
        if step == 2:
            raise ConnectionError("no such tracker")

    watching = Watching(random_tokens(), path, log=log, on_error="raise")
    with pytest.raises(ConnectionError, match="no such tracker"):
        run(host, TRAINING, path.parent, watching)
    assert watching.watch is not None
    watching.watch.close()
    assert open_run(path).steps.tolist() == [0, 1, 2]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Commits of the steps in the list fail as on a full disk."""
    append_all, full = RunFile.append_all, []

    def refuse(file: RunFile, rows: list[Any]) -> None:
        if any(row.step in full for row in rows):
            raise OSError(errno.ENOSPC, "No space left on device")
        append_all(file, rows)

    monkeypatch.setattr(RunFile, "append_all", refuse)
    return full


@pytest.mark.parametrize("host", HOSTS)
def test_a_full_disk(host: str, path: Path, full_disk: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """Rows wait in order, and training goes on; at the end what could not be written is said."""
    full_disk.extend([3, 4])
    alone = run(host, TRAINING, path.parent)
    watched = run(host, TRAINING, path.parent, Watching(random_tokens(), path))
    assert alone.differences(watched) == []
    assert open_run(path).steps.tolist() == [0, 1, 2]
    assert "step 3 could not be written" in caplog.text
    assert "4 rows could not be written" in caplog.text


def test_a_disk_that_has_room_again(path: Path, full_disk: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curvewatch.runfile.recorder.RETRY_SECONDS", 0.05)
    full_disk.append(2)

    def after(step: int, _model: Any) -> None:
        if step == 5:
            full_disk.clear()

    run("loop", TRAINING, path.parent, Watching(random_tokens(), path), after=after)
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("host", HOSTS)
def test_a_disk_that_is_really_full(host: str, path: Path) -> None:
    """The kernel refuses to let any file grow beyond what this one has by step 2."""
    alone = run(host, TRAINING, path.parent)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    watching = Watching(random_tokens(n_sequences=100, per_sequence=None), path)
    watched_steps: list[int] = []

    def log(scalars: dict[str, float], step: int) -> None:
        watched_steps.append(step)
        if step == 2:
            assert watching.watch is not None
            watching.watch.flush(10)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    watching.settings["log"] = log
    try:
        watched = run(host, TRAINING, path.parent, watching)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert alone.differences(watched) == []
    assert watched_steps == [0, 1, 2, 3, 4, 5, 6]
    file = open_run(path)
    assert file.steps.tolist()[:3] == [0, 1, 2]
    assert np.isfinite(file.surprisal[:]).all()


@pytest.mark.parametrize("host", HOSTS)
def test_closing_that_fails(
    host: str, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last sync of all may fail too; a training that is done must not fail because of it."""
    close = RunFile.close

    def failing(file: RunFile) -> None:
        close(file)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(RunFile, "close", failing)
    run(host, TRAINING, path.parent, Watching(random_tokens(), path))
    assert "Input/output error" in caplog.text
    assert open_run(path).steps.tolist() == [0, 1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------------- wrong settings, before the first step


def no_step(host: str, folder: Path, watching: Watching, error: type[Exception], match: str, **settings: Any) -> None:
    """Asserts that training is refused before its first step."""
    steps: list[Any] = []
    training = Training(steps=3)
    model = training.model()
    model.register_forward_hook(lambda *_: steps.append(1) if torch.is_grad_enabled() else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "model", lambda self: model)
        with pytest.raises(error, match=match):
            run(host, training, folder, watching, **settings)
    assert steps == []


@pytest.mark.parametrize("host", HOSTS)
def test_a_folder_that_cannot_be_made(host: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    no_step(host, tmp_path, Watching(random_tokens(), tmp_path / "file" / "curves.h5"), RunFileError, "curves.h5")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="root may write everywhere")
def test_a_path_that_cannot_be_written(host: str, tmp_path: Path) -> None:
    place = Path("/proc/sys/curves.h5") if os.geteuid() == 0 else tmp_path / "locked" / "curves.h5"
    if place.parent.name == "locked":
        place.parent.mkdir(mode=0o500)
    no_step(host, tmp_path, Watching(random_tokens(), place), RunFileError, "curves.h5")


@pytest.mark.parametrize("host", HOSTS)
def test_a_foreign_file(host: str, path: Path) -> None:
    path.write_text("my thesis")
    no_step(host, path.parent, Watching(random_tokens(), path), RunFileError, "curves.h5")
    assert path.read_text() == "my thesis"


@pytest.mark.parametrize("host", HOSTS)
def test_ids_beyond_the_model(host: str, path: Path) -> None:
    tokens = TokenSet.from_sequences([[1, 2, VOCABULARY]])
    no_step(host, path.parent, Watching(tokens, path), ScoringError, f"id {VOCABULARY} lies beyond the model's 101")
    assert not path.exists()


@pytest.mark.parametrize("host", HOSTS)
def test_sequences_longer_than_the_model_reads(host: str, path: Path) -> None:
    tokens = random_tokens(length=34)  # 33 are fed, the model has 32 positions
    no_step(host, path.parent, Watching(tokens, path), ScoringError, "feeds 33 tokens, .* is 32.*context=32")


@pytest.mark.parametrize("host", HOSTS)
def test_no_logits(host: str, path: Path) -> None:
    watching = Watching(random_tokens(), path, forward=lambda model, batch: {"loss": torch.zeros(())})
    no_step(host, path.parent, watching, ScoringError, "without logits")


def test_no_such_schedule(path: Path) -> None:
    with pytest.raises(ValueError, match="schedule='weekly': no such schedule"):
        Watching(random_tokens(), path, schedule="weekly").trainer()
