"""What the page holds whatever the number of tokens whose curves fit on it: the map, and what predicts learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curvewatch.analysis.findings import Findings
from curvewatch.analysis.predict.prediction import Prediction
from curvewatch.analysis.report.points import points_of
from curvewatch.analysis.report.predicted import predicted


@dataclass(frozen=True)
class Fixed:
    """What is on the page however many tokens' curves fit: plain values by name, and packed arrays."""

    plain: Mapping[str, Any]
    arrays: Mapping[str, dict[str, Any]]


def fixed(findings: Findings, prediction: Prediction | None, remarks: Sequence[str] = ()) -> Fixed:
    """The map of curves, and what predicts learning.

    Args:
        findings: Of one run or several.
        prediction: Of the same runs; None leaves that section out.
        remarks: What else the reader should know first.
    """
    points, arrays = points_of(findings, prediction.predictors.numbers if prediction is not None else None)
    found = predicted(prediction) if prediction is not None else None
    return Fixed({"points": points, "predicted": found, "remarks": list(remarks)}, arrays)
