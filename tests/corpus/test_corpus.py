"""The training corpus: counts and surprisals against plain Python, every kind of source, the file, the command."""

from __future__ import annotations

import dataclasses
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from curvewatch import TokenSet, open_run
from curvewatch.cli.app import app
from curvewatch.corpus import NgramSurprisals, arrow, count_ngrams, count_tokens, load_ngrams, open_corpus, sources
from curvewatch.corpus.keys import KeyIndex
from curvewatch.errors import TokenSetMismatchError
from curvewatch.tokens import text as text_room
from tests.analysis.synthetic import write_run
from tests.test_import import loaded_by

N_MAX = 5
DOCUMENTS = [[0, 1, 2, 0, 1, 3], [0, 1], [], [2], [0, 1, 2, 0, 1, 2, 0]]


def reference(documents: list[list[int]], tokens: TokenSet, n_max: int = N_MAX) -> tuple[np.ndarray, np.ndarray]:
    """Surprisals and counts by the definition, one n-gram at a time."""
    grams, followed = Counter(), Counter()
    for document in documents:
        for end in range(1, len(document) + 1):
            for n in range(1, min(n_max, end) + 1):
                gram = tuple(document[end - n : end])
                grams[gram] += 1
                followed[gram] += end < len(document)
    singles = {gram: count for gram, count in grams.items() if len(gram) == 1}
    surprisal = np.zeros((n_max, len(tokens)))
    counts = np.zeros((n_max, len(tokens)), int)
    for i, (s, p) in enumerate(zip(tokens.sequence_index, tokens.position, strict=True)):
        sequence = tokens.sequence(s).tolist()
        best = (grams[(sequence[p],)] or min(singles.values())) / sum(singles.values())
        for n in range(1, n_max + 1):
            gram = tuple(sequence[p - n + 1 : p + 1]) if n <= p + 1 else None
            if gram is not None:
                counts[n - 1, i] = grams[gram]
            if n > 1 and gram is not None and grams[gram]:
                best = grams[gram] / followed[gram[:-1]]
            surprisal[n - 1, i] = -math.log2(best)
    return surprisal, counts


def ids_below(alphabet: int, shortest: int, longest: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, alphabet - 1), min_size=shortest, max_size=longest)


def assert_same(found: NgramSurprisals, documents: list[list[int]], tokens: TokenSet, n_max: int = N_MAX) -> None:
    surprisal, counts = reference(documents, tokens, n_max)
    np.testing.assert_array_equal(found.counts_nN, counts)
    np.testing.assert_allclose(found.surprisal_bits_nN, surprisal, rtol=1e-6, atol=1e-6)
    flat = [i for document in documents for i in document]
    assert found.token_counts_V.tolist() == [flat.count(i) for i in range(len(found.token_counts_V))]
    assert found.total_tokens == len(flat) > 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(ids_below(4, 0, 25), max_size=8).filter(any),
    sequences=st.lists(ids_below(5, 2, 9), min_size=1, max_size=5),
    n_max=st.integers(1, 7),
    block=st.integers(1, 40),
    known=st.booleans(),
)
def test_counts_and_surprisals_are_those_of_plain_python(documents, sequences, n_max, block, known, monkeypatch):
    """However documents fall into blocks: a block may end anywhere, or hold one token."""
    monkeypatch.setattr(sources, "BLOCK", block)
    tokens = TokenSet.from_sequences(sequences, vocab_size=5 if known else None)
    assert_same(count_ngrams(iter(documents), tokens, n_max=n_max), documents, tokens, n_max)


