"""Which tokens begin a word: in tokenizers of every make, against the texts that they make."""

from __future__ import annotations

import numpy as np
import pytest

from curvewatch import TokenSet
from curvewatch.tokens.boundaries import BEGINS, OPENS, boundaries_of
from curvewatch.tokens.text import encode, vocabulary_size
from curvewatch.tokens.vocabulary import vocabulary_units
from tests.support.tokenizers import WORDS, tokenizer_of

TEXT = "the ships that sail\nat night  carry 12 lamps.\n\nOù est le café? 🚀 東京 home"
LEADING = ("GPT-2", "Llama", "tiktoken")


@pytest.mark.parametrize("kind", LEADING)
def test_the_tokens_behind_whole_words_begin_a_word(kind: str) -> None:
    """Encoded text, cut behind each token: the next begins a word just where the text has a blank."""
    tokenizer = tokenizer_of(kind)
    flags_V = boundaries_of(tokenizer, None)
    ids = encode(tokenizer, TEXT)
    tokens = TokenSet.from_text(TEXT, tokenizer, n_tokens=len(ids) - 1, context=len(ids), per_sequence=None)
    originals = tokens.annotations.originals
    assert originals is not None
    text, ends = originals.texts[0], originals.ends_I
    n_begin = 0
    for k in range(1, len(ends)):
        start, end = int(ends[k - 1]), int(ends[k])
        if start == end:  # the later pieces of a character
            continue
        flags = flags_V[tokens.ids[k]]
        assert bool(flags & BEGINS) == text[start].isspace(), repr(text[start:end])
        assert bool(flags & OPENS) == text[end - 1].isspace(), repr(text[start:end])
        n_begin += bool(flags & BEGINS)
    assert n_begin > 7


def test_the_end_of_a_text_ends_a_word() -> None:
    tokenizer = tokenizer_of("GPT-2, transformers")
    special = [int(i) for i in tokenizer.all_special_ids]
    if special:
        assert (boundaries_of(tokenizer, None)[special] == BEGINS | OPENS).all()
    assert boundaries_of(tokenizer, 2000)[vocabulary_size(tokenizer) :].tolist() == [0] * (
        2000 - vocabulary_size(tokenizer)
    ), "outputs that are no tokens begin nothing"


def test_a_tokenizer_whose_words_begin_without_a_blank_is_refused() -> None:
    class Letters:
        n_vocab = 3

        def encode(self, text):
            return ["abc".index(letter) for letter in text]

        def decode(self, ids):
            return "".join("abc"[i] for i in ids)

    with pytest.raises(ValueError, match="no token of this tokenizer begins with a blank"):
        boundaries_of(Letters(), 3)
    lossy = TokenSet.from_texts(["the Ships sail"], tokenizer_of("BERT, transformers"))
    assert lossy.annotations.originals is not None
    assert lossy.annotations.originals.lossy
    with pytest.raises(ValueError, match="does not keep the text as it is"):
        lossy.words(boundary="corrected")


def test_what_a_correction_needs() -> None:
    tokens = TokenSet.from_texts(["the ships sail"], tokenizer_of("GPT-2, transformers"))
    with pytest.raises(ValueError, match=r'boundary="corrected" with pattern=.*words between blanks'):
        tokens.words(r"\w+", boundary="corrected")
    with pytest.raises(ValueError, match='boundary=\'yes\': "none" or "corrected"'):
        tokens.words(boundary="yes")
    corrected = tokens.words(boundary="corrected")
    assert corrected.hash == tokens.hash
    assert corrected.words().annotations.boundary is None, "words again, without"


def test_it_is_saved_with_the_set(tmp_path) -> None:
    tokens = TokenSet.from_texts(["the ships sail"], tokenizer_of("GPT-2, transformers")).words(boundary="corrected")
    again = TokenSet.load(tokens.save(tmp_path / "set.npz"))
    assert np.array_equal(again.annotations.boundary, tokens.annotations.boundary)


@pytest.mark.parametrize("kind", [*LEADING, "GPT-2, transformers", "ByT5"])
@pytest.mark.parametrize("text", [TEXT, WORDS, "a", " a  b\n"])
def test_bytes_and_words_of_a_vocabulary_add_up_to_the_texts(kind: str, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    ids = encode(tokenizer, text)
    units = vocabulary_units(tokenizer, vocabulary_size(tokenizer))
    n_words = int(units.words_V[ids].sum()) + int(units.solid_V[ids[0]])
    n_words += int((units.solid_V[ids[1:]] & units.opens_V[ids[:-1]]).sum())
    # Llama's tokenizer puts a blank of its own before a text.
    invented = int(kind == "Llama")
    assert int(units.bytes_V[ids].sum()) == len(text.encode()) + invented
    assert n_words == len(text.split())
