"""What the training corpus says of the evaluation tokens: exact, unpruned, in one pass over it.

Table of contents:
    NgramSurprisals: n-gram surprisals of the scored tokens, and the counts behind them; saved, and read by load_ngrams.
"""

from curvewatch.corpus.surprisals import NgramSurprisals, load_ngrams

__all__ = ["NgramSurprisals", "load_ngrams"]
