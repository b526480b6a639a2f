"""The long form of the fault campaign: `python -m tests.faults [--kills 500] [--states 5000] [--seed 0]`."""

from __future__ import annotations

import argparse
import errno
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import campaign


def main() -> None:
    """Run all parts and print what was counted; an AssertionError is a loss, and its files are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="kills at random moments")
    parser.add_argument("--states", type=int, default=5000, help="states after a power cut")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="where to work; the file system there is what is tried")
    options = parser.parse_args()
    logging.getLogger("curvewatch").setLevel(logging.ERROR)
    directory = Path(tempfile.mkdtemp(prefix="faults-", dir=options.directory))
    print(f"in {directory}")
    parts: dict[str, Callable[[], campaign.Tally]] = {
        "kill -9 at random": lambda: campaign.kill_at_random(directory, options.kills, options.seed),
        "kill -9 at every call": lambda: campaign.kill_at_every_call(directory),
        "power cuts": lambda: campaign.power_cuts(directory, options.states, options.seed),
        "refused calls": lambda: campaign.disk_full(directory, tuple(range(6)), (errno.ENOSPC, errno.EIO)),
    }
    for name, part in parts.items():
        begun = time.monotonic()
        tally = part()
        print(f"\n{name}: nothing lost ({time.monotonic() - begun:.0f} s)")
        for what, n in sorted(tally.items()):
            print(f"{n:8d}  {what}")
    directory.rmdir()


if __name__ == "__main__":
    main()
