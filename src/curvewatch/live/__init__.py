"""What a person watches while the model trains, worked out from one observation after another.

Table of contents:
    Live: the settings.
    LiveMetrics: the measures that need no more than the observation and a few numbers a token.
    SmoothedMetrics: those of the smoothed curves, as far as the run has come.
    Metrics, Histogram: what is logged.
    METRICS, SMOOTHED_METRICS, HISTOGRAMS, WATCH_METRICS, TEXT_METRICS: every key with its unit and meaning.
"""

from curvewatch.live.current import LiveMetrics
from curvewatch.live.keys import (
    BAND_METRICS,
    HISTOGRAMS,
    METRICS,
    NGRAM_METRICS,
    SMOOTHED_HISTOGRAMS,
    SMOOTHED_METRICS,
    TEXT_METRICS,
    WATCH_METRICS,
)
from curvewatch.live.metrics import BINS, Histogram, Metrics
from curvewatch.live.settings import Live
from curvewatch.live.smoothed import SmoothedMetrics

__all__ = [
    "BAND_METRICS",
    "BINS",
    "HISTOGRAMS",
    "METRICS",
    "NGRAM_METRICS",
    "SMOOTHED_HISTOGRAMS",
    "SMOOTHED_METRICS",
    "TEXT_METRICS",
    "WATCH_METRICS",
    "Histogram",
    "Live",
    "LiveMetrics",
    "Metrics",
    "SmoothedMetrics",
]
