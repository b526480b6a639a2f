"""Token sets: what is chosen, that it stays the same everywhere, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvewatch import TokenSet
from curvewatch.tokens.saved import SAVED_VERSION
from curvewatch.watch.arguments import named_sets

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "saw", "it", "run", "away", "from", "home"]
TEXT = " ".join(WORDS[i * i % 15] for i in range(3000)) + "\n"


class Plain:
    """A tokenizer of twenty lines: encode and decode, nothing else."""

    def __init__(self) -> None:
        self.words = sorted(set(WORDS))

    def encode(self, text: str) -> list[int]:
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)


def by_tokenizers() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def by_transformers() -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=by_tokenizers(), bos_token="<s>", eos_token="</s>")


# ---------------------------------------------------------------------- builders


@pytest.mark.parametrize("make", [by_transformers, by_tokenizers, Plain])
def test_from_text(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    size = {by_transformers: 258, by_tokenizers: 256}.get(make)
    tokens = TokenSet.from_text(TEXT, tokenizer, n_tokens=200, context=16, per_sequence=5, vocab_size=size or 14)
    assert len(tokens) == tokens.n_tokens == 200
    assert tokens.n_sequences == 40
    assert set(tokens.lengths.tolist()) == {16}
    assert np.bincount(tokens.sequence_index).tolist() == [5] * 40
    assert (tokens.position >= 1).all()
    assert len(set(tokens.position.tolist())) == 15, "drawn from all over the sequence"
    # Each sequence stands in the text as it was, and what is shown is what was there.
    text = tokens.decode(tokens.sequence(7))
    assert text.strip() in TEXT
    view = tokens.show(36)
    assert (view.index, view.sequence_index) == (36, 7)
    assert text.startswith(view.context)
    assert view.target.strip() in str(view)
    # From a file the same set.
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    for path in (tmp_path / "text.txt", str(tmp_path / "text.txt")):
        again = TokenSet.from_text(path, tokenizer, 200, 16, 5, vocab_size=size or 14)
        assert again.hash == tokens.hash


def test_vocabulary_size_is_asked_of_the_tokenizer() -> None:
    assert TokenSet.from_text(TEXT, by_transformers(), 10).vocab_size == 258, "256 bytes and two added tokens"
    assert TokenSet.from_text(TEXT, by_tokenizers(), 10).vocab_size == 256
    assert TokenSet.from_text(TEXT, Plain(), 10).vocab_size is None
    assert TokenSet.from_text(TEXT, by_tokenizers(), 10).chance == 8


def test_no_special_tokens_slip_in() -> None:
    tokens = TokenSet.from_text(TEXT, by_transformers(), 100, 16)
    assert tokens.ids.max() < 256
    with_bos = TokenSet.from_text(TEXT, by_transformers(), 100, 16, bos=256)
    assert (with_bos.ids[with_bos.starts[:-1]] == 256).all()
    assert set(with_bos.lengths.tolist()) == {16}, "bos included"


def test_seeds() -> None:
    sets = [TokenSet.from_text(TEXT, by_tokenizers(), 100, 16, seed=seed) for seed in (0, 0, 1)]
    assert sets[0].hash == sets[1].hash != sets[2].hash
    assert sets[2].made_by["seed"] == 1


def test_every_position() -> None:
    tokens = TokenSet.from_text(TEXT, by_tokenizers(), 30, 16, per_sequence=None)
    assert tokens.position.tolist() == [*range(1, 16), *range(1, 16)]


def test_not_a_whole_number_of_sequences() -> None:
    tokens = TokenSet.from_text(TEXT, by_tokenizers(), 32, 16, per_sequence=5)
    assert np.bincount(tokens.sequence_index).tolist() == [5] * 6 + [2]


class Streamed:
    """A dataset that can only be read from its start."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def test_from_dataset_packed_ragged_streaming() -> None:
    from datasets import Dataset

    ragged = [list(range(n)) for n in (1, 0, 5, 2, 9, 4, 7, 3)]
    dataset = Dataset.from_dict({"input_ids": ragged, "other": [0] * 8})
    tokens = TokenSet.from_dataset(dataset, n_tokens=15, per_sequence=3, seed=0)
    assert len(tokens) == 15
    assert (tokens.position < tokens.lengths[tokens.sequence_index]).all()
    assert TokenSet.from_dataset(dataset, n_tokens=15, per_sequence=3, seed=0).hash == tokens.hash
    assert TokenSet.from_dataset(dataset, n_tokens=15, per_sequence=3, seed=1).hash != tokens.hash
    # Streamed from the start: rows of 5, 2 and 9 give 3 + 1 + 3 tokens; those of 1 and 0 give none.
    streamed = TokenSet.from_dataset(Streamed([{"input_ids": row} for row in ragged]), n_tokens=7, per_sequence=3)
    assert streamed.lengths.tolist() == [5, 2, 9]
    assert np.bincount(streamed.sequence_index).tolist() == [3, 1, 3]
    iterable = TokenSet.from_dataset(dataset.to_iterable_dataset(), n_tokens=7, per_sequence=3)
    assert iterable.hash == streamed.hash
    packed = TokenSet.from_dataset(Dataset.from_dict({"ids": [[1, 2, 3, 4]] * 5}), 8, column="ids", per_sequence=2)
    assert set(packed.lengths.tolist()) == {4}
    cut = TokenSet.from_dataset(Streamed([{"input_ids": list(range(50))}]), 9, context=10, per_sequence=None, bos=50)
    assert (cut.context, cut.position.tolist()) == (10, list(range(1, 10)))