def test_by_hand():
    # "0 1" occurs 5 times and is followed 4 times: by 2 three times, by 3 once. 0 occurs 6 times, always followed but
    # once; 1 five times, 2 four times, 3 once: 16 tokens.
    tokens = TokenSet.from_sequences([[0, 1, 2], [3, 0, 1, 2], [9, 9]], [[1, 2], [3], [1]])
    found = count_ngrams(DOCUMENTS, tokens, n_max=4)
    expected = [
        [-math.log2(5 / 16), -math.log2(4 / 16), -math.log2(4 / 16), -math.log2(1 / 16)],  # 9 is as rare as the rarest
        [0, -math.log2(3 / 4), -math.log2(3 / 4), -math.log2(1 / 16)],  # 0 is followed 5 times, always by 1
        [0, -math.log2(3 / 4), -math.log2(3 / 4), -math.log2(1 / 16)],
        [0, -math.log2(3 / 4), -math.log2(3 / 4), -math.log2(1 / 16)],  # 3 0 1 2 does not occur
    ]
    np.testing.assert_allclose(found.surprisal_bits_nN, expected, rtol=1e-6)
    assert found.counts_nN.tolist() == [[5, 4, 4, 0], [5, 3, 3, 0], [0, 3, 3, 0], [0, 0, 0, 0]]
    assert found.target_counts_N.tolist() == [5, 4, 4, 0]
    assert found.token_counts_V.tolist() == [6, 5, 4, 1, 0, 0, 0, 0, 0, 0]


def rows_of_equal_length() -> list[list[int]]:
    return np.random.default_rng(0).integers(0, 6, (50, 7)).tolist()


class Indexed:
    """A PyTorch dataset has a length and is indexed, no more."""

    def __len__(self) -> int:
        return 50

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(rows_of_equal_length()[i])}


ROWS = {
    "array": lambda _: np.array(rows_of_equal_length(), np.uint16),
    "tensor": lambda _: torch.tensor(rows_of_equal_length()),
    "lists": lambda _: rows_of_equal_length(),
    "generator of arrays": lambda _: (np.array(row, np.int8) for row in rows_of_equal_length()),
    "mappings": lambda _: [{"input_ids": row} for row in rows_of_equal_length()],
    "torch dataset": lambda _: Indexed(),
    "dataset": lambda _: Dataset.from_dict({"input_ids": rows_of_equal_length()}),
    "chosen rows of a dataset": lambda _: Dataset.from_dict(
        {"input_ids": [[5], *rows_of_equal_length()[::-1]]}
    ).select(range(50, 0, -1)),
    "stream": lambda _: IterableDataset.from_generator(lambda: ({"input_ids": row} for row in rows_of_equal_length())),
    "hdf5": lambda folder: saved_h5(folder),
    "npy": lambda folder: saved_npy(folder),
    "saved dataset": lambda folder: saved_dataset(folder),
}  # fmt: skip


def saved_h5(folder: Path) -> h5py.Dataset:
    with h5py.File(folder / "ids.h5", "w") as file:
        file["ids"] = np.array(rows_of_equal_length())
    return h5py.File(folder / "ids.h5")["ids"]


def saved_npy(folder: Path) -> Path:
    np.save(folder / "ids.npy", np.array(rows_of_equal_length(), np.int32))
    return folder / "ids.npy"


