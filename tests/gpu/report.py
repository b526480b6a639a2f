"""What a part found out: checks, figures, and what could not be run, as lines of text and as JSON."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Place:
    """Where a part runs.

    Attributes:
        device: The device.
        folder: For files, of this part alone.
    """

    device: torch.device
    folder: Path

    @property
    def card(self) -> bool:
        """Whether it is an accelerator; else parts run in their small form."""
        return self.device.type != "cpu"

    def of(self, card: Any, cpu: Any) -> Any:
        """A size: the one for an accelerator or the small one."""
        return card if self.card else cpu


@dataclass
class Report:
    """Collects what a part finds, and prints each line as it comes.

    Attributes:
        checks: Name, whether it holds, and what was seen.
        figures: Name, number, unit.
        not_run: Name and reason.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    not_run: list[dict[str, str]] = field(default_factory=list)

    @contextmanager
    def check(self, name: str) -> Iterator[list[str]]:
        """A check, which fails by an exception; what is put into the list is noted beside its name."""
        seen: list[str] = []
        try:
            yield seen
        except NotHere as reason:
            self.not_run.append({"name": name, "reason": str(reason)})
            print(f"  not run  {name}: {reason}", flush=True)
            return
        except Exception as error:
            seen.append(str(error).strip().split("\n")[0] or type(error).__name__)
            self._add(name, False, seen, traceback.format_exc())
            return
        self._add(name, True, seen)

    def _add(self, name: str, holds: bool, seen: list[str], trace: str = "") -> None:
        self.checks.append({"name": name, "holds": holds, "seen": seen, "trace": trace})
        print(f"  {'holds   ' if holds else 'FAILED  '} {name}{': ' if seen else ''}{'; '.join(seen)}", flush=True)

    def figure(self, name: str, value: float, unit: str) -> None:
        """A number with its unit."""
        self.figures.append({"name": name, "value": value, "unit": unit})
        print(f"           {name}: {value:.4g} {unit}", flush=True)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that don't hold."""
        return [check["name"] for check in self.checks if not check["holds"]]

    def write(self, path: Path, **more: Any) -> None:
        """All of it as JSON."""
        found = {**more, "checks": self.checks, "figures": self.figures, "not_run": self.not_run}
        path.write_text(json.dumps(found, indent=2))


class NotHere(Exception):
    """Raised inside a check that needs what this machine has not; says what."""


def card_needed(place: Place) -> None:
    """Leaves a check that needs an accelerator.

    Raises:
        NotHere: On a CPU.
    """
    if not place.card:
        raise NotHere("needs an accelerator")
