"""Pairs, completions, questions and chats: the right tokens, also where a token reaches over a boundary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curvewatch import TokenSet
from tests.support.tokenizers import KINDS, fast, gpt2_like, tokenizer_of

BOS = 0
PAIRS = [
    ("the ships sail at night", "the ships sails at night", "agreement"),
    ("the captain said the lamps wait", "the captain said lamps the wait", "order"),
    ("ships wait", "ships", "omission"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind: str) -> None:
    tokens = TokenSet.from_pairs(PAIRS, tokenizer_of(kind), bos=BOS)
    pairs, critical = tokens.spans.of_kind("pair"), tokens.spans.of_kind("critical")
    assert pairs.name == tuple(text for pair in PAIRS for text in pair[:2])
    assert pairs.item.tolist() == [0, 0, 1, 1, 2, 2]
    assert pairs.member == ("good", "bad") * 3
    assert pairs.group == ("agreement",) * 2 + ("order",) * 2 + ("omission",) * 2
    assert critical.name == ("sail", "sails", "the lamps", "lamps the"), "where one has nothing there is no such span"
    assert int(pairs.length.sum()) == len(tokens)
    assert tokens.made_by["constructor"] == "from_pairs"


def test_pairs_of_a_file(tmp_path: Path) -> None:
    rows = [{"sentence_good": g, "sentence_bad": b, "UID": u, "more": 1} for g, b, u in PAIRS]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text("sentence_good,sentence_bad,UID\n" + "\n".join(",".join(pair) for pair in PAIRS))
    (tmp_path / "a.tsv").write_text("sentence_good\tsentence_bad\tUID\n" + "\n".join("\t".join(pair) for pair in PAIRS))
    columns = {"good": "sentence_good", "bad": "sentence_bad", "label": "UID", "bos": BOS}
    expected = TokenSet.from_pairs(PAIRS, tokenizer_of("GPT-2"), bos=BOS)
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from datasets import Dataset

    for given in (
        rows, Dataset.from_list(rows), pd.DataFrame(rows), pl.DataFrame(rows), pa.Table.from_pylist(rows),
        *(tmp_path / f"a.{ending}" for ending in ("jsonl", "json", "csv", "tsv")),
    ):  # fmt: skip
        found = TokenSet.from_pairs(given, tokenizer_of("GPT-2"), **columns)
        assert found.hash == expected.hash
        assert found.spans.same_as(expected.spans)


@pytest.mark.parametrize("kind", KINDS)
def test_no_character_of_an_answer_is_lost(kind: str) -> None:
    """The answer begins in the middle of a word, of punctuation, or of a character's bytes."""
    rows = [
        ("the capt", "ain", "word"),
        ("don", "'t wait", "sign"),
        ("the ships", " sail", "plain"),
        ('He said "', 'é"', ""),
    ]
    tokens = TokenSet.from_completions(rows, tokenizer_of(kind), bos=BOS)
    spans, originals = tokens.spans, tokens.annotations.originals
    assert originals is not None
    assert spans.kinds == ["answer"]
    starts, ends = originals.ranges(tokens.scored)
    for u, (prompt, answer, label) in enumerate(rows):
        inside = slice(int(spans.first[u]), int(spans.first[u] + spans.length[u]))
        covered = set()
        for a, b in zip(starts[inside], ends[inside], strict=True):
            covered |= set(range(a, b))
        text = prompt + answer
        assert originals.texts[u] == text
        wanted = {c for c in range(len(prompt), len(text)) if not text[c].isspace()}
        assert wanted <= covered
        before = {c for c in covered if c < len(prompt) and not text[c].isspace()}
        assert spans.impure[u] == bool(before)
        assert spans.group[u] == label
    assert len(tokens) == int(spans.length.sum()), "nothing else is scored"


def test_the_last_word() -> None:
    rows = [{"text": "the captain said\nwait for the ships"}, {"text": "carry 12 lamps. "}]
    tokens = TokenSet.from_completions(rows, tokenizer_of("GPT-2"), prompt="text", answer=None, bos=BOS)
    assert tokens.spans.name == ("ships", "lamps.")


