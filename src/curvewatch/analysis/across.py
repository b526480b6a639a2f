"""Runs whose tokenizers differ, on the same texts: bits per byte of each text, of each value of a label, of each word.

Tokens of one tokenizer can't be compared with those of another; the bytes that they cover can. Suffix: N tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curvewatch.analysis.compare import run_names
from curvewatch.analysis.frames import need
from curvewatch.analysis.select import label_named
from curvewatch.errors import TokenSetMismatchError, brief
from curvewatch.runfile.reader import Reader
from curvewatch.tokens.annotations import why_no_bits_per_byte

TEXT, WORD = "text", "word"


def bits_per_byte_of(runs: Sequence[Reader], *, by: str = TEXT, row: int = -1) -> Any:
    """A pandas DataFrame: a column for each run, and its bits per byte in each row. Needs `curvewatch[analysis]`.

    Args:
        runs: Two or more, of token sets of the same texts (`TokenSet.from_texts`, every position scored).
        by: "text": a row a text; "word": a row an occurrence of a word (spans of kind "word", of all runs; only those
            that every run has); or the name of a label that all have: a row a value.
        row: Which observation; the last one. A number from the front, or from the end.

    Returns:
        The frame; its index is the text, or text and word, or the label's value. Column `bytes` beside the runs'; of
        words each run's tokens may cover other bytes beside them (a blank before, say), and then it is NaN.

    Raises:
        IndexError: If a run has no such observation.
        TokenSetMismatchError: If the texts are not the same.
        ValueError: If there are fewer than two runs, or bits per byte of one would mislead, with the reason.
    """
    pandas = need("pandas", "bits_per_byte_of")
    if len(runs) < 2:
        raise ValueError(f"runs: {len(runs)} given, but comparing takes at least two. Add another run file.")
    for run in runs:
        why = why_no_bits_per_byte(run.tokens)
        if why is not None:
            raise ValueError(f"{run.path}: its bits per byte would mislead: {why}.")
    texts = _same_texts(runs)
    columns, sizes = {}, []
    for name, run in zip(run_names(runs), runs, strict=True):
        bits_N, bytes_N = run.surprisal[row].astype(np.float64), run.tokens.n_bytes
        assert bytes_N is not None
        found = _sums(run, by, bits_N, bytes_N)
        columns[name] = pandas.Series({key: bits / n if n else np.nan for key, (bits, n) in found.items()})
        sizes.append(pandas.Series({key: n for key, (_, n) in found.items()}, dtype=float))
    frame = pandas.DataFrame(columns).dropna(how="any") if by == WORD else pandas.DataFrame(columns)
    same = pandas.DataFrame(dict(enumerate(sizes))).reindex(frame.index)
    frame["bytes"] = same[0].where(same.nunique(axis=1) == 1)
    if by == TEXT:
        frame.index = pandas.Index([texts[s] for s in frame.index], name=TEXT)
    elif by == WORD:
        rows = [(texts[s], word, k) for s, word, k in frame.index]
        frame.index = pandas.MultiIndex.from_tuples(rows, names=(TEXT, WORD, "occurrence"))
    else:
        frame.index.name = by
    return frame


def _same_texts(runs: Sequence[Reader]) -> tuple[str, ...]:
    of = []
    for run in runs:
        originals = run.tokens.annotations.originals
        assert originals is not None
        of.append(originals.texts)
    for run, texts in zip(runs[1:], of[1:], strict=True):
        if len(texts) != len(of[0]):
            raise TokenSetMismatchError(
                f"{runs[0].path} has {len(of[0]):,} texts, {run.path} {len(texts):,}. Compare runs of the same texts."
            )
        for s, (one, other) in enumerate(zip(of[0], texts, strict=True)):
            if one != other:
                raise TokenSetMismatchError(
                    f"text {s} is {brief(one)} in {runs[0].path} and {brief(other)} in {run.path}. Compare runs of the "
                    "same texts; a text that context= has cut ends elsewhere for each tokenizer."
                )
    return tuple(of[0])


def _sums(
    run: Reader, by: str, bits_N: NDArray[np.float64], bytes_N: NDArray[np.int32]
) -> dict[Any, tuple[float, int]]:
    """Bits and bytes by what a row is."""
    tokens = run.tokens
    if by == WORD:
        spans = tokens.spans.of_kind(WORD)
        seen: Counter[tuple[int, str]] = Counter()
        found = {}
        sequences = tokens.sequence_index[spans.first].tolist()
        for s, name, bits, n in zip(sequences, spans.name, spans.sums(bits_N), spans.sums(bytes_N), strict=True):
            seen[s, name] += 1
            found[s, name, seen[s, name]] = (float(bits), int(n))
        return found
    if by == TEXT:
        codes_N: NDArray[np.int32] = tokens.sequence_index
        keys: list[Any] = list(range(tokens.n_sequences))
    else:
        label = label_named(tokens, by)
        codes_N, keys = label.codes, list(label.values)
    known_N = codes_N >= 0
    sums = np.bincount(codes_N[known_N], bits_N[known_N], len(keys))
    n_bytes = np.bincount(codes_N[known_N], bytes_N[known_N], len(keys))
    return {key: (float(sums[k]), int(n_bytes[k])) for k, key in enumerate(keys)}
