"""Model and token set in, `Observation` out: how surprising the live model finds every token, and nothing is disturbed.

In: a model as a host trains it. Out: surprisal, correctness and entropy of each token. On several ranks all do alike.
Neighbours: `sampling` uses the same roads to logits; `watch` says when. It knows no file and no tracker.
"""

from curvewatch.scoring.scorer import Scorer

__all__ = ["Scorer"]
