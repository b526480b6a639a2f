"""Contextual diversity beside a plain count of sets, however the corpus is cut, and parts of it merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from curvewatch import TokenSet
from curvewatch.cli.app import app
from curvewatch.corpus import contextual_diversity, count_tokens, load_diversity, marking, merge_diversity
from curvewatch.corpus import sources as sources_room
from curvewatch.corpus.marking import chosen
from curvewatch.measures.smoother.smoothing import Smoother

V, SPECIAL = 40, (38, 39)


def corpus(seed: int = 0, rows: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 60, rows)
    found = [np.minimum(rng.geometric(0.12, n) - 1, 35) for n in lengths]
    for row in found[::3]:
        row[0] = 38
    return found


def by_hand(rows: list[np.ndarray], types: np.ndarray, window: int) -> np.ndarray:
    """Sets, token by token."""
    seen: list[set[int]] = [set() for _ in range(V)]
    for row in rows:
        for i, one in enumerate(row.tolist()):
            seen[one] |= set(row[max(0, i - window) : i].tolist()) & set(types.tolist())
    return np.array([len(one) for one in seen])


def tokens() -> TokenSet:
    return TokenSet.from_sequences([[1, 2, 3, 4, 5, 36]], vocab_size=V)


@pytest.mark.parametrize(("window", "context_types"), [(5, 12), (30, 100), (1, 12), (80, 12)])
@pytest.mark.parametrize("paper", [False, True])
def test_as_by_hand(window: int, context_types: int, paper: bool) -> None:
    rows = corpus()
    found = contextual_diversity(
        rows, tokens(), window=window, context_types=context_types, special=SPECIAL, paper=paper
    )
    counts = np.bincount(np.concatenate(rows), minlength=V)
    if paper or context_types >= V:
        types = np.arange(min(context_types, V))
    else:
        counts_of = counts.copy()
        counts_of[list(SPECIAL)] = -1
        types = np.argsort(-counts_of, kind="stable")[:context_types]
        assert 38 not in types, "a special token counts as context"
    assert found.types_K.tolist() == sorted(types.tolist())
    assert found.raw_V.tolist() == by_hand(rows, types, window).tolist()
    assert found.token_counts_V.tolist() == counts.tolist()


@pytest.mark.parametrize("block", [1, 3, 7, 37, 1000])
def test_the_same_however_blocks_are_cut(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = corpus()
    whole = contextual_diversity(rows, tokens(), window=6, context_types=12, special=SPECIAL)
    monkeypatch.setattr(sources_room, "BLOCK", block)
    for memory in (V * 8, V * 16, 1 << 20):
        cut = contextual_diversity(rows, tokens(), window=6, context_types=12, special=SPECIAL, memory=memory)
        assert np.array_equal(cut.seen_VK, whole.seen_VK)
    # One long document is cut inside, too.
    long = np.concatenate(rows)
    found = contextual_diversity(long, tokens(), window=6, context_types=12, special=SPECIAL)
    assert found.raw_V.tolist() == by_hand([long], found.types_K, 6).tolist()


def test_a_window_beyond_every_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches as far as documents do, and progress is told within a block."""
    rows = corpus()
    settings: dict[str, Any] = {"context_types": 12, "special": SPECIAL}
    reaching = contextual_diversity(rows, tokens(), window=60, **settings)
    beyond = contextual_diversity(rows, tokens(), window=10**12, **settings)
    assert np.array_equal(beyond.seen_VK, reaching.seen_VK)
    monkeypatch.setattr(marking, "TICK", 0.0)
    told: list[int] = []
    long = np.concatenate(rows)
    contextual_diversity(long, tokens(), window=500, progress=lambda done, of: told.append(done), **settings)
    assert len(told) > 500
    assert told[2:] == sorted(told[2:]), "of the second pass, behind that which counts"
    assert told[-1] == len(long)


def test_parts_merged_are_the_whole() -> None:
    rows = corpus()
    settings: dict[str, Any] = {"window": 6, "context_types": 12, "special": SPECIAL}
    whole = contextual_diversity(rows, tokens(), **settings)
    counts_V = count_tokens(rows, V)
    parts = [
        contextual_diversity(part, tokens(), counts_V=counts_V, **settings) for part in (rows[:5], rows[5:6], rows[6:])
    ]
    merged = merge_diversity(parts)
    assert np.array_equal(merged.seen_VK, whole.seen_VK)
    assert merged.made_by["occurrences"] == whole.made_by["occurrences"] == sum(map(len, rows))
    with pytest.raises(ValueError, match=r"parts\[1\]: other settings, or other counts"):
        merge_diversity([parts[0], contextual_diversity(rows[5:], tokens(), **settings)])
    with pytest.raises(ValueError, match="there is none to merge"):
        merge_diversity([])


