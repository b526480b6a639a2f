"""Exposed: which passages were trained on so far, for what is logged."""

from __future__ import annotations

import numpy as np

from curvewatch.runfile.records import TrainedPart
from curvewatch.runfile.trained import Trained


class Exposed:
    """Sums up a run's exposures while it goes on.

    Args:
        trained: What the file holds; None where nothing is followed.

    Attributes:
        last: The last update that was trained on a passage; -1 for none.
    """

    def __init__(self, trained: Trained | None) -> None:
        self._seen_P = np.zeros(len(trained.names) if trained is not None else 0, bool)
        self._total, self._known, self.last = 0, True, -1
        if trained is not None and len(self._seen_P):
            self._seen_P[trained.passage_E] = True
            self._total = int(trained.count_E.sum())
            self._known = not trained.unknown
            self.last = int(trained.step_E.max(initial=-1))

    def add(self, part: TrainedPart) -> None:
        """Takes what was trained on up to a step."""
        self._known &= part.known
        self._seen_P[part.passage_E] = True
        self._total += int(part.count_E.sum())
        self.last = int(part.step_E.max(initial=self.last))

    def metrics(self) -> dict[str, float]:
        """Keys as in `EXPOSURE_METRICS`; nothing where no passages are looked for, or a stretch is not known."""
        if not len(self._seen_P) or not self._known:
            return {}
        return {"exposures": float(self._total), "passages_seen_share": float(self._seen_P.mean())}
