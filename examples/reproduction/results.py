"""What the run files say: the paper's figures and tables, predictors, agreement of the seeds, and the record of it."""

from __future__ import annotations

import csv
import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from data import Data
from tqdm.auto import tqdm

from curvewatch import open_run
from curvewatch.analysis.compare import compare
from curvewatch.analysis.paper import write_paper
from curvewatch.analysis.predict import predict
from curvewatch.analysis.predict.drawing import save_figures


def write(data: Data, paths: Sequence[Path], folder: Path, settings: dict[str, Any]) -> None:
    """Writes `folder`.

    Args:
        data: The data that the runs were trained and scored on.
        paths: The run files.
        folder: Where to.
        settings: For the record.
    """
    runs = [open_run(path) for path in paths]
    with tqdm(desc="results") as bar:

        def say(what: str, done: int, of: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = of, done
            bar.refresh()

        write_paper(runs, folder / "paper", data.ngrams, data.diversity, tokens=data.tokens, say=say)
        found = predict(runs, data.ngrams, data.diversity, tokens=data.tokens)
    found.save(folder / "predict")
    save_figures(found, folder / "predict")
    print(f"\n{found.in_words()}\n")
    if len(runs) > 1:
        with open(folder / "compare.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["measure", "r", "lowest", "highest", "tokens"])
            table.writerows(compare(runs).correlations())
    made = [data.folder / name for name in ("train.npy", "tokens.npz", "ngrams.npz", "diversity.npz")]
    record = {
        "settings": settings,
        "machine": {
            "python": platform.python_version(), "processor": _processor(), "cores": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {name: version(name) for name in ("curvewatch", "torch", "transformers", "tokenizers", "numpy")},
        "training_sequences": len(data.train),
        "seconds": {run.path.stem: float(run.time[-1] - run.time[0]) for run in runs},
        "sha256": {path.name: _sha256(path) for path in [*made, *paths]},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(record, indent=1), "utf-8")
    print(folder / "paper" / "paper.md")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
