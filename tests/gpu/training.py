"""Training ends bit for bit as without the watch, in every host and precision; and each row is the training model's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.gpu.report import NotHere, Place, Report
from tests.support.hosts import HOSTS, Intruding, Watching, forward_in_training_mode, run
from tests.support.models import tokens_for
from tests.support.recomputing import (
    BFLOAT16_BITS,
    FLOAT16_BITS,
    FLOAT32_BITS,
    Snapshots,
    assert_rows_are_the_training_models,
)
from tests.support.trainings import Training

CASES = {
    "float32": Training(),
    "bf16 autocast": Training(bf16=True),
    "fp16 autocast, scaled": Training(fp16=True),
    "accumulation": Training(bf16=True, accumulate=3),
    "checkpointing": Training(bf16=True, checkpointing="non-reentrant"),
    "checkpointing, reentrant": Training(bf16=True, checkpointing="reentrant"),
    "a masked model": Training(architecture="bert"),
    "a masked model, bf16": Training(architecture="bert", bf16=True),
    "an encoder-decoder model": Training(architecture="t5"),
    "an encoder-decoder model, bf16": Training(architecture="t5", bf16=True),
}
SMALL_CASES = ("float32", "bf16 autocast", "a masked model", "an encoder-decoder model")


def run_part(place: Place, report: Report) -> None:
    """Every host in every case."""
    for name, case in CASES.items():
        if not place.card and name not in SMALL_CASES and not case.fp16:
            continue
        training = replace(case, device=place.device.type)
        for host in HOSTS:
            title = f"{host}, {name}"
            with report.check(f"bit for bit: {title}") as seen:
                if case.fp16 and not place.card:
                    raise NotHere("hosts train in float16 on accelerators only")
                seen.append(compare(host, training, place))


def compare(host: str, training: Training, place: Place) -> str:
    """One host's training alone, again, watched, and disturbed; what was seen."""
    folder, tokens = place.folder / f"{host}-{abs(hash(training))}", tokens_for(training.architecture)
    play = partial(run, host, training)
    copies = Snapshots()
    alone, again = play(folder / "alone"), play(folder / "again")
    if alone.differences(again):
        raise AssertionError(f"training by itself does not repeat: {', '.join(alone.differences(again))[:200]}")
    watched = play(folder / "watched", Watching(tokens, folder / "curves.h5"))
    assert not alone.differences(watched), f"differ: {', '.join(alone.differences(watched))[:200]}"
    disturbed = play(folder / "disturbed", Intruding(forward_in_training_mode))
    different = {"losses", "optimizer state", "accelerator stream" if place.card else "torch stream"}
    assert different <= set(alone.differences(disturbed)), "the comparison has no power: it sees no intruder"
    play(folder / "copied", Watching(tokens, folder / "copied.h5"), **copies.settings(host, training))
    bits = BFLOAT16_BITS if training.bf16 else FLOAT16_BITS if training.fp16 else FLOAT32_BITS
    fresh = partial(Training.model, replace(training, checkpointing=None))
    assert_rows_are_the_training_models(
        folder / "copied.h5", copies, fresh, tokens, [0, 3, 6, 7], bits=bits, around=training.autocast
    )
    return f"each row within {bits:.2g} bit of its recomputation"
