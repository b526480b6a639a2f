"""Part of speech: tags go to tokens by characters, whatever the tokenizer does to words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import TokenSet, Watch, open_run
from curvewatch.cli.app import app
from curvewatch.corpus import part_of_speech
from curvewatch.corpus.part_of_speech import tags_of
from tests.support.models import PlainLM
from tests.support.tokenizers import bert_with_edges, fast, gpt2_like, llama_like, t5_like

# Pieces as SentencePiece has them, the words of their text, and what each piece gets.
CASES = {
    "a piece a word": ("▁The ▁cat ▁sleeps", "0 3 DET, 4 7 NOUN, 8 14 VERB", "DET.U NOUN.U VERB.U"),
    "three pieces of a word": ("▁un reason able ▁cat", "0 12 ADJ, 13 16 NOUN", "ADJ.B ADJ.I ADJ.L NOUN.U"),
    "two words in a piece": ("▁we ▁can't ▁go", "0 2 PRON, 3 5 AUX, 5 8 PART, 9 11 VERB", "PRON.U AUX.U VERB.U"),
    "a piece over the border of two": ("▁we ▁c an't", "0 2 PRON, 3 5 AUX, 5 8 PART", "PRON.U AUX.B AUX.L"),
    "a word behind a border": ("▁c an 't", "0 3 AUX, 3 5 PART", "AUX.B AUX.L PART.U"),
    "blanks between": ("▁a ▁ ▁ ▁b", "0 1 DET, 4 5 NOUN", "DET.U - - NOUN.U"),
    "a blank that is tagged": ("▁a ▁ ▁b", "0 1 DET, 1 2 SPACE, 3 4 NOUN", "DET.U SPACE.U NOUN.U"),
    "nothing is tagged": ("▁a ▁b", "", "- -"),
    "numbers": ("▁2 ,0 00 ▁km", "0 5 NUM, 6 8 NOUN", "NUM.B NUM.I NUM.L NOUN.U"),
    "a word of no length": ("▁a", "0 0 X, 0 1 DET", "DET.U"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_tags_go_by_characters(case: str) -> None:
    pieces, words, expected = CASES[case]
    texts = [piece.replace("▁", " ") for piece in pieces.split()]
    ends = np.cumsum([len(text) for text in texts]) - 1  # the text begins behind the first blank
    starts = np.concatenate([[0], ends[:-1]])
    given = [(int(a), int(b), tag) for a, b, tag in (word.split() for word in words.split(", ") if word)]
    found = ["-" if tag == "[UNMATCHED]" else f"{tag}.{where}" for tag, where in tags_of(starts, ends, given)]
    assert found == expected.split()


def test_a_token_of_two_words_is_the_firsts() -> None:
    assert tags_of(np.array([0, 5]), np.array([5, 9]), [(0, 2, "AUX"), (2, 5, "PART"), (6, 9, "VERB")]) == [
        ("AUX", "U"),
        ("VERB", "U"),
    ]


def by_rule(text: str) -> list[tuple[int, int, str]]:
    """Words, numbers, marks."""
    kinds = {"NUM": r"\d+(?:\.\d+)?", "WORD": r"[^\W\d]+", "PUNCT": r"[^\w\s]"}
    found = [(*match.span(), kind) for kind, pattern in kinds.items() for match in re.finditer(pattern, text)]
    return sorted(found)


@pytest.mark.parametrize(
    "tokenizer",
    [fast(gpt2_like), fast(llama_like), fast(t5_like), bert_with_edges()],
    ids=["gpt2", "llama", "t5", "bert"],
)
def test_every_tokenizer(tokenizer: Any) -> None:
    """A token has the class of the text that stands at it, also in a sequence that begins inside a word."""
    text = "the ships carry 12 lamps, and 3.14 barrels; wait! café 東京 said the captain. " * 30
    tokens = TokenSet.from_text(text, tokenizer, 120, context=16, per_sequence=None)
    found = part_of_speech(tokens, by_rule)
    assert found.tagger == "by_rule"
    assert set(found.pos) - {"[UNMATCHED]", "[UNK_CHAR]"} == {"NUM", "WORD", "PUNCT"}
    starts, ends = tokens.annotations.originals.inked(tokens.scored)
    for i in range(len(tokens)):
        whole = tokens.annotations.originals.texts[tokens.sequence_index[i]]
        own = whole[starts[i] : ends[i]].strip()
        for kind, pattern in (("NUM", r"\d+"), ("WORD", r"[^\W\d]+"), ("PUNCT", r"[^\w\s]")):
            # (A dot between digits belongs to the number.)
            inside_number = own == "." and re.match(r"\d", whole[ends[i] : ends[i] + 1] or " ")
            if re.fullmatch(pattern, own) and not inside_number and found.pos[i] != "[UNK_CHAR]":
                assert found.pos[i] == kind, (own, whole)
    assert set(found.bilu) <= {"B", "I", "L", "U", "[UNMATCHED]", "[UNK_CHAR]"}
    labelled = found.label(tokens)
    assert labelled.hash == tokens.hash
    assert labelled.labels["pos"].of_tokens()[0] == found.pos[0]


def test_the_first_piece_of_a_sequence_counts_though_it_is_not_scored() -> None:
    tokenizer = fast(gpt2_like)
    tokens = TokenSet.from_texts(["unreasonable ships"], tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(tokens.sequence(0).tolist())
    n = next(k for k, piece in enumerate(pieces) if piece.startswith("Ġ"))
    assert n >= 3
    assert part_of_speech(tokens, by_rule).bilu[: n - 1] == (*["I"] * (n - 2), "L")


def test_special_tokens_end_a_text() -> None:
    tokenizer = fast(gpt2_like)
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    eos = tokenizer.eos_token_id
    a, b = (tokenizer.encode(text) for text in (" the ships", " at night"))
    tokens = TokenSet.from_sequences([[eos, *a, eos, *b, eos]], tokenizer=tokenizer)
    heard = []

    def listening(text: str) -> list[tuple[int, int, str]]:
        heard.append(text)
        return by_rule(text)

    found = part_of_speech(tokens, listening)
    assert heard == [" the ships", " at night"]
    of_a, of_b = (["WORD" if tokenizer.decode([i]).strip() else "[UNMATCHED]" for i in ids] for ids in (a, b))
    assert found.pos == (*of_a, "[SPECIAL]", *of_b, "[SPECIAL]")


def test_a_real_pipeline_by_name_and_object(tmp_path: Path) -> None:
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    rules = pipeline.add_pipe("attribute_ruler")
    rules.add([[{"LOWER": "the"}]], {"POS": "DET"})
    rules.add([[{"IS_PUNCT": True}]], {"POS": "PUNCT"})
    tokens = TokenSet.from_texts(["He said the ships sailed.", "The night."], fast(gpt2_like))
    found = part_of_speech(tokens, pipeline)
    assert found.tagger.startswith("spaCy pipeline en_")
    determiners = [tokens.show(i).target.strip().lower() for i, tag in enumerate(found.pos) if tag == "DET"]
    assert "".join(determiners).startswith("the")
    assert found.pos[-1] == "PUNCT"
    pipeline.to_disk(tmp_path / "pipeline")
    assert part_of_speech(tokens, str(tmp_path / "pipeline")).pos == found.pos
    # And by the command, on a run that is over.
    with Watch(tokens, tmp_path / "curves.h5", max_steps=1) as watch:
        watch.observe(PlainLM(500), 0)
    done = CliRunner().invoke(app, ["label", str(tmp_path / "curves.h5"), "--pos", str(tmp_path / "pipeline")])
    assert done.exit_code == 0, done.output
    labels = open_run(tmp_path / "curves.h5").tokens.labels
    assert tuple(labels["pos"].of_tokens()) == found.pos
    assert set(labels) == {"pos", "pos_bilu"}


def test_bad_taggers_are_named(tmp_path: Path) -> None:
    tokens = TokenSet.from_texts(["He said."], fast(gpt2_like))
    with pytest.raises(TypeError, match="tagger=3: the name of a spaCy pipeline"):
        part_of_speech(tokens, 3)
    with pytest.raises(ValueError, match=r"tagger='no_such_pipeline': .* -m spacy download no_such_pipeline"):
        part_of_speech(tokens, "no_such_pipeline")
    with pytest.raises(ValueError, match="'X' from 0 to 99 lies outside its text of 8 characters"):
        part_of_speech(tokens, lambda text: [(0, 99, "X")])
    with pytest.raises(ValueError, match="knows no text, only ids"):
        part_of_speech(TokenSet.from_sequences([[1, 2]]), by_rule)
    progress = []
    part_of_speech(tokens, by_rule, progress=lambda done, of: progress.append((done, of)))
    assert progress == [(1, 1)]
