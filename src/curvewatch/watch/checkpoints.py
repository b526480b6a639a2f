"""A run file from checkpoints that exist already: the file that a watch would have written, row by row.

It can be interrupted at any time and goes on after the last checkpoint that is in the file.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from curvewatch.analysis.run import Run, open_run
from curvewatch.errors import CurvewatchError, RunFileError
from curvewatch.runfile.layout import DEFAULT_SET
from curvewatch.runfile.records import Row, RunPlan, SetRecord
from curvewatch.runfile.writer import RunFile
from curvewatch.scoring.scorer import Scorer
from curvewatch.scoring.undisturbed import device_of, unwrap
from curvewatch.tokens.tokenset import TokenSet
from curvewatch.watch import provenance

HOST = "curvewatch score"
FOLDER = re.compile(r"(?:checkpoint|ckpt|step|global_?step|iter)[-_]?(\d+)$", re.IGNORECASE)
PRECISIONS = ("float32", "bfloat16", "float16")
Load = Callable[[int], Any]


class CheckpointError(CurvewatchError):
    """A checkpoint can't be found or loaded."""


def score_checkpoints(
    load: Load,
    steps: Iterable[int],
    tokens: TokenSet,
    path: str | os.PathLike[str],
    *,
    max_steps: int | None = None,
    batch_size: int | str = "auto",
    autocast: str | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Scores a model at each of `steps`, and appends every observation to the run file at `path`.

    Args:
        load: Gives the model of a step, on its device. It is called once for each step that is not in the file yet,
            in ascending order, and its model is let go of before the next call.
        steps: Steps to score.
        tokens: What to score.
        path: The run file, made, or continued where an earlier call stopped.
        max_steps: Planned last step of the training; None: the last of `steps`.
        batch_size: Sequences at once, or "auto".
        autocast: Precision to score in, as training had it: None (the weights' own), "bfloat16" or "float16".
        forward: As `Watch` takes it.
        source: What the checkpoints are, for the record; a file made of others is not continued.
        progress: Called with the number of steps done and in all.

    Returns:
        The finished run.

    Raises:
        ValueError: If an argument makes no sense.
        RunFileError: If the file at `path` is not one that this call can go on with, or can't be written.
        ScoringError: If a model can't be scored on these tokens.
    """
    wanted = sorted({int(step) for step in steps})
    if not wanted or wanted[0] < 0:
        raise ValueError(f"steps={wanted[:5]}: at least one step is expected, none below 0.")
    path = Path(path)
    done = _already_there(path, tokens, source)
    to_do = [step for step in wanted if not done or step > done[-1]]
    missed = [step for step in wanted if step not in to_do and step not in done]
    if missed:
        raise RunFileError(
            f"path={path}: it goes to step {done[-1]}, and steps {missed[:5]} lie before that; rows are only added at "
            "the end. Choose another path to score them all."
        )
    if progress is not None:
        progress(len(wanted) - len(to_do), len(wanted))
    if not to_do:
        return open_run(path)
    scorer = Scorer(tokens, batch_size=batch_size, forward=forward)
    file: RunFile | None = None
    try:
        for n, step in enumerate(to_do, 1):
            model = load(step)
            if file is None:
                scorer.prepare(model, _autocast(model, autocast))
                last = max(max_steps or 0, wanted[-1])
                host = {"name": HOST, "source": source, "autocast": autocast}
                plan = RunPlan(last, np.array(wanted), "the checkpoints", provenance.of_session(unwrap(model), host))
                file = _begun(path, scorer, plan, done[-1] if done else -1, automatic=batch_size == "auto")
            _append(file, scorer, model, step)
            del model
            if progress is not None:
                progress(len(wanted) - len(to_do) + n, len(wanted))
    finally:
        if file is not None:
            file.close()
    return open_run(path)


def _begun(path: Path, scorer: Scorer, plan: RunPlan, keep_through: int, *, automatic: bool) -> RunFile:
    record = SetRecord(scorer.tokens, scorer.prepared.vocab_size, scorer.settings)
    file = RunFile.start(path, {DEFAULT_SET: record}, plan, keep_through)
    if automatic:
        # Rounding depends on what shares a batch, so a file that is continued keeps the batches that it began with.
        scorer.batch_size = file.scorer_settings(DEFAULT_SET)["batch_size"]
    return file


def _append(file: RunFile, scorer: Scorer, model: Any, step: int) -> None:
    began, size, outputs = time.perf_counter(), scorer.batch_size, scorer.prepared.vocab_size
    observation = scorer.score(model)
    if scorer.prepared.vocab_size != outputs:
        raise CheckpointError(
            f"step {step}: the model has {scorer.prepared.vocab_size} outputs, those before it {outputs}. Score "
            "checkpoints of one run only."
        )
    if scorer.batch_size != size:
        file.rewrite_scorer(DEFAULT_SET, scorer.settings)
    file.append(Row(step, time.perf_counter() - began, time.time(), {DEFAULT_SET: observation}))


def find_checkpoints(places: Sequence[str | os.PathLike[str]]) -> dict[int, Path]:
    """Folders of checkpoints by their step: those given, or those inside a folder that is given.

    A checkpoint's name ends in its step: `checkpoint-500`, `step_500`, `global_step500`.

    Raises:
        CheckpointError: If there is none, or two are of the same step.
    """
    found: dict[int, Path] = {}
    for place in map(Path, places):
        if not place.is_dir():
            raise CheckpointError(f"checkpoints={place}: no such folder.")
        inside = [p for p in sorted(place.iterdir()) if p.is_dir() and FOLDER.search(p.name)]
        for folder in inside or [place]:
            name = FOLDER.search(folder.resolve().name)
            if name is None:
                continue
            step = int(name[1])
            if step in found:
                raise CheckpointError(f"checkpoints: {found[step]} and {folder} are both of step {step}. Give one.")
            found[step] = folder
    if not found:
        listed = ", ".join(map(str, places))
        raise CheckpointError(
            f"checkpoints={listed}: no checkpoint found. Its folder's name ends in the step: checkpoint-500."
        )
    return dict(sorted(found.items()))


def planned_steps(folders: dict[int, Path]) -> int | None:
    """The training's last step by what the Trainer left in the last checkpoint; None if it does not say."""
    try:
        state = json.loads((folders[max(folders)] / "trainer_state.json").read_text())
        return int(state["max_steps"]) or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_transformers(folders: dict[int, Path], device: str = "auto", tokens: TokenSet | None = None) -> Load:
    """A `load` for checkpoints of transformers; nothing is fetched from anywhere.

    Args:
        folders: By step.
        device: As PyTorch names it; "auto" takes an accelerator if there is one.
        tokens: What will be scored, which says what kind of model they are; None: a causal one.
    """
    import torch

    head, what = "CausalLM", "a causal language model"
    if tokens is not None and tokens.masking is not None:
        head, what = "MaskedLM", "a masked language model, for which the tokens are"
    elif tokens is not None and tokens.encoder is not None:
        head, what = "Seq2SeqLM", "an encoder-decoder model, for which the tokens are"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"

    def load(step: int) -> Any:
        try:
            import transformers

            auto = getattr(transformers, f"AutoModelFor{head}")
        except ImportError as error:
            raise CheckpointError(
                "checkpoints of this kind need transformers. Install it with: pip install 'curvewatch[transformers]'"
            ) from error
        try:
            # Asked for nothing, transformers asks the user whether code that lies in the folder may run.
            plain = {"local_files_only": True, "trust_remote_code": False}
            return auto.from_pretrained(folders[step], **plain).to(device).eval()
        except Exception as error:
            raise CheckpointError(
                f"{folders[step]}: can't be loaded as {what} ({type(error).__name__}: "
                f"{next(iter(str(error).splitlines()), '')}). What was scored before it is in the file; mend or "
                "remove the folder, and run this again."
            ) from error

    return load


def load_tokens(path: str | os.PathLike[str], set_name: str | None = None) -> TokenSet:
    """A token set from where it was saved (.npz), or from a run file that watched it.

    Args:
        path: Of either.
        set_name: Which set of a run file, where there are several.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"tokens={path}: no such file.")
    with open(path, "rb") as file:
        head = file.read(8)
    return open_run(path, set_name).tokens if head == b"\x89HDF\r\n\x1a\n" else TokenSet.load(path)


def _already_there(path: Path, tokens: TokenSet, source: str) -> list[int]:
    if not path.exists():
        return []
    run = open_run(path)
    hosts = [session.get("host", {}) for session in run.sessions]
    if any(host.get("name") != HOST for host in hosts):
        raise RunFileError(
            f"path={path}: it holds a run that was watched live, which is never added to. Choose another."
        )
    others = {host.get("source", "") for host in hosts} - {source}
    if others:
        raise RunFileError(
            f"path={path}: it was made of other checkpoints ({', '.join(sorted(others))}; now {source}). Choose "
            "another path."
        )
    if run.set_hash != tokens.hash:
        raise RunFileError(
            f"path={path}: it holds token set {run.set_hash}, the one given is {tokens.hash}. Choose another path."
        )
    steps: list[int] = run.steps.tolist()
    # A file with step 0 alone counts as not begun: a run that begins scores step 0.
    return steps if steps and steps[-1] > 0 else []


def _autocast(model: Any, precision: str | None) -> Callable[[], AbstractContextManager[object]]:
    if precision is None or precision == "float32":
        return nullcontext
    if precision not in PRECISIONS:
        raise ValueError(f"autocast={precision!r}: one of {', '.join(PRECISIONS)} is expected.")
    import torch

    kind, dtype = device_of(model).type, getattr(torch, precision)
    return lambda: torch.autocast(kind, dtype)
