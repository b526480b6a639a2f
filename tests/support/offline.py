"""Reads back what W&B keeps of an offline run, with W&B's own command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Records of one kind, of the one offline run in `folder`."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    command = shutil.which("wandb", path=str(Path(sys.executable).parent)) or "wandb"
    said = subprocess.run(
        [command, "leet", "inspect", "--json", str(run)], check=True, capture_output=True, text=True, timeout=60
    )
    found = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    return [record[kind] for record in found if record["type"] == kind]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the history, without W&B's own keys (but with `_step`)."""
    return [
        {key: value for key, value in record["item"].items() if key not in ("_runtime", "_timestamp")}
        for record in records(folder, "history")
    ]
