"""Reads back what W&B keeps of an offline run, with W&B's own reader."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Records of one kind, of the one offline run in `folder`."""
    import wandb

    if wandb.run is None:
        wandb.teardown()  # a run can be ended before its file is whole: up to 0.19 always, in 0.31 now and then
    (run,) = (folder / "wandb").glob("offline-run-*")
    if find_spec("wandb.sdk.internal.datastore") is not None:
        return _read_by_python(run, kind)
    (file,) = run.glob("*.wandb")
    state = file.stat()
    found = [json.loads(line) for line in _inspected(run, state.st_size, state.st_mtime_ns)]
    return [record[kind] for record in found if record["type"] == kind]


@lru_cache(maxsize=4)
def _inspected(run: Path, size: int, changed: int) -> list[str]:
    """What W&B says of a run whose file is in this state, asked once: many tests ask for several kinds of records."""
    from wandb.util import get_core_path

    (file,) = run.glob("*.wandb")
    # What `wandb leet inspect` calls, which is half a second of imports slower.
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [line for line in said.stdout.splitlines() if line.startswith("{")]


def _read_by_python(run: Path, kind: str) -> list[dict[str, Any]]:
    # Older versions have no command for it, but a reader.
    from google.protobuf.json_format import MessageToDict
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    (file,) = run.glob("*.wandb")
    store, found = DataStore(), []
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        record = Record.FromString(data)
        if record.WhichOneof("record_type") != kind:
            continue
        if kind == "history":
            items: dict[str, Any] = {}
            for item in record.history.item:
                *outer, last = item.nested_key or [item.key]
                place = items
                for key in outer:
                    place = place.setdefault(key, {})
                place[last] = json.loads(item.value_json)
            found.append({"item": items})
        else:
            found.append(MessageToDict(getattr(record, kind), preserving_proto_field_name=True))
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of the history, without W&B's own keys (but with `_step`)."""
    return [
        {key: value for key, value in record["item"].items() if key not in ("_runtime", "_timestamp")}
        for record in records(folder, "history")
    ]
