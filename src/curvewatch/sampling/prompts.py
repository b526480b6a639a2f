"""Prompts: which texts the live model continues during training, how, and at which steps."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from curvewatch.tokens.given import as_ids
from curvewatch.tokens.text import decode, encode, refuse_what_is_no_tokenizer


class Prompts:
    """Fixed prompts, and how they are continued. Nothing is sampled unless a watch is given some.

    Args:
        texts_or_ids: The prompts: texts, or rows of token ids, or some of each.
        tokenizer: The model's; needed for texts, and to show what was sampled as text.
        max_new_tokens: Tokens to sample behind each prompt, as far as the model's context goes.
        temperature: 0: always the first choice (greedy); above 0: drawn, from logits divided by it.
        top_k: Draw from the k likeliest tokens only (and from those that tie with the last of them); None: from all.
        seed: For the draws. What is drawn depends on it, the step and the number of the prompt, and on nothing else.
        every: Sample every so many steps; None: at steps 0, 1, 10, 100, and so on. Always at the planned last step.
            A step that is not scored leaves it to the next one that is.
        bos: Token id to put before each prompt; a prompt may then be an empty text.
        eos: Token id at which a text ends; "auto": the tokenizer's `eos_token_id`, if it has one; None: none does.

    Attributes:
        ids: Token ids of each prompt.
        texts: Each prompt as a person reads it.

    Raises:
        ValueError: If an argument makes no sense, naming it.
        TypeError: If the tokenizer can't encode.
    """

    def __init__(
        self,
        texts_or_ids: Iterable[str | Sequence[int]],
        tokenizer: Any = None,
        max_new_tokens: int = 40,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        every: int | None = None,
        *,
        bos: int | None = None,
        eos: int | str | None = "auto",
    ) -> None:
        if tokenizer is not None:
            refuse_what_is_no_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self.max_new_tokens = _whole("max_new_tokens", max_new_tokens, 1)
        self.temperature = _temperature(temperature)
        self.top_k = None if top_k is None else _whole("top_k", top_k, 1)
        if self.top_k is not None and self.temperature == 0:
            raise ValueError(
                f"top_k={top_k}: at temperature=0 the first choice is always taken. Give a temperature above 0, or no "
                "top_k."
            )
        self.seed = _whole("seed", seed, 0)
        self.every = None if every is None else _whole("every", every, 1)
        self.bos = None if bos is None else _whole("bos", bos, 0)
        if eos == "auto":
            known = getattr(tokenizer, "eos_token_id", None)
            self.eos = known if isinstance(known, int) else None
        else:
            self.eos = None if eos is None else _whole("eos", eos, 0)
        given = [texts_or_ids] if isinstance(texts_or_ids, str) else list(texts_or_ids)
        if not given:
            raise ValueError("texts_or_ids=[]: at least one prompt is needed.")
        self.ids = tuple(self._ids_of(i, prompt) for i, prompt in enumerate(given))
        self.texts = tuple(
            prompt if isinstance(prompt, str) else shown(tokenizer, ids)
            for prompt, ids in zip(given, self.ids, strict=True)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        how = "greedy" if self.temperature == 0 else f"temperature {self.temperature:g}"
        return f"<Prompts: {len(self)} prompts, {self.max_new_tokens} new tokens, {how}>"

    @property
    def settings(self) -> dict[str, Any]:
        """All that the samples depend on besides the model, for the record; JSON can hold it."""
        names = ("max_new_tokens", "temperature", "top_k", "seed", "every", "bos", "eos")
        return {"prompts": [list(ids) for ids in self.ids], **{name: getattr(self, name) for name in names}}

    def due(self, step: int, since: int, max_steps: int | None) -> bool:
        """Whether to sample at a scored step: the first at or behind a step that wants a sample, or the last.

        Step arithmetic alone, so all ranks decide alike, and a resumed run as one that was never stopped.

        Args:
            step: The step that is scored now.
            since: The step that was scored before it; -1 if none was.
            max_steps: The planned last step; None if open-ended.
        """
        if step == max_steps:
            return True
        spacing = self.every if self.every is not None else 10 ** (len(str(step)) - 1)
        wanted = step // spacing * spacing if self.every is not None else min(step, spacing)
        return since < wanted

    def _ids_of(self, i: int, prompt: str | Sequence[int]) -> tuple[int, ...]:
        name = f"texts_or_ids[{i}]"
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise ValueError(f"{name}={prompt[:40]!r}: a text needs tokenizer=. Pass one, or rows of token ids.")
            ids = encode(self.tokenizer, prompt)
        else:
            ids = as_ids(prompt, name)
        if self.bos is not None:
            ids = np.concatenate([[self.bos], ids])
        if ids.size == 0:
            raise ValueError(
                f"{name}={prompt!r}: an empty prompt; there is nothing to continue. Give it at least one token, or "
                "pass bos=, the id that texts begin with."
            )
        if int(ids.min()) < 0:
            raise ValueError(f"{name}: id {int(ids.min())}; token ids are 0 or more.")
        return tuple(ids.tolist())


def shown(tokenizer: Any, ids: Sequence[int], behind: Sequence[int] = ()) -> str:
    """The text of `ids` where they stand behind others; never fails.

    Args:
        tokenizer: None shows the ids, separated by spaces.
        ids: Token ids.
        behind: Those before them: some tokenizers drop the space of a word that stands first.
    """
    if tokenizer is None:
        return " ".join(map(str, ids))
    try:
        head, whole = decode(tokenizer, behind), decode(tokenizer, [*behind, *ids])
        return whole[len(head) :] if whole.startswith(head) else decode(tokenizer, ids)
    except Exception:
        # Models may have more outputs than the tokenizer knows, and write any of them.
        return "".join(_one(tokenizer, i) for i in ids)


def _one(tokenizer: Any, token_id: int) -> str:
    try:
        return decode(tokenizer, [token_id])
    except Exception:
        return "\ufffd"


def _whole(name: str, value: object, least: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: a whole number of at least {least} is expected.")
    return number


def _temperature(value: object) -> float:
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise ValueError(f"temperature={value!r}: 0 (the first choice) or a number above 0 (drawn) is expected.")
    return float(value)  # type: ignore[arg-type]