def test_from_sequences() -> None:
    tokens = TokenSet.from_sequences([[5, 6, 7], [8, 9]], positions=[[2], [1]])
    assert tokens.target.tolist() == [7, 9]
    assert tokens.sequence(1).tolist() == [8, 9]
    # Positions are counted in the sequence as given, whether or not something is put before it.
    with_bos = TokenSet.from_sequences([[5, 6, 7], [8, 9]], positions=[[2, 0], [1]], bos=1)
    assert with_bos.target.tolist() == [5, 7, 9]
    assert with_bos.position.tolist() == [1, 3, 2]
    array = TokenSet.from_sequences(np.arange(12).reshape(3, 4))
    assert array.target.tolist() == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert TokenSet.from_sequences(np.arange(12).reshape(3, 4).tolist()).hash == array.hash


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 12), st.integers(0, 5))
def test_positions_drawn(lengths: list[int], per_sequence: int, seed: int) -> None:
    rows = [list(range(n)) for n in lengths]
    expected = [min(per_sequence, max(0, n - 1)) for n in lengths]
    if not sum(expected):
        with pytest.raises(ValueError, match="no position can be scored"):
            TokenSet.from_sequences(rows, per_sequence=per_sequence, seed=seed)
        return
    tokens = TokenSet.from_sequences(rows, per_sequence=per_sequence, seed=seed)
    assert np.bincount(tokens.sequence_index, minlength=len(rows)).tolist() == expected
    pairs = list(zip(tokens.sequence_index.tolist(), tokens.position.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert tokens.target.tolist() == [rows[s][p] for s, p in pairs]


# ---------------------------------------------------------------------- identity


def test_the_hash_is_the_same_for_ever() -> None:
    """A literal: files of earlier versions must find their set again, on every machine."""
    tokens = TokenSet.from_sequences([[3, 1, 4, 1, 5], [9, 2, 6]], positions=[[1, 4], [2]])
    assert tokens.hash == "2b1fcba6e4a5674100534f2b1c110c53a190c05f722eba889c865613e3443f1b"


@pytest.mark.parametrize(
    "other",
    [
        TokenSet.from_sequences([[3, 1, 4, 1, 6], [9, 2, 6]], positions=[[1, 4], [2]]),
        TokenSet.from_sequences([[3, 1, 4, 1, 5], [9, 2, 6]], positions=[[1, 3], [2]]),
        TokenSet.from_sequences([[3, 1, 4, 1, 5], [9, 2, 6]], positions=[[1, 4], [1]]),
        TokenSet.from_sequences([[9, 2, 6], [3, 1, 4, 1, 5]], positions=[[2], [1, 4]]),
        TokenSet.from_sequences([[3, 1, 4, 1, 5, 9], [2, 6]], positions=[[1, 4], [1]]),
    ],
)
def test_the_hash_tells_sets_apart(other: TokenSet) -> None:
    tokens = TokenSet.from_sequences([[3, 1, 4, 1, 5], [9, 2, 6]], positions=[[1, 4], [2]])
    assert tokens.hash != other.hash


def test_the_hash_is_of_what_is_scored_alone() -> None:
    one = TokenSet.from_sequences([[0, 1, 2]], vocab_size=10)
    assert one.hash == TokenSet.from_sequences([[0, 1, 2]], seed=5, tokenizer=Plain(), vocab_size=13).hash


def test_no_second_beginning_of_text() -> None:
    rows = [[1, 5, 6, 7], [8, 9, 5]]
    tokens = TokenSet.from_sequences(rows, bos=1)
    assert [tokens.sequence(s).tolist() for s in range(2)] == [[1, 5, 6, 7], [1, 8, 9, 5]]
    placed = TokenSet.from_sequences(rows, positions=[[2], [0]], bos=1)
    assert placed.target.tolist() == [6, 8]
    drawn = TokenSet.from_dataset([{"input_ids": [1, 5, 6, 7, 8]}] * 4, 8, context=4, per_sequence=None, bos=1)
    assert [drawn.sequence(s).tolist() for s in range(3)] == [[1, 5, 6, 7]] * 3
    assert drawn.position.tolist() == [1, 2, 3, 1, 2, 3, 1, 2]

    class Beginning(Plain):
        """Puts a token of its own in front."""

        def encode(self, text: str) -> list[int]:
            return [20, *super().encode(text)]

    whole = TokenSet.from_text(TEXT, Beginning(), 2900, 16, per_sequence=None, bos=20, vocab_size=21)
    assert (whole.ids == 20).sum() == whole.n_sequences
    assert (whole.ids[whole.starts[:-1]] == 20).all()


@pytest.mark.parametrize("name", ["n_tokens", "context", "per_sequence", "seed", "bos", "vocab_size"])
@pytest.mark.parametrize("value", [-1, 2.5, "7", True, [3]])
def test_settings_that_are_no_whole_numbers(name: str, value: Any) -> None:
    rows = [[1, 2, 3, 4]] * 9
    builders: list[Any] = [
        lambda **settings: TokenSet.from_text(TEXT, Plain(), **{"n_tokens": 8, "context": 4, **settings}),
        lambda **settings: TokenSet.from_dataset([{"input_ids": row} for row in rows], **{"n_tokens": 8, **settings}),
        lambda **settings: TokenSet.from_sequences(rows, **settings),
    ]
    for build in builders[: 2 if name == "context" else 3]:
        with pytest.raises(ValueError if value == -1 else TypeError, match=f"^{name}=") as caught:
            build(**{name: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tokenizer", [None, Plain()])
def test_save_and_load(tokenizer: Any, tmp_path: Path) -> None:
    tokens = TokenSet.from_sequences([[3, 1, 4, 1], [5, 9]], tokenizer=tokenizer, vocab_size=13)
    path = tokens.save(tmp_path / "set.npz")
    found = TokenSet.load(path)
    assert found.hash == tokens.hash
    assert (found.vocab_size, found.objective, dict(found.made_by)) == (13, "causal", dict(tokens.made_by))
    assert [found.name for found in tmp_path.iterdir()] == ["set.npz"]
    if tokenizer is not None:
        assert found.show(3).target.strip() == tokens.show(3).target.strip()
        assert TokenSet.load(path, tokenizer).show(3) == tokens.show(3)
    else:
        with pytest.raises(ValueError, match="tokenizer="):
            found.show(0)


def test_arrays_can_not_be_changed() -> None:
    tokens = TokenSet.from_sequences([[0, 1, 2]])
    with pytest.raises(ValueError, match="read-only"):
        tokens.ids[0] = 9


def test_show() -> None:
    tokens = TokenSet.from_text("the cat sat on a mat", Plain(), 5, 6, per_sequence=None)
    assert str(tokens.show(0)).replace(" ", "") == "the⟦cat⟧"
    assert tokens.show(-1).target == "mat"
    assert tokens.show(4, width=2).context == "on a"
    for i in (5, -6):
        with pytest.raises(IndexError, match="tokens 0 to 4"):
            tokens.show(i)


# ---------------------------------------------------------------------- what is refused


def text(**settings: Any) -> Any:
    return lambda: TokenSet.from_text(TEXT, by_tokenizers(), **settings)


def sequences(*arguments: Any, **settings: Any) -> Any:
    return lambda: TokenSet.from_sequences(*arguments, **settings)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (text(n_tokens=10**6), ValueError, r"sequences of context=128.*n_tokens=1,000,000.*at most [\d,]+ here"),
        (text(context=10**6), ValueError, "makes 0 sequences"),
        (text(n_tokens=0), ValueError, "n_tokens=0"),
        (text(context=1), ValueError, "context=1"),
        (text(per_sequence=0), ValueError, "per_sequence=0"),
        (text(n_tokens=10, vocab_size=5), ValueError, r"token id \d+ lies beyond vocab_size=5"),
        (lambda: TokenSet.from_text("corpus/missing.txt", Plain()), FileNotFoundError, "corpus/missing.txt"),
        (lambda: TokenSet.from_text(Path("missing"), Plain()), FileNotFoundError, "missing"),
        (lambda: TokenSet.from_text(TEXT, object()), TypeError, r"no encode\(text\)"),
        (sequences([]), ValueError, "there is none"),
        (sequences([[1], [2]]), ValueError, "no position can be scored.*bos="),
        (sequences([[1, -2]]), ValueError, "must be 0 or more"),
        (sequences([[1.5, 2.5]]), ValueError, r"sequences\[0\].*integers"),
        (sequences([[1, 2], "ab"]), ValueError, r"sequences\[1\]"),
        (sequences(np.arange(5)), ValueError, r"array \[S, L\]"),
        (sequences([[1, 2]], positions=[[0]]), ValueError, "position 0 has no context.*bos="),
        (sequences([[1, 2]], positions=[[2]]), ValueError, "position 2 of sequence 0 lies beyond its 2"),
        (sequences([[1, 2, 3]], positions=[[1, 1]]), ValueError, "stands there twice"),
        (sequences([[1, 2]], positions=[[1], [1]]), ValueError, "2 rows for 1 sequences"),
        (sequences([[1, 2]], positions=[[1]], n_tokens=1), ValueError, "not both"),
        (sequences([[1, 2]], n_tokens=2), ValueError, "n_tokens=2.*only 1 scorable"),
        (sequences([[1, 2]], vocab_size=1), ValueError, "vocab_size=1"),
        (lambda: TokenSet.from_dataset([{"ids": [1, 2]}], 1), KeyError, "no such column.*ids"),
        (lambda: TokenSet.from_dataset([{"input_ids": [1, 2, 3]}], 3), ValueError, "hold 2 scorable.*n_tokens=2"),
        (lambda: TokenSet.from_sequences([[1, 2]]).chance, ValueError, "vocab_size"),
        (lambda: TokenSet.load(__file__), ValueError, r"path=\S+: not a token set saved .* \(no .npz file\)"),
        (lambda: TokenSet.load(None), TypeError, "path=None: the path of a saved token set"),
        (lambda: TokenSet.load("missing.npz"), FileNotFoundError, "missing.npz"),
        (lambda: named_sets({}), ValueError, "at least one"),
        (lambda: named_sets([1, 2]), TypeError, "from_text"),
        (lambda: named_sets({"a/b": TokenSet.from_sequences([[1, 2]])}), ValueError, "a/b"),
        (lambda: named_sets({"step": TokenSet.from_sequences([[1, 2]])}), ValueError, "taken"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def rewrite_about(path: Path, change: Any) -> None:
    with np.load(path) as saved:
        arrays = dict(saved)
    about = json.loads(str(arrays["about"]))
    change(about)
    np.savez(path, **{**arrays, "about": np.array(json.dumps(about))})


def test_what_a_saved_set_says_besides_is_kept(tmp_path: Path) -> None:
    tokens = TokenSet.from_sequences([[3, 1, 4, 1], [5, 9]], vocab_size=13)
    path = tokens.save(tmp_path / "set.npz")
    rewrite_about(path, lambda about: about.update(note={"by": "me"}, licence="CC0", tokenizer="gpt2"))
    found = TokenSet.load(path)
    assert found.hash == tokens.hash
    assert found.tokenizer is None
    again = TokenSet.load(found.save(tmp_path / "again.npz"))
    assert again.extras == found.extras == {"note": {"by": "me"}, "licence": "CC0", "tokenizer": "gpt2"}
    assert (again.vocab_size, dict(again.made_by)) == (13, dict(tokens.made_by))


def test_a_set_saved_before_there_was_a_format(tmp_path: Path) -> None:
    tokens = TokenSet.from_sequences([[3, 1, 4, 1], [5, 9]], vocab_size=13)
    path = tokens.save(tmp_path / "set.npz")
    rewrite_about(path, lambda about: [about.pop(key) for key in ("format", "format_version")])
    found = TokenSet.load(path)
    assert (found.hash, found.vocab_size, found.extras) == (tokens.hash, 13, {})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": SAVED_VERSION + 1, "objective": "new"}, "set saved in format 2, .* up to 1. Upgrade"),
        ({"format": "something else"}, "not a token set saved by curvewatch .*'something else'"),
        ({"format_version": "two"}, "not a token set saved by curvewatch .*'two'"),
        ({"vocab_size": "many"}, "not a token set saved by curvewatch"),
        ({"vocab_size": 4}, "not a token set saved by curvewatch .*token id 9 lies beyond vocab_size=4"),
        ({"made_by": 3, "objective": "masked"}, "not a token set saved by curvewatch .*masking: missing"),
    ],
)
def test_a_saved_set_of_another_format(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = TokenSet.from_sequences([[3, 1, 4, 1], [5, 9]], vocab_size=13).save(tmp_path / "set.npz")
    rewrite_about(path, lambda about: about.update(change))
    with pytest.raises(ValueError, match=r"path=.*set\.npz: .*" + match):
        TokenSet.load(path)


def test_a_loaded_set_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, about=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="not a token set"):
        TokenSet.load(path)
