"""What scoring costs beside the ways it is otherwise done: time and peak memory, side by side in one run.

    python benchmarks/scoring.py            # minutes on a CPU
    python benchmarks/scoring.py --quick    # seconds: a smoke test, whose figures mean nothing

All ways take the same sequences in the same batches:

    backbone    the bare backbone, no head, nothing measured: the floor
    forward     the model with its head at the scored positions only: what no exact way can avoid
    loss        the same, and cross-entropy of it in the model's own precision: surprisal and nothing else
    curvewatch  `Scorer.score`: surprisal, correctness and entropy of each scored token
    evaluate    `Trainer.evaluate`: the mean loss
    full        full logits, float32 log_softmax, gather: the surprisals

Times are taken in turns, round after round, and compared within a round. Each peak of memory is taken in a process of
its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from measuring import (
    CONTEXT,
    GPT2_SMALL,
    SMALL,
    TINY,
    Aim,
    Clock,
    PeakMemory,
    Shape,
    in_fresh_process,
    machine,
    pick_device,
    random_tokens,
    settle,
    table,
)
from transformers import GPT2LMHeadModel, Trainer, TrainingArguments, default_data_collator
from transformers.trainer_callback import PrinterCallback

from curvewatch import TokenSet
from curvewatch.scoring import roads
from curvewatch.scoring.batches import Batch, Batches
from curvewatch.scoring.scorer import Scorer

# A GPU's batches are larger, and so must be its work.
GPU_FACTOR = 64
AIM_TIME, AIM_MEMORY = 1.10, 1 / 3


@dataclass(frozen=True)
class Case:
    """What is scored.

    Attributes:
        shape: Of the model.
        sequences: Number of sequences.
        per_sequence: Scored positions in each; None for all.
        dtype: Of the model's weights.
        batch_size: Sequences in a batch; None leaves the choice to the scorer.
    """

    shape: Shape
    sequences: int
    per_sequence: int | None
    batch_size: int | None = None
    dtype: str = "float32"

    @property
    def title(self) -> str:
        """The case in words."""
        positions = "all" if self.per_sequence is None else self.per_sequence
        return f"{self.shape.name}, {self.dtype}, {positions} of {CONTEXT} positions, {self.sequences} sequences"


CASES = (Case(GPT2_SMALL, 8, 10), Case(GPT2_SMALL, 6, None), Case(SMALL, 64, 10), Case(SMALL, 24, None))
QUICK_CASES = (Case(TINY, 16, 10), Case(TINY, 16, None))


class Work:
    """A case made ready: the model, the token set, a prepared scorer, and its batches on the device.

    Args:
        case: What is scored.
        device: Where.
    """

    def __init__(self, case: Case, device: torch.device) -> None:
        self.device = device
        self.model: GPT2LMHeadModel = case.shape.build(device).to(getattr(torch, case.dtype))
        self.tokens: TokenSet = random_tokens(case.sequences, case.shape.vocabulary, case.per_sequence)
        self.scorer = Scorer(self.tokens, batch_size=case.batch_size or "auto")
        self.scorer.prepare(self.model)
        assert isinstance(self.scorer.batch_size, int)
        self.batch_size: int = self.scorer.batch_size
        batches = Batches(self.tokens, self.batch_size)
        self.batches: list[Batch] = [batches.build(index, device) for index in range(len(batches))]
        self.model.eval()
        # The Trainer wants one; it is gone with this object.
        self.folder = tempfile.TemporaryDirectory(prefix="curvewatch-benchmark-")


Way = Callable[[], Any]


def backbone(work: Work) -> Way:
    """The floor."""

    @torch.no_grad()
    def run() -> None:
        for batch in work.batches:
            work.model.transformer(batch.input_ids, use_cache=False)

    return run


def forward(work: Work) -> Way:
    """The forward pass that scoring needs, and nothing else."""
    road = getattr(roads, work.scorer.prepared.road)

    @torch.no_grad()
    def run() -> None:
        for batch in work.batches:
            road(work.model, batch)

    return run


def loss(work: Work) -> Way:
    """The forward pass and cross-entropy, as a training step has them."""
    road = getattr(roads, work.scorer.prepared.road)

    @torch.no_grad()
    def run() -> None:
        for batch in work.batches:
            torch.nn.functional.cross_entropy(road(work.model, batch), batch.target, reduction="none")

    return run


def curvewatch(work: Work) -> Way:
    """This library. The result is the surprisals, bits, shape [N]."""
    return lambda: work.scorer.score(work.model).surprisal_bits


def evaluate(work: Work) -> Way:
    """The Trainer's own evaluation, at its leanest: the loss alone, nothing gathered or reported."""
    arguments = TrainingArguments(
        output_dir=work.folder.name,
        per_device_eval_batch_size=work.batch_size,
        prediction_loss_only=True,
        report_to="none",
        disable_tqdm=True,
        use_cpu=work.device.type == "cpu",
        dataloader_pin_memory=work.device.type == "cuda",
    )
    ids = [torch.from_numpy(work.tokens.sequence(s).astype(np.int64)) for s in range(work.tokens.n_sequences)]
    examples = [{"input_ids": one, "labels": one} for one in ids]
    trainer = Trainer(work.model, arguments, eval_dataset=examples, data_collator=default_data_collator)
    trainer.remove_callback(PrinterCallback)
    return trainer.evaluate