def test_choices() -> None:
    rows = [
        ("2 and 2 is", [" 3", " 4", " 12 lamps"], 1, "sums"),
        ("the ships", [" sail", " 東京"], " sail", "words"),
    ]
    tokens = TokenSet.from_choices(rows, tokenizer_of("GPT-2"), bos=BOS)
    spans = tokens.spans
    assert spans.name == ("3", "4", "12 lamps", "sail", "東京")
    assert spans.member == ("wrong", "right", "wrong", "right", "wrong")
    assert spans.item.tolist() == [0, 0, 0, 1, 1]
    assert spans.group == ("sums",) * 3 + ("words",) * 2
    again = TokenSet.from_choices(
        [{"q": q, "o": np.array(o, object), "a": str(a), "g": g} for q, o, a, g in rows], tokenizer_of("GPT-2"),
        question="q", options="o", right="a", label="g", bos=BOS,
    )  # fmt: skip
    assert again.hash == tokens.hash
    assert again.spans.same_as(spans)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda t: TokenSet.from_pairs([("a", "a")], t, bos=0), ValueError, r"rows\[0\]: good and bad are the same"),
        (lambda t: TokenSet.from_pairs([("a", " ")], t, bos=0), ValueError, r"rows\[0\]: its bad is ' '"),
        (lambda t: TokenSet.from_pairs([("a",)], t, bos=0), TypeError, r"rows\[0\]: its bad is None"),
        (lambda t: TokenSet.from_pairs([("a", "b", "c", "d")], t), ValueError, "4 values; good, bad, label"),
        (lambda t: TokenSet.from_pairs([{"good": "a"}], t), KeyError, r"bad='bad'.*it has \['good'\]"),
        (lambda t: TokenSet.from_pairs([], t), ValueError, "rows: there is none"),
        (lambda t: TokenSet.from_pairs(3, t), TypeError, "rows=3: a list of rows"),
        (lambda t: TokenSet.from_pairs([3], t), TypeError, r"rows\[0\]=3: a row with columns"),
        (lambda t: TokenSet.from_pairs("none.jsonl", t), FileNotFoundError, r"none\.jsonl': no such file"),
        (lambda t: TokenSet.from_pairs([("one", "two")], t), ValueError, r"pair 'one' of text 0.*Pass bos="),
        (lambda t: TokenSet.from_completions([("a", "")], t), ValueError, r"its answer is ''"),
        (lambda t: TokenSet.from_completions([("", "a")], t), ValueError, "or bos="),
        (lambda t: TokenSet.from_completions([("word",)], t, answer=None), ValueError, "is one word"),
        (lambda t: TokenSet.from_completions([("the ships " * 9, "sail")], t, context=5), ValueError, "cut before it"),
        (lambda t: TokenSet.from_choices([("q", ["a"], 0)], t), ValueError, "list of two or more"),
        (lambda t: TokenSet.from_choices([("q", "ab", 0)], t), ValueError, "list of two or more"),
        (lambda t: TokenSet.from_choices([("q", ["a", "b"], 2)], t), ValueError, "one is 2; a number from 0 to 1"),
        (lambda t: TokenSet.from_choices([("q", ["a", "a"], "a")], t), ValueError, "stands there twice"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make(tokenizer_of("GPT-2"))


# ---------------------------------------------------------------------- chats

MARKED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Earlier replies lose their first word once more follows, as templates take thoughts out of them.
REWRITING = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ m['content'].split(' ')[1:] | join(' ') }}{% else %}{{ m['content'] }}{% endif %}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# It expects contents that are lists of parts, as multimodal models have them.
PARTS = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}"
    "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CHATS = [
    {"messages": [{"role": "user", "content": "the ships?"}, {"role": "assistant", "content": "they sail 🚀"},
                  {"role": "user", "content": "when"}, {"role": "assistant", "content": "at night"}], "source": "a"},
    {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "12 lamps"},
                  {"role": "assistant", "content": "wait"}], "source": "b"},
]  # fmt: skip


def chatting(template: str) -> Any:
    tokenizer = fast(gpt2_like)
    special = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special, "eos_token": "<|end|>", "pad_token": "<|end|>"})
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [MARKED, PLAIN], ids=["marked", "unmarked"])
def test_replies(template: str) -> None:
    tokenizer = chatting(template)
    tokens = TokenSet.from_chat(CHATS, tokenizer, labels="source")
    assert tokens.spans.kinds == ["reply"]
    assert tokens.spans.name == ("they sail 🚀<|end|>", "at night<|end|>", "wait<|end|>")
    assert tokens.spans.group == ("a", "a", "b")
    assert len(tokens) == int(tokens.spans.length.sum())
    assert tokens.labels["turn"].of_tokens()[int(tokens.spans.first[1])] == "2"
    assert set(tokens.labels["source"].of_tokens()) == {"a", "b"}
    originals = tokens.annotations.originals
    assert originals is not None
    assert originals.texts[1] == "<|system|>be brief<|end|><|user|>12 lamps<|end|><|assistant|>wait<|end|>"
    everything = TokenSet.from_chat(CHATS, tokenizer, score="all")
    role = everything.labels["role"]
    replies = everything.target[role.where("assistant")]
    assert replies.tolist() == tokens.target.tolist()
    assert len(everything) == len(everything.ids) - 2
    assert everything.spans.name == tokens.spans.name