def test_a_sample_is_seeded_and_on_record() -> None:
    long = np.concatenate(corpus(rows=800))
    one, again = (contextual_diversity(long, tokens(), context_types=12, max_tokens=6000) for _ in range(2))
    assert np.array_equal(one.seen_VK, again.seen_VK)
    places = np.arange(len(long))
    looked, others = (chosen(places, one.made_by["share"], seed) for seed in (0, 1))
    assert one.made_by["occurrences"] == looked.sum()
    assert not np.array_equal(looked, others)
    types = np.unique(np.sort(np.argsort(-one.token_counts_V, kind="stable")[:12]))
    seen: list[set[int]] = [set() for _ in range(V)]
    for i in np.flatnonzero(looked):
        seen[long[i]] |= set(long[max(0, i - 30) : i].tolist()) & set(types.tolist())
    assert one.raw_V.tolist() == [len(some) for some in seen]
    assert one.made_by["share"] == pytest.approx(6000 / len(long))
    assert 1000 < one.made_by["occurrences"] < len(long)
    assert one.token_counts_V.sum() == len(long), "frequencies are of the whole corpus"
    assert "of them looked at" in repr(one)


def test_adjusted_is_what_frequency_leaves() -> None:
    rows = corpus()
    found = contextual_diversity(rows, tokens(), window=6, context_types=12, special=SPECIAL)
    counts = found.token_counts_V
    fitted = np.setdiff1d(np.arange(V), SPECIAL)
    log = np.log10(np.maximum(counts, counts[counts > 0].min()) / counts.sum())
    order = fitted[np.argsort(log[fitted], kind="stable")]
    smoother = Smoother(log[order], paper=True)
    smooth = smoother.fit(found.raw_V[order][:, None].astype(float)).at(smoother.basis_TK)[:, 0]
    adjusted = found.adjusted_V()
    assert np.allclose(adjusted[order], found.raw_V[order] - smooth)
    assert (adjusted[list(SPECIAL)] == adjusted.min()).all()
    assert found.of(tokens()).tolist() == adjusted[tokens().target].tolist()
    seen_only = found.adjusted_V(drop_unseen=True)
    assert (seen_only[counts == 0] == seen_only.min()).all()


def test_kept_and_read(tmp_path: Path) -> None:
    found = contextual_diversity(corpus(), tokens(), window=6, context_types=12, special=SPECIAL)
    back = load_diversity(found.save(tmp_path / "d.npz"))
    assert np.array_equal(back.seen_VK, found.seen_VK)
    assert np.array_equal(back.adjusted_V(), found.adjusted_V())
    assert back.made_by == found.made_by
    (tmp_path / "other.npz").write_bytes(b"no file of ours")
    with pytest.raises(ValueError, match="not a file of contextual diversity"):
        load_diversity(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="curvewatch diversity"):
        load_diversity(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"window": 0}, ValueError, "window=0"),
        ({"context_types": 2.5}, ValueError, "context_types=2.5"),
        ({"max_tokens": 0}, ValueError, "max_tokens=0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        contextual_diversity(corpus(), tokens(), **settings)


def test_bad_corpora_are_named() -> None:
    with pytest.raises(TypeError, match="an iterator can be read only once"):
        contextual_diversity(iter(corpus()), tokens())
    with pytest.raises(ValueError, match="it holds no token"):
        contextual_diversity([[]], tokens())
    with pytest.raises(ValueError, match="token id 40 lies beyond vocab_size=40"):
        contextual_diversity([[1, 40]], tokens())
    small = contextual_diversity(corpus(), tokens(), context_types=12)
    with pytest.raises(ValueError, match="target id 41 lies beyond the 40 types"):
        small.of(TokenSet.from_sequences([[1, 41]]))


def test_the_command(tmp_path: Path) -> None:
    np.save(tmp_path / "corpus.npy", np.concatenate(corpus()))
    tokens().save(tmp_path / "tokens.npz")
    done = CliRunner().invoke(
        app, ["diversity", "-c", str(tmp_path / "corpus.npy"), "-t", str(tmp_path / "tokens.npz"), "--window", "6",
              "-o", str(tmp_path / "d.npz")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = load_diversity(tmp_path / "d.npz")
    assert found.raw_V.tolist() == by_hand([np.concatenate(corpus())], np.arange(V), 6).tolist()
