"""Runs every part, each in a process of its own, and leaves one folder: a summary, and each part's JSON and output.

    python -m tests.gpu                        # all parts, into gpu-results
    python -m tests.gpu kernel memory -o out   # some

A part that hangs is ended after its time; one that crashes fails. The exit status is 1 if any check does not hold.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

PARTS = ("kernel", "training", "followed", "compiled", "attention", "memory", "streams", "distributed", "overhead")
# Programs that measure, with what they are told on a card; on a CPU they run quickly and mean nothing.
BENCHMARKS = {
    "scoring": ["scoring.py", "--case", "0", "--case", "1", "--rounds", "5"],
    "scoring-bf16": ["scoring.py", "--case", "0", "--case", "1", "--rounds", "5", "--dtype", "bfloat16"],
    "masked": ["masked.py", "--rounds", "5"],
    "masked-bf16": ["masked.py", "--rounds", "5", "--dtype", "bfloat16"],
}
LIMIT = 240.0


def main() -> int:
    """The folder of results, and a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join((*PARTS, *BENCHMARKS))} (default: all)")
    parser.add_argument("-o", "--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--device", default="auto", help='"cuda", "cpu" or "auto": the card if there is one')
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.parts) - {*PARTS, *BENCHMARKS}
    if unknown:
        parser.error(f"parts: {', '.join(sorted(unknown))}: unknown; there are {', '.join((*PARTS, *BENCHMARKS))}.")
    if options.inside:
        return inside(options.parts[0], options.out, options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    bad = 0
    for part in options.parts or (*PARTS, *BENCHMARKS):
        began = time.monotonic()
        print(f"{part}", flush=True)
        output = options.out / f"{part}.txt"
        with output.open("w") as file:
            ended = run_alone(part, options, file)
        for line in output.read_text(errors="replace").splitlines():
            if (line.startswith("  ") and ended != "ok") or line.startswith(("  FAILED", "           ")):
                print(line)
        bad += ended != "ok"
        print(f"  {ended}, {time.monotonic() - began:.0f} s", flush=True)
    summary = write_summary(options.out)
    print(summary)
    return 1 if bad else 0


def run_alone(part: str, options: argparse.Namespace, output: IO[str]) -> str:
    """One part in a process of its own; how it ended."""
    command = [sys.executable, "-m", "tests.gpu", part, "--inside", "-o", str(options.out), "--device", options.device]
    if part in BENCHMARKS:
        on_card = options.device == "cuda" or (options.device == "auto" and has_card())
        script, *told = BENCHMARKS[part]
        json_file = str(options.out / f"{part}.json")
        command = [sys.executable, f"benchmarks/{script}", "--device", options.device, "--json", json_file]
        command += told if on_card else ["--quick"]
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return f"FAILED: ended after {LIMIT:.0f} s"
    return "ok" if code == 0 else f"FAILED ({code})"


def has_card() -> bool:
    """Whether there is an accelerator, asked without holding it."""
    program = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def inside(part: str, out: Path, device_name: str) -> int:
    """Runs one part in this process."""
    import torch

    from tests.gpu.report import Place, Report

    if device_name == "auto":
        device_name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device_name)
    torch.set_num_threads(1)
    # Settings with which training repeats itself to the bit.
    torch.use_deterministic_algorithms(True, warn_only=True)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="curvewatch-gpu-") as folder:
        importlib.import_module(f"tests.gpu.{part}").run_part(Place(device, Path(folder)), report)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"a CPU ({platform.processor()})"
    report.write(out / f"{part}.json", machine=f"{name}, torch {torch.__version__}, Python {platform.python_version()}")
    return 1 if report.failed else 0


def write_summary(out: Path) -> str:
    """All parts on one page, in Markdown."""
    lines = []
    for path in sorted(out.glob("*.json")):
        found = json.loads(path.read_text())
        if "checks" not in found:
            continue
        held = sum(check["holds"] for check in found["checks"])
        lines += [f"## {path.stem}: {held} of {len(found['checks'])} checks hold", "", found["machine"], ""]
        lines += [
            f"- {'holds' if check['holds'] else '**FAILED**'}: {check['name']}"
            + (f" ({'; '.join(check['seen'])})" if check["seen"] else "")
            for check in found["checks"]
        ]
        lines += [f"- not run: {one['name']} ({one['reason']})" for one in found["not_run"]]
        lines += [f"- {one['name']}: {one['value']:.4g} {one['unit']}".rstrip() for one in found["figures"]]
        lines.append("")
    text = "\n".join(lines)
    (out / "summary.md").write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
