"""What the training corpus says of the evaluation tokens: exact, unpruned, in one pass over it. Needs NumPy alone.

Table of contents:
    count_ngrams: n-gram surprisals of the scored tokens, with the counts behind them.
    count_tokens: how often each token of the vocabulary occurs, for bands of frequency.
    NgramSurprisals, load_ngrams, merge_ngrams: what the first gives; its `save`, how to read that, and parts as one.
    contextual_diversity: how many different tokens stand shortly before a token.
    ContextualDiversity, load_diversity, merge_diversity: likewise.
    every_position: the set of the same sequences with every position scored, for n-grams of whole contexts.
    part_of_speech, PartOfSpeech: the class of each token's word, by spaCy or any tagger.
    open_corpus: a text file, an .npy array of ids or a saved dataset, to be counted.
"""

from curvewatch.corpus.context import every_position
from curvewatch.corpus.diversity import contextual_diversity, merge_diversity
from curvewatch.corpus.files import open_corpus
from curvewatch.corpus.ngrams import count_ngrams, count_tokens, merge_ngrams
from curvewatch.corpus.part_of_speech import PartOfSpeech, part_of_speech
from curvewatch.corpus.surprisals import NgramSurprisals, load_ngrams
from curvewatch.corpus.types_seen import ContextualDiversity, load_diversity

__all__ = [
    "ContextualDiversity",
    "NgramSurprisals",
    "PartOfSpeech",
    "contextual_diversity",
    "count_ngrams",
    "count_tokens",
    "every_position",
    "load_diversity",
    "load_ngrams",
    "merge_diversity",
    "merge_ngrams",
    "open_corpus",
    "part_of_speech",
]