def saved_dataset(folder: Path) -> str:
    split = Dataset.from_dict({"input_ids": rows_of_equal_length()})
    DatasetDict(eval=split.select([0]), train=split).save_to_disk(folder / "saved")
    return str(folder / "saved")


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("block", [4, 20, 1 << 16])
def test_every_source_gives_the_same(kind, block, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", block)
    monkeypatch.setattr(arrow, "BLOCK", block)
    documents = rows_of_equal_length()
    tokens = TokenSet.from_sequences(documents[:9], vocab_size=8)
    seen: list[tuple[int, int | None]] = []
    found = count_ngrams(ROWS[kind](tmp_path), tokens, progress=lambda *now: seen.append(now))
    assert_same(found, documents, tokens)
    assert seen
    assert seen == sorted(seen)
    assert seen[-1][0] == (seen[-1][1] or 50)
    np.testing.assert_array_equal(count_tokens(ROWS[kind](tmp_path), 8), found.token_counts_V)


@pytest.mark.parametrize("block", [1, 3, 1 << 16])
def test_a_flat_array_is_one_document(block, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", block)
    flat = np.random.default_rng(1).integers(0, 3, 200).astype(np.uint16)
    tokens = TokenSet.from_sequences([[0, 1, 2, 0, 1, 2, 2]])
    assert_same(count_ngrams(flat, tokens), [flat.tolist()], tokens)


@pytest.mark.parametrize("make", [list, lambda rows: Dataset.from_list(rows)])
def test_masked_places_are_no_tokens(make):
    rows = [
        {"input_ids": [3, 0, 1, 3], "attention_mask": [0, 1, 1, 0]},
        {"input_ids": [0, 3, 1, 2], "attention_mask": [1, 0, 1, 1]},
    ]
    tokens = TokenSet.from_sequences([[0, 1, 2], [3, 3]])
    assert_same(count_ngrams(make(rows), tokens), [[0, 1], [0], [1, 2]], tokens)


def test_ragged_dataset_with_empty_rows():
    tokens = TokenSet.from_sequences([[0, 1, 2, 0, 1, 3]])
    assert_same(count_ngrams(Dataset.from_dict({"input_ids": DOCUMENTS}), tokens), DOCUMENTS, tokens)


def test_set_larger_than_corpus_and_documents_shorter_than_n():
    tokens = TokenSet.from_sequences(np.random.default_rng(0).integers(0, 50, (300, 20)))
    assert_same(count_ngrams([[3], [7, 7], [3, 7]], tokens), [[3], [7, 7], [3, 7]], tokens)


def test_vocabulary_grows_to_what_comes():
    tokens = TokenSet.from_sequences([[0, 1]])
    assert count_ngrams([[0, 1, 700]], tokens).token_counts_V.shape == (701,)
    assert count_tokens([[2, 2]]).tolist() == [0, 0, 2]
    assert count_tokens([[2, 2]], 5).tolist() == [0, 0, 2, 0, 0]


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 2**62)), st.lists(st.integers(0, 2**62)))
def test_key_index_finds_keys_and_nothing_else(keys, others):
    check_index(np.array(sorted(keys), np.int64), np.array(others + sorted(keys)[::2], np.int64))


def test_key_index_with_crowded_slots():
    candidates = np.arange(1 << 20, dtype=np.int64)
    crowded = candidates[KeyIndex(candidates[:300])._first_slot(candidates) < 3][:600]
    assert len(crowded) == 600
    check_index(crowded[::2], crowded)


def check_index(keys: np.ndarray, asked: np.ndarray) -> None:
    found, ranks = KeyIndex(keys).find(asked)
    assert sorted(found) == np.flatnonzero(np.isin(asked, keys)).tolist()
    assert (keys[ranks] == asked[found]).all()


