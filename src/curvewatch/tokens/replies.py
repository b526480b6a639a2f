"""Replies: which tokens of a chat are the assistant's, as training has it. Suffix: L tokens of one chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curvewatch.errors import brief
from curvewatch.tokens import text
from curvewatch.tokens.given import as_ids

ASSISTANT = "assistant"
MOST_COMPARED = 20
"""Characters at a reply's end that its tokens must have; before them may be a thought, which templates take out."""
IGNORED = -100
"""The label of a token that is not trained on."""


class Chat(NamedTuple):
    """One chat.

    Attributes:
        ids: Shape [L].
        reply_L: Which reply each token belongs to, from 1; 0 for none.
        text: What the ids were made from; None where that is not known.
    """

    ids: NDArray[np.int64]
    reply_L: NDArray[np.int32]
    text: str | None = None


def chat_of(row: Mapping[str, Any], r: int, tokenizer: Any, messages: str, prompt: str, completion: str) -> Chat:
    if "input_ids" in row and "labels" in row:
        ids, targets = as_ids(row["input_ids"], f"rows[{r}], input_ids"), np.asarray(row["labels"])
        if targets.shape != ids.shape:
            raise ValueError(f"rows[{r}]: {len(ids)} input_ids and labels of shape {targets.shape}.")
        return Chat(ids, _runs(targets != IGNORED))
    if messages in row:
        return _from_messages(row[messages], r, tokenizer, _template(row))
    if prompt in row and completion in row:
        return _from_prompt(row[prompt], row[completion], r, tokenizer, _template(row))
    raise KeyError(
        f"rows[{r}]: it has {brief(list(row))}; {messages!r}, {prompt!r} and {completion!r}, or 'input_ids' and "
        "'labels' are expected. Name the columns with messages=, prompt= and completion=."
    )