def test_a_tokenizer_that_joins_what_stands_before_a_reply_with_it() -> None:
    """Alone the prompt ends in another token than within the chat; its text is the beginning all the same."""
    template = PLAIN.replace("m['role'] + '|>'", "m['role'] + '|>\\n\\n'").replace(
        "'<|assistant|>'", "'<|assistant|>\\n\\n'"
    )
    tokenizer = chatting(template)
    prompt = tokenizer.apply_chat_template(CHATS[0]["messages"][:1], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(CHATS[0]["messages"])["input_ids"]
    assert whole[: len(prompt)] != prompt, "the test has no power"
    tokens = TokenSet.from_chat(CHATS[:1], tokenizer)
    assert [name.strip() for name in tokens.spans.name] == ["they sail 🚀<|end|>", "at night<|end|>"]


def trained_on(rows: list[dict[str, Any]], tokenizer: Any, **settings: Any) -> list[dict[str, list[int]]]:
    """The ids and labels that TRL's trainer makes of some rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from tests.support.models import gpt2

    config = SFTConfig(output_dir="unused", report_to=[], use_cpu=True, max_length=None, **settings)
    model = gpt2(vocab_size=len(tokenizer))
    trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    columns = trainer.train_dataset.column_names
    found = [{name: row[name] for name in columns} for row in trainer.train_dataset]
    batch = trainer.data_collator(found)
    kept = []
    for ids, labels, mask in zip(
        batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True
    ):
        n = sum(mask)
        kept.append({"input_ids": ids[:n], "labels": labels[:n]})
    return kept


def scored(tokens: TokenSet) -> list[set[int]]:
    return [set(tokens.position[tokens.sequence_index == s].tolist()) for s in range(tokens.n_sequences)]


@pytest.mark.parametrize("rows", ["messages", "prompt and completion", "texts"])
def test_what_trl_trains_on(rows: str) -> None:
    """Token for token, from the rows and from the trainer's own ids and labels."""
    tokenizer = chatting(MARKED)
    given: list[dict[str, Any]]
    if rows == "messages":
        given, settings = [{"messages": one["messages"]} for one in CHATS], {"assistant_only_loss": True}
    elif rows == "texts":
        given = [{"prompt": "the ships", "completion": " sail at night"}, {"prompt": "12 la", "completion": "mps"}]
        settings = {}
    else:
        given = [{"prompt": one["messages"][:-1], "completion": one["messages"][-1:]} for one in CHATS]
        settings = {}
    trained = trained_on(given, tokenizer, **settings)
    mine = TokenSet.from_chat(given, tokenizer)
    theirs = TokenSet.from_chat(trained, tokenizer)
    for s, row in enumerate(trained):
        assert mine.sequence(s).tolist() == row["input_ids"]
        expected = {p for p, label in enumerate(row["labels"]) if label != -100 and p > 0}
        assert scored(mine)[s] == scored(theirs)[s] == expected
    assert mine.hash == theirs.hash


def without(chat: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [{**message, **changes} if message["role"] == "assistant" else message for message in chat]


@pytest.mark.parametrize(
    ("template", "rows", "error", "match"),
    [
        (REWRITING, CHATS[:1], ValueError, r"rows\[0\]: the chat template renders .* before reply 1 .*generation"),
        (None, CHATS, ValueError, "it has no chat template"),
        (PARTS, CHATS[:1], ValueError, r"leaves 'they sail 🚀' out of the reply's tokens"),
        (PLAIN, [{"messages": CHATS[0]["messages"][:1]}], ValueError, "no message of the role 'assistant'"),
        (PLAIN, [{"messages": without(CHATS[0]["messages"], content="")}], ValueError, "an empty reply"),
        (PLAIN, [{"messages": "hello"}], TypeError, "a list of role and content"),
        (PLAIN, [{"messages": [{"content": "x"}]}], TypeError, "has no role"),
        (PLAIN, [{"text": "x"}], KeyError, r"it has \['text'\]; 'messages', 'prompt' and 'completion', or 'input_ids'"),
        (PLAIN, [{"prompt": "x", "completion": ""}], ValueError, "its completion is empty"),
        (PLAIN, [{"prompt": "x", "completion": [1]}], TypeError, "both texts, or both lists"),
        (PLAIN, [{"input_ids": [1, 2], "labels": [-100, -100]}], ValueError, "no token of a reply in it"),
        (PLAIN, [{"input_ids": [1, 2], "labels": [1]}], ValueError, r"2 input_ids and labels of shape \(1,\)"),
        (PLAIN, [], ValueError, "there is none"),
        ("{{ broken", CHATS, ValueError, "can't render it"),
    ],
)
def test_chats_that_are_refused(template: Any, rows: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        TokenSet.from_chat(rows, chatting(template))


def test_more_chats_that_are_refused() -> None:
    tokenizer = chatting(PLAIN)
    with pytest.raises(ValueError, match=r"score='user'"):
        TokenSet.from_chat(CHATS, tokenizer, score="user")
    with pytest.raises(KeyError, match=r"labels='domain': rows\[0\] has no such column"):
        TokenSet.from_chat(CHATS, tokenizer, labels="domain")
    with pytest.raises(ValueError, match=r"no token of a reply within context=4 tokens"):
        TokenSet.from_chat(CHATS, tokenizer, context=4)