BAD = {
    "empty list": ([], "it holds no token"),
    "empty documents": ([[], []], "it holds no token"),
    "empty array": (np.zeros((0, 5), int), "it holds no token"),
    "other vocabulary": ([[1, 2], [9]], "token id 9 lies beyond vocab_size=9"),
    "padding": (np.array([[1, -100]]), "token id -100 is below 0"),
    "probabilities": (np.ones((2, 2)), "integers"),
    "objects": (np.array([None]), "integers"),
    "three dimensions": (np.zeros((1, 2, 3), int), r"an array \[tokens\]"),
    "batches": ([[[1, 2]]], "corpus row 0: a row of token ids is expected"),
    "single ids": ([1, 2], "corpus row 0: a row of token ids is expected"),
    "short mask": ([{"input_ids": [1, 2], "attention_mask": [1]}], "a mask"),
    "dataset of text": (Dataset.from_dict({"input_ids": ["a"]}), "rows of token ids are expected, got string"),
    "missing rows": (Dataset.from_dict({"input_ids": [[1], None]}), "missing values"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_corpora_are_refused(kind):
    corpus, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        count_ngrams(corpus, TokenSet.from_sequences([[1, 2]], vocab_size=9))


def test_other_things_are_refused(tmp_path):
    tokens = TokenSet.from_sequences([[1, 2]])
    with pytest.raises(KeyError, match="no such column"):
        count_ngrams([{"ids": [1]}], tokens)
    with pytest.raises(KeyError, match="no such column"):
        count_ngrams(Dataset.from_dict({"ids": [[1]]}), tokens)
    with pytest.raises(TypeError, match=r"train, eval; give one"):
        count_ngrams({"train": [[1]], "eval": [[1]]}, tokens)
    with pytest.raises(TypeError, match="not int"):
        count_ngrams(3, tokens)
    with pytest.raises(FileNotFoundError, match="no such file"):
        count_ngrams(tmp_path / "no.npy", tokens)
    with pytest.raises(ValueError, match="n_max=0"):
        count_ngrams([[1]], tokens, n_max=0)
    with pytest.raises(ValueError, match="at most"):
        count_tokens([[2**30]])
    with pytest.raises(ValueError, match="at most"):
        count_ngrams([[1]], TokenSet.from_sequences([[1, 2**31 - 1]]))
    used = iter([[1, 2]])
    count_tokens(used)
    with pytest.raises(ValueError, match="read only once"):
        count_tokens(used)


def test_only_causal_sets():
    tokens = dataclasses.replace(TokenSet.from_sequences([[1, 2]]))
    object.__setattr__(tokens, "objective", "masked")
    with pytest.raises(ValueError, match=r"objective='masked'.*causal set is needed"):
        count_ngrams([[1, 2]], tokens)


# ---------------------------------------------------------------------- the file


@pytest.fixture
def counted() -> tuple[TokenSet, NgramSurprisals]:
    tokens = TokenSet.from_sequences([[0, 1, 2, 3], [2, 0, 1, 2]])
    return tokens, count_ngrams(DOCUMENTS, tokens)


def test_file_holds_everything(counted, tmp_path):
    tokens, found = counted
    read = load_ngrams(found.save(tmp_path / "n.npz"), tokens)
    for name in ("surprisal_bits_nN", "counts_nN", "token_counts_V"):
        assert getattr(read, name).dtype == getattr(found, name).dtype
        np.testing.assert_array_equal(getattr(read, name), getattr(found, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(read, name)[0] = 0
    assert (read.total_tokens, read.set_hash, read.n_max, read.n_tokens) == (16, tokens.hash, 5, 6)
    assert read.made_by == found.made_by == {"corpus": {"kind": "list", "rows": 5}, "n_max": 5}
    assert [path.name for path in tmp_path.iterdir()] == ["n.npz"]


def test_another_set_is_refused(counted, tmp_path):
    tokens, found = counted
    path = found.save(tmp_path / "n.npz")
    other = TokenSet.from_sequences([[0, 1, 2, 3], [2, 0, 1, 3]])
    with pytest.raises(TokenSetMismatchError, match=f"(?s)n.npz.*{tokens.hash}.*{other.hash}"):
        load_ngrams(path, other)
    assert load_ngrams(path).set_hash == tokens.hash


def test_foreign_files_are_refused(counted, tmp_path):
    tokens, found = counted
    found.save(tmp_path / "n.npz")
    tokens.save(tmp_path / "tokens.npz")
    (tmp_path / "text.npz").write_text("no zip")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "pickle.npz", about=np.array({"format": 1}, object))
    for name in ("tokens.npz", "text.npz", "empty.npz", "array.npy", "pickle.npz"):
        with pytest.raises(ValueError, match=f"{name}: not a file of n-gram surprisals"):
            load_ngrams(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no\.npz: no such file"):
        load_ngrams(tmp_path / "no.npz")


def test_damaged_files_are_refused_wherever_the_damage_is(counted, tmp_path):
    _, found = counted
    whole = found.save(tmp_path / "n.npz").read_bytes()
    bad = tmp_path / "bad.npz"
    refused = 0
    for at in range(0, len(whole), 3):
        for damage in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            bad.write_bytes(damage)
            try:
                read = load_ngrams(bad)
            except ValueError:
                refused += 1
                continue
            # Zip has fields that nobody reads (dates, versions); all that is read is under a checksum.
            for name in ("surprisal_bits_nN", "counts_nN", "token_counts_V"):
                np.testing.assert_array_equal(getattr(read, name), getattr(found, name))
            assert read.set_hash == found.set_hash
    assert refused > len(whole) / 3


CHANGES = {
    "another version": ({"about": ('"format_version": 1', '"format_version": 2')}, "format_version is 2"),
    "another format": ({"about": ("n-gram surprisals", "measures")}, "its format is 'curvewatch measures'"),
    "other n_max": ({"about": ('"n_max": 5', '"n_max": 4')}, "5 rows of surprisal"),
    "other total": ({"about": ('"total_tokens": 16', '"total_tokens": 17')}, "don't sum up to total_tokens=17"),
    "NaN": ({"surprisal_bits": np.full((5, 6), np.nan, np.float32)}, "must be finite"),
    "other type": ({"surprisal_bits": np.zeros((5, 6))}, "float32"),
    "other shape": ({"counts": np.zeros((5, 7), np.int64)}, r"\(5, 7\)"),
    "no vocabulary": ({"token_counts": np.zeros((1, 1), np.int64)}, r"int64 \[V\]"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_contents_that_can_not_be_are_refused(change, counted, tmp_path):
    path = counted[1].save(tmp_path / "n.npz")
    changes, message = CHANGES[change]
    with np.load(path) as saved:
        contents = dict(saved)
    for name, new in changes.items():
        if isinstance(new, tuple):
            assert new[0] in str(contents[name])
            new = np.array(str(contents[name]).replace(*new))
        contents[name] = new
    np.savez(path, **contents)
    with pytest.raises(ValueError, match=message):
        load_ngrams(path)


# ---------------------------------------------------------------------- text and the command


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.text("ab \n", max_size=60), size=st.integers(1, 12))
def test_a_text_file_is_cut_as_the_token_set_cuts_its_text(written, size, monkeypatch):
    monkeypatch.setattr(text_room, "PIECE_CHARACTERS", size)
    assert list(sources._pieces_of(io.StringIO(written))) == list(text_room._pieces(written))


TEXT = "the cat sat on the mat.\n\nthe dog sat on the log, and the sun went down.\n" * 30


def a_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, its tokenizer and its ids, and a token set."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "train.txt").write_text(TEXT)
    tokenizer = a_tokenizer(280)
    tokenizer.save_pretrained(folder / "tokenizer")
    a_tokenizer(260).save_pretrained(folder / "other")
    ids = text_room.encode(tokenizer, TEXT)
    np.save(folder / "train.npy", ids.astype(np.uint16))
    Dataset.from_dict({"input_ids": [ids]}).save_to_disk(folder / "saved")
    TokenSet.from_text("the log sat down on the cat. " * 30, tokenizer, 50, 16).save(folder / "tokens.npz")
    return folder


def call(*words: object, code: int = 0) -> str:
    """Standard output and error of `curvewatch ngrams`, on one line; failures are never unhandled exceptions."""
    result = CliRunner().invoke(app, ["ngrams", *map(str, words)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_command_gives_the_same_from_text_ids_and_dataset(made, tmp_path):
    tokens = TokenSet.load(made / "tokens.npz")
    surprisal, counts = reference([np.load(made / "train.npy").tolist()], tokens)
    for corpus, more in {"train.txt": ["--tokenizer", made / "tokenizer"], "train.npy": [], "saved": []}.items():
        path = tmp_path / f"{corpus}.npz"
        said = call("--tokens", made / "tokens.npz", "--corpus", made / corpus, "-o", path, *more)
        read = load_ngrams(path, tokens)
        np.testing.assert_allclose(read.surprisal_bits_nN, surprisal, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(read.counts_nN, counts)
        assert read.made_by["corpus"]["path"] == str(made / corpus)
        assert f"{read.total_tokens:,} tokens counted" in said
        share = (counts[4][tokens.position >= 4] > 0).mean()  # of those with four tokens before them
        assert f"5-grams: mean surprisal {surprisal[4].mean():.3f} bit; {share:.1%}" in said
        assert "part of this corpus?" not in said


def test_command_takes_the_tokens_of_a_run_file(tmp_path):
    write_run(tmp_path / "run.h5")
    run = open_run(tmp_path / "run.h5")
    np.save(tmp_path / "ids.npy", run.tokens.ids)
    words = ("--run", tmp_path / "run.h5", "--corpus", tmp_path / "ids.npy", "-o", tmp_path / "n.npz")
    assert "is the evaluation text part of this corpus?" in call(*words)
    call(*words, "--n-max", 2)
    found = load_ngrams(tmp_path / "n.npz", run.tokens)
    assert found.n_max == 2
    assert (found.counts_nN > 0).all()


def test_documented_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "curves.h5", holes=())
    run = open_run("curves.h5")
    np.save("train.npy", run.tokens.ids)
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
    section = page[page.index("## N-grams of the training corpus") :]
    names: dict[str, Any] = {}
    exec(section.split("```python\n")[1].split("```")[0], names)
    expected = np.corrcoef(run.surprisal[7], names["ngrams"].surprisal_bits_nN[2])[0, 1]
    assert names["r_Tn"].shape == (len(run), 5)
    assert names["r_Tn"][7, 2] == pytest.approx(expected)


def test_text_in_python_takes_the_tokenizer_of_the_set(made):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(made / "tokenizer")
    tokens = TokenSet.load(made / "tokens.npz", tokenizer)
    found = count_ngrams(made / "train.txt", tokens)
    np.testing.assert_array_equal(
        found.counts_nN, count_ngrams(open_corpus(made / "train.npy"), TokenSet.load(made / "tokens.npz")).counts_nN
    )


def test_command_says_what_is_wrong(made, tmp_path):
    good = ("--tokens", made / "tokens.npz", "-o", tmp_path / "n.npz", "--corpus")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 9)
    (tmp_path / "fake.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([None]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    coded = ("--tokenizer", made / "tokenizer")
    for words, message in (
        ((made / "train.txt",), "needs the tokenizer"),
        ((made / "train.txt", "--tokenizer", made / "other"), "tokenizer: not the token set's"),
        ((made / "train.txt", "--tokenizer", tmp_path / "none"), "no such folder"),
        ((made / "train.txt", "--tokenizer", tmp_path / "empty"), "transformers can't load it"),
        ((made / "train.npy", *coded), "leave --tokenizer out"),
        ((made / "train.npy", "--split", "train"), "only a saved dataset has splits"),
        ((made / "saved", "--split", "eval"), "has no splits"),
        ((made / "saved", "--column", "ids"), "no such column"),
        ((tmp_path / "latin.txt", *coded), "no UTF-8 text"),
        ((tmp_path / "empty.txt", *coded), "it holds no token"),
        ((tmp_path / "fake.npy",), "not an array saved by numpy.save"),
        ((tmp_path / "objects.npy",), "not an array saved by numpy.save"),
        ((tmp_path / "empty",), "not a folder saved by datasets"),
        ((tmp_path / "none",), "no such file or folder"),
    ):
        assert message in call(*good, *words, code=1)
    call("--corpus", made / "train.npy", "-o", tmp_path / "n.npz", code=2)
    call("--tokens", made / "tokens.npz", "--run", "x.h5", "--corpus", made / "train.npy", "-o", "n.npz", code=2)
    call("--tokens", made / "tokens.npz", "--corpus", made / "train.npy", "-o", tmp_path / "n.txt", code=2)
    assert not (tmp_path / "n.npz").exists()


def test_splits_are_named(tmp_path):
    path = saved_dataset(tmp_path)
    assert open_corpus(path).size == 50
    assert open_corpus(path, split="eval").size == 1
    with pytest.raises(KeyError, match="'eval', 'train'; name one"):
        open_corpus(path, split="test")


def test_needs_numpy_alone():
    code = "from curvewatch import corpus, TokenSet; corpus.count_ngrams([[1, 2]], TokenSet.from_sequences([[1, 2]]))"
    assert loaded_by(code) == set()
