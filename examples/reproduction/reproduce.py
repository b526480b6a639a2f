"""Chang, Tu & Bergen (2024) from text to figures, at the size of a desk or of the paper.

    python examples/reproduction/reproduce.py configs/reproduction/desk.yaml --text large.txt --folder runs/reproduction

Every key of the YAML file can be given on the command line, which wins. The same command again goes on where it was
stopped. See the README beside this file.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

PARTS = ("data", "seeds", "analysis")
OF_DATA = ("text", "vocab_size", "context", "n_tokens", "per_sequence", "tokens_seed", "pos")


def main() -> None:
    """Reads the settings and goes through the parts."""
    settings, options = parse()
    os.environ.setdefault("WANDB_MODE", "offline")
    import data
    import results
    import seeds

    folder = Path(options.folder)
    made = data.made(folder / "data", {name: settings[name] for name in OF_DATA})
    print(f"{made.train.size:,} training tokens, {len(made.tokens):,} watched in {made.tokens.n_sequences:,} sequences")
    if options.only == "data":
        return
    chosen = range(settings["seeds"]) if options.seed is None else [options.seed]
    if options.only in (None, "seeds"):
        for seed in chosen:
            print(f"seed {seed}")
            seeds.train(made, folder / f"seed{seed}.h5", seed, settings)
    if options.only in (None, "analysis"):
        paths = [folder / f"seed{seed}.h5" for seed in range(settings["seeds"])]
        there = [path for path in paths if seeds.finished(path, settings["max_steps"])]
        if len(there) < len(paths):
            print(f"{len(there)} of {len(paths)} seeds are finished; the results are of those.")
        if there:
            results.write(made, there, folder / "results", settings)


def parse() -> tuple[dict[str, Any], argparse.Namespace]:
    """The settings of the file, with what the command line says instead; and what to do."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("config", type=Path, help="YAML file of the settings")
    known, _ = first.parse_known_args()
    settings = yaml.safe_load(known.config.read_text("utf-8"))
    parser = argparse.ArgumentParser(
        parents=[first], description=__doc__.split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", default="runs/reproduction", help="where everything goes")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--seed", type=int, help="this seed alone")
    for name, value in settings.items():
        if not isinstance(value, (dict, list)):
            parser.add_argument(f"--{name}", type=type(value) if value is not None else str, default=value, help=" ")
    options = parser.parse_args()
    settings |= {name: getattr(options, name) for name in settings if hasattr(options, name)}
    if not settings["text"]:
        parser.error("--text: give a UTF-8 text file, a paragraph a line.")
    return settings, options


if __name__ == "__main__":
    main()