def _template(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says of how it is rendered, as TRL has it."""
    return {"tools": row.get("tools"), **(row.get("chat_template_kwargs") or {})}


def _runs(reply_L: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The replies, numbered from 1: each run of tokens is one."""
    begins = np.diff(reply_L.astype(np.int8), prepend=0) == 1
    return np.where(reply_L, np.cumsum(begins), 0).astype(np.int32)


def _from_messages(chat: Any, r: int, tokenizer: Any, settings: dict[str, Any]) -> Chat:
    _check_messages(chat, r)
    render = _renderer(tokenizer, settings, r)
    ids = render(chat)
    template = _template_text(tokenizer, settings)
    rendered = _text(tokenizer, chat, settings)
    if "generation" in template:
        whole = tokenizer.apply_chat_template(
            list(chat), tokenize=True, return_dict=True, return_assistant_tokens_mask=True, **settings
        )
        mask = np.asarray(whole["assistant_masks"], bool)
        if mask.any():
            reply_L = _runs(mask)
            _check_contents(chat, ids[mask], r, tokenizer)
            return Chat(ids, reply_L, rendered)
    reply_L = np.zeros(len(ids), np.int32)
    number = 0
    for i, message in enumerate(chat):
        if message["role"] != ASSISTANT:
            continue
        number += 1
        inside = _by_ids(ids, render(chat[:i], prompt=True), render(chat[: i + 1]))
        if inside is None:
            before, through = (
                _text(tokenizer, chat[:i], settings, prompt=True),
                _text(tokenizer, chat[: i + 1], settings),
            )
            inside = _by_text(ids, rendered, before, through, tokenizer)
        if inside is None:
            raise ValueError(
                f"rows[{r}]: the chat template renders the messages before reply {number} in another way once more "
                "follow, so that the reply's tokens can't be told. Give tokenizer.chat_template a template that marks "
                "them ({% generation %}; TRL has such templates), or rows of input_ids and labels."
            )
        reply_L[inside] = number
    _check_contents(chat, ids[reply_L > 0], r, tokenizer)
    return Chat(ids, reply_L, rendered)


def _by_ids(ids: NDArray[np.int64], before: NDArray[np.int64], through: NDArray[np.int64]) -> slice | None:
    """The tokens of a reply, where the ids before it and through it are the beginning of the chat's."""
    if not (_begins(ids, before) and _begins(ids, through) and len(before) < len(through)):
        return None
    return slice(len(before), len(through))


def _by_text(ids: NDArray[np.int64], whole: str, before: str, through: str, tokenizer: Any) -> slice | None:
    """The same where only the texts are: a tokenizer may join the end of what stands before with what follows."""
    if not (whole.startswith(before) and whole.startswith(through) and len(before) < len(through)):
        return None
    encoded, ends = text.encode_with_ends(tokenizer, whole)
    if ends is None or not np.array_equal(encoded, ids):
        return None
    starts = np.concatenate([[0], ends[:-1]])
    inside = np.flatnonzero((ends > len(before)) & (starts < len(through)))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else None


def _check_contents(chat: Any, replies: NDArray[np.int64], r: int, tokenizer: Any) -> None:
    """Makes sure that the replies' tokens say what the messages do: some templates take lists of parts, not texts."""
    said = text.decode(tokenizer, replies)
    for message in chat:
        content = message.get("content")
        if message["role"] == ASSISTANT and isinstance(content, str) and content.strip()[-MOST_COMPARED:] not in said:
            raise ValueError(
                f"rows[{r}]: the chat template leaves {brief(content.strip())} out of the reply's tokens, which are "
                f"{brief(said)}. Give its messages in the form that it expects, or rows of input_ids and labels."
            )


def _from_prompt(prompt: Any, completion: Any, r: int, tokenizer: Any, settings: dict[str, Any]) -> Chat:
    if isinstance(prompt, str) != isinstance(completion, str):
        raise TypeError(f"rows[{r}]: prompt and completion are both texts, or both lists of messages.")
    if isinstance(prompt, str):
        if not completion:
            raise ValueError(f"rows[{r}]: its completion is empty, so nothing can be scored. Leave the row out.")
        end = getattr(tokenizer, "eos_token", None)
        if end and not completion.endswith(end):
            completion += end  # which training puts there, too
        before, ids = (np.asarray(tokenizer(one)["input_ids"], np.int64) for one in (prompt, prompt + completion))
        rendered = None
    else:
        _check_messages([*prompt, *completion], r)
        render = _renderer(tokenizer, settings, r)
        before, ids = render(prompt, prompt=True), render([*prompt, *completion])
        rendered = _text(tokenizer, [*prompt, *completion], settings)
    shared = min(len(before), len(ids))
    differing = np.flatnonzero(before[:shared] != ids[:shared])
    start = int(differing[0]) if differing.size else shared
    return Chat(ids, _runs(np.arange(len(ids)) >= start), rendered)


def _check_messages(chat: Any, r: int) -> None:
    if isinstance(chat, str) or not isinstance(chat, Sequence) or not len(chat):
        raise TypeError(f"rows[{r}]: its messages are {brief(chat)}; a list of role and content is expected.")
    for message in chat:
        if not isinstance(message, Mapping) or "role" not in message:
            raise TypeError(f"rows[{r}]: the message {brief(message)} has no role.")
        if message["role"] == ASSISTANT and not message.get("content") and not message.get("tool_calls"):
            raise ValueError(f"rows[{r}]: an empty reply, so nothing can be scored there. Leave it out.")
    if not any(message["role"] == ASSISTANT for message in chat):
        raise ValueError(f"rows[{r}]: no message of the role 'assistant', so there is no reply to score.")


def _template_text(tokenizer: Any, settings: Mapping[str, Any]) -> str:
    template = settings.get("chat_template") or getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    if not template or not hasattr(tokenizer, "apply_chat_template"):
        raise ValueError(
            f"tokenizer={type(tokenizer).__name__}: it has no chat template. Set tokenizer.chat_template to the one "
            "that training uses, or give rows of input_ids and labels."
        )
    return str(template)


def _renderer(tokenizer: Any, settings: dict[str, Any], r: int) -> Any:
    _template_text(tokenizer, settings)

    def render(chat: Any, *, prompt: bool = False) -> NDArray[np.int64]:
        if not len(chat):
            return np.zeros(0, np.int64)
        try:
            found = tokenizer.apply_chat_template(
                list(chat), tokenize=True, return_dict=True, add_generation_prompt=prompt, **settings
            )
        except Exception as error:  # jinja's, and what templates raise themselves
            raise ValueError(f"rows[{r}]: the chat template can't render it ({error}).") from error
        return np.asarray(found["input_ids"], np.int64)

    return render


def _text(tokenizer: Any, chat: Any, settings: dict[str, Any], *, prompt: bool = False) -> str:
    if not len(chat):
        return ""
    return str(tokenizer.apply_chat_template(list(chat), tokenize=False, add_generation_prompt=prompt, **settings))


def _begins(ids: NDArray[np.int64], with_: NDArray[np.int64]) -> bool:
    return len(with_) <= len(ids) and bool(np.array_equal(ids[: len(with_)], with_))
