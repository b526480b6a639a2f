"""Makes the kept run files, with the code of the commit that is checked out where it runs.

    git worktree add /tmp/old COMMIT
    PYTHONPATH=/tmp/old/src python tests/formats/kept/make.py FORMAT-COMMIT

Old rooms had other names, and old files hold less: what a version does not know is left out.
"""

from __future__ import annotations

import dataclasses
import gzip
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

STEPS = (0, 5, 7)
SCORES = ("surprisal_bits", "correct", "entropy_bits")
N = 9
TEXTS = {1: " the", 2: " sea", 3: "<b>", 4: "ä", 5: "\n"}


def find(name: str, *modules: str) -> Any:
    """The first module of that name that this version has something in; None if there is none."""
    for module in modules:
        try:
            return getattr(import_module(f"curvewatch.{module}"), name)
        except (ImportError, AttributeError):
            continue
    return None


def values(step: int) -> tuple[Any, Any, Any]:
    """Surprisal, correctness, entropy: numbers that tell step and token."""
    surprisal = (step + np.arange(N) / 1000).astype(np.float32)
    return surprisal, np.arange(N) % 3 == step % 3, (surprisal / 2).astype(np.float32)


def known(kind: Any, **settings: Any) -> Any:
    """An object of a dataclass, with those of the settings that this version's has."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in settings.items() if name in names})


def write(path: Path, *, whole: bool, kind: str = "") -> None:
    """A run file: `plain` is the least that there is, `whole` all that the version knows.

    `masked` and `seq2seq` are of sets for such models, the first with passes with dropout.
    """
    TokenSet = find("TokenSet", "tokens")
    RunFile = find("RunFile", "runfile.writer", "runfile")
    Observation = find("Observation", "observation")
    SetRecord, RunPlan, Row = (
        find(name, "runfile.records", "records", "runfile.writer", "runfile")
        for name in ("SetRecord", "RunPlan", "Row")
    )
    Counted, Sample = find("Counted", "runfile.records", "records"), find("Sample", "observation", "sampled")
    Seen = find("Seen", "runfile.records")
    Sample = Sample or find("Sample", "sampling.sample", "sampling")
    tokens = TokenSet.from_sequences([[1, 2, 3, 4, 5], [5, 4, 3], [2, 2, 2, 1]], vocab_size=8)
    if whole:
        parts = {name: getattr(tokens, name) for name in ("ids", "starts", "sequence_index", "position")}
        tokens = TokenSet(**parts, vocab_size=8, made_by=tokens.made_by, vocabulary=TEXTS)
        if hasattr(tokens, "label"):
            tokens = annotated(tokens)
    if kind == "masked":
        tokens = tokens.masked("masked_in_2", mask=7)
    if kind == "seq2seq":
        rows = [tokens.sequence(s).tolist() for s in range(tokens.n_sequences)]
        tokens = TokenSet.from_sequences(rows, encoder_ids=[[7, 6], [5], [4, 4, 4]], vocab_size=8)
    assert len(tokens) == N
    corrected = hasattr(tokens, "annotations") and getattr(tokens.annotations, "boundary", None) is not None
    counted = (
        Counted(np.unique(tokens.target), np.array([9.0, 8, 7, 6, 5]), training=True) if whole and Counted else None
    )
    record = known(
        SetRecord, tokens=tokens, model_vocab_size=16, scorer={"batch_size": 4}, counted=counted, kl=corrected,
        dropout=kind == "masked",
    )  # fmt: skip
    planned = {"planned_steps": np.array([0, 5, 6, 9]), "schedule": "kept"}
    plan = known(
        RunPlan, max_steps=10, **planned, provenance={"host": {"name": "kept"}},
        max_overhead=0.05 if whole else None, weights="training", batches=whole, passages=passages() if whole else None,
    )  # fmt: skip
    file = RunFile.start(path, {"eval": record}, plan, -1)
    for step in STEPS:
        row = {"step": step, "seconds": 0.5, "time": 1e9 + step, "due_step": 6 if step == 7 else step}
        counts = {"eval": np.arange(5) + step} if counted is not None else {}
        seen = Seen(100.0 * step, 70.0 * step, 400.0 * step) if Seen else None
        boundary = [(np.arange(N) / 10 - step).astype(np.float32)] if corrected else []
        seen_of = known(Observation, **dict(zip(SCORES, values(step), strict=True)),
                        boundary_bits=boundary[0] if boundary else None,
                        kl_bits=np.full(N, step / 10, np.float32) if corrected else None,
                        dropout_sd_bits=np.full(N, step / 20, np.float32) if kind == "masked" else None)  # fmt: skip
        row |= {"observations": {"eval": seen_of}, "counts": counts}
        row |= {"tokens_seen": 100.0 * step, "seen": seen}
        file.append(known(Row, **row))
        if whole and step and hasattr(file, "add_trained"):
            for part in trained_on(step):
                file.add_trained(part)
        if whole and step == 5 and hasattr(file, "save_counts"):
            saved = [Seen(600.0, 420.0, 2400.0)] if Seen else [600.0] if hasattr(file, "tokens_seen_at") else []
            file.save_counts(6, {"eval": np.arange(5) + 6}, *saved)
    if whole and hasattr(file, "skip"):
        file.skip(9, "over budget ä")
    if whole and Sample is not None and hasattr(file, "add_samples"):
        text = {"step": 7, "prompt_index": 0, "text": " the sea", "token_ids": (1, 2), "repetition_length": 0}
        file.add_samples([known(Sample, **text, status="length", prompt="By")])
    file.close()


def annotated(tokens: Any) -> Any:
    """With texts, a label and a span."""
    from curvewatch.tokens.annotations import Annotations
    from curvewatch.tokens.labels import originals_of

    originals = originals_of(tokens)
    notes = known(Annotations, originals=originals, n_bytes=originals.n_bytes(tokens.scored),
                  boundary=np.array([3, 1, 1, 0, 0, 3, 0, 0], np.uint8), reference=based())  # fmt: skip
    tokens = tokens.with_annotations(notes)
    return tokens.label("sea", "sea").with_spans([[(4, 8, "water", "noun")], [], []])


def based() -> Any:
    """What a base says of the tokens."""
    Reference = find("Reference", "tokens.reference")
    return Reference and Reference("the base", values(1)[0], np.arange(N) % 2 == 0)


def passages() -> Any:
    """Two of them, for a tokenizer of letters."""
    Passages = find("Passages", "tokens.passages")

    class Letters:
        def encode(self, text: str) -> list[int]:
            return [ord(letter) for letter in text]

        def decode(self, ids: Any) -> str:
            return "".join(map(chr, ids))

        def __len__(self) -> int:
            return 256

    return Passages and Passages({"a fact": "the sea is blue", "ä": "a fact nobody saw"}, Letters())


def trained_on(step: int) -> Any:
    """An exposure and two sequences in the update that leads to a step; nothing is known of those before it."""
    TrainedPart = find("TrainedPart", "runfile.records")
    two, before = np.array([step, step]), STEPS[STEPS.index(step) - 1]
    yield TrainedPart(before, step - 1, known=False)
    yield TrainedPart(step - 1, step, True, two[:1], two[:1] * 0, two[:1] * 0 + 3, two, two.astype(np.uint64), two - 9)


if __name__ == "__main__":
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir(exist_ok=True)
    names = ["plain", "whole", *(["masked", "seq2seq"] if hasattr(find("TokenSet", "tokens"), "masked") else [])]
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / "curves.h5"
            write(made, whole=name == "whole", kind=name)
            (folder / f"{name}.h5.gz").write_bytes(gzip.compress(made.read_bytes(), 9, mtime=0))
            print(folder.name, name, made.stat().st_size, (folder / f"{name}.h5.gz").stat().st_size)
