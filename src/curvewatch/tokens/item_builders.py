"""Pairs, completions and questions, as texts with spans that say what is what.

The constructors of `TokenSet` say what their arguments mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curvewatch.errors import brief
from curvewatch.tokens import builders
from curvewatch.tokens.assembling import Parts
from curvewatch.tokens.records import records, text_of
from curvewatch.tokens.spans import Wish

PAIR, CRITICAL, ANSWER, CHOICE = "pair", "critical", "answer", "choice"


def from_pairs(rows: Any, tokenizer: Any, *, good: str, bad: str, label: str | None, **settings: Any) -> Parts:
    """Two sentences a pair; see `TokenSet.from_pairs`."""
    texts: list[str] = []
    wanted: list[Wish] = []
    for r, record in enumerate(records(rows, ("good", "bad", "label"), (good, bad, label))):
        both = [text_of(record, member, r) for member in ("good", "bad")]
        if both[0] == both[1]:
            raise ValueError(f"rows[{r}]: good and bad are the same, {brief(both[0])}. Leave the row out.")
        group = _group(record)
        regions = _differing(*both)
        for member, text, region in zip(("good", "bad"), both, regions or ((0, 0),) * 2, strict=True):
            s = len(texts)
            texts.append(text)
            wanted.append(Wish(s, 0, len(text), None, group, PAIR, r, member))
            if regions is not None:
                wanted.append(Wish(s, *region, None, group, CRITICAL, r, member))
    return builders.from_texts(texts, tokenizer, wanted=wanted, constructor="from_pairs", **settings)


def from_completions(
    rows: Any, tokenizer: Any, *, prompt: str, answer: str | None, label: str | None, **settings: Any
) -> Parts:
    """A prompt and its answer; see `TokenSet.from_completions`."""
    texts: list[str] = []
    wanted: list[Wish] = []
    names = ("prompt", "label") if answer is None else ("prompt", "answer", "label")
    columns = (prompt, label) if answer is None else (prompt, answer, label)
    for r, record in enumerate(records(rows, names, columns)):
        before = text_of(record, "prompt", r, empty=answer is not None)
        if answer is None:
            # As LAMBADA has it: the last word of the text is the answer.
            words = before.rstrip()
            cut = max(words.rfind(" "), words.rfind("\n"))
            if cut < 0:
                raise ValueError(f"rows[{r}]: {brief(before)} is one word; its last word needs something before it.")
            before, behind = words[:cut], words[cut:]
        else:
            behind = text_of(record, "answer", r)
        texts.append(before + behind)
        wanted.append(Wish(r, len(before), len(before) + len(behind), None, _group(record), ANSWER))
    return builders.from_texts(
        texts, tokenizer, wanted=wanted, score="spans", constructor="from_completions", **settings
    )


def from_choices(
    rows: Any, tokenizer: Any, *, question: str, options: str, right: str, label: str | None, **settings: Any
) -> Parts:
    """A question and its options; see `TokenSet.from_choices`."""
    texts: list[str] = []
    wanted: list[Wish] = []
    found = records(rows, ("question", "options", "right", "label"), (question, options, right, label))
    for r, record in enumerate(found):
        before, own = text_of(record, "question", r, empty=True), record.get("options")
        if isinstance(own, np.ndarray):
            own = own.tolist()
        if isinstance(own, str) or not isinstance(own, Sequence) or len(own) < 2:
            raise ValueError(f"rows[{r}]: its options are {brief(own)}; a list of two or more texts is expected.")
        best = _right(record.get("right"), own, r)
        for k, option in enumerate(own):
            behind = text_of({"option": option}, "option", r)
            wanted.append(
                Wish(len(texts), len(before), len(before) + len(behind), None, _group(record), CHOICE, r,
                     "right" if k == best else "wrong")
            )  # fmt: skip
            texts.append(before + behind)
    return builders.from_texts(texts, tokenizer, wanted=wanted, score="spans", constructor="from_choices", **settings)


def _group(record: Mapping[str, Any]) -> str:
    value = record.get("label")
    return "" if value is None else str(value)


def _right(value: Any, options: Sequence[Any], r: int) -> int:
    """Which option is the right one: by its number, or by its text."""
    if isinstance(value, str) and value in options:
        if options.count(value) > 1:
            raise ValueError(f"rows[{r}]: the option {brief(value)} stands there twice. Give right as a number.")
        return list(options).index(value)
    if isinstance(value, str) and value.isdecimal():  # a file of CSV has no numbers
        value = int(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < len(options):
        return int(value)
    raise ValueError(
        f"rows[{r}]: the right one is {brief(value)}; a number from 0 to {len(options) - 1}, or one of the options, is "
        "expected."
    )


def _differing(good: str, bad: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Where two sentences differ, in whole words; None where one of them has nothing there."""
    mine, theirs = _words(good), _words(bad)
    same = next(
        (k for k, (a, b) in enumerate(zip(mine, theirs, strict=False)) if good[slice(*a)] != bad[slice(*b)]),
        min(len(mine), len(theirs)),
    )
    rest = min(len(mine), len(theirs)) - same
    end = next((k for k in range(rest) if good[slice(*mine[-1 - k])] != bad[slice(*theirs[-1 - k])]), rest)
    regions = [words[same : len(words) - end] for words in (mine, theirs)]
    if not all(regions):
        return None
    (a, b) = ((region[0][0], region[-1][1]) for region in regions)
    return a, b


def _words(text: str) -> list[tuple[int, int]]:
    found, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        found.append((start, at))
    return found
