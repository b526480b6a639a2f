"""The fixed evaluation sequences and the scored positions in them: WHAT is watched.

In: texts, datasets or ids, and a tokenizer. Out: a `TokenSet`, and any token of it in its context, as one reads it.
Neighbours: `scoring` scores it, `runfile` keeps it; it knows neither.
"""

from curvewatch.tokens.tokenset import TokenSet
from curvewatch.tokens.view import TokenView

__all__ = ["TokenSet", "TokenView"]