def full(work: Work) -> Way:
    """The plain way. The result is the surprisals, bits, shape [N]."""

    @torch.no_grad()
    def run() -> np.ndarray:
        surprisal_N = np.empty(len(work.tokens), np.float32)
        for batch in work.batches:
            logits_BWV = work.model(batch.input_ids, use_cache=False).logits
            log_p_BWV = torch.log_softmax(logits_BWV.float(), dim=-1)
            next_BW = torch.zeros_like(batch.input_ids).masked_scatter_(batch.keep, batch.target)
            log_p_BW = log_p_BWV.gather(-1, next_BW[..., None])[..., 0]
            surprisal_N[batch.token_index] = (log_p_BW[batch.keep] / -np.log(2)).cpu()
        return surprisal_N

    return run


WAYS: dict[str, Callable[[Work], Way]] = {
    "backbone": backbone,
    "forward": forward,
    "loss": loss,
    "curvewatch": curvewatch,
    "evaluate": evaluate,
    "full": full,
}


def times(work: Work, clock: Clock, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each way in each round, and the largest difference between curvewatch's surprisals and full's (bits).

    The first round warms up and is not counted. In each round another way begins.
    """
    ways = {name: make(work) for name, make in WAYS.items()}
    difference = float(np.abs(ways["curvewatch"]() - ways["full"]()).max())
    for run in ways.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(clock.time(ways[name]))
    return seconds, difference


def peak_of(name: str, case: Case, device: torch.device, threads: int) -> float:
    """Peak memory of one way over the loaded model, MiB. Call it in a fresh process."""
    settle(threads)
    work = Work(case, device)
    run = WAYS[name](work)
    memory = PeakMemory(device)
    run()
    return memory.mib()


def peak_of_prepare(case: Case, device: torch.device, threads: int) -> float:
    """Peak memory of `Scorer.prepare`, which is called once a run, MiB. Call it in a fresh process."""
    settle(threads)
    model = case.shape.build(device).to(getattr(torch, case.dtype))
    scorer = Scorer(random_tokens(case.sequences, case.shape.vocabulary, case.per_sequence))
    memory = PeakMemory(device)
    scorer.prepare(model)
    return memory.mib()


def measure(case: Case, device: torch.device, rounds: int) -> dict[str, Any]:
    """All figures of one case."""
    work, clock = Work(case, device), Clock(device)
    # An accelerator's allocator counts for itself; a CPU's peak is that of a whole process.
    alone = in_fresh_process if device.type == "cpu" else lambda function, *arguments: function(*arguments)
    seconds, difference = times(work, clock, rounds)
    # Two batches show the peak.
    small = replace(case, sequences=min(case.sequences, 2 * work.batch_size), batch_size=work.batch_size)
    threads = torch.get_num_threads()
    floor = seconds["backbone"]
    ways = {}
    for name, taken in seconds.items():
        ratios = [one / base for one, base in zip(taken, floor, strict=True)]
        ways[name] = {
            "seconds_min": min(taken),
            "seconds_median": statistics.median(taken),
            "ratio_to_backbone_min": min(ratios),
            "ratio_to_backbone_median": statistics.median(ratios),
            "peak_mib": alone(peak_of, name, small, device, threads),
        }
    return {
        "case": case.title,
        "per_sequence": case.per_sequence,
        "batch_size": work.batch_size,
        "road": work.scorer.prepared.road,
        "unit": clock.unit,
        "rounds": rounds,
        "largest_difference_bits": difference,
        "prepare_peak_mib": alone(peak_of_prepare, small, device, threads),
        "ways": ways,
    }


def aims(result: dict[str, Any]) -> list[Aim]:
    """A case's figures held against the aims; that in time to the floor is for ten positions."""
    ways = result["ways"]
    ours, theirs = ways["curvewatch"], ways["evaluate"]
    memory = ours["peak_mib"] / ways["full"]["peak_mib"]
    time = ours["seconds_median"] / theirs["seconds_median"]
    held = [Aim("time / evaluate", time, 1.0), Aim("peak memory / full", memory, AIM_MEMORY)]
    if result["per_sequence"] is not None:
        held.insert(0, Aim("time / backbone", ours["ratio_to_backbone_median"], AIM_TIME))
    return held


def show(result: dict[str, Any], verdict: bool) -> str:
    """One case as text, with a verdict on its aims if wanted."""
    header = ("way", "seconds min", "median", "x backbone min", "median", "peak MiB", "of full")
    peak = result["ways"]["full"]["peak_mib"]
    rows = [
        (
            name,
            f"{way['seconds_min']:.3f}",
            f"{way['seconds_median']:.3f}",
            f"{way['ratio_to_backbone_min']:.3f}",
            f"{way['ratio_to_backbone_median']:.3f}",
            f"{way['peak_mib']:.0f}",
            f"{way['peak_mib'] / peak:.2f}",
        )
        for name, way in result["ways"].items()
    ]
    return "\n".join(
        (
            f"\n{result['case']}; batches of {result['batch_size']}; road {result['road']}; "
            f"{result['unit']}, {result['rounds']} rounds",
            table(header, rows),
            f"curvewatch and full differ by at most {result['largest_difference_bits']:.1e} bit; "
            f"preparing the scorer, once a run, peaks at {result['prepare_peak_mib']:.0f} MiB",
            *(map(str, aims(result)) if verdict else ()),
        )
    )


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model and one round: does it run at all?")
    parser.add_argument("--rounds", type=int, default=7, help="how often each way is timed (default: %(default)s)")
    parser.add_argument("--device", default="auto", help='"cpu", "cuda" or "auto" (default): a GPU if there is one')
    parser.add_argument("--threads", type=int, default=1, help="PyTorch threads on a CPU (default: %(default)s)")
    parser.add_argument("--dtype", default="float32", help="of the weights (default: %(default)s)")
    parser.add_argument("--case", type=int, action="append", help="only this case (0, 1, ...); may be repeated")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to FILE")
    options = parser.parse_args()

    settle(options.threads)
    device = pick_device(options.device)
    factor = GPU_FACTOR if device.type == "cuda" else 1
    print(machine(device), flush=True)
    results = []
    for index, case in enumerate(QUICK_CASES if options.quick else CASES):
        if options.case is None or index in options.case:
            enlarged = replace(case, sequences=case.sequences * factor, dtype=options.dtype)
            results.append(measure(enlarged, device, 1 if options.quick else options.rounds))
            print(show(results[-1], verdict=not options.quick), flush=True)
    if options.json:
        figures = [{**result, "aims": [asdict(aim) for aim in aims(result)]} for result in results]
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(device), "cases": figures}, file, indent=2)


if __name__ == "__main__":
    main()
