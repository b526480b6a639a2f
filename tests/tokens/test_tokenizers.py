"""Tokenizers of every make: the ids are those of the text encoded whole, the size is the highest id plus 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from curvewatch import TokenSet
from curvewatch.sampling.prompts import Prompts
from curvewatch.tokens import text as text_room

LINE = "the cat sat on the mat, and the dog saw it run away from home.\n"
TEXT = (LINE * 3 + "\n\n  " + LINE.upper() + "<|endoftext|>\n") * 40


def byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def prefixed(scheme: str) -> Any:
    """As Llama's: a space is put in front of what is encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme == "always")
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    made.train_from_iterator(TEXT.splitlines(True), trainers.BpeTrainer(vocab_size=120, show_progress=False))
    return made


class Begun:
    """Puts a beginning-of-text token before whatever it encodes."""

    def encode(self, text: str) -> list[int]:
        return [256, *text.encode()]

    def decode(self, ids: list[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")


class Greedy(Begun):
    """Its token 257 is a line break and the letter behind it: it reaches over a cut."""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for byte in text.encode():
            if byte == ord("t") and ids and ids[-1] == ord("\n"):
                ids[-1] = 257
            else:
                ids.append(byte)
        return ids


class Moody(Begun):
    """Never gives the same ids twice, as one that drops merges at random."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, text: str) -> list[int]:
        self.calls += 1
        return [self.calls, *text.encode()]


def by_tiktoken() -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)} | {b"th": 256, b"the": 257}
    return tiktoken.Encoding(
        "small", pat_str=r"\s?\w+|\s|.", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 300}
    )


MAKES = {
    "byte level": byte_level,
    "a space in front, always": lambda: prefixed("always"),
    "a space in front, first": lambda: prefixed("first"),
    "a token in front": Begun,
    "over the cut": Greedy,
    "tiktoken": by_tiktoken,
}


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("size", [50, 700])
def test_the_ids_are_those_of_the_text_encoded_whole(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = MAKES[name]()
    whole = text_room.encode(tokenizer, TEXT)
    assert len(TEXT) < text_room.PIECE_CHARACTERS, "one piece"
    monkeypatch.setattr(text_room, "PIECE_CHARACTERS", size)
    pieces = list(text_room.encode_pieces(tokenizer, text_room._pieces(TEXT)))
    assert len(pieces) > 5, "the cuts are used"
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(text_room.encode(tokenizer, TEXT), whole)


def test_a_text_whose_every_cut_is_reached_over_is_encoded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_room, "PIECE_CHARACTERS", 100)
    pieces = list(text_room.encode_pieces(Greedy(), text_room._pieces(LINE * 30)))
    assert [piece.tolist() for piece in pieces] == [Greedy().encode(LINE * 30)]


def test_ids_that_change_from_call_to_call_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_room, "PIECE_CHARACTERS", 100)
    (ids,) = text_room.encode_pieces(Moody(), text_room._pieces(LINE * 30))
    assert ids[1:].tolist() == list((LINE * 30).encode())


class LikeTiktoken:
    """tiktoken's surface: `encode` raises at the name of a special token unless it is told not to."""

    n_vocab = 300

    def encode(self, text: str) -> list[int]:
        if "<|endoftext|>" in text:
            raise ValueError("Encountered text corresponding to disallowed special token '<|endoftext|>'.")
        return self.encode_ordinary(text)

    def encode_ordinary(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")


@pytest.mark.parametrize("make", [LikeTiktoken, by_tiktoken])
def test_a_special_tokens_name_in_the_text_is_text(make: Any) -> None:
    tokenizer = make()
    tokens = TokenSet.from_text("a<|endoftext|> b", tokenizer, 15, 16, per_sequence=None)
    assert tokens.ids.tolist() == list(b"a<|endoftext|> b")
    assert tokens.vocab_size == {LikeTiktoken: 300, by_tiktoken: 301}[make], "the highest id, plus 1"
    assert Prompts("<|endoftext|>", tokenizer).ids == (tuple(b"<|endoftext|>"),)


def holed() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: 10 * i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def holed_by_transformers() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=holed())


@pytest.mark.parametrize("make", [holed, holed_by_transformers])
def test_a_vocabulary_whose_ids_have_holes(make: Any) -> None:
    tokens = TokenSet.from_text(TEXT, make(), 100, 16)
    assert int(tokens.ids.max()) > 256, "beyond the number of tokens"
    assert tokens.vocab_size == 2551
    assert tokens.chance == math.log2(2551)


@pytest.mark.parametrize(
    "make",
    [
        lambda tokenizer: TokenSet.from_text(TEXT, tokenizer),
        lambda tokenizer: TokenSet.from_dataset([{"input_ids": [1, 2, 3]}], 1, tokenizer=tokenizer),
        lambda tokenizer: TokenSet.from_sequences([[1, 2, 3]], tokenizer=tokenizer),
        lambda tokenizer: TokenSet.from_sequences([[1, 2, 3]], tokenizer=tokenizer, vocab_size=9),
        lambda tokenizer: Prompts("the cat", tokenizer),
        lambda tokenizer: Prompts([[1, 2]], tokenizer),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("tokenizer", "shown"), [("gpt2" * 100, "'gpt2gpt2.*…"), (Begun, "Begun")])
def test_a_name_or_a_class_is_no_tokenizer(make: Any, tokenizer: Any, shown: str) -> None:
    with pytest.raises(TypeError, match=rf"^tokenizer={shown}: a (str|type) is no tokenizer\. Pass") as raised:
        make(tokenizer)
    assert len(str(raised.value)) < 250


class Words(Begun):
    def encode(self, text: str) -> Any:
        return text.split()


def test_what_encodes_to_no_ids_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^tokenizer=Words: its encode\(text\) gives \['the', .*…; a list of ids"
    ) as raised:
        TokenSet.from_text(TEXT, Words())
    assert len(str(raised.value)) < 200
